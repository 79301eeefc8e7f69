// What the line asks of whoever keeps the lots and the ledger.

import type { VreserveError } from '../core/errors.js';
import type { EventFields, EventName, JournalEvent } from '../core/events.js';
import type { Lot, LotId } from '../core/lot.js';
import type { Claim, Settled, WaitingRow } from '../core/waiting.js';
import type { By, ReserveOptions } from '../views/host.js';

export interface Judged {
  /** Where the path is in the mount. */
  path: string;
  /** The lot around it. */
  around: LotId;
  isReserved: boolean;
}

/** Commands as src/views/host.ts has them; a refusal has left no trace. */
export interface LineHost {
  /** Throws what `reserve` would, but for lack of bytes now, and NEVER_FITS. */
  judge(path: string, bytes: number, options: ReserveOptions, by: By): Promise<Judged>;
  reserve(path: string, bytes: number, options: ReserveOptions, by: By): Promise<Lot>;
  /** Throws NO_SPACE where the bytes are not there yet. */
  reserveWaited(path: string, bytes: number, options: ReserveOptions, by: By, claim?: Claim): Promise<Lot>;
  /** The lot in which a path lies, its own binding left out. */
  around(path: string): LotId;
  isReserved(path: string): boolean;
  /** A text that becomes another when what can be had for the path does. */
  room(path: string): string;
  /** Of a command. */
  journalRefusalAt(path: string, by: By, error: unknown): Promise<void>;
  journalRefusal(lot: LotId, fields: EventFields, by: By, error: VreserveError): Promise<void>;
  event(event: EventName, lot: LotId | null, fields: EventFields): JournalEvent;
  actor(by: By): EventFields;
}

/** The part of the ledger that holds the line. */
export interface LineRecord {
  joinLine(row: Omit<WaitingRow, 'seq' | 'outcome'>, events: readonly JournalEvent[]): Promise<number>;
  settle(settled: Settled, events: readonly JournalEvent[]): Promise<void>;
  leaveLine(seq: number, events: readonly JournalEvent[]): Promise<void>;
}
