// The ledger as the rest of vreserve sees it: the durable record of lots, usage and events.

import type { LotChange } from '../core/book.js';
import type { JournalEvent } from '../core/events.js';
import type { Lot, LotId, LotUsage } from '../core/lot.js';
import type { Graft, Pool, PoolId } from '../core/pool.js';
import type { Space } from '../core/space.js';
import type { Settled, WaitingRow } from '../core/waiting.js';

/** A lot's own bytes and objects as they were last saved. */
export interface SavedUsage {
  id: LotId;
  bytes: number;
  objects: number;
}

/** What somebody reported for a lot whose paths are foreign. */
export interface ReportedUsage {
  id: LotId;
  usage: LotUsage;
}

export interface LedgerContents {
  /** Parents before their children; the default lot first. */
  lots: Lot[];
  usage: SavedUsage[];
  reported: ReportedUsage[];
  /** In their order. */
  waiting: WaitingRow[];
  /** Time of the journal's last line; null: it has none. */
  lastLineAtMs: number | null;
}

/** Byte offsets of the journal: what is before `startBytes` was trimmed; offsets never move. */
export interface JournalRange {
  startBytes: number;
  endBytes: number;
}

/** A piece of one lot's (or some lots') lines: where each starts in the journal, and how long it is. */
export interface JournalPiece {
  offsetBytes: number;
  lengthBytes: number;
}

/** What one reading of `trim` may remove: lines from before `beforeMs`, and all but the last `keepBytes`. */
export interface TrimLimits {
  beforeMs: number;
  keepBytes: number;
}

/**
 * One method is one transaction, on disk when its promise resolves; it rejects with a VreserveError (LEDGER_FULL,
 * LEDGER_FAILED) and then nothing of it is there. Methods called in the same turn of the event loop share one commit.
 */
export interface Ledger {
  /** How the last daemon ended: true after a clean end, false after a crash, null when the ledger is new. */
  readonly endedCleanly: boolean | null;

  load(): Promise<LedgerContents>;
  /** The pools beside the main one, what is grafted of them, and what this mount's are known by. */
  loadPools(): Promise<{ mountId: string; pools: Pool[]; grafts: Graft[] }>;
  /** A new pool; returns it with its number. */
  addPool(pool: Omit<Pool, 'id'>, events: readonly JournalEvent[]): Promise<Pool>;
  updatePool(pool: Pool, events: readonly JournalEvent[]): Promise<void>;
  removePool(id: PoolId, events: readonly JournalEvent[]): Promise<void>;
  putGraft(graft: Graft, events: readonly JournalEvent[]): Promise<void>;
  dropGraft(path: string, events: readonly JournalEvent[]): Promise<void>;
  /** A number for a new lot, never given before to a lot that was added. */
  newLotId(): Promise<LotId>;
  /** Lots that are made or changed, with their first usage (a lot without keeps its own), and lots that go; the request that it decides. */
  changeLots(
    change: LotChange,
    usage: readonly SavedUsage[],
    events: readonly JournalEvent[],
    settled?: Settled | null,
  ): Promise<void>;
  /** All spaces, by name. */
  spaces(): Promise<Space[]>;
  /** A space is made, or becomes something else. */
  putSpace(space: Space): Promise<void>;
  /** No error where it is gone already. */
  removeSpace(name: string): Promise<void>;
  saveReported(reported: readonly ReportedUsage[], events: readonly JournalEvent[]): Promise<void>;
  /** A request joins the line; returns its `seq`. */
  joinLine(row: Omit<WaitingRow, 'seq' | 'outcome'>, events: readonly JournalEvent[]): Promise<number>;
  /** A request is decided without a change of lots. */
  settle(settled: Settled, events: readonly JournalEvent[]): Promise<void>;
  /** A request is forgotten; no error where it is already. */
  leaveLine(seq: number, events: readonly JournalEvent[]): Promise<void>;
  /** Saves usage (lots that are gone are passed over) and writes the lines. */
  saveUsage(usage: readonly SavedUsage[], events: readonly JournalEvent[]): Promise<void>;
  /** From here on the end is unclean, until `endServing`. */
  beginServing(usage: readonly SavedUsage[], events: readonly JournalEvent[]): Promise<void>;
  endServing(usage: readonly SavedUsage[], events: readonly JournalEvent[]): Promise<void>;

  journalRange(): Promise<JournalRange>;
  /** At most `lengthBytes` from the offset, fewer only at the end. What was trimmed reads as newlines. */
  readJournal(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  /** Lines that belong to one of the lots, from the offset on. */
  findLines(ids: ReadonlySet<LotId>, fromBytes: number): Promise<JournalPiece[]>;
  /** Removes the oldest lines, a batch at a time; true when there is more to do. The newest line stays. */
  trim(limits: TrimLimits): Promise<boolean>;

  /** Makes anew what was given up for lack of space, where there is space again. */
  recoverSpace(): void;
  /** True while the reserve for a full disk is used up. */
  readonly outOfSpace: boolean;
  close(): Promise<void>;
}
