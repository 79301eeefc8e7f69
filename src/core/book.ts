// The lots of one ledger, with the indexes that make every question about one of them cheap.

import { DEFAULT_LOT_ID, type Lot, type LotId, type LotPath } from './lot.js';
import { ownerOf } from './paths.js';

/** Lots that are new or changed, and lots that go: made whole, or not at all. */
export interface LotChange {
  /** Parents before their children, where both are new. */
  readonly put: readonly Lot[];
  readonly remove: readonly LotId[];
}

/** A path with the lot that has it. */
export interface BoundPath extends LotPath {
  readonly lot: LotId;
}

const NO_CHILDREN: ReadonlySet<LotId> = new Set();

/** Every lot once. Reading is open to all; `apply` is for whoever keeps the ledger in step. */
export class LotBook {
  readonly #lots = new Map<LotId, Lot>();
  readonly #byName = new Map<string, LotId>();
  readonly #byPath = new Map<string, BoundPath>();
  readonly #children = new Map<LotId, Set<LotId>>();
  /** Lots of spaces: only commands on spaces change or remove them. Kept by whoever keeps the spaces. */
  readonly spaces = new Set<LotId>();

  get size(): number {
    return this.#lots.size;
  }

  /** In no particular order. */
  all(): IterableIterator<Lot> {
    return this.#lots.values();
  }

  get(id: LotId): Lot | undefined {
    return this.#lots.get(id);
  }

  /** The lot with this number, which must be there. */
  must(id: LotId): Lot {
    const lot = this.#lots.get(id);
    if (lot === undefined) throw new Error(`lot ${id} is missing`);
    return lot;
  }

  named(name: string): Lot | undefined {
    const id = this.#byName.get(name);
    return id === undefined ? undefined : this.#lots.get(id);
  }

  /** What is bound at exactly this path. */
  at(path: string): BoundPath | undefined {
    return this.#byPath.get(path);
  }

  /** Lots whose parent it is. */
  children(id: LotId): ReadonlySet<LotId> {
    return this.#children.get(id) ?? NO_CHILDREN;
  }

  /** The lot and everything above it, each once, nearest first. */
  withAncestors(id: LotId): Lot[] {
    return withAncestors(id, (each) => this.#lots.get(each));
  }

  /** The lot and everything below it, each once; parents come before their only children. */
  withDescendants(id: LotId): Set<LotId> {
    const found = new Set<LotId>([id]);
    for (const lot of found) for (const child of this.children(lot)) found.add(child);
    return found;
  }

  /** The lot that owns a path of the mount, or a foreign one; the default lot where no other does. */
  ownerOf(path: string, isDirectory: boolean): LotId {
    return ownerOf(path, isDirectory, (each) => this.#byPath.get(each)) ?? DEFAULT_LOT_ID;
  }

  apply({ put, remove }: LotChange): void {
    for (const lot of put) this.#put(lot);
    for (const id of remove) this.#remove(id);
  }

  #put(lot: Lot): void {
    const before = this.#lots.get(lot.id);
    if (before !== undefined) this.#unlink(before);
    this.#lots.set(lot.id, lot);
    this.#byName.set(lot.name, lot.id);
    for (const { path, recursive, exclude } of lot.paths) this.#byPath.set(path, { path, recursive, exclude, lot: lot.id });
    for (const parent of lot.parents) {
      const children = this.#children.get(parent);
      if (children === undefined) this.#children.set(parent, new Set([lot.id]));
      else children.add(lot.id);
    }
  }

  #remove(id: LotId): void {
    const lot = this.#lots.get(id);
    if (lot === undefined) return;
    this.#unlink(lot);
    this.#lots.delete(id);
    this.#children.delete(id);
  }

  #unlink(lot: Lot): void {
    if (this.#byName.get(lot.name) === lot.id) this.#byName.delete(lot.name);
    for (const { path } of lot.paths) if (this.#byPath.get(path)?.lot === lot.id) this.#byPath.delete(path);
    for (const parent of lot.parents) this.#children.get(parent)?.delete(lot.id);
  }
}

/** Finds a lot, or says that there is none. */
export type LotLookup = (id: LotId) => Lot | undefined;

/** The lot and everything above it, each once, nearest first. */
export function withAncestors(id: LotId, lookup: LotLookup): Lot[] {
  const found = new Map<LotId, Lot>();
  const queue: LotId[] = [id];
  for (const next of queue) {
    const lot = found.has(next) ? undefined : lookup(next);
    if (lot === undefined) continue;
    found.set(next, lot);
    queue.push(...lot.parents);
  }
  return [...found.values()];
}
