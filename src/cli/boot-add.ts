// `vreserve boot` on a mount that runs: the pools that have come since are added to it.
import { sendControl } from '../client/control.js';
import { asVreserveError } from '../core/errors.js';
import type { BootPool } from '../pools/boot-pools.js';
import type { Tools } from '../pools/tools.js';
import { readPoolsOfMount } from './pool-report.js';

/** It counts nothing: what is in the pool already stays out of sight. */
const ADD_MS = 60_000;

/** What `vreserve mount --pool` and `pool add` take. */
export function poolWord({ name, directory, type }: BootPool): string {
  return `${name}=${directory}${type === null ? '' : `,type=${type}`}`;
}

export interface AddedPools {
  /** By name; in the order of `pools`. */
  added: string[];
  /** Why one could not be, a sentence each. That stops no other. */
  notes: string[];
}

/** Those that are mounted, and of which the mount has not the directory. Throws SYSTEM. */
export async function addPools(tools: Tools, mountpoint: string, pools: readonly BootPool[]): Promise<AddedPools> {
  const known = new Set((await readPoolsOfMount(tools, mountpoint)).map(({ directory }) => directory));
  const found: AddedPools = { added: [], notes: [] };
  for (const pool of pools) {
    if (pool.directory === null || known.has(pool.directory)) continue;
    try {
      await sendControl(mountpoint, { cmd: 'pool', name: 'add', words: [poolWord(pool)] }, { timeoutMs: ADD_MS });
      found.added.push(pool.name);
    } catch (error) {
      found.notes.push(`pool ${pool.name} is not added to ${mountpoint}: ${asVreserveError(error).message}`);
    }
  }
  return found;
}
