// What a live mount says of its pools, asked in a way that a mount which hangs cannot hold up.
import { join } from 'node:path';
import { VreserveError } from '../core/errors.js';
import type { DiskType } from '../pools/devices.js';
import type { PoolOfMount } from '../pools/stats.js';
import type { Tools } from '../pools/tools.js';

/** A mount that serves answers in milliseconds. */
const ANSWER_MS = 10_000;

/** report.json, as far as it is about pools. */
interface ReportOfPools {
  pools?: (Omit<PoolOfMount, 'type'> & { type: string | null })[];
  pool: Omit<PoolOfMount, 'name' | 'type' | 'state' | 'usedBytes'> & { usedBytes?: number };
}

/** The text of `.vreserve/NAME`. Throws SYSTEM, also where no answer comes in time. */
export async function askMount(tools: Tools, mountpoint: string, name: string): Promise<string> {
  try {
    return await tools.run('cat', [join(mountpoint, '.vreserve', name)], { timeoutMs: ANSWER_MS });
  } catch (error) {
    const reason =
      error instanceof VreserveError && error.code === 'TOOL_SLOW'
        ? `'${mountpoint}' gives no answer`
        : `'${mountpoint}' does not answer: ${error instanceof Error ? error.message : String(error)}`;
    throw new VreserveError('SYSTEM', { errno: 'EIO', reason }, { cause: error });
  }
}

/** The pools of a mount; its backing directory is `main`. Throws SYSTEM. */
export async function readPoolsOfMount(tools: Tools, mountpoint: string): Promise<PoolOfMount[]> {
  const report = JSON.parse(await askMount(tools, mountpoint, 'report.json')) as ReportOfPools;
  if (report.pools !== undefined) return report.pools.map((pool) => ({ ...pool, type: typeOf(pool.type) }));
  const { pool } = report;
  const usedBytes = pool.usedBytes ?? pool.capacityBytes - pool.freeBytes;
  return [{ ...pool, name: 'main', type: null, state: 'ok', usedBytes }];
}

function typeOf(type: string | null): DiskType | null {
  return type === 'ssd' || type === 'hdd' ? type : null;
}
