// Makes a pool of empty devices: whole or not at all, also where it is killed on the way.

import { randomUUID } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { DiskType } from '../core/space.js';
import { type Device, namedDevice } from './devices.js';
import { findPools } from './found-pools.js';
import { Uses } from './in-use.js';
import { type Lock, lockDevices } from './lock.js';
import { checkPoolName } from './names.js';
import { checkDeviceCount, type Policy, profileWords } from './policy.js';
import { mountPool } from './pool-mount.js';
import type { Intent, PoolsDirectory } from './pools-directory.js';
import { settle, undo } from './settle.js';
import { signaturesOf, signatureText } from './signature.js';
import type { Tools } from './tools.js';

export interface PrepareRequest {
  name: string;
  /** As told: each the path of a whole device. */
  devices: readonly string[];
  policy: Policy;
}

/** A pool that is there, and mounted. */
export interface Prepared {
  name: string;
  uuid: string;
  policy: Policy;
  type: DiskType;
  devices: string[];
  directory: string;
  sizeBytes: number;
  /** It is what an earlier call, which was cut off, had begun. */
  resumed: boolean;
}

/** Below this btrfs is of no use, or refuses. */
export const LEAST_DEVICE_BYTES = 256 * 1024 ** 2;

/** mkfs.btrfs looks at what every mount has as its source, and gives up at one that is dead. */
const DEAD_MOUNT = /Transport endpoint is not connected/;
const DEAD_MOUNT_CURE = ': some mount on this machine has lost its daemon; mount it anew, or umount --lazy it';

/** Discarding all blocks of a large and slow disk takes minutes. */
const MKFS_TIMEOUT_MS = 30 * 60_000;

/**
 * Prepares a pool. What an earlier call for this name has left unfinished is finished or undone first. When `signal` is aborted it
 * is undone. Refused, or failed, nothing is changed. Throws POOL_…, DEVICE_…, POOLS_BUSY, TOOL_….
 */
export async function preparePool(
  tools: Tools,
  at: PoolsDirectory,
  request: PrepareRequest,
  signal?: AbortSignal,
): Promise<Prepared> {
  const { devices: paths, policy } = request;
  const name = checkPoolName(request.name);
  checkDeviceCount(policy, paths.length);
  const twice = paths.find((path, i) => paths.indexOf(path) !== i);
  if (twice !== undefined) throw new VreserveError('DEVICE_TWICE', { path: twice });
  // Before anything is made, a lock file included; and once more under the locks.
  if ((await at.readIntent(name)) === null) await checkRequest(tools, at, name, paths);
  return at.locked(tools, async (lock) => {
    const settled = await settle(tools, at, name, lock);
    if (settled?.directory != null) return resumed(tools, request, settled.intent, settled.directory);
    const locks = await lockDevices(tools, paths);
    try {
      const devices = await checkRequest(tools, at, name, paths);
      const intent: Intent = { name, uuid: randomUUID(), policy, devices: [...paths] };
      const directory = await make(tools, at, intent, [lock, ...locks], signal);
      return await prepared(intent, devices, directory, false);
    } finally {
      for (const each of locks) await each.release();
    }
  });
}

/** The devices, where they can become the pool of that name. */
async function checkRequest(tools: Tools, at: PoolsDirectory, name: string, paths: readonly string[]): Promise<Device[]> {
  const devices: Device[] = [];
  for (const path of paths) devices.push(await namedDevice(tools, path));
  const uses = await Uses.look();
  for (const device of devices) await checkFit(tools, device, uses);
  const other = (await findPools(tools, { usb: true, loop: true })).find((pool) => pool.name === name);
  if (other !== undefined) {
    throw new VreserveError('POOL_EXISTS', { name, where: other.devices.map(({ path }) => path).join(', ') });
  }
  await at.checkMountpoint(name);
  return devices;
}

/** Throws DEVICE_…. */
async function checkFit(tools: Tools, device: Device, uses: Uses): Promise<void> {
  const { path, sizeBytes, readOnly, name, serial } = device;
  if (readOnly) throw new VreserveError('DEVICE_UNFIT', { path, reason: 'it is read-only' });
  const [use] = await uses.of(device);
  if (use !== undefined) throw new VreserveError('DEVICE_IN_USE', { path, reason: use });
  if (sizeBytes < LEAST_DEVICE_BYTES) {
    const reason = `it has ${sizeBytes} bytes, and a pool needs ${LEAST_DEVICE_BYTES} of each device`;
    throw new VreserveError('DEVICE_UNFIT', { path, reason });
  }
  const signatures = await signaturesOf(tools, path);
  if (signatures.length === 0) return;
  const found = signatures.map(signatureText).join(', ');
  throw new VreserveError('DEVICE_NOT_EMPTY', { path, signatures: found, confirm: serial ?? name });
}

/** Notes, makes, mounts; returns where. Undone where it fails. */
async function make(
  tools: Tools,
  at: PoolsDirectory,
  intent: Intent,
  locks: readonly Lock[],
  signal: AbortSignal | undefined,
): Promise<string> {
  const [lock] = locks;
  if (lock === undefined) throw new VreserveError('INTERNAL', { reason: 'a pool is made without a lock' });
  const { name, uuid, policy, devices } = intent;
  await at.writeIntent(intent);
  try {
    const words = ['--quiet', '--uuid', uuid, '--label', name, ...profileWords(policy, devices.length), '--', ...devices];
    const held = { keepOpen: locks.map(({ fd }) => fd), timeoutMs: MKFS_TIMEOUT_MS };
    // Without --force: what has come to be on a device meanwhile makes it refuse.
    await tools.run('mkfs.btrfs', words, signal === undefined ? held : { ...held, signal });
    signal?.throwIfAborted();
    const directory = await mountPool(tools, at, { name, devices }, lock);
    await at.removeIntent(name);
    return directory;
  } catch (error) {
    const failure = asVreserveError(error);
    if (DEAD_MOUNT.test(failure.message)) failure.message += DEAD_MOUNT_CURE;
    const interrupted = new VreserveError('SYSTEM', { errno: 'EINTR', reason: `interrupted: pool '${name}' was not made` });
    const told = signal?.aborted === true ? interrupted : failure;
    await undo(tools, at, intent).catch((trouble: unknown) => {
      // The note stays, and the next call for the name does it.
      told.message += `; it could not be undone yet: ${asVreserveError(trouble).message}`;
    });
    throw told;
  }
}

/** What an earlier call had begun is the answer where it is what is asked for. */
async function resumed(tools: Tools, request: PrepareRequest, intent: Intent, directory: string): Promise<Prepared> {
  const isSame = intent.policy === request.policy && sameSet(intent.devices, request.devices);
  if (!isSame) {
    const where = `${intent.devices.join(', ')} (what was cut off earlier was finished just now)`;
    throw new VreserveError('POOL_EXISTS', { name: intent.name, where });
  }
  const devices: Device[] = [];
  for (const path of intent.devices) devices.push(await namedDevice(tools, path));
  return prepared(intent, devices, directory, true);
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each) => b.includes(each));
}

async function prepared(intent: Intent, devices: readonly Device[], directory: string, resumed: boolean): Promise<Prepared> {
  const { name, uuid, policy } = intent;
  const { blocks, bsize } = await statfs(directory);
  const type = devices.some((device) => device.type === 'hdd') ? 'hdd' : 'ssd';
  return { name, uuid, policy, type, devices: [...intent.devices], directory, sizeBytes: blocks * bsize, resumed };
}
