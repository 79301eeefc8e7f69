// Lots and bindings as the data plane is told of them.

import type { LotBook, LotChange, LotLookup } from '../core/book.js';
import { isForeign, type Lot, type LotId, type LotPath } from '../core/lot.js';
import { type LotPhase, phaseOf } from '../core/phase.js';
import type { Binding, LotSpec, Reshape } from './engine.js';

/** The meter's view of a lot at a time; the lots above it are found by `lookup`. */
export function specOf(lot: Lot, lookup: LotLookup, nowMs: number): LotSpec {
  return specIn(phaseOf(lot, lookup, nowMs), lot);
}

/** The same where the phase is known. */
export function specIn({ setsAside, mayGrow }: LotPhase, lot: Lot): LotSpec {
  const { dedicatedBytes, opportunisticBytes, maxObjects } = lot.policy;
  const { id, name, parents, pool, enforcedByKernel } = lot;
  const spec = { id, name, parents: [...parents], dedicatedBytes, opportunisticBytes, maxObjects, setsAside, mayGrow };
  return { ...spec, ...(pool === undefined ? {} : { pool }), ...(enforcedByKernel === true ? { enforcedByKernel } : {}) };
}

/** The paths of the mount that the lot owns or excludes. */
export function bindingsOf(lot: Lot): Binding[] {
  const { id, paths } = lot;
  return paths.flatMap(({ path, recursive, exclude }) => (isForeign(path) ? [] : [{ path, id, recursive, exclude }]));
}

/** What the data plane has to do for a change of the book. Lots whose phase follows from another's are part of it. */
export function reshapeOf(change: LotChange, book: LotBook, nowMs: number): Omit<Reshape, 'mustCover' | 'force'> {
  const put = new Map(change.put.map((lot) => [lot.id, lot]));
  const lookup = (id: LotId) => put.get(id) ?? book.get(id);
  const lots = change.put.map((lot) => specOf(lot, lookup, nowMs));
  for (const lot of followers(change, book)) {
    const before = phaseOf(lot, (id) => book.get(id), nowMs);
    const spec = specOf(lot, lookup, nowMs);
    if (spec.setsAside !== before.setsAside) lots.push(spec);
  }
  const kept = new Set(change.put.flatMap((lot) => lot.paths.map(({ path }) => path)));
  const before = change.put.flatMap(({ id }) => book.get(id) ?? []);
  return {
    lots,
    gone: [...change.remove],
    bind: change.put.flatMap(bindingsOf).filter((binding) => !isBound(binding, book)),
    unbind: before.flatMap(bindingsOf).flatMap(({ path }) => (kept.has(path) ? [] : [path])),
  };
}

/** What undoes the change. */
export function inverseOf(change: LotChange, book: LotBook): LotChange {
  const existing = change.put.flatMap(({ id }) => book.get(id) ?? []);
  const made = change.put.filter(({ id }) => book.get(id) === undefined).map(({ id }) => id);
  return { put: [...change.remove.map((id) => book.must(id)), ...existing], remove: made };
}

/** Lots below those whose expiration or parents change, and that are not part of the change themselves. */
function followers({ put, remove }: LotChange, book: LotBook): Lot[] {
  const named = new Set([...put.map(({ id }) => id), ...remove]);
  const found = new Set<LotId>();
  for (const lot of put) {
    const before = book.get(lot.id);
    if (before === undefined || !mayChangePhase(before, lot)) continue;
    for (const id of book.withDescendants(lot.id)) if (!named.has(id)) found.add(id);
  }
  return [...found].map((id) => book.must(id));
}

function mayChangePhase(before: Lot, after: Lot): boolean {
  return before.policy.expiresAtMs !== after.policy.expiresAtMs || before.parents.join() !== after.parents.join();
}

function isBound({ path, id, recursive, exclude }: LotPath & { id: LotId }, book: LotBook): boolean {
  const bound = book.at(path);
  return bound !== undefined && bound.lot === id && bound.recursive === recursive && bound.exclude === exclude;
}
