// What the HTTP service asks of whoever keeps the lots: plain data in and out, since it is another process.

import type { LotStatus } from '../core/phase.js';
import type { LotAsJson } from '../lots/queries.js';
import type { ControlCommand } from '../views/command-line.js';
import type { JournalReader, LotRequest, ReserveOptions } from '../views/host.js';

/** What the original API is about: bytes for paths, on volumes. */
export interface Volumes {
  /** Throws VreserveError: NO_SPACE with `availableBytes`, SYSTEM with ENOENT where there is no such volume, others. */
  reserve(path: string, bytes: bigint): Promise<void>;
  /** No error where nothing is reserved. */
  release(path: string): Promise<void>;
  /** All reservations of the volume that the path is on; none where there is no such volume. */
  report(path: string): Promise<ReadonlyMap<string, number>>;
}

/** The journal by byte offsets, which never move. */
export type Journal = Pick<JournalReader, 'journalRange' | 'readJournal'>;

/** A lot in LotMan's JSON, with where it stands in time. */
export interface ShownLot extends LotAsJson {
  status: LotStatus;
}

/** Which lots: those of this status and this owner (a user's name or uid), behind this name in the order of the list. */
export interface LotsAsked {
  status?: LotStatus;
  owner?: string;
  after?: string;
  /** How many at most. */
  limit: number;
}

/** A mount. Who asks is the daemon's user: whoever may connect is an administrator. Methods reject with VreserveError. */
export interface HttpHost extends Journal {
  /** As the command; nobody waits. Paths are those in the mount. */
  reserve(path: string, bytes: number, options: ReserveOptions): Promise<void>;
  /** No error where nothing is reserved. */
  release(path: string): Promise<void>;
  /** Of every reservation: its path, and its dedicated bytes. */
  reservations(): Promise<ReadonlyMap<string, number>>;
  /** A command that does not wait, with the reply that `control` gives. */
  command(command: ControlCommand): Promise<object>;
  /** One of LotMan's functions. */
  lot(request: LotRequest): Promise<unknown>;
  /** Throws NO_SUCH_LOT. */
  showLot(name: string, recursive: boolean): Promise<ShownLot>;
  /** The default lot, then the others by name; a name behind which there are more, else null. */
  listLots(asked: LotsAsked): Promise<{ lots: ShownLot[]; next: string | null }>;
  /** What the lot of that name can still give to anyone; the default lot, and one that is not there: what the pool can. Bytes. */
  room(lotName: string): Promise<{ bytes: number; atMs: number }>;
  /** The text of report.json. */
  report(): Promise<string>;
  /** Prometheus text format. */
  metrics(): Promise<string>;
}

/** Lines of the log that the original writes; `peer` is who asked. */
export interface Teller {
  done(peer: string, text: string): void;
  failed(peer: string, text: string): void;
}
