// What the views ask of whoever keeps the lots.

import type { ImportProgress, ImportReport } from '../core/blob-import.js';
import type { Lot, LotId } from '../core/lot.js';
import type { Scope } from '../core/lots-seen.js';
import type { NamespaceInfo, NamespaceMode } from '../core/namespace-layout.js';
import type { Snapshot } from '../core/snapshot.js';
import type { DiskType, Enforcer, SpacePolicy, SpaceState } from '../core/space.js';
import type { Past } from '../core/usage.js';
import type { Caller } from '../engine/engine.js';

/**
 * Who gives a command, and from which lot's `.vreserve` in which of its directories: paths are relative to that directory,
 * and only what is below it is theirs. At the root of the mount: the default lot and '/'.
 */
export interface By {
  caller: Caller;
  scope: LotId;
  directory: string;
  /** What it holds open in place of naming it: directories above need not let it pass. */
  held?: string;
}

/** What a reservation may have besides its bytes; what is left out stays as it is. */
export interface ReserveOptions {
  /** From now; null: never. */
  expiresInMs?: number | null;
  /** A user's name or uid. */
  owner?: string;
  /** UNLIMITED is -1, for both. */
  opportunisticBytes?: number;
  maxObjects?: number;
}

/** A command that waits until its bytes are there. */
export interface Wait {
  /** null: for ever. */
  waitMs: number | null;
  /** Its asker has gone. */
  signal: AbortSignal;
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

/** A file that is to go, or went. */
export interface ReclaimedFile {
  path: string;
  lot: string;
  /** What its lot is past: `del`, `exp`, `opp`, `obj` or `ded`. */
  past: Past;
  bytes: number;
  accessedAtMs: number;
  /** False after an `apply` that left it: it was in use, or another file by then. */
  deleted: boolean;
}

/** What is asked of reclaiming. */
export interface ReclaimRequest {
  apply: boolean;
  /** Where to stop, a fraction of the capacity; null: the mount's own. */
  low: number | null;
  /** null: the main one. */
  pool: string | null;
}

export interface ReclaimReport {
  pool: string;
  applied: boolean;
  /** Fractions of the capacity. */
  fillBefore: number;
  fillAfter: number;
  low: number;
  files: number;
  bytes: number;
  /** The first of them, in their order; `files` counts all. */
  list: ReclaimedFile[];
}

export interface ReclaimProgress {
  /** Files looked at, while it is not known yet what goes. */
  looked: number;
  files: number;
  ofFiles: number;
  bytes: number;
  ofBytes: number;
}

/** A call of one of LotMan's functions. */
export interface LotRequest {
  /** As on the command line after `lot`: `add`, `usage set` … */
  name: string;
  /** A lot, a path or a kind; null where JSON takes its place. */
  word: string | null;
  /** A value, or (a string) its text; undefined where there is none. */
  json: unknown;
  /** Options without their dashes. */
  flags: readonly string[];
}

/** A command on pools: `add`, `remove`, `list`. */
export interface PoolRequest {
  name: string;
  words: readonly string[];
}

/** A command on key-value namespaces. `bytes`: payload. */
export type NamespaceCommand =
  | {
      action: 'reserve';
      namespace: string;
      bytes: number;
      mode: NamespaceMode;
      password: string | null;
      isPublic: boolean;
      policy: SpacePolicy;
    }
  | { action: 'release' | 'info'; namespace: string }
  | { action: 'list' };

/** A command on spaces, checked. Bytes are at least 1. */
export type SpaceRequest =
  /** `at`: in the mount; null: below `/spaces`. */
  | { do: 'create'; name: string; bytes: number; policy: SpacePolicy; enforce: Enforcer; at: string | null }
  | { do: 'update'; name: string; bytes: number }
  | { do: 'delete' | 'lookup'; name: string }
  /** `all`: those too that the mount made. */
  | { do: 'list'; all: boolean };

/** A space as commands show it. */
export interface SpaceJson {
  name: string;
  /** In the mount. */
  path: string;
  sizeBytes: number;
  /** By its files, those of lots below it too. */
  usedBytes: number;
  /** Name of the pool. */
  pool: string;
  /** What the pool lies on; null: not known. */
  type: DiskType | null;
  policy: SpacePolicy;
  enforce: Enforcer;
  state: SpaceState;
  /** The mount made it. */
  hidden: boolean;
}

/** What a command on spaces answers: create, update and lookup the space; delete whether there was one; list all of them. */
export type SpaceResult = SpaceJson | SpaceJson[] | { deleted: boolean };

/** Commands reject with VreserveError; a refusal has left no trace but a line in the journal. */
export interface Commands {
  /** Reserves the path, or sets the bytes of its reservation anew; with `wait`, when they are there. */
  reserve(path: string, bytes: number, options: ReserveOptions, by: By, wait: Wait | null): Promise<Lot>;
  /** Adds bytes to a reservation. */
  extend(path: string, addBytes: number, by: By): Promise<Lot>;
  /** Gives the reservation back; null when there was none. */
  release(path: string, by: By): Promise<Lot | null>;
  /** One of LotMan's functions; what it answers is JSON, undefined where it only does something. */
  lot(request: LotRequest, by: By): Promise<unknown>;
  /** One on pools; what it answers is JSON. */
  pool(request: PoolRequest, by: By): Promise<unknown>;
  /** What to delete until the pool is filled to the fraction `low`, null: the mount's; with `apply` it is deleted. */
  reclaim(request: ReclaimRequest, by: By, onProgress: (progress: ReclaimProgress) => void): Promise<ReclaimReport>;
  /** Makes, changes, removes and shows spaces. */
  space(request: SpaceRequest, by: By): Promise<SpaceResult>;
  /** Takes the blobs of a go-storage-server's data directory of the host into the store. */
  importBlobs(dir: string, by: By, onProgress: (progress: ImportProgress) => void): Promise<ImportReport>;
  /** Makes or removes a namespace, or tells of them: of one, or of all by name. */
  namespaces(command: NamespaceCommand, by: By): Promise<NamespaceInfo | NamespaceInfo[]>;
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
  /** null: the scope's lot is gone. */
  snapshot(scope: Scope): Snapshot | null;
  /** What others count is as new as can be had within a moment. Never rejects. */
  refresh(): Promise<void>;
  /** The lot and everything below it. */
  inScope(lot: LotId): Set<LotId>;
  commands: Commands;
  journal: JournalReader;
}
