// Locks on files and devices, by flock(2): held until this process and every tool that it was handed to have ended, however they end.

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { VreserveError } from '../core/errors.js';
import type { Tools } from './tools.js';

/** How long one waits for another: tools that outlive a killed vreserve are done within it, as a rule. */
const WAIT_SECONDS = 30;

export interface Lock {
  /** For `keepOpen` of tools: whatever becomes of us, the lock is held until they have ended. */
  fd: number;
  release(): Promise<void>;
}

/**
 * Locks a file, which is made where it is missing, or a device, where the lock is what udev and systemd respect too ("Locking
 * Block Device Access"). undefined: somebody else has it, for longer than is waited. Throws TOOL_…, SYSTEM.
 */
export async function tryLock(tools: Tools, path: string, seconds = WAIT_SECONDS): Promise<Lock | undefined> {
  const { O_RDONLY, O_CREAT, O_NONBLOCK, O_NOFOLLOW } = constants;
  const flags = path.startsWith('/dev/') ? O_RDONLY | O_NONBLOCK : O_RDONLY | O_CREAT | O_NOFOLLOW;
  const handle = await open(path, flags, 0o600);
  try {
    // The lock is the open file's: that the tool has it, and ends, gives it to us.
    await tools.run('flock', ['--exclusive', '--timeout', String(seconds), '3'], {
      keepOpen: [handle.fd],
      timeoutMs: (seconds + 10) * 1000,
    });
  } catch (error) {
    await handle.close();
    if (error instanceof VreserveError && error.code === 'TOOL_FAILED' && error.details.exit === 1) return undefined;
    throw error;
  }
  return heldBy(handle);
}

function heldBy(handle: FileHandle): Lock {
  return { fd: handle.fd, release: () => handle.close() };
}

/** Locks all devices. Throws DEVICE_IN_USE with none locked. */
export async function lockDevices(tools: Tools, paths: readonly string[]): Promise<Lock[]> {
  const locks: Lock[] = [];
  try {
    // In one order, so that two that want the same devices do not wait for each other.
    for (const path of [...paths].sort()) {
      const lock = await tryLock(tools, path);
      if (lock === undefined) throw new VreserveError('DEVICE_IN_USE', { path, reason: 'another program has locked it' });
      locks.push(lock);
    }
    return locks;
  } catch (error) {
    for (const lock of locks) await lock.release();
    throw error;
  }
}
