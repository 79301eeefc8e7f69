// What the HTTP service asks of whoever keeps the lots.

import type { Clock } from '../core/clock.js';
import type { Lot, LotId } from '../core/lot.js';
import type { By, Commands, JournalReader } from '../views/host.js';

/** What the original API is about: bytes for paths, on volumes. */
export interface Volumes {
  /** Throws VreserveError: NO_SPACE with `availableBytes`, SYSTEM with ENOENT where there is no such volume, others. */
  reserve(path: string, bytes: bigint): Promise<void>;
  /** No error where nothing is reserved. */
  release(path: string): Promise<void>;
  /** All reservations of the volume that the path is on; none where there is no such volume. */
  report(path: string): Promise<ReadonlyMap<string, number>>;
}

/** A mount. Who asks over HTTP is `by`: whoever may connect is an administrator. */
export interface HttpHost {
  commands: Pick<Commands, 'reserve' | 'release' | 'lot'>;
  by: By;
  journal: Pick<JournalReader, 'journalRange' | 'readJournal'>;
  clock: Clock;
  mountpoint: string;
  /** All lots, in no particular order. */
  lots(): Iterable<Lot>;
  lotNamed(name: string): Lot | undefined;
  lotOf(id: LotId): Lot | undefined;
  userName(owner: string): string;
  /** What can still be given to anyone in the lot; of the default lot: in the pool. Bytes. */
  roomIn(id: LotId): number;
  /** The text of report.json. */
  report(): string;
  /** Prometheus text format. */
  metrics(): Promise<string>;
}

/** Lines of the log that the original writes; `peer` is who asked. */
export interface Teller {
  done(peer: string, text: string): void;
  failed(peer: string, text: string): void;
}
