// Where a lot stands in time: what is set aside for it, and whether it may grow.

import { type LotLookup, withAncestors } from './book.js';
import type { Lot, LotId } from './lot.js';

export interface LotPhase {
  /** Its dedicated bytes are set aside: neither it nor a lot above it has expired. */
  setsAside: boolean;
  /** It has been created and is not past its deletion. What lies above it is asked anyway, for every byte. */
  mayGrow: boolean;
}

/** The earliest expiration and deletion of the lot and all lots above it; null: never. */
export function effectiveTimes(id: LotId, lookup: LotLookup): { expiresAtMs: number | null; deletesAtMs: number | null } {
  let expiresAtMs: number | null = null;
  let deletesAtMs: number | null = null;
  for (const { policy } of withAncestors(id, lookup)) {
    expiresAtMs = earlier(expiresAtMs, policy.expiresAtMs);
    deletesAtMs = earlier(deletesAtMs, policy.deletesAtMs);
  }
  return { expiresAtMs, deletesAtMs };
}

export type LotStatus = 'pending' | 'active' | 'expired' | 'deleted';

/** Where the lot and all lots above it stand in time. */
export function statusOf(lot: Lot, lookup: LotLookup, nowMs: number): LotStatus {
  const { expiresAtMs, deletesAtMs } = effectiveTimes(lot.id, lookup);
  if (isPast(deletesAtMs, nowMs)) return 'deleted';
  if (isPast(expiresAtMs, nowMs)) return 'expired';
  return withAncestors(lot.id, lookup).some(({ policy }) => policy.createdAtMs > nowMs) ? 'pending' : 'active';
}

/** The phase of a lot; its parents are found by `lookup`. */
export function phaseOf(lot: Lot, lookup: LotLookup, nowMs: number): LotPhase {
  const { createdAtMs, deletesAtMs, expiresAtMs } = lot.policy;
  const expired = isPast(expiresAtMs, nowMs) || lot.parents.some((id) => isPast(effectiveTimes(id, lookup).expiresAtMs, nowMs));
  return { setsAside: !expired, mayGrow: nowMs >= createdAtMs && !isPast(deletesAtMs, nowMs) };
}

/** The phases of all lots, parents before their children: each asks its parents once. */
export function* phasesOf(lots: Iterable<Lot>, nowMs: number): Generator<[Lot, LotPhase]> {
  const expired = new Set<LotId>();
  for (const lot of lots) {
    const { createdAtMs, deletesAtMs, expiresAtMs } = lot.policy;
    if (isPast(expiresAtMs, nowMs) || lot.parents.some((id) => expired.has(id))) expired.add(lot.id);
    yield [lot, { setsAside: !expired.has(lot.id), mayGrow: nowMs >= createdAtMs && !isPast(deletesAtMs, nowMs) }];
  }
}

/** The next time after `nowMs` at which the lot's own policy changes its phase; null: never. */
export function nextChangeMs({ policy }: Lot, nowMs: number): number | null {
  let next: number | null = null;
  for (const atMs of [policy.createdAtMs, policy.expiresAtMs, policy.deletesAtMs]) {
    if (atMs !== null && atMs > nowMs) next = earlier(next, atMs);
  }
  return next;
}

export function isPast(atMs: number | null, nowMs: number): boolean {
  return atMs !== null && atMs <= nowMs;
}

function earlier(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.min(a, b);
}
