// What the mount command and the daemon that it starts say to each other, over Node's channel between processes.

import type { MountConfig } from '../config.js';
import type { ErrorDetails } from '../core/errors.js';

/** To the daemon of a mount that was detached: what it has open itself is closed. */
export const LET_GO = 'SIGUSR2';

/** From the mount command, once, before anything else. */
export interface StartMessage {
  type: 'start';
  config: MountConfig;
}

/** Usage is being counted from the backing, which holds up the start; several a second. */
export interface ProgressMessage {
  type: 'progress';
  files: number;
  directories: number;
  bytes: number;
}

/** What the mount makes by itself. */
export interface OwnMessage {
  path: string;
  /** -1: without limit. */
  grantBytes: number;
  /** Set aside. */
  dedicatedBytes: number;
  /** null: nothing was asked for, its lot is as it was. */
  askedBytes: number | null;
}

/** The cache of the mount. */
export interface CacheMessage {
  /** On the host. */
  path: string;
  sizeBytes: number;
  /** Where it is to be seen besides; null: nowhere. */
  shownAt: string | null;
}

/** The mount is usable. The last message. */
export interface ReadyMessage {
  type: 'ready';
  pid: number;
  backing: string;
  mountpoint: string;
  /** The data plane, such as 'native'. */
  engine: string;
  /** Why another one, which was tried first, does not serve; else empty. */
  engineReason: string;
  io: 'passthrough' | 'cached';
  /** Why not passthrough; empty when it is. */
  ioReason: string;
  filesystem: string;
  readOnly: boolean;
  capacityBytes: number;
  freeBytes: number;
  headroomBytes: number;
  marginBytes: number;
  /** Reservations that the ledger had. */
  reservations: number;
  /** null: it is not served. */
  spool: OwnMessage | null;
  store: OwnMessage | null;
  /** Why it is not served, or has no grant; empty where there is nothing to be said. */
  spoolReason: string;
  storeReason: string;
  /** Where the HTTP service is, such as `http://127.0.0.1:8188` or `unix:/run/vreserve.sock`; null: there is none. */
  http: string | null;
  /** The socket for container engines; null: there is none. */
  volumePlugin: string | null;
  /** Where key-value namespaces are, such as `127.0.0.1:9900` or `unix:/run/zdb.sock`; null: nowhere. */
  zdb: string | null;
  /** Those beside the backing directory; `broken` says why nothing in it can be used, null when all is well. */
  pools: { name: string; directory: string; headroomBytes: number; broken: string | null }[];
  /** null: none was asked for, or it is not there. */
  cache: CacheMessage | null;
  /** What is wrong with it, one sentence each. */
  cacheTroubles: string[];
  /** Usage was counted from the backing (first mount, or after an unclean end). */
  counted: boolean;
}

/** The mount did not come about; the daemon exits with `exitCode`. The last message. */
export interface FailedMessage {
  type: 'failed';
  code: string;
  errno: string;
  exitCode: number;
  message: string;
  stack: string;
  details: ErrorDetails;
}

export type DaemonMessage = ProgressMessage | ReadyMessage | FailedMessage;
