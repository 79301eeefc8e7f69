// Reads one line of `control`: words as on the command line, or a JSON object.

import { commandFromJson } from './command-json.js';
import { commandFromWords } from './command-words.js';
import type { LotRequest, NamespaceCommand, PoolRequest, ReclaimRequest, ReserveOptions, SpaceRequest } from './host.js';

/** A command as it was understood. Paths are not checked yet. */
export type ControlCommand =
  /** `waitMs`: how long it may wait for the bytes, null: for ever; undefined: not at all. */
  | { cmd: 'reserve'; path: string; bytes: number; options: ReserveOptions; waitMs: number | null | undefined }
  | { cmd: 'extend'; path: string; bytes: number }
  | { cmd: 'release'; path: string }
  | { cmd: 'lot'; request: LotRequest }
  | { cmd: 'pool'; request: PoolRequest }
  | { cmd: 'ns'; request: NamespaceCommand }
  | { cmd: 'space'; request: SpaceRequest }
  | { cmd: 'report' }
  /** `dir`: of the host, absolute. */
  | { cmd: 'import'; dir: string; progress: boolean }
  | { cmd: 'check'; repair: boolean; progress: boolean }
  | { cmd: 'reclaim'; request: ReclaimRequest; progress: boolean };

/** Null for a line without a command (blank, or a comment after `#`). Throws BAD_COMMAND, UNKNOWN_COMMAND, BAD_BYTES, BAD_DURATION, SPACE_BAD_…. */
export function parseControlLine(line: string): ControlCommand | null {
  const text = line.trim();
  if (text === '' || text.startsWith('#')) return null;
  return text.startsWith('{') ? commandFromJson(text) : commandFromWords(text);
}

/** The name of the command in a line that may not be understood otherwise; null where there is none. */
export function commandName(line: string): string | null {
  const match = /^\s*(?:\{.*?"cmd"\s*:\s*"([a-z]{1,20})"|([a-z]{1,20})\b)/.exec(line);
  return match?.[1] ?? match?.[2] ?? null;
}
