// `vreserve umount`: ends a mount and waits until its usage is saved; a busy mount is told with who holds it.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import type { MountEntry } from '../core/mountinfo.js';
import { nativeSystem } from '../engine/native.js';
import type { Command } from './command.js';
import { findHolders, type Holder, holderLine } from './holders.js';
import { readReport } from './live.js';
import { LET_GO } from './messages.js';
import { note, print, printJson } from './output.js';
import { findMount } from './where.js';

/** Saving usage and closing the ledger is done well within this; a backing that hangs is not waited for. */
const END_TIMEOUT_MS = 60_000;

/** For a mount that is busy. */
const MOST_TRIES = 5;
const BETWEEN_TRIES_MS = 50;

export const umount: Command = {
  usage: 'umount MNT [--lazy]',
  description: [
    'Ends the mount and returns when its usage is saved and its daemon is gone.',
    'A mount that is in use is left as it is, and those who use it are named. With --lazy it disappears at once',
    'and is served until the last file on it is closed.',
  ],
  examples: ['vreserve umount /mnt/data'],
  options: { lazy: { type: 'boolean', help: 'detach now, even when it is in use' } },
  words: [1, 1],
  async run({ positionals: [typed = ''], flag, json }) {
    const lazy = flag('lazy');
    const mount = findMount(typed);
    const daemon = daemonOf(mount);
    await detach(mount, lazy, daemon);
    const served = daemon !== null && !(await isGone(daemon, lazy ? 1_000 : END_TIMEOUT_MS));
    if (served && !lazy) {
      const reason = `'${mount.mountpoint}' is unmounted, but its daemon (${daemon.pid}) still serves it elsewhere or does not end`;
      throw new VreserveError('DAEMON_FAILED', { reason });
    }
    if (json) printJson({ ok: true, mountpoint: mount.mountpoint, ended: !served });
    else if (served) note(`detached; the daemon (${daemon.pid}) serves ${mount.mountpoint} until the last file is closed`);
    else print(`unmounted ${mount.mountpoint}`);
    return 0;
  },
};

/** The process that uses the mount for its daemon may have a file open for a moment, or for as long as it serves namespaces. */
async function detach(mount: MountEntry, lazy: boolean, daemon: Daemon | null): Promise<void> {
  const isServed = lazy && daemon !== null && heldBy(mount, daemon).length > 0;
  for (let tries = 1; ; tries++) {
    try {
      nativeSystem().unmount(mount.mountpoint, lazy);
      // Nobody else tells it to let go of what it has open itself.
      if (isServed && startTicksOf(daemon.pid) === daemon.startTicks) process.kill(daemon.pid, LET_GO);
      return;
    } catch (error) {
      if (errnoOf(error) === 'EBUSY' && daemon !== null && isHeldByItself(mount, daemon)) {
        // It takes the mount down by itself, when what it has open is closed.
        process.kill(daemon.pid, 'SIGTERM');
        return;
      }
      if (errnoOf(error) !== 'EBUSY' || tries === MOST_TRIES) throw busyOr(error, mount);
    }
    await sleep(BETWEEN_TRIES_MS);
  }
}

/** Only processes of the daemon use the mount. */
function isHeldByItself(mount: MountEntry, { pid }: Daemon): boolean {
  const holders = findHolders(mount);
  return holders.length > 0 && holders.length === ofDaemon(holders, pid).length;
}

/** What processes of the daemon have open. */
function heldBy(mount: MountEntry, { pid }: Daemon): Holder[] {
  return ofDaemon(findHolders(mount), pid);
}

function ofDaemon(holders: readonly Holder[], daemonPid: number): Holder[] {
  return holders.filter(({ pid }) => pid !== null && parentOf(pid) === daemonPid);
}

/** 0: it is gone. */
function parentOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return 0;
  }
}

interface Daemon {
  pid: number;
  /** Field 22 of /proc/PID/stat: a pid that is used again has another. */
  startTicks: string;
}

/** The process that serves the mount; null where it is gone or cannot be asked. */
function daemonOf(mount: MountEntry): Daemon | null {
  try {
    const { pid } = readReport(mount.mountpoint).daemon;
    const startTicks = startTicksOf(pid);
    return startTicks === null ? null : { pid, startTicks };
  } catch {
    return null;
  }
}

/** When the process started; null when it is gone, or a zombie that nobody waits for. */
function startTicksOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

async function isGone(daemon: Daemon, timeoutMs: number): Promise<boolean> {
  for (const endMs = Date.now() + timeoutMs; ; await sleep(20)) {
    if (startTicksOf(daemon.pid) !== daemon.startTicks) return true;
    if (Date.now() >= endMs) return false;
  }
}

function busyOr(error: unknown, mount: MountEntry): VreserveError {
  if (errnoOf(error) !== 'EBUSY') return asVreserveError(error);
  const lines = findHolders(mount).map(holderLine);
  const shown = lines.slice(0, 10).join('; ');
  const more = lines.length > 10 ? `; and ${lines.length - 10} more` : '';
  const holders = lines.length === 0 ? '' : `, held by ${shown}${more}`;
  return new VreserveError('MOUNT_BUSY', { path: mount.mountpoint, holders }, { cause: error });
}
