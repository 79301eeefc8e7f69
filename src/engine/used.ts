// What a lot uses: its own bytes, and those of each lot below it once.

import { childrenOf, type Lot, type LotId, withDescendants } from '../core/lot.js';
import type { Usage } from './engine.js';

export function usedBytes(id: LotId, lots: ReadonlyMap<LotId, Lot>, usage: readonly Usage[]): number {
  const inLot = withDescendants(id, childrenOf(lots.values()));
  return usage.reduce((sum, own) => (inLot.has(own.id) ? sum + own.bytes : sum), 0);
}
