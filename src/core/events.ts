// The journal's events: what is recorded, and the one line of JSON that each becomes.

import type { LotId } from './lot.js';

/**
 * Every kind of line. `waiting`: a request joins the line, `withdrawal`: it leaves it undecided; `charge` sums a lot's charges
 * over about a second; `shortage`: the backing cannot keep the promise; of devices
 * and pools: what `mount --watch-devices` sees, and what becomes of the mount's own.
 */
export const EVENTS = [
  'grant',
  'refusal',
  'waiting',
  'withdrawal',
  'release',
  'extension',
  'change',
  'removal',
  'creation',
  'expiration',
  'deletion',
  'reclaim',
  'charge',
  'mount',
  'unmount',
  'recovery',
  'difference',
  'shortage',
  'device-added',
  'device-removed',
  'pool-added',
  'pool-removed',
  'pool-broken',
  'pool-back',
] as const;

export type EventName = (typeof EVENTS)[number];

/** What belongs to an event besides its name and time. Bytes are exact integers; undefined is left out. */
export type EventFields = Record<string, string | number | boolean | readonly string[] | undefined>;

/** An event of the journal. `lotId` is for whoever reads the journal of one lot, and is not part of the line. */
export interface JournalEvent {
  atMs: number;
  event: EventName;
  lotId: LotId | null;
  fields: EventFields;
}

/** `{"at":"2026-01-01T00:00:00.000Z","event":"grant",…}` and a newline. */
export function renderEvent({ atMs, event, fields }: JournalEvent): string {
  return `${JSON.stringify({ at: new Date(atMs).toISOString(), event, ...fields })}\n`;
}
