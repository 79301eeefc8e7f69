// The start of the disks: ends what was unfinished, mounts the pools that are wanted, and makes one where there is none and the file says so.

import { setTimeout as sleep } from 'node:timers/promises';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { DiskType } from '../core/space.js';
import type { BootConfig, WantedPool } from './boot-config.js';
import { type Device, listDevices } from './devices.js';
import { type FoundPool, poolsOn } from './found-pools.js';
import type { Lock } from './lock.js';
import { leastDevices } from './policy.js';
import { isDead, missingText } from './pool-health.js';
import { mountPool } from './pool-mount.js';
import { PoolsDirectory } from './pools-directory.js';
import { LEAST_DEVICE_BYTES, preparePool } from './prepare.js';
import { settle } from './settle.js';
import { surveyDevices } from './survey.js';
import type { Tools } from './tools.js';

/** How often, and how long after each other, a disk that is back is tried. */
const LET_GO_TRIES = 20;
const LET_GO_MS = 500;

/** What became of a pool. None of it ends the start. */
export interface BootPool {
  name: string;
  uuid: string | null;
  type: DiskType | null;
  /** `degraded`: mounted, although devices are missing; `missing`: none of its devices is there; `broken`: it cannot be mounted. */
  state: 'mounted' | 'degraded' | 'missing' | 'broken';
  /** null: it is not mounted. */
  directory: string | null;
  /** Why it is not simply mounted; else empty. */
  reason: string;
  /** It was made just now. */
  created: boolean;
}

export interface BootedPools {
  pools: BootPool[];
  /** What else is to be told, a sentence each. */
  notes: string[];
}

/** Throws TOOL_…, POOLS_BUSY, and what `preparePool` throws. */
export async function bootPools(tools: Tools, config: BootConfig): Promise<BootedPools> {
  const at = PoolsDirectory.at(config.poolsDir);
  const notes: string[] = [];
  let isNone = false;
  const pools = await at.locked(tools, async (lock) => {
    for (const name of await at.preparing()) notes.push(await settled(tools, at, name, lock));
    const found = await poolsOn(await devicesOf(tools, config));
    isNone = found.length === 0;
    const booted: BootPool[] = [];
    for (const { wanted, pool, reason } of choose(config, found)) {
      booted.push(pool === null ? absent(wanted, reason) : await bring(tools, at, pool, wanted.type ?? pool.type, lock));
    }
    return booted;
  });
  // One that is known by its UUID is somewhere, if only on a disk that is not plugged in.
  isNone &&= pools.every(({ uuid }) => uuid === null);
  if (config.createIfNone === null || !isNone) return { pools, notes };
  const created = await create(tools, at, config, config.createIfNone);
  if (created === null) notes.push('no pool was made: there is no device that is free');
  else pools.splice(0, pools.length, ...pools.filter(({ name }) => name !== created.name), created);
  return { pools, notes };
}

/** The devices that the file lets be looked at. Throws TOOL_…. */
export async function devicesOf(tools: Tools, { devices }: BootConfig): Promise<Device[]> {
  if (devices === null) return listDevices(tools);
  return (await listDevices(tools, { usb: true, loop: true })).filter(({ path }) => devices.includes(path));
}

async function settled(tools: Tools, at: PoolsDirectory, name: string, lock: Lock): Promise<string> {
  try {
    const end = await settle(tools, at, name, lock);
    const became = end?.directory == null ? 'undone' : 'finished';
    return `the preparing of pool '${name}', which was cut off, was ${became}`;
  } catch (error) {
    return `the preparing of pool '${name}', which was cut off, cannot be ended: ${asVreserveError(error).message}`;
  }
}

interface Choice {
  wanted: WantedPool;
  /** null: it is not there. */
  pool: FoundPool | null;
  reason: string;
}

/** What is to be mounted, of what was found; of all those on SSDs first. */
export function choose({ pools: wanted }: Pick<BootConfig, 'pools'>, found: readonly FoundPool[]): Choice[] {
  const list = wanted === 'all' ? [...found].sort((a, b) => Number(a.type === 'hdd') - Number(b.type === 'hdd')) : wanted;
  return list.map(({ name, uuid, type }) => {
    const same = found.filter((pool) => pool.name === name && (uuid === undefined || pool.uuid === uuid));
    const named: WantedPool = { name, ...(uuid === undefined ? {} : { uuid }), ...(type === undefined ? {} : { type }) };
    const others = found.filter((pool) => pool.name === name).length;
    if (others > 1 && (wanted === 'all' || same.length > 1)) {
      return { wanted: named, pool: null, reason: `${others} pools have that name: the file must say which by its uuid` };
    }
    return { wanted: named, pool: same[0] ?? null, reason: 'none of its devices is there' };
  });
}

function absent({ name, uuid, type }: WantedPool, reason: string): BootPool {
  return { name, uuid: uuid ?? null, type: type ?? null, state: 'missing', directory: null, reason, created: false };
}

async function bring(tools: Tools, at: PoolsDirectory, pool: FoundPool, type: DiskType, lock: Lock): Promise<BootPool> {
  const { name, uuid, missing } = pool;
  const common = { name, uuid, type, created: false };
  const lacks = missing === 0 ? '' : missingText(missing);
  const state = missing === 0 ? 'mounted' : 'degraded';
  const isElsewhere = pool.directory !== null && pool.directory !== at.mountpointOf(name);
  if (isElsewhere) {
    return { ...common, state: 'broken', directory: null, reason: `it is mounted at ${pool.directory} already` };
  }
  if (pool.directory !== null) return { ...common, state, directory: pool.directory, reason: lacks };
  try {
    const devices = pool.devices.map(({ path }) => path);
    const wasPulled = await isDead(at.mountpointOf(name));
    // Else the kernel takes the disk, which is back under another name, for a double of the one that it has lost.
    if (wasPulled) await tools.run('umount', ['--lazy', at.mountpointOf(name)]);
    const mount = () => mountPool(tools, at, { name, devices, degraded: missing > 0 }, lock);
    const directory = await (wasPulled ? untilLetGo(mount) : mount());
    return { ...common, state, directory, reason: lacks };
  } catch (error) {
    const { message } = asVreserveError(error);
    return { ...common, state: 'broken', directory: null, reason: lacks === '' ? message : `${lacks}: ${message}` };
  }
}

/** A mount that uses the pool lets go of it within a second or two. Throws what the last attempt did. */
async function untilLetGo<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = LET_GO_TRIES; ; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (left === 0) throw error;
      await sleep(LET_GO_MS);
    }
  }
}

/** null: there are not as many free devices of one type as the policy needs. */
async function create(
  tools: Tools,
  at: PoolsDirectory,
  config: BootConfig,
  { name, policy }: NonNullable<BootConfig['createIfNone']>,
): Promise<BootPool | null> {
  const allowed = config.devices;
  const surveyed = await surveyDevices(tools, allowed === null ? {} : { usb: true, loop: true });
  const free = surveyed
    .filter(({ state, device }) => state === 'free' && !device.readOnly && device.sizeBytes >= LEAST_DEVICE_BYTES)
    .map(({ device }) => device)
    .filter(({ path }) => allowed === null || allowed.includes(path));
  const count = leastDevices(policy);
  for (const type of ['ssd', 'hdd'] as const) {
    const devices = free.filter((device) => device.type === type).slice(0, count);
    if (devices.length < count) continue;
    const made = await preparePool(tools, at, { name, policy, devices: devices.map(({ path }) => path) });
    return { name, uuid: made.uuid, type: made.type, state: 'mounted', directory: made.directory, reason: '', created: true };
  }
  return null;
}

/** What is passed on to the mount: the pool that is its backing, and the others. Throws BOOT_NO_POOL. */
export function placesOf(config: BootConfig, pools: readonly BootPool[]): { backing: string; others: BootPool[] } {
  const there = pools.filter(({ directory }) => directory !== null);
  if (config.mount.backing !== null) return { backing: config.mount.backing, others: there };
  const [first, ...others] = there;
  if (first?.directory == null) throw new VreserveError('BOOT_NO_POOL', { path: config.mount.mountpoint });
  return { backing: first.directory, others };
}
