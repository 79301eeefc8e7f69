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

/** A duration from now, as text or in ms; null and `never` are without end. */
function expiry(value: unknown): number | null {
  if (value === null || value === 'never') return null;
  if (typeof value === 'string') return parseDurationMs(value);
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw bad('expires must be a duration such as "2h", or "never"');
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
