// What a change of lots makes of them: pure, by LotMan's rules. Each function returns the whole change, or throws a refusal.

import { type LotBook, type LotChange, withAncestors } from './book.js';
import { compareBytes } from './bytes.js';
import { VreserveError } from './errors.js';
import { DEFAULT_LOT_ID, isForeign, type Lot, type LotId, type LotPath, type Owner, type Policy } from './lot.js';
import { ownLotOf } from './own-lots.js';
import { isWithin, parentPath } from './paths.js';

/** A parent that is taken by another's place. Names of lots; the lot's own name stands for being its own parent. */
export interface ParentUpdate {
  current: string;
  new: string;
}

/** A path of the lot that becomes another one, or gets other properties. */
export interface PathUpdate {
  current: string;
  becomes: LotPath;
}

export interface LotUpdate {
  owner?: Owner;
  parents?: readonly ParentUpdate[];
  paths?: readonly PathUpdate[];
  policy?: Partial<Policy>;
}

const CANNOT_REMOVE = 'Failed to remove lot from database: ';
const CANNOT_COMPLETE = `${CANNOT_REMOVE}The operation cannot be completed as requested because `;

/**
 * A new lot, and `children` that become its own: where one of them had a parent of the new lot, the new lot takes that
 * parent's place. Throws LOT_EXISTS, LOT_CYCLE, PATH_TAKEN, BAD_PATH, BAD_NAME.
 */
export function addLot(book: LotBook, lot: Lot, children: readonly LotId[]): LotChange {
  if (book.named(lot.name) !== undefined) {
    throw new VreserveError('LOT_EXISTS', { lot: lot.name });
  }
  const draft = new Draft(book);
  draft.put(lot);
  for (const id of children) {
    const child = book.must(id);
    const takes = child.parents.some((parent) => lot.parents.includes(parent));
    const parents = takes ? replaced(child.parents, lot.parents, [lot.id]) : distinct([...child.parents, lot.id]);
    draft.put({ ...child, parents });
  }
  draft.refuseCycles(
    'Failed to store lot: The lot cannot be added because the combination of parents/children would introduce a dependency cycle in the data structure.',
  );
  return draft.change();
}

/** Throws NO_SUCH_LOT (a parent or a path that it does not have), LOT_CYCLE, PATH_TAKEN, BAD_PATH, BAD_NAME, LOT_IS_DEFAULT, LOT_IS_SPOOL, LOT_IS_STORE, LOT_IS_SPACE. */
export function updateLot(book: LotBook, lot: Lot, update: LotUpdate): LotChange {
  const draft = new Draft(book);
  let changed: Lot = { ...lot, ...update.owner, policy: { ...lot.policy, ...update.policy } };
  for (const { current, new: next } of update.parents ?? []) changed = withParent(book, changed, current, next);
  if (update.paths !== undefined) changed = { ...changed, paths: withPaths(changed, update.paths) };
  draft.put(changed);
  draft.refuseCycles('The requested parent update would introduce a dependency cycle.');
  return draft.change();
}

/** Paths and parents that a lot gets in addition; a path that it has gets the new properties. Throws LOT_CYCLE, PATH_TAKEN, LOT_IS_SPOOL, LOT_IS_STORE, LOT_IS_SPACE. */
export function addToLot(book: LotBook, lot: Lot, paths: readonly LotPath[], parents: readonly LotId[]): LotChange {
  const draft = new Draft(book);
  const added = new Set(paths.map(({ path }) => path));
  draft.put({
    ...lot,
    selfParent: lot.selfParent || parents.includes(lot.id),
    parents: distinct([...lot.parents, ...parents.filter((id) => id !== lot.id)]),
    paths: [...lot.paths.filter(({ path }) => !added.has(path)), ...paths],
  });
  draft.refuseCycles('Failure to add parents: The requested parent addition would introduce a dependency cycle.');
  return draft.change();
}

/** Parents that the lot loses, the lot itself among them maybe; what is no parent is passed over. Throws LOT_ORPHANS. */
export function removeParents(book: LotBook, lot: Lot, parents: readonly string[]): LotChange {
  const gone = new Set(parents);
  const kept = lot.parents.filter((id) => !gone.has(book.must(id).name));
  const selfParent = lot.selfParent && !gone.has(lot.name);
  if (kept.length === 0 && !selfParent) {
    throw new VreserveError('LOT_ORPHANS', {
      reason: 'Failed on call to lot.remove_parents: Could not remove parents because doing so would orphan the lot.',
    });
  }
  return { put: [{ ...lot, parents: kept, selfParent }], remove: [] };
}

/** Paths that their lots lose; one that no lot has is passed over. */
export function removePaths(book: LotBook, paths: readonly string[]): LotChange {
  const draft = new Draft(book);
  for (const path of paths) {
    const bound = book.at(path);
    if (bound === undefined) continue;
    const lot = draft.must(bound.lot);
    draft.put({ ...lot, paths: lot.paths.filter((each) => each.path !== path) });
  }
  return draft.change();
}

/**
 * The lot goes. A child that has no other parent is an orphan: it gets the lot's parents, where `toOrphans` says so and
 * there are any; other children get them with `toOthers` only. Throws LOT_IS_DEFAULT, LOT_IS_SPOOL, LOT_IS_STORE, LOT_IS_SPACE, LOT_ORPHANS.
 */
export function removeLot(book: LotBook, lot: Lot, toOrphans: boolean, toOthers: boolean): LotChange {
  refuseKept(book, lot);
  const draft = new Draft(book);
  for (const id of book.children(lot.id)) {
    const child = book.must(id);
    const orphan = !child.selfParent && child.parents.length === 1;
    if (orphan && lot.parents.length === 0) {
      throw new VreserveError('LOT_ORPHANS', {
        reason: `${CANNOT_COMPLETE}The lot being removed is a root, and has no parents to assign to its children.`,
      });
    }
    if (orphan && !toOrphans) {
      throw new VreserveError('LOT_ORPHANS', {
        reason: `${CANNOT_COMPLETE}deleting the lot would create an orphan that requires explicit assignment to the default lot. Set assign_LTBR_parent_as_parent_to_orphans=true.`,
      });
    }
    const heirs = orphan || toOthers ? lot.parents : [];
    draft.put({ ...child, parents: replaced(child.parents, [lot.id], heirs) });
  }
  draft.remove(lot.id);
  return draft.change();
}

/** The lot goes, and with it everything below it, other parents or not. Throws LOT_IS_DEFAULT, LOT_IS_SPOOL, LOT_IS_STORE, LOT_IS_SPACE. */
export function removeRecursively(book: LotBook, lot: Lot): LotChange {
  const gone = [...book.withDescendants(lot.id)];
  for (const id of gone) refuseKept(book, book.must(id));
  return { put: [], remove: gone };
}

/** The lot goes; what is below it comes to lie below its parents, or is a root where it has none. Throws LOT_IS_DEFAULT, LOT_IS_SPOOL, LOT_IS_STORE, LOT_IS_SPACE. */
export function releaseLot(book: LotBook, lot: Lot): LotChange {
  refuseKept(book, lot);
  return dropLot(book, lot);
}

/** The same of a lot that only the mount itself lets go. */
export function dropLot(book: LotBook, lot: Lot): LotChange {
  const put = [...book.children(lot.id)].map((id) => {
    const child = book.must(id);
    const parents = replaced(child.parents, [lot.id], lot.parents);
    return { ...child, parents, selfParent: child.selfParent || parents.length === 0 };
  });
  return { put, remove: [lot.id] };
}

/**
 * Nothing at or below a path of the mount is bound any more. Lots that have no path elsewhere go, as do those that are named by such a
 * path; what lay below them comes to lie below their parents. Others lose their paths there. `own`: a space that goes with it.
 * Throws LOT_IS_SPOOL, LOT_IS_SPACE.
 */
export function freeTree(book: LotBook, path: string, own: LotId | null = null): LotChange {
  const isInside = (each: LotPath) => isWithin(each.path, path);
  const touched = [...book.all()].filter(({ paths }) => paths.some(isInside));
  const gone = new Set(touched.filter(({ name, paths }) => paths.every(isInside) || isWithin(name, path)).map(({ id }) => id));
  const heirsOf = (id: LotId): LotId[] => (gone.has(id) ? book.must(id).parents.flatMap(heirsOf) : [id]);
  const draft = new Draft(book);
  for (const id of gone) {
    if (id !== own) refuseKept(book, book.must(id));
    draft.remove(id);
    for (const below of book.children(id)) {
      if (gone.has(below)) continue;
      const child = draft.must(below);
      const parents = distinct(child.parents.flatMap(heirsOf));
      draft.put({ ...child, parents, selfParent: child.selfParent || parents.length === 0 });
    }
  }
  for (const { id } of touched) {
    if (gone.has(id)) continue;
    const lot = draft.must(id);
    draft.put({ ...lot, paths: lot.paths.filter((each) => !isInside(each)) });
  }
  return draft.change();
}

/** Reads see what was put so far. */
class Draft {
  readonly #book: LotBook;
  readonly #put = new Map<LotId, Lot>();
  readonly #remove: LotId[] = [];

  constructor(book: LotBook) {
    this.#book = book;
  }

  must(id: LotId): Lot {
    return this.#put.get(id) ?? this.#book.must(id);
  }

  put(lot: Lot): void {
    const paths = [...lot.paths].sort((a, b) => compareBytes(a.path, b.path));
    this.#put.set(lot.id, { ...lot, paths });
  }

  remove(id: LotId): void {
    this.#remove.push(id);
  }

  /** Throws LOT_CYCLE where a lot that was put lies below itself. */
  refuseCycles(reason: string): void {
    const lookup = (id: LotId) => this.#put.get(id) ?? this.#book.get(id);
    for (const lot of this.#put.values()) {
      const above = lot.parents.flatMap((parent) => withAncestors(parent, lookup));
      if (above.some(({ id }) => id === lot.id)) throw new VreserveError('LOT_CYCLE', { reason });
    }
  }

  /** Throws PATH_TAKEN where a path would have two lots. */
  change(): LotChange {
    const gone = new Set(this.#remove);
    const seen = new Map<string, LotId>();
    for (const lot of this.#put.values()) {
      for (const { path } of lot.paths) {
        const bound = this.#book.at(path);
        const holder = bound === undefined || gone.has(bound.lot) ? undefined : this.must(bound.lot);
        const other = seen.get(path) ?? (holder?.paths.some((each) => each.path === path) ? holder.id : lot.id);
        if (other !== lot.id || seen.has(path)) throw new VreserveError('PATH_TAKEN', { path, lot: this.must(other).name });
        seen.set(path, lot.id);
      }
    }
    for (const lot of this.#put.values()) {
      this.#refuseStrayExclusions(lot);
      refuseStrayName(lot);
      refusePathOfDefault(lot);
      refuseShapeOfOwn(lot, this.#book.get(lot.id));
      refuseShapeOfSpace(this.#book, lot);
      for (const { path, exclude } of lot.paths) if (!exclude) refuseInKernelSpace(this.#book, path);
    }
    return { put: [...this.#put.values()], remove: this.#remove };
  }

  /** An exclusion takes away from its own lot, so it lies where that lot would own, or did. */
  #refuseStrayExclusions(lot: Lot): void {
    const had = new Set(this.#book.get(lot.id)?.paths.map(({ path }) => path));
    const owns = lot.paths.filter(({ exclude, recursive }) => !exclude && recursive);
    for (const { path, exclude } of lot.paths) {
      if (!exclude || had.has(path) || owns.some((above) => path !== above.path && isWithin(path, above.path))) continue;
      throw new VreserveError('BAD_PATH', {
        path,
        reason: `lot '${lot.name}' has no recursive path above it to exclude it from`,
      });
    }
  }
}

function withParent(book: LotBook, lot: Lot, current: string, next: string): Lot {
  const from = current === lot.name ? lot.id : parentNamed(book, current).id;
  const to = next === lot.name ? lot.id : parentNamed(book, next).id;
  if (from === lot.id ? !lot.selfParent : !lot.parents.includes(from)) {
    throw new VreserveError('NO_SUCH_LOT', { reason: `'${current}' is not a parent of '${lot.name}'` });
  }
  return {
    ...lot,
    selfParent: (lot.selfParent && from !== lot.id) || to === lot.id,
    parents:
      from === lot.id
        ? distinct([...lot.parents, ...(to === lot.id ? [] : [to])])
        : replaced(lot.parents, [from], to === lot.id ? [] : [to]),
  };
}

function parentNamed(book: LotBook, name: string): Lot {
  const lot = book.named(name);
  if (lot === undefined) throw noLot(name);
  return lot;
}

function withPaths(lot: Lot, updates: readonly PathUpdate[]): LotPath[] {
  let paths = [...lot.paths];
  for (const { current, becomes } of updates) {
    if (!paths.some(({ path }) => path === current)) {
      throw new VreserveError('NO_SUCH_LOT', { reason: `'${current}' is not a path of '${lot.name}'` });
    }
    paths = paths.map((path) => (path.path === current ? becomes : path));
  }
  return paths;
}

/** A name that begins with a slash is a path of the lot: no other path can be taken for its name. */
function refuseStrayName({ name, paths }: Lot): void {
  if (!name.startsWith('/') || paths.some(({ path, exclude }) => path === name && !exclude)) return;
  throw new VreserveError('BAD_NAME', { name: name.slice(0, 60), reason: 'it begins with a slash, and is not one of its paths' });
}

/** It owns what no other lot owns: a path of its own would be one that another lot cannot have. */
function refusePathOfDefault({ id, paths }: Lot): void {
  if (id !== DEFAULT_LOT_ID || paths.length === 0) return;
  throw new VreserveError('LOT_IS_DEFAULT', {
    reason: 'The default lot owns what no other lot owns, and has no paths of its own.',
  });
}

function refuseKept(book: LotBook, lot: Lot): void {
  refuseSpace(book, lot);
  if (lot.id === DEFAULT_LOT_ID)
    throw new VreserveError('LOT_IS_DEFAULT', { reason: `${CANNOT_REMOVE}The default lot cannot be deleted.` });
  const own = ownLotOf(lot);
  if (own === undefined) return;
  throw new VreserveError(own.refusal, {
    reason: `${CANNOT_REMOVE}The lot of the ${own.name} stays as long as there is a ${own.name} (vreserve ${own.end} ends it).`,
  });
}

/** A lot that the mount makes owns its directory and nothing else, and lies below no other. */
function refuseShapeOfOwn(now: Lot, before: Lot | undefined): void {
  const own = before === undefined ? undefined : ownLotOf(before);
  if (before === undefined || own === undefined) return;
  const shape = ({ paths, parents, selfParent }: Lot) => JSON.stringify({ paths, parents, selfParent });
  if (shape(now) === shape(before)) return;
  throw new VreserveError(own.refusal, {
    reason: `The lot of the ${own.name} has one path and no parents, and keeps both as they are.`,
  });
}

/** Throws LOT_IS_SPACE for the lot of a space, which has commands of its own. */
export function refuseSpace(book: LotBook, { id, name }: Lot): void {
  if (!book.spaces.has(id)) return;
  const reason = `'${name}' is the lot of a space: vreserve space update ${name} BYTES, or vreserve space delete ${name}`;
  throw new VreserveError('LOT_IS_SPACE', { reason });
}

/** Throws NOT_SUPPORTED for a path in a space that the kernel enforces: nobody would see what is written to a lot in it. */
export function refuseInKernelSpace(book: LotBook, path: string): void {
  if (isForeign(path)) return;
  const around = book.get(book.ownerOf(parentPath(path), true));
  if (around?.enforcedByKernel !== true) return;
  throw new VreserveError('NOT_SUPPORTED', {
    reason: `'${path}' lies in space '${around.name}', which the kernel enforces: no lot can be in it`,
  });
}

/** A space has its size, its path and no parents. Whose it is may change, and what lies below it. */
function refuseShapeOfSpace(book: LotBook, now: Lot): void {
  const before = book.get(now.id);
  if (before === undefined) return;
  const shape = ({ paths, parents, selfParent, policy }: Lot) => JSON.stringify({ paths, parents, selfParent, policy });
  if (shape(now) !== shape(before)) refuseSpace(book, before);
}

/** The list with the first of `gone` turned into `heirs`, the others left out, and each once. */
function replaced(list: readonly LotId[], gone: readonly LotId[], heirs: readonly LotId[]): LotId[] {
  const at = list.findIndex((id) => gone.includes(id));
  const before = list.slice(0, Math.max(0, at));
  const after = list.slice(Math.max(0, at)).filter((id) => !gone.includes(id));
  return distinct([...before, ...heirs, ...after]);
}

function distinct(list: readonly LotId[]): LotId[] {
  return [...new Set(list)];
}

/** No lot has this name. */
export function noLot(name: string): VreserveError {
  return new VreserveError('NO_SUCH_LOT', { reason: `no lot '${name.length > 100 ? `${name.slice(0, 97)}...` : name}'` });
}
