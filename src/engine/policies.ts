// Policies as commands make them, compare them and write them into the journal.

import type { EventFields } from '../core/events.js';
import type { Policy } from '../core/lot.js';
import type { ReserveOptions } from '../views/host.js';

/** What a command's options make of a policy. */
export function policyOf({ expiresInMs, opportunisticBytes, maxObjects }: ReserveOptions, nowMs: number): Partial<Policy> {
  return {
    ...(expiresInMs === undefined ? {} : { expiresAtMs: expiresInMs === null ? null : nowMs + expiresInMs }),
    ...(opportunisticBytes === undefined ? {} : { opportunisticBytes }),
    ...(maxObjects === undefined ? {} : { maxObjects }),
  };
}

/** For the journal: the dedicated bytes, and what else is limited. */
export function policyFields({ dedicatedBytes, opportunisticBytes, maxObjects, expiresAtMs, deletesAtMs }: Policy): EventFields {
  return {
    bytes: dedicatedBytes,
    opportunisticBytes: opportunisticBytes === 0 ? undefined : opportunisticBytes,
    maxObjects: maxObjects < 0 ? undefined : maxObjects,
    expiresAtMs: expiresAtMs ?? undefined,
    deletesAtMs: deletesAtMs ?? undefined,
  };
}

/** True when nothing of the policy is more than before. */
export function noMore(now: Policy, before: Policy): boolean {
  const infinite = (value: number | null) => (value === null || value < 0 ? Number.POSITIVE_INFINITY : value);
  const pairs = [
    [now.dedicatedBytes, before.dedicatedBytes],
    [now.opportunisticBytes, before.opportunisticBytes],
    [now.maxObjects, before.maxObjects],
    [now.expiresAtMs, before.expiresAtMs],
    [now.deletesAtMs, before.deletesAtMs],
  ].map(([a, b]) => [infinite(a ?? null), infinite(b ?? null)] as const);
  return pairs.every(([a, b]) => a <= b);
}
