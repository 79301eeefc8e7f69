// The file of `vreserve boot`: its fields, checked.

import { isAbsolute } from 'node:path';
import { Ajv } from 'ajv';
import { checkBytes, parseBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import type { DiskType } from '../core/space.js';
import { checkDevicePath, checkPoolName } from './names.js';
import { POLICIES, type Policy } from './policy.js';
import { DEFAULT_POOLS_DIR } from './pools-directory.js';

/** A pool that must be there. */
export interface WantedPool {
  name: string;
  /** Where several have the name. */
  uuid?: string;
  /** In place of what the kernel says of its devices. */
  type?: DiskType;
}

export interface BootConfig {
  /** Absolute. */
  poolsDir: string;
  /** `all`: every pool that is on the devices. */
  pools: 'all' | WantedPool[];
  /** The only devices that are looked at, loop devices too; null: all disks but those on USB. */
  devices: string[] | null;
  /** Made where there is no pool at all; null: none is. */
  createIfNone: { name: string; policy: Policy } | null;
  mount: {
    /** Absolute; null: the first pool. */
    backing: string | null;
    /** Absolute. */
    mountpoint: string;
    /** As words of `vreserve mount`, by name without dashes. */
    options: Record<string, string | number | boolean>;
  };
  /** null: none. */
  cache: { bytes: number; bindAt: string | null } | null;
}

interface Given {
  poolsDir?: string;
  pools?: 'all' | WantedPool[];
  devices?: string[];
  createIfNone?: { name: string; policy?: Policy };
  mount: { backing?: string; mountpoint: string; options?: Record<string, string | number | boolean> };
  cache?: { bytes: string | number; bindAt?: string };
}

const TEXT = { type: 'string', minLength: 1 };
const exactly = (properties: Record<string, object>, required: string[]) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});

const isGiven = new Ajv({ allowUnionTypes: true, verbose: true }).compile<Given>(
  exactly(
    {
      poolsDir: TEXT,
      pools: {
        anyOf: [
          { const: 'all' },
          { type: 'array', items: exactly({ name: TEXT, uuid: TEXT, type: { enum: ['ssd', 'hdd'] } }, ['name']) },
        ],
      },
      devices: { type: 'array', items: TEXT },
      createIfNone: exactly({ name: TEXT, policy: { enum: [...POLICIES] } }, ['name']),
      mount: exactly(
        {
          backing: TEXT,
          mountpoint: TEXT,
          options: { type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } },
        },
        ['mountpoint'],
      ),
      cache: exactly({ bytes: { type: ['string', 'integer'] }, bindAt: TEXT }, ['bytes']),
    },
    ['mount'],
  ),
);

/** The configuration in the text of a file. Throws BOOT_BAD_CONFIG, which names the field. */
export function parseBootConfig(text: string, file: string): BootConfig {
  const bad = (reason: string, cause?: unknown) => new VreserveError('BOOT_BAD_CONFIG', { file, reason }, { cause });
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw bad(`it is no JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  if (!isGiven(given)) throw bad(firstError());
  try {
    return complete(given);
  } catch (error) {
    throw error instanceof VreserveError ? bad(error.message, error) : error;
  }
}

/** Of `anyOf` the last error is the list's, which is the more telling one. */
function firstError(): string {
  const [first] = isGiven.errors ?? [];
  if (first === undefined) return 'it does not have the format';
  const where = first.instancePath === '' ? 'it' : first.instancePath.slice(1).replaceAll('/', '.');
  if (first.keyword === 'additionalProperties') return `${where} must not have '${first.params.additionalProperty}'`;
  if (first.keyword === 'enum') return `${where} must be one of ${first.params.allowedValues.join(', ')}`;
  if (first.instancePath === '/pools') return `pools must be "all" or a list of objects with a name`;
  return `${where} ${first.message}`;
}

function complete({ poolsDir, pools = 'all', devices, createIfNone, mount, cache }: Given): BootConfig {
  const { backing, mountpoint, options = {} } = mount;
  if (pools !== 'all') {
    for (const { name } of pools) checkPoolName(name);
    const twice = pools.find(({ name }, i) => pools.findIndex((each) => each.name === name) !== i);
    if (twice !== undefined) throw usage(`pools has '${twice.name}' twice`);
  }
  for (const path of devices ?? []) checkDevicePath(path);
  if (createIfNone !== undefined) {
    const { name } = createIfNone;
    checkPoolName(name);
    // Else the next start would not mount it.
    if (pools !== 'all' && !pools.some((each) => each.name === name))
      throw usage(`createIfNone.name '${name}' must be one of pools`);
  }
  return {
    poolsDir: absolute('poolsDir', poolsDir ?? DEFAULT_POOLS_DIR),
    pools,
    devices: devices ?? null,
    createIfNone: createIfNone === undefined ? null : { name: createIfNone.name, policy: createIfNone.policy ?? 'single' },
    mount: {
      backing: backing === undefined ? null : absolute('mount.backing', backing),
      mountpoint: absolute('mount.mountpoint', mountpoint),
      options,
    },
    cache:
      cache === undefined
        ? null
        : { bytes: bytesOf(cache.bytes), bindAt: cache.bindAt === undefined ? null : absolute('cache.bindAt', cache.bindAt) },
  };
}

function absolute(field: string, path: string): string {
  if (isAbsolute(path) && !path.split('/').includes('..')) return path;
  throw usage(`${field} must be an absolute path, not '${path}'`);
}

function bytesOf(given: string | number): number {
  return typeof given === 'number' ? checkBytes(given) : parseBytes(given);
}

function usage(reason: string): VreserveError {
  return new VreserveError('USAGE', { reason });
}
