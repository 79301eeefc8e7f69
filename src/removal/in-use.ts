// Who has a directory of the mount mounted: bind mounts of it in any mount namespace of the machine, as /proc tells of them.

import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { deviceText } from '../core/mountinfo.js';

/**
 * The id of a process that sees a part of `directory` mounted by itself, which is what a container with the volume is; null
 * where there is none. `mountpoint` is that of the mount, `directory` a path in it. Processes of others, which an ordinary
 * user may not look at, are passed over.
 */
export async function processWith(mountpoint: string, directory: string): Promise<number | null> {
  const { dev } = await stat(mountpoint, { bigint: true });
  const device = deviceText(dev);
  const seen = new Set<string>();
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    // Most processes share one. What ends meanwhile, or may not be looked at, has none.
    const namespace = await readlink(`/proc/${name}/ns/mnt`).catch(() => null);
    if (namespace === null || seen.has(namespace)) continue;
    const table = await readFile(`/proc/${name}/mountinfo`, 'latin1').catch(() => '');
    // A process that is ending shows an empty table.
    if (table === '') continue;
    seen.add(namespace);
    if (table.split('\n').some((line) => isBelow(line, device, directory))) return Number(name);
  }
  return null;
}

/** See proc_pid_mountinfo(5): the third field is the device, the fourth what of it is mounted. */
function isBelow(line: string, device: string, directory: string): boolean {
  const [, , dev, root = ''] = line.split(' ');
  return dev === device && (root === directory || root.startsWith(`${directory}/`));
}
