// Spaces: a size that is set aside on a fresh directory of the pool that a policy picks. What may be asked for, which pool it is, and how
// the cache grows and shrinks: pure.

import { checkBytes } from './bytes.js';
import { VreserveError } from './errors.js';
import type { LotId } from './lot.js';
import { MAX_COMPONENT_BYTES } from './paths.js';
import type { PoolId } from './pool.js';

/** In the mount: where spaces are unless `--at` says otherwise. */
export const SPACES_PATH = '/spaces';

/** The space that `mount --cache` makes. */
export const CACHE_NAME = 'cache';

/** What a pool lies on. */
export const DISK_TYPES = ['ssd', 'hdd'] as const;
export type DiskType = (typeof DISK_TYPES)[number];

/** Which pools may have a space. */
export const SPACE_POLICIES = ['ssd-only', 'hdd-only', 'ssd-first'] as const;
export type SpacePolicy = (typeof SPACE_POLICIES)[number];

/** Who refuses what does not fit: the mount, exact to the byte, or the quota of the filesystem. */
export const ENFORCERS = ['mount', 'kernel'] as const;
export type Enforcer = (typeof ENFORCERS)[number];

/** `creating` and `deleting`: a change has begun and is not over. */
export type SpaceState = 'creating' | 'ready' | 'deleting';

/** A space as the ledger has it. Its size is the dedicated bytes of its lot. */
export interface Space {
  /** Unique; its lot has the same. */
  readonly name: string;
  readonly lotId: LotId;
  /** In the mount. */
  readonly path: string;
  readonly pool: PoolId;
  readonly policy: SpacePolicy;
  readonly enforce: Enforcer;
  /** The mount made it, and lists it only where all are asked for. */
  readonly isHidden: boolean;
  readonly state: SpaceState;
}

/** A pool as far as the choice goes. */
export interface SpacePool {
  id: PoolId;
  name: string;
  type: DiskType;
  /** Only what is served can take a space. */
  state: 'served' | 'broken';
  headroomBytes: number;
  /** Name of its filesystem's type. */
  filesystem: string;
}

/** No space has such a name: it is what the original keeps for its key-value stores. */
const KEPT_PREFIX = 'zdb';

/** Docker's rule, which keeps away slashes, and dots at the beginning. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** The name itself. Throws SPACE_BAD_NAME. */
export function checkSpaceName(name: string): string {
  const bad = (reason: string) => new VreserveError('SPACE_BAD_NAME', { reason });
  if (name === '') throw bad('it is empty');
  const bytes = Buffer.byteLength(name);
  if (bytes > MAX_COMPONENT_BYTES) throw bad(`it has ${bytes} bytes, at most ${MAX_COMPONENT_BYTES} are possible`);
  if (name.startsWith(KEPT_PREFIX)) throw bad(`${KEPT_PREFIX} prefix is reserved`);
  if (NAME.test(name)) return name;
  const shown = name.slice(0, 60).replace(/\p{Cc}/gu, '?');
  throw bad(`'${shown}' must have letters, digits, _ . and - only, and begin with a letter or a digit`);
}

/** The size itself, in bytes. Throws BAD_BYTES, SPACE_BAD_SIZE. */
export function checkSpaceSize(bytes: number): number {
  if (checkBytes(bytes) === 0) throw new VreserveError('SPACE_BAD_SIZE', { reason: 'a space has at least 1 byte' });
  return bytes;
}

/** The path of a space where none is asked for. */
export function spacePath(name: string): string {
  return `${SPACES_PATH}/${name}`;
}

/** What the options ask for; without any, ssd-first. Throws SPACE_BAD_TYPE, SPACE_BAD_POLICY. */
export function spacePolicy(type: string | undefined, policy: string | undefined): SpacePolicy {
  const known = SPACE_POLICIES.find((each) => each === policy);
  if (policy !== undefined && known === undefined) {
    throw new VreserveError('SPACE_BAD_POLICY', {
      policy: policy.slice(0, 60),
      reason: `it is one of ${SPACE_POLICIES.join(', ')}`,
    });
  }
  if (type === undefined) return known ?? 'ssd-first';
  const disk = DISK_TYPES.find((each) => each === type);
  if (disk === undefined) throw new VreserveError('SPACE_BAD_TYPE', { type: type.slice(0, 60) });
  const only: SpacePolicy = `${disk}-only`;
  if (known === undefined || known === only) return only;
  throw new VreserveError('SPACE_BAD_POLICY', { policy: known, reason: `type ${disk} asks for ${only}` });
}

/** Throws SPACE_BAD_ENFORCER. */
export function spaceEnforcer(text: string | undefined): Enforcer {
  const found = ENFORCERS.find((each) => each === (text ?? 'mount'));
  if (found !== undefined) return found;
  throw new VreserveError('SPACE_BAD_ENFORCER', { enforce: (text ?? '').slice(0, 60) });
}

/**
 * Pools that may have a space of that size, the one to try first first: those that have the headroom, most of it first. With ssd-first
 * all others come behind all SSD.
 */
export function poolsFor(policy: SpacePolicy, bytes: number, pools: readonly SpacePool[]): SpacePool[] {
  const fitting = poolsOf(policy, pools).filter(({ headroomBytes }) => bytes <= headroomBytes);
  const rank = ({ type }: SpacePool) => (policy === 'ssd-first' && type !== 'ssd' ? 1 : 0);
  return fitting.sort((a, b) => rank(a) - rank(b) || b.headroomBytes - a.headroomBytes || a.id - b.id);
}

/** Of a space that no pool has room for. Bytes. */
export function noRoom(
  policy: SpacePolicy,
  bytes: number,
  pools: readonly SpacePool[],
  show: (bytes: number) => string,
): VreserveError {
  const availableBytes = Math.max(0, ...poolsOf(policy, pools).map(({ headroomBytes }) => headroomBytes));
  const type = policy === 'hdd-only' ? 'hdd' : policy === 'ssd-only' ? 'ssd' : 'ssd or hdd';
  const texts = { askedText: show(bytes), availableText: show(availableBytes) };
  return new VreserveError('SPACE_NO_ROOM', { type, askedBytes: bytes, availableBytes, ...texts });
}

function poolsOf(policy: SpacePolicy, pools: readonly SpacePool[]): SpacePool[] {
  const served = pools.filter(({ state }) => state === 'served');
  if (policy === 'ssd-first') return served;
  const type: DiskType = policy === 'ssd-only' ? 'ssd' : 'hdd';
  return served.filter((pool) => pool.type === type);
}

/** The cache grows by this much, and never gets smaller. */
const CACHE_STEP_BYTES = 5 * 1024 ** 3;

/** The step of a cache that was asked for with that size: smaller ones have smaller steps. */
export function cacheStep(askedBytes: number): number {
  return Math.min(askedBytes, CACHE_STEP_BYTES);
}

/**
 * What the size of the cache becomes, in bytes. From 60 % on it grows by a step. Below 20 % it shrinks to twice of what is used, in
 * whole steps and at least one.
 */
export function cacheSize(sizeBytes: number, usedBytes: number, stepBytes: number): number {
  if (usedBytes >= sizeBytes * 0.6) return sizeBytes + stepBytes;
  if (usedBytes >= sizeBytes * 0.2 || sizeBytes <= stepBytes) return sizeBytes;
  return Math.min(sizeBytes, Math.max(1, Math.ceil((2 * usedBytes) / stepBytes)) * stepBytes);
}
