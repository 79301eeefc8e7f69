// What a reservation may have besides its bytes, from words or JSON.

import { checkBytes, parseBytes } from '../core/bytes.js';
import { parseDurationMs } from '../core/duration.js';
import { VreserveError } from '../core/errors.js';
import { UNLIMITED } from '../core/lot.js';
import type { ReserveOptions } from './host.js';

/** Their names, in JSON as they are and as words after `--`. */
export const RESERVE_OPTIONS = ['expires', 'owner', 'opportunistic', 'objects'] as const;

/** Throws BAD_COMMAND, BAD_BYTES or BAD_DURATION. */
export function reserveOptions(given: Record<string, unknown>): ReserveOptions {
  const { expires, owner, opportunistic, objects } = given;
  if (owner !== undefined && (typeof owner !== 'string' || owner === '')) throw bad('owner must be the name or uid of a user');
  return {
    ...(expires === undefined ? {} : { expiresInMs: expiry(expires) }),
    ...(owner === undefined ? {} : { owner }),
    ...(opportunistic === undefined ? {} : { opportunisticBytes: limit(opportunistic, (text) => parseBytes(text)) }),
    ...(objects === undefined ? {} : { maxObjects: limit(objects, count) }),
  };
}

/** A hundred years. */
const MOST_MS = 100 * 365 * 86_400_000;

/** A duration from now, as text or in ms; null and `never` are without end. */
function expiry(value: unknown): number | null {
  if (value === null || value === 'never') return null;
  const expiresInMs = typeof value === 'string' ? parseDurationMs(value) : value;
  if (isDuration(expiresInMs)) return expiresInMs;
  throw bad('expires must be a duration of at most 100 years, such as "2h", or "never"');
}

/** How long to wait, as text or in ms; null (for ever) where it only says that. Throws BAD_COMMAND, BAD_DURATION. */
export function waitOption(value: unknown): number | null {
  if (value === null || value === true || value === '') return null;
  const waitMs = typeof value === 'string' ? parseDurationMs(value) : value;
  if (isDuration(waitMs)) return waitMs;
  throw bad('wait must be a duration of at most 100 years, such as "10m"; without one it waits for ever');
}

function isDuration(ms: unknown): ms is number {
  return typeof ms === 'number' && Number.isSafeInteger(ms) && ms >= 0 && ms <= MOST_MS;
}

function limit(value: unknown, parse: (text: string) => number): number {
  if (value === UNLIMITED || value === 'unlimited') return UNLIMITED;
  if (typeof value === 'string') return parse(value);
  if (typeof value === 'number') return checkBytes(value);
  throw bad('a limit must be a number, or "unlimited"');
}

function count(text: string): number {
  const number = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw bad(`objects must be a number, or "unlimited", not '${text.slice(0, 40)}'`);
  return number;
}

function bad(reason: string): VreserveError {
  return new VreserveError('BAD_COMMAND', { reason });
}
