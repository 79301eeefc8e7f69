// What of its policy a lot uses: LotMan's formulas, and the lots that are past a part of their policy.

import type { LotBook } from './book.js';
import { addUsage, grantBytes, type Lot, type LotId, type LotUsage, NO_USAGE, UNLIMITED } from './lot.js';
import { isPast } from './phase.js';

/** What a lot's own files hold, and what those of all distinct lots below it do. */
export interface SplitUsage {
  readonly self: LotUsage;
  readonly children: LotUsage;
}

/** A total, and what of it comes from the lot itself and from the lots below it. */
export interface Contribution {
  total: number;
  self: number;
  children: number;
}

/** Own usage of a lot. */
export type UsageOf = (id: LotId) => LotUsage;

export function splitUsage(id: LotId, book: LotBook, usageOf: UsageOf): SplitUsage {
  let children = NO_USAGE;
  for (const below of book.withDescendants(id)) if (below !== id) children = addUsage(children, usageOf(below));
  return { self: usageOf(id), children };
}

/** What of the dedicated bytes `dedicated` is used. */
export function dedicatedUse(dedicated: number, { self, children }: SplitUsage): Contribution {
  const s = self.bytes;
  const c = children.bytes;
  return {
    total: Math.min(s + c, dedicated),
    self: Math.min(s, dedicated),
    children: s >= dedicated ? 0 : Math.min(c, dedicated - s),
  };
}

/** What of the opportunistic bytes is used: what lies beyond the dedicated ones. `opportunistic` may be infinite. */
export function opportunisticUse(dedicated: number, opportunistic: number, { self, children }: SplitUsage): Contribution {
  const beyond = (bytes: number) => Math.min(Math.max(0, bytes - dedicated), opportunistic);
  const total = beyond(self.bytes + children.bytes);
  const own = beyond(self.bytes);
  return { total, self: own, children: total - own };
}

/** The ways of being past one's policy, in the order in which they are reclaimed. */
export const PAST = ['del', 'exp', 'opp', 'obj', 'ded'] as const;
export type Past = (typeof PAST)[number];

/** Whether the lot is past that part of its policy; `used` is its own usage, or with the lots below it. */
export function isPastPolicy(what: Past, { policy }: Lot, used: LotUsage, nowMs: number): boolean {
  switch (what) {
    case 'del':
      return isPast(policy.deletesAtMs, nowMs);
    case 'exp':
      return isPast(policy.expiresAtMs, nowMs);
    case 'opp':
      return grantBytes(policy) !== UNLIMITED && used.bytes >= grantBytes(policy);
    case 'obj':
      return policy.maxObjects !== UNLIMITED && used.objects >= policy.maxObjects;
    case 'ded':
      return used.bytes >= policy.dedicatedBytes;
  }
}
