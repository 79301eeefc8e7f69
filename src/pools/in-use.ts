// Who uses a device: mounts in any mount namespace, swap, what is stacked on it, and at last the kernel's own word.

import { constants } from 'node:fs';
import { open, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { errnoOf } from '../core/errors.js';
import { parseMountinfo } from '../core/mountinfo.js';
import { type Device, numberOf } from './devices.js';

interface SeenMount {
  /** `major:minor` of what is mounted; of no use for btrfs, which has numbers of its own. */
  device: string;
  source: string;
  mountpoint: string;
  /** Whose mount namespace has it; null: our own. */
  process: string | null;
}

/** All that can be in use, looked at once for many devices. */
export class Uses {
  readonly #mounts: readonly SeenMount[];
  /** `major:minor`. */
  readonly #swaps: ReadonlySet<string>;
  /** By the device's name: the UUID of the mounted btrfs that has it. */
  readonly #btrfs: ReadonlyMap<string, string>;
  /** By path: the loop device that is over it. */
  readonly #loops: ReadonlyMap<string, string>;

  private constructor(
    mounts: readonly SeenMount[],
    swaps: ReadonlySet<string>,
    btrfs: ReadonlyMap<string, string>,
    loops: ReadonlyMap<string, string>,
  ) {
    this.#mounts = mounts;
    this.#swaps = swaps;
    this.#btrfs = btrfs;
    this.#loops = loops;
  }

  static async look(): Promise<Uses> {
    return new Uses(await readAllMounts(), await readSwaps(), await readBtrfs(), await readLoops());
  }

  /** Where filesystems with one of these devices as their source are mounted, in our own namespace. */
  mountpointsOf(paths: readonly string[]): string[] {
    return this.#mounts
      .filter(({ source, process }) => process === null && paths.includes(source))
      .map(({ mountpoint }) => mountpoint);
  }

  /** Each a half sentence; none: nobody uses the device, as far as can be seen. Partitions count as the device. */
  async of(device: Device): Promise<string[]> {
    const partitions = await partitionsOf(device.name);
    const found: string[] = [];
    for (const { name, number } of [{ name: device.name, number: device.number }, ...partitions]) {
      const what = name === device.name ? '' : ` (its partition ${name})`;
      const mount = this.#mounts.find((each) => each.device === number || each.source === `/dev/${name}`);
      const uuid = this.#btrfs.get(name);
      if (mount !== undefined) found.push(`it is mounted at ${mount.mountpoint}${forWhom(mount)}${what}`);
      else if (uuid !== undefined) found.push(`it belongs to the mounted btrfs ${uuid}${what}`);
      if (this.#swaps.has(number)) found.push(`it is swap space${what}`);
      const holders = await readdir(`/sys/dev/block/${number}/holders`).catch(() => []);
      if (holders.length > 0) found.push(`it is part of ${holders.join(', ')}${what}`);
      const loop = this.#loops.get(`/dev/${name}`);
      if (loop !== undefined) found.push(`the loop device ${loop} is over it${what}`);
    }
    if (found.length === 0 && (await isClaimed(device.path))) found.push('the kernel says that somebody has it for himself');
    return found;
  }
}

/** A container keeps what was mounted when it was made. */
function forWhom({ process }: SeenMount): string {
  return process === null ? '' : ` in the mount namespace of process ${process}`;
}

/** Whether somebody has opened the device exclusively; false too where it cannot be opened at all. */
async function isClaimed(path: string): Promise<boolean> {
  const { O_RDONLY, O_EXCL, O_NONBLOCK } = constants;
  try {
    await (await open(path, O_RDONLY | O_EXCL | O_NONBLOCK)).close();
    return false;
  } catch (error) {
    return errnoOf(error) === 'EBUSY';
  }
}

/** Of every mount namespace that can be looked into. */
async function readAllMounts(): Promise<SeenMount[]> {
  const namespaces = new Set<string>();
  const mounts: SeenMount[] = [];
  const processes = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name));
  for (const name of ['self', ...processes]) {
    // Most processes share one. What ends meanwhile, or may not be looked at, has none.
    const namespace = await readlink(`/proc/${name}/ns/mnt`).catch(() => null);
    if (namespace === null || namespaces.has(namespace)) continue;
    const text = await readFile(`/proc/${name}/mountinfo`, 'utf8').catch(() => '');
    // A process that is ending shows an empty table.
    if (text === '') continue;
    namespaces.add(namespace);
    const process = name === 'self' ? null : name;
    mounts.push(...parseMountinfo(text).map(({ device, source, mountpoint }) => ({ device, source, mountpoint, process })));
  }
  return mounts;
}

async function readSwaps(): Promise<Set<string>> {
  const lines = (await readFile('/proc/swaps', 'utf8').catch(() => '')).split('\n').slice(1);
  const numbers = await Promise.all(
    lines.map(async (line) => {
      const path = line.split(/\s/)[0] ?? '';
      const status = path.startsWith('/dev/') ? await stat(path, { bigint: true }).catch(() => null) : null;
      return status?.isBlockDevice() ? numberOf(status.rdev) : null;
    }),
  );
  return new Set(numbers.filter((number) => number !== null));
}

/** Of btrfs with several devices only one is seen as the source of the mount. */
async function readBtrfs(): Promise<Map<string, string>> {
  const devices = new Map<string, string>();
  for (const uuid of await readdir('/sys/fs/btrfs').catch(() => [])) {
    for (const name of await readdir(`/sys/fs/btrfs/${uuid}/devices`).catch(() => [])) devices.set(name, uuid);
  }
  return devices;
}

async function readLoops(): Promise<Map<string, string>> {
  const loops = new Map<string, string>();
  const names = (await readdir('/sys/block').catch(() => [])).filter((name) => name.startsWith('loop'));
  for (const name of names) {
    const over = (await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '')).trimEnd();
    if (over.startsWith('/dev/')) loops.set(over, name);
  }
  return loops;
}

async function partitionsOf(name: string): Promise<{ name: string; number: string }[]> {
  const below = (await readdir(`/sys/block/${name}`).catch(() => [])).filter((each) => each.startsWith(name));
  const partitions = await Promise.all(
    below.map(async (each) => ({ name: each, number: (await readText(`/sys/block/${name}/${each}/dev`)).trim() })),
  );
  return partitions.filter(({ number }) => number !== '');
}

function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}
