// Pools beside the backing directory, as they are given, and as the ledger holds them.

import { parseBytes } from './bytes.js';
import { VreserveError } from './errors.js';
import { DISK_TYPES, type DiskType } from './space.js';

/** A pool's number, never used twice. */
export type PoolId = number;

/** The backing directory. */
export const MAIN_POOL_ID: PoolId = 0;

/** The main pool's name. */
export const MAIN_POOL_NAME = 'main';

/** What kind of disk it is on. */
export type PoolType = DiskType;

/** A pool as it is asked for. */
export interface PoolGiven {
  name: string;
  /** As given, until `mount` has made it a real path. */
  directory: string;
  /** null: what the kernel says of the disk. */
  type: PoolType | null;
  /** null: what the filesystem has. */
  capacityBytes: number | null;
  /** null: 1 % of the capacity, at most 1 GiB. */
  marginBytes: number | null;
}

/** A pool of the ledger. */
export interface Pool extends PoolGiven {
  id: PoolId;
  type: PoolType;
}

/** A directory of a pool that is served in the place of an empty directory of the mount. */
export interface Graft {
  /** Absolute in the mount. */
  path: string;
  pool: PoolId;
  /** Relative to the pool's directory. */
  directory: string;
  /** A quota of the filesystem holds there, so that writers need not pass by the server. */
  byKernel?: boolean;
}

const NAME = /^[A-Za-z0-9_.-]{1,64}$/;

/** Reads `NAME=DIR[,type=ssd|hdd][,capacity=BYTES][,margin=BYTES]`. Throws USAGE, BAD_BYTES. */
export function parsePool(text: string): PoolGiven {
  const [first = '', ...more] = text.split(',');
  const at = first.indexOf('=');
  const name = first.slice(0, Math.max(at, 0));
  const directory = first.slice(at + 1);
  if (at < 0 || directory === '') throw usage(`a pool is given as NAME=DIR, not '${text}'`);
  checkPoolName(name);
  const pool: PoolGiven = { name, directory, type: null, capacityBytes: null, marginBytes: null };
  for (const item of more) {
    const [key, value = ''] = item.split('=', 2);
    if (key === 'type') {
      const type = DISK_TYPES.find((each) => each === value);
      if (type === undefined) throw usage(`the type of pool '${name}' must be ssd or hdd, not '${value}'`);
      pool.type = type;
    } else if (key === 'capacity') pool.capacityBytes = parseBytes(value);
    else if (key === 'margin') pool.marginBytes = parseBytes(value);
    else throw usage(`pool '${name}' has no '${key}'; it has type, capacity and margin (and no comma in its directory)`);
  }
  return pool;
}

/**
 * What `parsePool` reads, of an item of a list that commas separate (`-o`): there `:` stands before an option. A directory that
 * ends like one is given with a `/` behind it.
 */
export function poolOfList(text: string): string {
  return text.replace(/(?::(?:type|capacity|margin)=[^:/]*)+$/, (options) => options.replaceAll(':', ','));
}

/** Throws USAGE for what cannot be the name of a pool beside the main one. */
export function checkPoolName(name: string): void {
  if (!NAME.test(name)) throw usage(`'${name}' cannot be the name of a pool: it takes letters, digits, '-', '_' and '.'`);
  if (name === MAIN_POOL_NAME) throw usage(`'${MAIN_POOL_NAME}' is the pool of the backing directory`);
}

function usage(reason: string): VreserveError {
  return new VreserveError('USAGE', { reason });
}
