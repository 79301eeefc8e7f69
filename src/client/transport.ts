// What a client asks of the way to a service: over HTTP, or through a mount.

import type { Report } from '../views/json.js';
import type { BlobBody } from './blob-body.js';
import type { Stop } from './stop.js';

/** A command of `control` as JSON, but for how long it may wait (`wait`). */
export type CommandJson = { cmd: string } & Record<string, unknown>;

export interface Transport {
  readonly store: StoreTransport;
  /** Returns when who serves is there. */
  ping(stop: Stop): Promise<void>;
  /** The reply of a command, of which `ok` is true. `waitMs`: as in Waiting; undefined: it does not wait. */
  command(command: CommandJson, waitMs: number | null | undefined, stop: Stop): Promise<Record<string, unknown>>;
  report(stop: Stop): Promise<Report>;
  reservations(path: string, stop: Stop): Promise<Map<string, number>>;
  close(): void;
}

/** A content of a name. */
export interface BlobInfo {
  name: string;
  /** Of this content alone, for `ifMatch`. Files do not tell it: null through a mount. */
  id: string | null;
  sizeBytes: number;
  /** null through a mount. */
  contentType: string | null;
  /** Of a single blob over HTTP: to the second. */
  modifiedAtMs: number;
}

/** A content that has been stored. */
export type StoredBlob = Pick<BlobInfo, 'name' | 'id' | 'sizeBytes'>;

/** A name of the store, whatever became of it. */
export interface BlobEntry {
  name: string;
  /** Pending: its first content is on its way; Failure, over HTTP only: that failed, or it was removed just now. */
  state: 'OK' | 'Pending' | 'Failure';
  /** What can be read; null: nothing. */
  blob: (BlobInfo & { lot: string | null }) | null;
}

/** Done on that content alone: its `id`. Else STORE_CHANGED. Over HTTP only. */
export interface MatchOptions {
  ifMatch?: string;
}

export interface WriteOptions extends MatchOptions {
  /** Told from the first bytes without it. Over HTTP only. */
  contentType?: string;
  /** Which lot pays for it. Without it: the store's own, or that of the content before. Over HTTP only. */
  lot?: string;
}

/** Bytes from `start` up to, and not with, `end`; what lies behind the end of the blob is left out. */
export interface RangeOptions extends MatchOptions {
  start?: number;
  end?: number;
}

/** A content of which the pieces are taken to their end, or which is closed. */
export interface OpenBlob {
  blob: BlobInfo;
  pieces: AsyncIterable<Buffer>;
  close(): void;
}

export type WriteKind = 'create' | 'update' | 'put';

/** Names are checked. */
export interface StoreTransport {
  write(kind: WriteKind, name: string, body: BlobBody, options: WriteOptions, stop: Stop): Promise<StoredBlob>;
  /** Throws STORE_NO_BLOB. */
  open(name: string, range: RangeOptions, stop: Stop): Promise<OpenBlob>;
  stat(name: string, stop: Stop): Promise<BlobInfo | null>;
  /** False: there was none. */
  remove(name: string, options: MatchOptions, stop: Stop): Promise<boolean>;
  /** Names behind `after`, bytewise, so many at a time. `begin` gives the stop of each step. */
  list(after: string | null, pageSize: number, begin: () => Stop): AsyncIterable<readonly BlobEntry[]>;
}
