// Whether a mounted directory can still do its work: as the kernel tells of its filesystem and its devices, without touching it.

import { access, readdir, readFile } from 'node:fs/promises';
import { type MountEntry, parseMountinfo } from '../core/mountinfo.js';

const BTRFS = '/sys/fs/btrfs';
const MISSING = 'missing';

/** Whether it is a trouble that the pool works in spite of. */
export function isDegraded(trouble: string): boolean {
  return trouble.endsWith(MISSING);
}

/** What is wrong with the filesystem at the mountpoint, a sentence each; none: nothing. */
export async function poolTroubles(directory: string): Promise<string[]> {
  const mounts = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'));
  const mount = mounts.findLast(({ mountpoint }) => mountpoint === directory);
  return mount === undefined ? ['it is not mounted any more'] : mountTroubles(mount);
}

export async function mountTroubles({ source, type, options }: MountEntry): Promise<string[]> {
  const troubles: string[] = [];
  if (options.includes('ro')) troubles.push('it has become read-only');
  const name = /^\/dev\/(.+)$/.exec(source)?.[1];
  if (name !== undefined && !(await exists(`/sys/class/block/${name}`))) troubles.push(`its device ${source} is gone`);
  if (type !== 'btrfs' || name === undefined) return troubles;
  const uuid = await uuidWith(name);
  if (uuid === null) return troubles;
  for (const device of await namesIn(`${BTRFS}/${uuid}/devices`)) {
    const isGone = device !== name && !(await exists(`/sys/class/block/${device}`));
    if (isGone) troubles.push(`its device /dev/${device} is gone`);
  }
  const missing = await missingDevices(uuid);
  return missing === 0 ? troubles : [...troubles, missingText(missing)];
}

/** Whether a btrfs is mounted there of which no device is left: its disks were pulled out. */
export async function isDead(directory: string): Promise<boolean> {
  const mounts = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'));
  const mount = mounts.findLast(({ mountpoint }) => mountpoint === directory);
  const name = /^\/dev\/(.+)$/.exec(mount?.source ?? '')?.[1];
  if (mount?.type !== 'btrfs' || name === undefined) return false;
  const uuid = await uuidWith(name);
  const names = uuid === null ? [name] : await namesIn(`${BTRFS}/${uuid}/devices`);
  const there = await Promise.all(names.map((each) => exists(`/sys/class/block/${each}`)));
  return !there.includes(true);
}

/** A sentence about devices that are not there. */
export function missingText(count: number): string {
  return count === 1 ? `one of its devices is ${MISSING}` : `${count} of its devices are ${MISSING}`;
}

async function uuidWith(device: string): Promise<string | null> {
  for (const uuid of await namesIn(BTRFS)) {
    if ((await namesIn(`${BTRFS}/${uuid}/devices`)).includes(device)) return uuid;
  }
  return null;
}

async function missingDevices(uuid: string): Promise<number> {
  let missing = 0;
  for (const id of await namesIn(`${BTRFS}/${uuid}/devinfo`)) {
    const text = await readFile(`${BTRFS}/${uuid}/devinfo/${id}/missing`, 'utf8').catch(() => '0');
    if (text.trim() === '1') missing++;
  }
  return missing;
}

function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
