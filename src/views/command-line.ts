// Reads one line of `control`: words as on the command line, or a JSON object.

import { checkBytes, parseBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';

/** A command as it was understood. Paths are not checked yet. */
export type ControlCommand =
  | { cmd: 'reserve' | 'extend'; path: string; bytes: number }
  | { cmd: 'release'; path: string }
  | { cmd: 'report' }
  | { cmd: 'check'; repair: boolean; progress: boolean };

/** The fields of each command in JSON, besides `cmd`. */
const FIELDS: Record<ControlCommand['cmd'], readonly string[]> = {
  reserve: ['path', 'bytes'],
  extend: ['path', 'bytes'],
  release: ['path'],
  report: [],
  check: ['repair', 'progress'],
};

/** Null for a line without a command (blank, or a comment after `#`). Throws BAD_COMMAND, UNKNOWN_COMMAND or BAD_BYTES. */
export function parseControlLine(line: string): ControlCommand | null {
  const text = line.trim();
  if (text === '' || text.startsWith('#')) return null;
  return text.startsWith('{') ? fromJson(text) : fromWords(splitWords(text));
}

/** The name of the command in a line that may not be understood otherwise; null where there is none. */
export function commandName(line: string): string | null {
  const match = /^\s*(?:\{.*?"cmd"\s*:\s*"([a-z]{1,20})"|([a-z]{1,20})\b)/.exec(line);
  return match?.[1] ?? match?.[2] ?? null;
}

/**
 * Words of a line as a shell splits them: blanks between, "…" and '…' keep blanks, a backslash takes the next character
 * as it is (within "…" only a quote or a backslash). Throws BAD_COMMAND for a quote that is not closed.
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  const part = /\s+|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\]+)/gsy;
  let word: string | null = null;
  while (part.lastIndex < text.length) {
    const match = part.exec(text);
    if (match === null) throw bad('a quote or a backslash has no end');
    const [, single, double, escaped, plain] = match;
    const piece = single ?? double?.replace(/\\(["\\])/g, '$1') ?? escaped ?? plain;
    if (piece !== undefined) word = (word ?? '') + piece;
    else if (word !== null) {
      words.push(word);
      word = null;
    }
  }
  if (word !== null) words.push(word);
  return words;
}

function fromWords([cmd = '', ...rest]: readonly string[]): ControlCommand {
  const flags = rest.filter((word) => word.startsWith('--'));
  const words = rest.filter((word) => !word.startsWith('--'));
  for (const flag of flags) {
    if (cmd !== 'check' || flag !== '--repair') throw bad(`unknown option '${flag}'`);
  }
  const expect = (count: number, usage: string) => {
    if (words.length !== count) throw bad(`write: ${usage}`);
  };
  const [path = '', bytes = ''] = words;
  switch (cmd) {
    case 'reserve':
    case 'extend':
      expect(2, `${cmd} PATH BYTES`);
      return { cmd, path, bytes: parseBytes(bytes) };
    case 'release':
      expect(1, 'release PATH');
      return { cmd, path };
    case 'report':
      expect(0, 'report');
      return { cmd };
    case 'check':
      expect(0, 'check [--repair]');
      return { cmd, repair: flags.length > 0, progress: false };
    default:
      throw new VreserveError('UNKNOWN_COMMAND', { command: cmd.slice(0, 40) });
  }
}

function fromJson(text: string): ControlCommand {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new VreserveError('BAD_COMMAND', { reason: 'it is not JSON' }, { cause: error });
  }
  if (!isRecord(value)) throw bad('it is no JSON object');
  const { cmd, ...fields } = value;
  if (typeof cmd !== 'string') throw bad('it has no "cmd"');
  if (!isCommand(cmd)) throw new VreserveError('UNKNOWN_COMMAND', { command: cmd.slice(0, 40) });
  const unknown = Object.keys(fields).find((name) => !FIELDS[cmd].includes(name));
  if (unknown !== undefined) throw bad(`${cmd} has no field "${unknown.slice(0, 40)}"`);
  switch (cmd) {
    case 'reserve':
    case 'extend':
      return { cmd, path: textField(fields, 'path'), bytes: bytesField(fields) };
    case 'release':
      return { cmd, path: textField(fields, 'path') };
    case 'report':
      return { cmd };
    case 'check':
      return { cmd, repair: flagField(fields, 'repair'), progress: flagField(fields, 'progress') };
  }
}

function isCommand(cmd: string): cmd is ControlCommand['cmd'] {
  return Object.hasOwn(FIELDS, cmd);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textField(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw bad(`"${name}" must be a string`);
  return value;
}

/** A number of bytes, or text such as "500GiB". */
function bytesField({ bytes }: Record<string, unknown>): number {
  if (typeof bytes === 'string') return parseBytes(bytes);
  if (typeof bytes !== 'number') throw bad('"bytes" must be a number of bytes');
  return checkBytes(bytes);
}

function flagField(fields: Record<string, unknown>, name: string): boolean {
  const value = fields[name] ?? false;
  if (typeof value !== 'boolean') throw bad(`"${name}" must be true or false`);
  return value;
}

function bad(reason: string): VreserveError {
  return new VreserveError('BAD_COMMAND', { reason });
}
