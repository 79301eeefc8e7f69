// Finds vreserve mounts, and the place of a path in them, from /proc/self/mountinfo.
import { readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isWithin } from '../core/paths.js';

/** The type that the kernel shows for every vreserve mount. */
const FS_TYPE = 'fuse.vreserve';

/** One line of /proc/self/mountinfo; the format is described in proc_pid_mountinfo(5). */
export interface MountEntry {
  id: number;
  parentId: number;
  /** `major:minor`, decimal. */
  device: string;
  /** The directory of the filesystem that is seen at the mountpoint: '/' unless it is a bind mount. */
  root: string;
  mountpoint: string;
  type: string;
  source: string;
  options: string[];
}

/** The place of a path: which mount has it, and its name there. */
export interface Place {
  mount: MountEntry;
  /** Absolute below the mountpoint, '/' for the mountpoint itself. For a bind mount it starts at the bound directory. */
  path: string;
}

/** Blank, tab, newline and backslash are written in octal by the kernel. */
function decodeOctal(text: string): string {
  if (!text.includes('\\')) return text;
  const bytes: number[] = [];
  const raw = Buffer.from(text);
  for (let i = 0; i < raw.length; i++) {
    const digits = raw.toString('latin1', i + 1, i + 4);
    if (raw[i] === 0x5c && /^[0-7]{3}$/.test(digits)) {
      bytes.push(Number.parseInt(digits, 8));
      i += 3;
    } else {
      bytes.push(raw[i] ?? 0);
    }
  }
  return Buffer.from(bytes).toString();
}

/** Parses the whole text of a mountinfo file. Lines that do not have the format are left out. */
export function parseMountinfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const separator = fields.indexOf('-', 6);
    const [id, parent, device, root, mountpoint, options] = fields;
    const [type, source, superOptions] = fields.slice(separator + 1);
    if (separator < 0 || !device || !root || !mountpoint || !options || !type || source === undefined) continue;
    entries.push({
      id: Number(id),
      parentId: Number(parent),
      device,
      root: decodeOctal(root),
      mountpoint: decodeOctal(mountpoint),
      type,
      source: decodeOctal(source),
      options: [...options.split(','), ...(superOptions ?? '').split(',')],
    });
  }
  return entries;
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
