// What a directory lies on: SSD or HDD, as the kernel knows it.

import { readFileSync, statSync } from 'node:fs';
import type { DiskType } from '../core/space.js';
import { readMounts } from './mountinfo.js';
import { mountOf } from './volumes.js';

/** null: not on a block device (as tmpfs), or the kernel does not say. `path` is a real path. */
export function diskTypeOf(path: string): DiskType | null {
  const mount = mountOf(path, readMounts());
  if (mount === undefined) return null;
  for (const device of [mount.device, deviceAt(mount.source)]) {
    if (device === null) continue;
    // A partition has no queue of its own.
    for (const queue of ['queue', '../queue']) {
      const rotational = read(`/sys/dev/block/${device}/${queue}/rotational`);
      if (rotational !== null) return rotational === '0' ? 'ssd' : 'hdd';
    }
  }
  return null;
}

/** A filesystem on several devices, such as btrfs, has a number that is none of theirs. */
function deviceAt(source: string): string | null {
  try {
    const status = statSync(source, { throwIfNoEntry: false });
    if (status?.isBlockDevice() !== true) return null;
    return `${(status.rdev >> 8) & 0xfff}:${(status.rdev & 0xff) | ((status.rdev >> 12) & 0xfff00)}`;
  } catch {
    return null;
  }
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return null;
  }
}
