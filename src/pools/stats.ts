// Size, use and promises of every pool, and their sums by type of disk. In bytes.

import { statfs } from 'node:fs/promises';
import type { DiskType } from './devices.js';
import { type FoundPool, findPools } from './found-pools.js';
import { isDegraded, missingText, poolTroubles } from './pool-health.js';
import { qgroupsOf, unfilledBytes } from './qgroups.js';
import type { Tools } from './tools.js';

/** What a mount says of one of its pools. */
export interface PoolOfMount {
  name: string;
  type: DiskType | null;
  state: string;
  capacityBytes: number;
  usedBytes: number;
  freeBytes: number;
  setAsideBytes: number;
  headroomBytes: number;
}

/** Bytes are null where nobody knows: the pool is not mounted. */
export interface PoolStats {
  name: string;
  uuid: string | null;
  type: DiskType | null;
  /** `mounted`, `degraded` (devices are missing, and it works), `not mounted`, `broken`, or what the mount says of it. */
  state: string;
  /** What is wrong, a sentence each. */
  troubles: string[];
  devices: string[];
  directory: string | null;
  sizeBytes: number | null;
  usedBytes: number | null;
  freeBytes: number | null;
  /** Promised, and not used yet. */
  setAsideBytes: number | null;
}

export interface TypeStats {
  pools: number;
  sizeBytes: number;
  usedBytes: number;
  freeBytes: number;
  setAsideBytes: number;
}

export interface Stats {
  pools: PoolStats[];
  totals: Record<DiskType, TypeStats>;
}

/** Of all prepared pools; where a mount says what it knows, of its pools too. Throws TOOL_…. */
export async function poolStats(tools: Tools, ofMount: readonly PoolOfMount[]): Promise<Stats> {
  const found = await findPools(tools, { usb: true, loop: true });
  const pools = await Promise.all(found.map((pool) => statsOf(tools, pool)));
  for (const each of ofMount) {
    const known = pools.find(({ name }) => name === each.name);
    if (known === undefined) pools.push(onlyOfMount(each));
    else Object.assign(known, told(each));
  }
  return { pools, totals: { ssd: totalOf(pools, 'ssd'), hdd: totalOf(pools, 'hdd') } };
}

async function statsOf(tools: Tools, pool: FoundPool): Promise<PoolStats> {
  const { name, uuid, type, directory } = pool;
  const devices = pool.devices.map(({ path }) => path);
  const unknown = { sizeBytes: null, usedBytes: null, freeBytes: null, setAsideBytes: null };
  const troubles = pool.missing > 0 ? [missingText(pool.missing)] : [];
  if (directory === null) return { name, uuid, type, state: 'not mounted', troubles, devices, directory, ...unknown };
  const health = await poolTroubles(directory);
  const state = health.length === 0 ? 'mounted' : health.every(isDegraded) ? 'degraded' : 'broken';
  const common = { name, uuid, type, state, troubles: health, devices, directory };
  try {
    const { blocks, bfree, bavail, bsize } = await statfs(directory);
    const setAsideBytes = unfilledBytes(await qgroupsOf(tools, directory));
    return {
      ...common,
      sizeBytes: blocks * bsize,
      usedBytes: (blocks - bfree) * bsize,
      freeBytes: bavail * bsize,
      setAsideBytes,
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { ...common, state: 'broken', troubles: [...health, reason], ...unknown };
  }
}

function told({ state, capacityBytes, usedBytes, freeBytes, setAsideBytes }: PoolOfMount) {
  return { state, sizeBytes: capacityBytes, usedBytes, freeBytes, setAsideBytes };
}

function onlyOfMount(each: PoolOfMount): PoolStats {
  return { name: each.name, uuid: null, type: each.type, troubles: [], devices: [], directory: null, ...told(each) };
}

function totalOf(pools: readonly PoolStats[], type: DiskType): TypeStats {
  const ofType = pools.filter((pool) => pool.type === type && pool.sizeBytes !== null);
  const sum = (bytesOf: (pool: PoolStats) => number | null) => ofType.reduce((total, pool) => total + (bytesOf(pool) ?? 0), 0);
  return {
    pools: ofType.length,
    sizeBytes: sum((pool) => pool.sizeBytes),
    usedBytes: sum((pool) => pool.usedBytes),
    freeBytes: sum((pool) => pool.freeBytes),
    setAsideBytes: sum((pool) => pool.setAsideBytes),
  };
}
