// What the views render from: pool, lots and daemon at one moment.

import { grantBytes, type LotId } from './lot.js';
import type { LotSnapshot, LotsSeen, Scope } from './lots-seen.js';
import { isWithin, relativeTo } from './paths.js';
import type { PoolId, PoolType } from './pool.js';

/** A pool, all in bytes. */
export interface PoolSnapshot {
  capacityBytes: number;
  freeBytes: number;
  /** Sum over the root lots of need - used: dedicated bytes that are set aside and not used yet. */
  setAsideBytes: number;
  headroomBytes: number;
  usedBytes: number;
  marginBytes: number;
  /** By how much the backing falls short of what is promised; 0 when the promise can be kept. */
  shortBytes: number;
  /** Bytes and objects that were given back and that no lot held: the backing was changed behind the mount. */
  drift: number;
}

/** A pool beside the main one. */
export interface PoolRow extends PoolSnapshot {
  id: PoolId;
  name: string;
  directory: string;
  type: PoolType;
  filesystem: string;
  io: string;
  /** Why not passthrough; empty when it is. */
  ioReason: string;
  /** Why nothing in it can be used now; null when all is well. */
  broken: string | null;
}

export interface DaemonSnapshot {
  pid: number;
  version: string;
  /** Which data plane: 'native'. */
  engine: string;
  /** How file data travels: 'passthrough' or 'cached'. */
  io: string;
  /** Why not passthrough; empty when it is. */
  ioReason: string;
  backing: string;
  mountpoint: string;
  filesystem: string;
  readOnly: boolean;
  startedAtMs: number;
}

/**
 * What a lot's own `.vreserve` tells of the mount around it: the lot is the pool there, `roomBytes` what it can still write,
 * of a pool of the mount that has `capacityBytes`, and where the mount lies and who serves it is nobody's business.
 */
export function confined(
  snapshot: Snapshot,
  top: LotSnapshot,
  { directory }: Scope,
  { roomBytes, capacityBytes }: { roomBytes: number; capacityBytes: number },
): Snapshot {
  const { daemon, waiting } = snapshot;
  const grant = grantBytes(top.lot.policy);
  const usedBytes = top.used.bytes;
  return {
    ...snapshot,
    daemon: { ...daemon, pid: 0, backing: '/', mountpoint: '/' },
    pool: {
      capacityBytes: grant < 0 ? usedBytes + roomBytes : Math.min(grant, capacityBytes),
      freeBytes: roomBytes,
      setAsideBytes: Math.max(0, Math.min(top.lot.policy.dedicatedBytes - usedBytes, roomBytes)),
      headroomBytes: roomBytes,
      usedBytes,
      marginBytes: 0,
      shortBytes: 0,
      drift: 0,
    },
    pools: [],
    requests: {},
    waiting: waiting
      .filter(({ path }) => path !== directory && isWithin(path, directory))
      .map((each) => ({ ...each, path: relativeTo(each.path, directory) })),
  };
}

/** A request that waits for bytes. */
export interface WaitingSnapshot {
  /** Of its entry in the spool `requests`. */
  name: string;
  path: string;
  bytes: number;
  /** Decimal uid. */
  owner: string;
  /** In whose line it waits. */
  lot: LotId;
  /** From 1, in that line. */
  position: number;
  /** How many bytes it lacked when it was tried last; null: others are before it. */
  missingBytes: number | null;
  askedAtMs: number;
  /** null: it waits for ever. */
  deadlineMs: number | null;
}

export interface Snapshot {
  atMs: number;
  daemon: DaemonSnapshot;
  pool: PoolSnapshot;
  /** Those beside it. */
  pools: readonly PoolRow[];
  /** What is worked out only when it is asked for: there may be many. */
  lots: LotsSeen;
  /** In the order in which they came. */
  waiting: readonly WaitingSnapshot[];
  /** Requests served by operation, since the mount. */
  requests: Record<string, number>;
  /** One sentence each; empty when all is well. */
  troubles: string[];
}
