// What a request says, and what is added to it when it is decided: the metadata of its entry in the spool.

import { checkBytes, parseBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import type { ReserveOptions } from '../views/host.js';
import { reserveOptions, waitOption } from '../views/reserve-options.js';

/** What is asked for, as `reserve` takes it. */
export interface Asked {
  /** As its asker wrote it. */
  path: string;
  bytes: number;
  options: ReserveOptions;
}

/** How a request ended; ISO time. */
export type Outcome =
  | { decision: 'granted'; at: string; lot: string }
  | { decision: 'refused'; at: string; code: string; errno: string; message: string };

/** The longest metadata of a request, in bytes. */
export const MOST_REQUEST_BYTES = 64 * 1024;

/**
 * `{"path","bytes"}`, and as on the command line `wait`, `expires`, `owner`, `opportunistic`, `objects`; what else is there is
 * its asker's own. Throws BAD_COMMAND, BAD_BYTES or BAD_DURATION.
 */
export function parseRequest(text: string): Asked & { waitMs: number | null } {
  const { path, bytes, wait, ...rest } = parseObject(text);
  if (typeof path !== 'string') throw bad('"path" must be a string');
  if (typeof bytes !== 'string' && typeof bytes !== 'number') throw bad('"bytes" must be a number of bytes');
  return {
    path,
    bytes: typeof bytes === 'string' ? parseBytes(bytes) : checkBytes(bytes),
    options: reserveOptions(rest),
    waitMs: wait === undefined ? null : waitOption(wait),
  };
}

/** The metadata of a request that came as a command. */
export function requestText({ path, bytes, options }: Asked, waitMs: number | null): string {
  const { expiresInMs, owner, opportunisticBytes, maxObjects } = options;
  const given = { expires: expiresInMs, owner, opportunistic: opportunisticBytes, objects: maxObjects };
  return `${JSON.stringify({ path, bytes, wait: waitMs, ...given })}\n`;
}

/** The metadata with how it was decided; what is no JSON object is kept as text. */
export function decided(text: string, outcome: Outcome): string {
  let fields: object;
  try {
    fields = parseObject(text);
  } catch {
    fields = { request: text };
  }
  return `${JSON.stringify({ ...fields, outcome })}\n`;
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new VreserveError('BAD_COMMAND', { reason: 'the metadata is not JSON' }, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad('the metadata is no JSON object');
  return value as Record<string, unknown>;
}

function bad(reason: string): VreserveError {
  return new VreserveError('BAD_COMMAND', { reason });
}
