// A lot as the data plane is told of it, at a time.

import type { Lot } from '../core/lot.js';
import type { LotSpec } from './engine.js';

/** The meter's view of a lot: an expired one sets nothing aside, one past its deletion cannot grow. */
export function specOf(lot: Lot, nowMs: number): LotSpec {
  const { dedicatedBytes, opportunisticBytes, maxObjects, expiresAtMs, deletesAtMs } = lot.policy;
  return {
    id: lot.id,
    name: lot.name,
    parents: [...lot.parents],
    dedicatedBytes,
    opportunisticBytes,
    maxObjects,
    setsAside: expiresAtMs === null || nowMs < expiresAtMs,
    mayGrow: deletesAtMs === null || nowMs < deletesAtMs,
  };
}
