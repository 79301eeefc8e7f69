// The filesystems of the machine: which one a path is on, and what is free there.

import { statfs } from 'node:fs/promises';
import { resolve } from 'node:path';
import { MAX_BYTES } from '../core/bytes.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { MountEntry } from '../core/mountinfo.js';
import { isWithin } from '../core/paths.js';
import type { Volume } from '../http/advisory.js';
import { readMounts, realPathOf } from './mountinfo.js';

/** The filesystem of a path, which need not exist: that of the nearest directory that does. Throws SYSTEM. */
export async function volumeOf(path: string): Promise<Volume> {
  if (!path.startsWith('/')) throw new VreserveError('SYSTEM', { errno: 'ENOENT', reason: 'a path begins with a slash' });
  const mount = mountOf(path.includes('\0') ? '/' : realPathOf(resolve(path)));
  if (mount === undefined) throw new VreserveError('SYSTEM', { errno: 'ENOENT', reason: `'${path}' is on no filesystem` });
  return { device: mount.device, freeBytes: () => freeBytes(mount.mountpoint) };
}

/** The longest mountpoint, by whole components; of several at the same the last covers the others. */
export function mountOf(realPath: string, mounts: readonly MountEntry[] = readMounts()): MountEntry | undefined {
  let best: MountEntry | undefined;
  for (const mount of mounts) {
    if (!isWithin(realPath, mount.mountpoint)) continue;
    if (best === undefined || mount.mountpoint.length >= best.mountpoint.length) best = mount;
  }
  return best;
}

async function freeBytes(mountpoint: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(mountpoint, { bigint: true });
    const free = bavail * bsize;
    return free > BigInt(MAX_BYTES) ? MAX_BYTES : Number(free);
  } catch (error) {
    throw asVreserveError(error);
  }
}
