// Mounts a pool at its place, and has btrfs count by subvolume.

import { VreserveError } from '../core/errors.js';
import type { Lock } from './lock.js';
import type { PoolsDirectory } from './pools-directory.js';
import type { Tools } from './tools.js';

/** btrfs may have to replay its log. */
const MOUNT_TIMEOUT_MS = 120_000;

/** What is there of a pool, to be mounted. */
export interface Mountable {
  name: string;
  /** Paths of its devices. */
  devices: readonly string[];
  /** Mounts it although devices are missing. */
  degraded?: boolean;
}

/**
 * Mounts the pool below the directory, with quotas on, and returns where. `lock` is held by the tools too. Throws
 * POOL_IN_THE_WAY, TOOL_…; it is not mounted then.
 */
export async function mountPool(tools: Tools, at: PoolsDirectory, pool: Mountable, lock: Lock): Promise<string> {
  const { name, devices, degraded = false } = pool;
  const [first] = devices;
  if (first === undefined) throw new VreserveError('INTERNAL', { reason: `pool '${name}' has no devices` });
  const directory = at.mountpointOf(name);
  await at.makeMountpoint(name);
  const keepOpen = [lock.fd];
  try {
    // Told one by one: the kernel may not have looked at them yet, and what it remembers may be of yesterday.
    const options = [...devices.map((path) => `device=${path}`), ...(degraded ? ['degraded'] : [])].join(',');
    await tools.run('mount', ['-t', 'btrfs', '-o', options, first, directory], { keepOpen, timeoutMs: MOUNT_TIMEOUT_MS });
    try {
      await tools.run('btrfs', ['quota', 'enable', directory], { keepOpen });
    } catch (error) {
      await tools.run('umount', [directory]).catch(() => {});
      throw error;
    }
  } catch (error) {
    await at.removeMountpoint(name);
    throw error;
  }
  return directory;
}
