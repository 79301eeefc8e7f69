// Ends what a killed `prepare` has left: finishes the pool where it is whole on its devices, else takes it away again.

import { VreserveError } from '../core/errors.js';
import { clearSuperblocks } from './clear-device.js';
import { type Device, listDevices } from './devices.js';
import { Uses } from './in-use.js';
import type { Lock } from './lock.js';
import { mountPool } from './pool-mount.js';
import type { Intent, PoolsDirectory } from './pools-directory.js';
import { readSuperblock, type Superblock } from './superblock.js';
import type { Tools } from './tools.js';

export interface Settled {
  intent: Intent;
  /** Where the pool is mounted now; null: it was undone, and its devices are empty. */
  directory: string | null;
}

interface Carrier {
  device: Device;
  block: Superblock;
}

/** null: nothing was unfinished. The pools must be locked. Throws POOL_NOTE_DAMAGED, DEVICE_IN_USE, TOOL_…. */
export async function settle(tools: Tools, at: PoolsDirectory, name: string, lock: Lock): Promise<Settled | null> {
  const intent = await at.readIntent(name);
  if (intent === null) return null;
  const carriers = await carriersOf(tools, intent.uuid);
  const count = intent.devices.length;
  const isWhole = carriers.length === count && carriers.every(({ block }) => block.isFinished && block.devices === count);
  if (!isWhole) {
    await undo(tools, at, intent);
    return { intent, directory: null };
  }
  const devices = carriers.map(({ device }) => device.path);
  const directory = (await mountedDirectory(tools, at, name, devices)) ?? (await mountPool(tools, at, { name, devices }, lock));
  await at.removeIntent(name);
  return { intent, directory };
}

/**
 * Takes away what carries the intended UUID: nothing else, and nothing that is in use. The note goes last. Throws DEVICE_IN_USE,
 * TOOL_….
 */
export async function undo(tools: Tools, at: PoolsDirectory, intent: Intent): Promise<void> {
  const carriers = await carriersOf(tools, intent.uuid);
  const uses = await Uses.look();
  for (const { device } of carriers) {
    const [use] = await uses.of(device);
    if (use !== undefined) throw new VreserveError('DEVICE_IN_USE', { path: device.path, reason: use });
  }
  for (const { device } of carriers) {
    await clearSuperblocks(device);
    await forget(tools, device.path);
  }
  await at.removeMountpoint(intent.name);
  await at.removeIntent(intent.name);
}

/** The kernel keeps a list of the btrfs devices that it was shown. */
export async function forget(tools: Tools, path: string): Promise<void> {
  // One that it does not know is an error, and nothing is lost by another.
  await tools.run('btrfs', ['device', 'scan', '--forget', path]).catch(() => {});
}

/** The devices with the UUID in their superblock, by whatever name they have now. */
async function carriersOf(tools: Tools, uuid: string): Promise<Carrier[]> {
  const carriers: Carrier[] = [];
  for (const device of await listDevices(tools, { usb: true, loop: true })) {
    const block = await readSuperblock(device.path).catch(() => null);
    if (block !== null && block.uuid === uuid) carriers.push({ device, block });
  }
  return carriers;
}

/** Where it was killed after the mount: that is there, and quotas may not be on yet. */
async function mountedDirectory(
  tools: Tools,
  at: PoolsDirectory,
  name: string,
  devices: readonly string[],
): Promise<string | null> {
  const directory = at.mountpointOf(name);
  const isThere = (await Uses.look()).mountpointsOf(devices).includes(directory);
  if (!isThere) return null;
  await tools.run('btrfs', ['quota', 'enable', directory]);
  return directory;
}
