// The lot: the unit of ownership. A reservation is a lot that is named by its path.

import type { PoolId } from './pool.js';

/** A lot's number: at least 1, never used twice. */
export type LotId = number;

/** The lot that owns every path that no other lot owns. Always there. */
export const DEFAULT_LOT_ID: LotId = 1;

/** The default lot's name. */
export const DEFAULT_LOT_NAME = 'default';

/** No limit, for `opportunisticBytes` and `maxObjects`. */
export const UNLIMITED = -1;

/** What a lot may hold and for how long. Bytes are exact integers up to 2^53 - 1; times are Unix ms. */
export interface Policy {
  /** Guaranteed: set aside when granted. */
  readonly dedicatedBytes: number;
  /** Allowed beyond that while the pool has headroom; UNLIMITED is -1. */
  readonly opportunisticBytes: number;
  /** Non-directory inodes; UNLIMITED is -1. */
  readonly maxObjects: number;
  /** Before it nothing may grow. */
  readonly createdAtMs: number;
  /** From then on nothing is set aside; null: never. */
  readonly expiresAtMs: number | null;
  /** From then on the lot cannot grow; null: never. */
  readonly deletesAtMs: number | null;
}

/** A path that a lot owns, or (`exclude`) does not own although one of its shorter paths leads there. */
export interface LotPath {
  /** Absolute in the mount, without a trailing slash; one that does not begin with a slash is foreign: it only names something. */
  readonly path: string;
  /** False: only the path itself and, of a directory, the entries in it that are no directories; for exclusions likewise. */
  readonly recursive: boolean;
  readonly exclude: boolean;
}

/** A lot as the ledger holds it. Lots are values: a change makes a new one. */
export interface Lot {
  readonly id: LotId;
  /** Unique. A reservation's name is its path. */
  readonly name: string;
  /** Decimal uid of a local user, or the name of one that is not known (yet). */
  readonly owner: string;
  /** The owner is a uid 0 that was no administrator (root in a container): a stranger to host root's lots. */
  readonly confinedOwner: boolean;
  /** The lot is a parent of its own: its owner may change it. Without other parents it is a root anyway. */
  readonly selfParent: boolean;
  /** Lots that this one's bytes also count in; empty for a root. The first is the one whose unfilled bytes this one's are part of. */
  readonly parents: readonly LotId[];
  /** Exactly one for a reservation, none for the default lot. */
  readonly paths: readonly LotPath[];
  readonly policy: Policy;
  /** In which its bytes are; absent: the main one. That of all its parents and children. */
  readonly pool?: PoolId;
  /** A quota of the filesystem refuses what is too much; absent: the mount does. */
  readonly enforcedByKernel?: boolean;
}

/** What a lot's files hold now. Pending: open for writing, contained in the totals. */
export interface LotUsage {
  readonly bytes: number;
  readonly objects: number;
  readonly pendingBytes: number;
  readonly pendingObjects: number;
}

export const NO_USAGE: LotUsage = { bytes: 0, objects: 0, pendingBytes: 0, pendingObjects: 0 };

/** Who owns a lot. */
export type Owner = Pick<Lot, 'owner' | 'confinedOwner'>;

/** The default lot as it is made with the ledger: nothing dedicated, opportunistic without limit. */
export function defaultLot(owner: string, nowMs: number): Lot {
  return {
    id: DEFAULT_LOT_ID,
    name: DEFAULT_LOT_NAME,
    owner,
    confinedOwner: false,
    selfParent: true,
    parents: [],
    paths: [],
    policy: { ...NO_POLICY, opportunisticBytes: UNLIMITED, createdAtMs: nowMs },
  };
}

/** Nothing granted, objects and time without limit. */
export const NO_POLICY: Policy = {
  dedicatedBytes: 0,
  opportunisticBytes: 0,
  maxObjects: UNLIMITED,
  createdAtMs: 0,
  expiresAtMs: null,
  deletesAtMs: null,
};

/** A path of a lot that owns what is at and below it. */
export function recursivePath(path: string): LotPath {
  return { path, recursive: true, exclude: false };
}

/** True for a path that is no path of the mount: an URI, say. Nothing is charged for it. */
export function isForeign(path: string): boolean {
  return !path.startsWith('/');
}

/** The path of the lot's own directory: its first in the mount that it owns; null where there is none. */
export function ownPath(lot: Lot): string | null {
  return lot.paths.find(({ path, exclude }) => !exclude && !isForeign(path))?.path ?? null;
}

/** True for a lot that is named by its path. */
export function isReservation(lot: Lot): boolean {
  return lot.paths.length === 1 && lot.paths[0]?.path === lot.name;
}

/** The field `pool` of a lot that lies in this one. */
export function inPoolOf(around: Lot | undefined): Pick<Lot, 'pool'> {
  return around?.pool === undefined ? {} : { pool: around.pool };
}

/** Bytes that the lot may hold: dedicated and opportunistic; UNLIMITED is -1. */
export function grantBytes(policy: Policy): number {
  if (policy.opportunisticBytes === UNLIMITED) return UNLIMITED;
  return policy.dedicatedBytes + policy.opportunisticBytes;
}

/** The sums of two. */
export function addUsage(a: LotUsage, b: LotUsage): LotUsage {
  return {
    bytes: a.bytes + b.bytes,
    objects: a.objects + b.objects,
    pendingBytes: a.pendingBytes + b.pendingBytes,
    pendingObjects: a.pendingObjects + b.pendingObjects,
  };
}
