// Finds who keeps a mount busy: processes with a file, a directory or a mapping of it, and mounts that lie on it.
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import type { MountEntry } from '../core/mountinfo.js';
import { isWithin } from '../core/paths.js';
import { readMounts } from './mountinfo.js';

export interface Holder {
  /** null for a mount that lies on this one. */
  pid: number | null;
  command: string;
  what: 'working directory' | 'root directory' | 'program' | 'open file' | 'mapping' | 'mount';
  path: string;
}

/** `00:2d` as in /proc/PID/maps, from `0:45` as in mountinfo. */
function deviceInHex(device: string): string {
  return device
    .split(':')
    .map((n) => Number(n).toString(16).padStart(2, '0'))
    .join(':');
}

function attempt<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch {
    // The process ended meanwhile, or belongs to somebody else.
    return otherwise;
  }
}

/** The number of the device, as stat(2) has it: makedev(3) of `major:minor`. */
function deviceNumber(device: string): bigint {
  const [major = 0n, minor = 0n] = device.split(':').map((n) => BigInt(n));
  return ((major & 0xfffff000n) << 32n) | ((major & 0xfffn) << 8n) | ((minor & 0xffffff00n) << 12n) | (minor & 0xffn);
}

/** At most one holder for each process and way of holding. Processes of others are seen by root only. */
export function findHolders(mount: MountEntry): Holder[] {
  const device = deviceNumber(mount.device);
  const holders: Holder[] = readMounts()
    .filter((m) => m.parentId === mount.id && isWithin(m.mountpoint, mount.mountpoint))
    .map((m) => ({ pid: null, command: m.type, what: 'mount', path: m.mountpoint }));
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid);
  for (const pid of pids) {
    const proc = `/proc/${pid}`;
    const found = new Map<Holder['what'], string>();
    const look = (link: string, what: Holder['what']) => {
      if (found.has(what)) return;
      const path = attempt(() => readlinkSync(link), '');
      if (!path.startsWith('/')) return;
      if (attempt(() => statSync(link, { bigint: true }).dev, -1n) === device) found.set(what, path);
    };
    look(`${proc}/cwd`, 'working directory');
    look(`${proc}/root`, 'root directory');
    look(`${proc}/exe`, 'program');
    for (const fd of attempt(() => readdirSync(`${proc}/fd`), [])) look(`${proc}/fd/${fd}`, 'open file');
    const mapped = mappingOf(
      attempt(() => readFileSync(`${proc}/maps`, 'utf8'), ''),
      deviceInHex(mount.device),
    );
    if (mapped !== null && !found.has('program')) found.set('mapping', mapped);
    const command = attempt(() => readFileSync(`${proc}/comm`, 'utf8').trim(), '?');
    for (const [what, path] of found) holders.push({ pid: Number(pid), command, what, path });
  }
  return holders;
}

function mappingOf(maps: string, device: string): string | null {
  for (const line of maps.split('\n')) {
    // address perms offset dev inode pathname
    const match = /^\S+ \S+ \S+ (\S+) \d+\s+(\/.*)$/.exec(line);
    if (match?.[1] === device) return match[2] ?? null;
  }
  return null;
}

/** `cp (4711): open file /mnt/data/a`. */
export function holderLine(holder: Holder): string {
  return holder.pid === null
    ? `${holder.what} of type ${holder.command} on ${holder.path}`
    : `${holder.command} (${holder.pid}): ${holder.what} ${holder.path}`;
}
