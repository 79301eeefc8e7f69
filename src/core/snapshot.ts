// What the views render from: pool, lots and daemon at one moment.

import { childrenOf, type Lot, type LotId, type LotUsage, withDescendants } from './lot.js';
import { relativeTo } from './paths.js';

/** The pool, all in bytes. */
export interface PoolSnapshot {
  capacityBytes: number;
  freeBytes: number;
  setAsideBytes: number;
  headroomBytes: number;
  usedBytes: number;
  marginBytes: number;
  /** By how much the backing falls short of what is promised. */
  shortBytes: number;
  /** Bytes and objects that were given back and that no lot held. */
  drift: number;
}

/** A lot with what it holds. */
export interface LotSnapshot {
  lot: Lot;
  /** Its own files. */
  own: LotUsage;
  /** Its own files and those of all lots below it. */
  used: LotUsage;
  children: LotId[];
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

export interface Snapshot {
  atMs: number;
  daemon: DaemonSnapshot;
  pool: PoolSnapshot;
  /** The default lot first, then by name, bytewise. */
  lots: LotSnapshot[];
  /** Requests served by operation, since the mount. */
  requests: Record<string, number>;
  /** One sentence each; empty when all is well. */
  troubles: string[];
}

/** Lots with their usage summed over descendants, the default lot first and the others by name. */
export function lotSnapshots(lots: ReadonlyMap<LotId, Lot>, usageOf: (id: LotId) => LotUsage): LotSnapshot[] {
  const children = childrenOf(lots.values());
  const snapshots = [...lots.values()].map((lot): LotSnapshot => {
    const own = usageOf(lot.id);
    const below = children.get(lot.id);
    if (below === undefined) return { lot, own, used: own, children: [] };
    const used = { bytes: 0, objects: 0, pendingBytes: 0, pendingObjects: 0 };
    for (const id of withDescendants(lot.id, children)) {
      const usage = usageOf(id);
      used.bytes += usage.bytes;
      used.objects += usage.objects;
      used.pendingBytes += usage.pendingBytes;
      used.pendingObjects += usage.pendingObjects;
    }
    return { lot, own, used, children: below };
  });
  return snapshots.sort(compareLots);
}

/**
 * The snapshot as it is seen from a lot's own `.vreserve`: that lot and what is below it, with paths (and the names
 * of reservations, which are paths) relative to the lot's directory. null when there is no such lot.
 */
export function scopedTo(snapshot: Snapshot, scope: LotId): Snapshot | null {
  const top = snapshot.lots.find(({ lot }) => lot.id === scope);
  const directory = top?.lot.paths[0];
  if (top === undefined || directory === undefined) return null;
  const children = childrenOf(snapshot.lots.map(({ lot }) => lot));
  const inScope = withDescendants(scope, children);
  const lots = snapshot.lots
    .filter(({ lot }) => inScope.has(lot.id))
    .map((entry) => ({ ...entry, lot: relativeLot(entry.lot, directory, inScope) }));
  return { ...snapshot, lots: lots.sort(compareLots) };
}

/** The lot with its paths, and its name where that is a path, relative to the directory; parents outside are left out. */
export function relativeLot(lot: Lot, directory: string, inScope: ReadonlySet<LotId>): Lot {
  const relative = (path: string) => (path.startsWith(directory) ? relativeTo(path, directory) : path);
  return {
    ...lot,
    name: lot.paths[0] === lot.name ? relative(lot.name) : lot.name,
    paths: lot.paths.map(relative),
    parents: lot.parents.filter((parent) => inScope.has(parent)),
  };
}

function compareLots(a: LotSnapshot, b: LotSnapshot): number {
  if ((a.lot.paths.length === 0) !== (b.lot.paths.length === 0)) return a.lot.paths.length === 0 ? -1 : 1;
  return Buffer.compare(Buffer.from(a.lot.name), Buffer.from(b.lot.name));
}
