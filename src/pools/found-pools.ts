// The pools that the disks of the machine hold, mounted or not.

import { readFile } from 'node:fs/promises';
import { parseMountinfo } from '../core/mountinfo.js';
import type { DiskType } from '../core/space.js';
import { type Device, type DeviceChoice, listDevices } from './devices.js';
import { isPoolName } from './names.js';
import { readSuperblock } from './superblock.js';
import type { Tools } from './tools.js';

/** A btrfs on whole disks whose label can be the name of a pool. */
export interface FoundPool {
  name: string;
  uuid: string;
  /** `hdd` where one of the devices is. */
  type: DiskType;
  /** Those that are there. */
  devices: Device[];
  /** How many are not. */
  missing: number;
  /** Where it is mounted, here; null: nowhere. */
  directory: string | null;
}

/** Of all devices of the choice. Throws TOOL_…. */
export async function findPools(tools: Tools, choice: DeviceChoice): Promise<FoundPool[]> {
  return poolsOn(await listDevices(tools, choice));
}

/** Those on these devices, by name, then UUID. A device that cannot be read holds none. */
export async function poolsOn(devices: readonly Device[]): Promise<FoundPool[]> {
  const pools = new Map<string, FoundPool & { wanted: number }>();
  for (const device of devices) {
    const block = await readSuperblock(device.path).catch(() => null);
    if (block === null || !block.isFinished || !isPoolName(block.label)) continue;
    const { uuid, label: name, devices: wanted } = block;
    const pool = pools.get(uuid) ?? { name, uuid, type: device.type, devices: [], missing: 0, directory: null, wanted };
    pool.devices.push(device);
    if (device.type === 'hdd') pool.type = 'hdd';
    pools.set(uuid, pool);
  }
  const mounted = await mountedBtrfs();
  const found = [...pools.values()].map(({ wanted, ...pool }) => ({
    ...pool,
    missing: Math.max(0, wanted - pool.devices.length),
    directory: pool.devices.map(({ path }) => mounted.get(path)).find((each) => each !== undefined) ?? null,
  }));
  return found.sort((a, b) => (`${a.name} ${a.uuid}` < `${b.name} ${b.uuid}` ? -1 : 1));
}

/** What a daemon has of a pool for itself, for as long as it uses it. */
const VIEW = /^\/run\/vreserve\/\d+-\d+$/;

/** Where whole filesystems are mounted here, by the device that the kernel names; the last at a mountpoint is what is seen. */
async function mountedBtrfs(): Promise<Map<string, string>> {
  const mounts = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'));
  const seen = mounts.filter(
    ({ mountpoint }, i) => !VIEW.test(mountpoint) && mounts.findLastIndex((each) => each.mountpoint === mountpoint) === i,
  );
  const whole = seen.filter(({ type, root }) => type === 'btrfs' && root === '/');
  // The first mount of several is the pool's own.
  return new Map(whole.reverse().map((each) => [each.source, each.mountpoint]));
}
