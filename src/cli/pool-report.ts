// What a live mount says of its pools, asked in a way that a mount which hangs cannot hold up.
import { join } from 'node:path';
import { VreserveError } from '../core/errors.js';
import { MAIN_POOL_NAME } from '../core/pool.js';
import type { PoolOfMount } from '../pools/stats.js';
import type { Tools } from '../pools/tools.js';
import type { Report } from '../views/json.js';
import { diskTypeOf } from './disk-type.js';

/** A mount that serves answers in milliseconds. */
const ANSWER_MS = 10_000;

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

/** The pools of a mount, its backing directory (main) first. Throws SYSTEM. */
export async function readPoolsOfMount(tools: Tools, mountpoint: string): Promise<PoolOfMount[]> {
  const { daemon, pool, pools } = JSON.parse(await askMount(tools, mountpoint, 'report.json')) as Report;
  const main = { name: MAIN_POOL_NAME, directory: daemon.backing, type: diskTypeOf(daemon.backing), broken: null, ...pool };
  return [main, ...pools];
}
