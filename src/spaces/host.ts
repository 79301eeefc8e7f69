// What the spaces ask of whoever keeps the lots, and of the process that may use the mount.

import type { LotId } from '../core/lot.js';
import type { PoolId } from '../core/pool.js';
import type { Space, SpacePool } from '../core/space.js';
import type { By } from '../views/host.js';
import type { Quota } from './kernel-quota.js';

/** The record of the spaces. One call is one transaction, on disk when its promise resolves. */
export interface SpaceRecord {
  /** All, by name. */
  spaces(): Promise<Space[]>;
  putSpace(space: Space): Promise<void>;
  removeSpace(name: string): Promise<void>;
}

/** Bytes of a space: what is set aside, and what its files hold, those of lots below it too. */
export interface SpaceBytes {
  sizeBytes: number;
  usedBytes: number;
}

/** A mount, its lots and its backing. */
export interface SpaceHost {
  readonly readOnly: boolean;
  readonly record: SpaceRecord;
  /** Throws NOT_YOURS unless it is an administrator who asks, from the root of the mount; `what` ends the sentence. */
  checkMayChange(by: By, what: string): void;
  /** Throws NOT_YOURS for who asks from a lot's own `.vreserve`. */
  checkMaySee(by: By, what: string): void;
  newLotId(): Promise<LotId>;
  hasLotNamed(name: string): boolean;
  /** Lots of spaces are changed and removed by nobody else. */
  keep(lot: LotId, isSpace: boolean): void;
  /**
   * Where a new space can be. Throws SPACE_BAD_PLACE where something is there, or bound at or below it, or where it lies in a lot,
   * BAD_PATH, PATH_TOO_LONG, SYSTEM.
   */
  freshPlace(path: string, by: By): string;
  /** The main pool first. */
  pools(): SpacePool[];
  /** Why the kernel can enforce no space in a pool, and what to do about it; null: it can. */
  whyNotByKernel(pool: PoolId): string | null;
  /** How many requests wait for bytes of the pool, and come first. */
  waiting(): number;
  /**
   * Of a space that is grafted: its directory in the pool is made where it is missing, and served at its path, where there is an empty
   * directory; with a quota of so many bytes where the kernel enforces it. Throws SYSTEM, TOOL_…, NOT_SUPPORTED, NOT_GRAFTED.
   */
  attach(space: Space, bytes: number): Promise<void>;
  /** It is served no longer, and the empty directory is there again. Throws SPACE_IN_USE where files of it are open. */
  detach(space: Space): Promise<void>;
  /** Takes what it holds in its pool away; its files are removed afterwards. */
  discard(space: Space): Promise<void>;
  /** As `spacesCleared`, of those that were grafted. */
  discarded(mostMs: number): Promise<boolean>;
  /** Makes the lot of a new space. Throws NO_SPACE, and what `freshPlace` does. */
  admit(space: Space, bytes: number, by: By): Promise<void>;
  /** Throws NO_SPACE, BELOW_USE, BELOW_CHILDREN. */
  resize(space: Space, bytes: number, by: By): Promise<void>;
  /** What the kernel enforces has the size of its lot. */
  enforce(space: Space): Promise<void>;
  /** Nothing at or below the path of the space is bound afterwards. */
  free(space: Space, by: By): Promise<void>;
  /** null: the lot is not there. */
  bytesOf(space: Space): SpaceBytes | null;
  /**
   * Reads what the filesystems have for spaces that the kernel enforces, and tells the data plane; null: one is not counted. By name,
   * without those whose pool cannot be asked. Never rejects.
   */
  measure(spaces: readonly Space[]): Promise<Map<string, Quota | null>>;
  /** `used` is told of lots in which something was made, removed, opened for writing or closed. */
  onUse(used: (lot: LotId) => void): void;
  /** Whether there is a directory at the path of the mount. */
  hasDirectory(path: string): Promise<boolean>;
  /** Whether what was removed waits to be cleared away. Of what was grafted that begins now. */
  hasGarbage(): Promise<boolean>;
  /** Nothing is cleared away any more; what is left is, after the next start. */
  close(): Promise<void>;
  /** Who does what is done in the mount: started where it is not there yet. Throws ENDING. */
  directories(): Promise<SpaceDirectories>;
}

/** The directories of spaces in the mount. All of it can be asked from another process. Paths are those in the mount. */
export interface SpaceDirectories {
  /** False: something is there already. Throws SPACES_FOREIGN, SYSTEM; then there is none. */
  makeSpace(path: string): Promise<boolean>;
  /** Removes a directory that nothing is in; one that is filled, or not there, is left. */
  unmakeSpace(path: string): Promise<void>;
  /** Takes it out of sight, whole; its files are removed afterwards. One that is not there is passed over. Throws SYSTEM with EBUSY. */
  takeSpaceAway(path: string): Promise<void>;
  /** The id of a process that has it, or a part of it, mounted by itself; null: nobody. */
  spaceUser(path: string): Promise<number | null>;
  /** Waits until nothing is being removed, at most so long. False: there was nothing to wait for. */
  spacesCleared(mostMs: number): Promise<boolean>;
}

/** As pino takes it. */
export interface SpaceLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
}
