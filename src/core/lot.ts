// The lot: the unit of ownership. A reservation is a lot that is named by its path, with dedicated bytes only.

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
  dedicatedBytes: number;
  /** Allowed beyond that while the pool has headroom; UNLIMITED is -1. */
  opportunisticBytes: number;
  /** Non-directory inodes; UNLIMITED is -1. */
  maxObjects: number;
  createdAtMs: number;
  /** From then on nothing is set aside; null: never. */
  expiresAtMs: number | null;
  /** From then on the lot cannot grow; null: never. */
  deletesAtMs: number | null;
}

/** A lot as the ledger holds it. Lots are values: a change makes a new one. */
export interface Lot {
  readonly id: LotId;
  /** Unique. A reservation's name is its path. */
  readonly name: string;
  /** Decimal uid of a local user. */
  readonly owner: string;
  /** The owner is a uid 0 that was no administrator (root in a container): a stranger to host root's lots. */
  readonly confinedOwner: boolean;
  /** Lots that this one's bytes also count in; empty for a root. */
  readonly parents: readonly LotId[];
  /** Bound paths, absolute in the mount; exactly one for a reservation, none for the default lot. */
  readonly paths: readonly string[];
  readonly policy: Policy;
}

/** What a lot's own files hold now. Pending: open for writing, contained in the totals. */
export interface LotUsage {
  bytes: number;
  objects: number;
  pendingBytes: number;
  pendingObjects: number;
}

/** The default lot as it is made with the ledger: nothing dedicated, opportunistic without limit. */
export function defaultLot(owner: string, nowMs: number): Lot {
  return {
    id: DEFAULT_LOT_ID,
    name: DEFAULT_LOT_NAME,
    owner,
    confinedOwner: false,
    parents: [],
    paths: [],
    policy: policyOf(0, UNLIMITED, nowMs),
  };
}

/** A reservation of `bytes` at a path. */
export function reservation(
  id: LotId,
  path: string,
  bytes: number,
  owner: { owner: string; confinedOwner: boolean },
  parents: readonly LotId[],
  nowMs: number,
): Lot {
  return { id, name: path, ...owner, parents, paths: [path], policy: policyOf(bytes, 0, nowMs) };
}

/** The same lot with other dedicated bytes. */
export function withDedicated(lot: Lot, dedicatedBytes: number): Lot {
  return { ...lot, policy: { ...lot.policy, dedicatedBytes } };
}

/** Bytes that the lot may hold: dedicated and opportunistic; UNLIMITED is -1. */
export function grantBytes(policy: Policy): number {
  if (policy.opportunisticBytes === UNLIMITED) return UNLIMITED;
  return policy.dedicatedBytes + policy.opportunisticBytes;
}

/** The lot and everything above it, each once, nearest first. */
export function withAncestors(id: LotId, lots: ReadonlyMap<LotId, Lot>): Lot[] {
  const found = new Map<LotId, Lot>();
  const queue = [id];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const lot = lots.get(next);
    if (lot === undefined || found.has(next)) continue;
    found.set(next, lot);
    queue.push(...lot.parents);
  }
  return [...found.values()];
}

/** The lot and everything below it, each once. `children` maps a lot to the ids below it. */
export function withDescendants(id: LotId, children: ReadonlyMap<LotId, readonly LotId[]>): Set<LotId> {
  const found = new Set<LotId>([id]);
  for (const lot of found) for (const child of children.get(lot) ?? []) found.add(child);
  return found;
}

/** From each lot to the lots whose parent it is. */
export function childrenOf(lots: Iterable<Lot>): Map<LotId, LotId[]> {
  const children = new Map<LotId, LotId[]>();
  for (const lot of lots) {
    for (const parent of lot.parents) {
      const known = children.get(parent);
      if (known === undefined) children.set(parent, [lot.id]);
      else known.push(lot.id);
    }
  }
  return children;
}

function policyOf(dedicatedBytes: number, opportunisticBytes: number, createdAtMs: number): Policy {
  return { dedicatedBytes, opportunisticBytes, maxObjects: UNLIMITED, createdAtMs, expiresAtMs: null, deletesAtMs: null };
}
