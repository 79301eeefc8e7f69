// The policy of a lot as the lots above it leave it: for each attribute the least of all.

import type { LotBook } from './book.js';
import { type Lot, type LotId, type Policy, UNLIMITED } from './lot.js';

/** The attributes, by the names of `Policy`. */
export const ATTRIBUTES = [
  'dedicatedBytes',
  'opportunisticBytes',
  'maxObjects',
  'createdAtMs',
  'expiresAtMs',
  'deletesAtMs',
] as const satisfies readonly (keyof Policy)[];

export type Attribute = (typeof ATTRIBUTES)[number];

/** The lot whose value restricts most; the lot itself before those above it where they are equal. */
export function restricting(attribute: Attribute, id: LotId, book: LotBook): Lot {
  let least = book.must(id);
  for (const lot of book.withAncestors(id)) {
    if (comparable(lot, attribute) < comparable(least, attribute)) least = lot;
  }
  return least;
}

/** No limit is more than any number. */
function comparable({ policy }: Lot, attribute: Attribute): number {
  const value = policy[attribute];
  return value === null || value === UNLIMITED ? Number.POSITIVE_INFINITY : value;
}
