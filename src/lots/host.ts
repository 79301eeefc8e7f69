// What LotMan's functions ask of whoever keeps the lots.

import type { LotBook, LotChange } from '../core/book.js';
import type { EventName } from '../core/events.js';
import type { Lot, LotId, LotUsage, Owner } from '../core/lot.js';
import type { UsageSource } from '../core/lots-seen.js';
import type { Caller } from '../engine/engine.js';
import type { By } from '../views/host.js';

/** A path of a command: as the asker wrote it, and as the mount has it. */
export interface LotPlace {
  shown: string;
  path: string;
  /** Only what is not there yet counts as a directory to be. */
  exists: boolean;
  isDirectory: boolean;
}

export interface LotRights {
  ownerNamed(text: string, caller: Caller): Owner;
  isAdministrator(caller: Caller): boolean;
  /** `shown` null: with LotMan's text. */
  checkChange(caller: Caller, lot: Lot, shown: string | null, book: LotBook, kind?: 'parents' | 'children'): void;
  checkOwns(caller: Caller, lot: Lot, book: LotBook): void;
  owns(caller: Caller, lot: LotId, book: LotBook): boolean;
}

export interface LotHost extends UsageSource {
  readonly book: LotBook;
  readonly rights: LotRights;
  nowMs(): number;
  newLotId(): Promise<LotId>;
  /** Throws BAD_PATH, PATH_TOO_LONG, NO_SUCH_LOT, SYSTEM. */
  place(path: string, by: By): LotPlace;
  /** The lot in which a path lies, its own binding left out. */
  around(path: string): LotId;
  /** What is at an absolute path of the mount, as far as the caller may look. Throws SYSTEM. */
  look(path: string, by: By): Omit<LotPlace, 'shown'>;
  /** Throws NOT_YOURS unless the caller may reserve at the path; null: anywhere in the mount. */
  checkReserve(place: LotPlace | null, by: By): Promise<void>;
  /** Runs `plan` with all lots held, and makes what it returns; a refusal becomes a line of the journal. */
  change(by: By, shown: string, event: EventName, plan: () => Promise<LotChange>): Promise<void>;
  /** What was reported for the lot's foreign paths. */
  reportedOf(id: LotId): LotUsage | undefined;
  /** Runs `plan` with all lots held, and records what it returns. */
  report(by: By, plan: () => { id: LotId; usage: LotUsage }[]): Promise<void>;
}
