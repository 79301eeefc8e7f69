// What a lot must be able to hold: what is there, and what is promised to the lots below it.

import type { LotBook } from '../core/book.js';
import type { Lot, LotId } from '../core/lot.js';
import { phaseOf } from '../core/phase.js';

export interface MustHold {
  /** Of the lot and all lots below it. */
  usedBytes: number;
  /** Dedicated bytes of lots below it that are set aside and not used yet. */
  promisedBytes: number;
}

/** `ownBytes`: what a lot's own files hold. The unfilled bytes of a lot with several parents are set aside in the first. */
export function mustHold(book: LotBook, lot: Lot, ownBytes: (id: LotId) => number, nowMs: number): MustHold {
  const usedIn = (id: LotId) => [...book.withDescendants(id)].reduce((sum, below) => sum + ownBytes(below), 0);
  const promisedBelow = (id: LotId): number => {
    let sum = 0;
    for (const child of book.children(id)) if (book.must(child).parents[0] === id) sum += unfilled(book.must(child));
    return sum;
  };
  const unfilled = (child: Lot): number => {
    const { setsAside } = phaseOf(child, (id) => book.get(id), nowMs);
    const own = setsAside ? child.policy.dedicatedBytes - usedIn(child.id) : 0;
    return Math.max(0, own, promisedBelow(child.id));
  };
  return { usedBytes: usedIn(lot.id), promisedBytes: promisedBelow(lot.id) };
}
