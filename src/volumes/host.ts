// What the volumes ask of whoever keeps the lots. All of it can be asked from another process.

import type { ReserveOptions } from '../views/host.js';

/** The lot that a path lies in. Bytes and objects count the lots below it too. */
export interface VolumeLot {
  name: string;
  /** The lot is bound at exactly that path. */
  isOwn: boolean;
  usedBytes: number;
  dedicatedBytes: number;
  /** UNLIMITED is -1, as of `maxObjects`. */
  opportunisticBytes: number;
  /** What can still be written. */
  roomBytes: number;
  objects: number;
  maxObjects: number;
  createdAtMs: number;
  expiresAtMs: number | null;
}

/** A mount, asked by an administrator. Paths are those in the mount. */
export interface VolumeHost {
  /** Reserves the path, or sets its reservation anew. Throws NO_SPACE, OTHERS_WAIT, BELOW_USE, READ_ONLY, ENDING, others. */
  reserve(path: string, bytes: number, options: ReserveOptions): Promise<void>;
  /** Nothing at or below the path is bound afterwards: lots that own nothing else go, others lose their paths there. */
  free(path: string): Promise<void>;
  lotOf(path: string): Promise<VolumeLot>;
  /** The bound paths one level below a directory. */
  boundIn(directory: string): Promise<string[]>;
}
