// How a pool lays its bytes over its devices.

import { VreserveError } from '../core/errors.js';

/** `single`: every byte once; `raid1`: on two devices; `raid10`: that, and striped. */
export const POLICIES = ['single', 'raid1', 'raid10'] as const;

export type Policy = (typeof POLICIES)[number];

/** `raid10` of fewer than four devices would be `raid1` in effect. */
const LEAST_DEVICES: Record<Policy, number> = { single: 1, raid1: 2, raid10: 4 };

/** Throws USAGE. */
export function checkPolicy(text: string): Policy {
  const policy = POLICIES.find((each) => each === text);
  if (policy !== undefined) return policy;
  throw new VreserveError('USAGE', { reason: `--policy must be one of ${POLICIES.join(', ')}, not '${text.slice(0, 40)}'` });
}

/** How many devices the policy needs. */
export function leastDevices(policy: Policy): number {
  return LEAST_DEVICES[policy];
}

/** Throws POOL_TOO_FEW. */
export function checkDeviceCount(policy: Policy, given: number): void {
  const least = LEAST_DEVICES[policy];
  if (given < least) throw new VreserveError('POOL_TOO_FEW', { policy, least, given });
}

/** Words for mkfs.btrfs: metadata are kept twice, on two devices where there are two. */
export function profileWords(policy: Policy, devices: number): string[] {
  const metadata = policy === 'single' ? (devices === 1 ? 'dup' : 'raid1') : policy;
  return ['--data', policy, '--metadata', metadata];
}
