// Size, use and promises of every pool, and their sums by type of disk. In bytes.

import { statfs } from 'node:fs/promises';
import type { DiskType } from '../core/space.js';
import { type FoundPool, findPools } from './found-pools.js';
import { isDegraded, missingText, poolTroubles } from './pool-health.js';
import { qgroupsOf, unfilledBytes } from './qgroups.js';
import type { Tools } from './tools.js';

/** What a mount says of one of its pools. */
export interface PoolOfMount {
  name: string;
  directory: string;
  /** null: what the disk says. */
  type: DiskType | null;
  /** Why nothing in it can be used now; null: all is well. */
  broken: string | null;
  capacityBytes: number;
  usedBytes: number;
  freeBytes: number;
  setAsideBytes: number;
}

/** Bytes are null where nobody knows: the pool is not mounted. */
export interface PoolStats {
  name: string;
  uuid: string | null;
  type: DiskType | null;
  /** `served` (by the mount that was asked), `mounted`, `degraded` (devices are missing, and it works), `not mounted`, `broken`. */

  state: 'served' | 'mounted' | 'degraded' | 'not mounted' | 'broken';
  /** What that mount calls it; null: it is none of its pools. */
  servedAs: string | null;
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
    // The mount may call it otherwise: its backing directory is `main`.
    const at = pools.findIndex(({ directory }) => directory === each.directory);
    pools.splice(at < 0 ? pools.length : at, at < 0 ? 0 : 1, servedAs(each, pools[at]));
  }
  return { pools, totals: { ssd: totalOf(pools, 'ssd'), hdd: totalOf(pools, 'hdd') } };
}

async function statsOf(tools: Tools, pool: FoundPool): Promise<PoolStats> {
  const { name, uuid, type, directory } = pool;
  const base: PoolStats = {
    name,
    uuid,
    type,
    state: 'not mounted',
    servedAs: null,
    troubles: pool.missing > 0 ? [missingText(pool.missing)] : [],
    devices: pool.devices.map(({ path }) => path),
    directory,
    sizeBytes: null,
    usedBytes: null,
    freeBytes: null,
    setAsideBytes: null,
  };
  if (directory === null) return base;
  const troubles = await poolTroubles(directory);
  const state = troubles.length === 0 ? 'mounted' : troubles.every(isDegraded) ? 'degraded' : 'broken';
  try {
    const { blocks, bfree, bavail, bsize } = await statfs(directory);
    const bytes = { sizeBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize, freeBytes: bavail * bsize };
    return { ...base, ...bytes, state, troubles, setAsideBytes: unfilledBytes(await qgroupsOf(tools, directory)) };
  } catch (error) {
    return { ...base, state: 'broken', troubles: [...troubles, error instanceof Error ? error.message : String(error)] };
  }
}

/** The pool as the mount has it, whose capacity can be less than what the filesystem has. */
function servedAs(pool: PoolOfMount, known: PoolStats | undefined): PoolStats {
  const { name, directory, broken, capacityBytes: sizeBytes, usedBytes, freeBytes, setAsideBytes } = pool;
  const bytes = { sizeBytes, usedBytes, freeBytes, setAsideBytes };
  const state = broken === null ? 'served' : 'broken';
  const troubles = [...(known?.troubles ?? []), ...(broken === null ? [] : [broken])];
  const told = { type: pool.type ?? known?.type ?? null, state, servedAs: name, troubles, directory, ...bytes } as const;
  return { name, uuid: null, devices: [], ...known, ...told };
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
