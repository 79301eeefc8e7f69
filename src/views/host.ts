// What the views ask of whoever keeps the lots.

import type { Lot, LotId } from '../core/lot.js';
import type { Snapshot } from '../core/snapshot.js';
import type { Caller } from '../engine/engine.js';

/** Who gives a command, and from which lot's `.vreserve`: paths are relative to that lot, and only what is below it is theirs. */
export interface By {
  caller: Caller;
  scope: LotId;
}

/** A lot's own bytes and objects: as counted in the backing, and as they were recorded. */
export interface CheckedLot {
  name: string;
  countedBytes: number;
  countedObjects: number;
  recordedBytes: number;
  recordedObjects: number;
  /** False where writers moved so much that the two could not be compared. */
  exact: boolean;
  repaired: boolean;
}

export interface CheckReport {
  lots: CheckedLot[];
  /** How many of them differ. */
  differences: number;
  /** Files whose names lie in several lots; the lot is the one that owns them. */
  straddling: { path: string; lot: string }[];
}

export interface Progress {
  files: number;
  directories: number;
  bytes: number;
}

/** Commands reject with VreserveError; a refusal has left no trace but a line in the journal. */
export interface Commands {
  /** Reserves the path, or sets the bytes of its reservation anew. */
  reserve(path: string, bytes: number, by: By): Promise<Lot>;
  /** Adds bytes to a reservation. */
  extend(path: string, addBytes: number, by: By): Promise<Lot>;
  /** Gives the reservation back; null when there was none. */
  release(path: string, by: By): Promise<Lot | null>;
  /** Counts the backing and compares; `repair` corrects what differs. */
  check(repair: boolean, by: By, onProgress: (progress: Progress) => void): Promise<CheckReport>;
}

/** The journal by byte offsets, which never move. */
export interface JournalReader {
  journalRange(): Promise<{ startBytes: number; endBytes: number }>;
  /** At most that many bytes, fewer only at the end; what was trimmed reads as newlines. */
  readJournal(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  findLines(ids: ReadonlySet<LotId>, fromBytes: number): Promise<{ offsetBytes: number; lengthBytes: number }[]>;
}

export interface Host {
  snapshot(): Snapshot;
  commands: Commands;
  journal: JournalReader;
}
