// Finds vreserve mounts, and the place of a path in them, from /proc/self/mountinfo.
import { readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type MountEntry, parseMountinfo } from '../core/mountinfo.js';
import { isWithin } from '../core/paths.js';

/** The type that the kernel shows for every vreserve mount. */
const FS_TYPE = 'fuse.vreserve';

/** The place of a path: which mount has it, and its name there. */
export interface Place {
  mount: MountEntry;
  /** Absolute below the mountpoint, '/' for the mountpoint itself. For a bind mount it starts at the bound directory. */
  path: string;
}

/** All mounts that this process sees, in the kernel's order: a later one covers an earlier one at the same mountpoint. */
export function readMounts(): MountEntry[] {
  return parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'));
}

export function isVreserve(mount: MountEntry): boolean {
  return mount.type === FS_TYPE;
}

/** Vreserve mounts as mounted (no bind mounts of parts), one a mountpoint. */
export function vreserveMounts(mounts: MountEntry[] = readMounts()): MountEntry[] {
  const own = mounts.filter((m) => mountAt(m.mountpoint, mounts) === m && isVreserve(m) && m.root === '/');
  return own.sort((a, b) => (a.mountpoint < b.mountpoint ? -1 : 1));
}

/** The mount that is seen at exactly this mountpoint. */
export function mountAt(mountpoint: string, mounts: MountEntry[] = readMounts()): MountEntry | undefined {
  return mounts.findLast((m) => m.mountpoint === mountpoint);
}

/** The vreserve mount that holds the (real) path, if the path is on one. */
export function placeOf(realPath: string, mounts: MountEntry[] = readMounts()): Place | undefined {
  let best: MountEntry | undefined;
  for (const m of mounts) {
    if (isWithin(realPath, m.mountpoint) && (!best || m.mountpoint.length >= best.mountpoint.length)) best = m;
  }
  if (!best || !isVreserve(best)) return undefined;
  const rest = best.mountpoint === '/' ? realPath : realPath.slice(best.mountpoint.length);
  return { mount: best, path: rest === '' ? '/' : rest };
}

/**
 * The absolute path with the symlinks of its existing part resolved; what does not exist is kept as it is.
 * A mountpoint whose daemon is gone counts as existing. Throws what realpath throws otherwise (EACCES, ELOOP).
 */
export function realPathOf(absolute: string): string {
  try {
    return realpathSync.native(absolute);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (absolute === '/' || !['ENOENT', 'ENOTDIR', 'ENOTCONN', 'ENAMETOOLONG'].includes(code ?? '')) throw error;
    return join(realPathOf(dirname(absolute)), basename(absolute));
  }
}
