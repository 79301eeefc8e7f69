// The directory below which pools are mounted, its lock, and the notes of what is being prepared.

import { randomUUID } from 'node:crypto';
import { type FileHandle, lstat, mkdir, open, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Ajv } from 'ajv';
import { errnoOf, VreserveError } from '../core/errors.js';
import { type Lock, tryLock } from './lock.js';
import { isPoolName } from './names.js';
import type { Policy } from './policy.js';
import type { Tools } from './tools.js';

/**
 * It is there before anything is mounted, on read-only roots too, and gone with a restart, so that no directory ever looks
 * like a pool that is not mounted. Nobody else may look in.
 */
export const DEFAULT_POOLS_DIR = '/run/vreserve/pools';

/** What is about to be made: written down before the first byte goes to a device. */
export interface Intent {
  name: string;
  /** That mkfs.btrfs is told to give: nothing else on the machine carries it. */
  uuid: string;
  policy: Policy;
  /** Paths of the devices. */
  devices: string[];
}

const isIntent = new Ajv().compile<Intent>({
  type: 'object',
  properties: {
    name: { type: 'string' },
    uuid: { type: 'string', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' },
    policy: { enum: ['single', 'raid1', 'raid10'] },
    devices: { type: 'array', minItems: 1, items: { type: 'string', pattern: '^/dev/' } },
  },
  required: ['name', 'uuid', 'policy', 'devices'],
});

const LOCK = '.lock';
const PREPARING = '.preparing';

export class PoolsDirectory {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** The directory; nothing is made. */
  static at(path: string): PoolsDirectory {
    return new PoolsDirectory(resolve(path));
  }

  /** Where the pool of that name is mounted. */
  mountpointOf(name: string): string {
    return join(this.path, name);
  }

  /** Runs `work` for one at a time; the directory is made where it is missing. Throws POOLS_BUSY, SYSTEM. */
  async locked<T>(tools: Tools, work: (lock: Lock) => Promise<T>): Promise<T> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    const lock = await tryLock(tools, join(this.path, LOCK));
    if (lock === undefined) throw new VreserveError('POOLS_BUSY', { path: this.path });
    try {
      return await work(lock);
    } finally {
      await lock.release();
    }
  }

  /** Makes the mountpoint. Throws POOL_IN_THE_WAY where something is there already. */
  async makeMountpoint(name: string): Promise<void> {
    const path = this.mountpointOf(name);
    try {
      await mkdir(path, { mode: 0o700 });
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      await this.checkMountpoint(name);
    }
  }

  /** Throws POOL_IN_THE_WAY where something is at the mountpoint that is no empty directory, or something is mounted there. */
  async checkMountpoint(name: string): Promise<void> {
    const path = this.mountpointOf(name);
    const there = await lstat(path).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return null;
      throw error;
    });
    if (there === null) return;
    const isMounted = there.dev !== (await lstat(this.path)).dev;
    const isEmpty = there.isDirectory() && !isMounted && (await readdir(path)).length === 0;
    if (!isEmpty) throw new VreserveError('POOL_IN_THE_WAY', { path });
  }

  /** Removes the mountpoint where it is an empty directory. */
  async removeMountpoint(name: string): Promise<void> {
    await rmdir(this.mountpointOf(name)).catch(() => {});
  }

  /** Names whose preparing has begun and is not known to be over. */
  async preparing(): Promise<string[]> {
    const files = await readdir(this.path).catch(() => []);
    const names = files.filter((file) => file.startsWith('.') && file.endsWith(PREPARING));
    return names.map((file) => file.slice(1, -PREPARING.length)).filter(isPoolName);
  }

  /** null: nothing is noted for the name. Throws POOL_NOTE_DAMAGED. */
  async readIntent(name: string): Promise<Intent | null> {
    const file = this.#intentFile(name);
    const text = await readFile(file, 'utf8').catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return null;
      throw error;
    });
    if (text === null) return null;
    let intent: unknown;
    try {
      intent = JSON.parse(text);
    } catch {
      intent = null;
    }
    if (!isIntent(intent) || intent.name !== name) throw new VreserveError('POOL_NOTE_DAMAGED', { file, name });
    return intent;
  }

  /** It is on disk then, and whole. */
  async writeIntent(intent: Intent): Promise<void> {
    const file = this.#intentFile(intent.name);
    const part = `${file}.${randomUUID()}`;
    try {
      await withHandle(part, 'wx', async (handle) => {
        await handle.writeFile(`${JSON.stringify(intent)}\n`);
        await handle.sync();
      });
      await rename(part, file);
    } catch (error) {
      await rm(part, { force: true });
      throw error;
    }
    await this.#sync();
  }

  async removeIntent(name: string): Promise<void> {
    await rm(this.#intentFile(name), { force: true });
    await this.#sync();
  }

  #intentFile(name: string): string {
    return join(this.path, `.${name}${PREPARING}`);
  }

  async #sync(): Promise<void> {
    await withHandle(this.path, 'r', (handle) => handle.sync());
  }
}

async function withHandle(path: string, flags: string, work: (handle: FileHandle) => Promise<void>): Promise<void> {
  const handle = await open(path, flags, 0o600);
  try {
    await work(handle);
  } finally {
    await handle.close();
  }
}
