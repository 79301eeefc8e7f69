// A mount's store for the hammer: over HTTP and as files, while its daemon is killed and mounted again, or its service process.
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../helpers/http.js';
import { gone, type Mounted } from '../helpers/mount.js';
import { payloadFiles } from './blobs.js';
import type { Target } from './hammer.js';
import { HttpWay } from './ways.js';

/** After so many deaths of its service process a mount is begun anew: the pauses before the next start grow. */
const DEATHS = 5;

/** The service process of a mount; null: there is none now. */
export async function servicePid({ mnt }: Mounted): Promise<number | null> {
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (command.includes(`cli/main.js\0service\0${mnt}\0`)) return Number(name);
  }
  return null;
}

/** Files of contents that are gone, or were never whole, and that the process still has open. */
export async function heldPayloads(pid: number): Promise<string[]> {
  const fds = `/proc/${pid}/fd`;
  const links = await Promise.all((await readdir(fds)).map((fd) => readlink(join(fds, fd)).catch(() => '')));
  return links.filter((link) => /\/blobs\/.*(\(deleted\)|\.tmp)$/.test(link));
}

/** Resolves when the store answers over HTTP and as files. */
async function isServed(socketPath: string, directory: string): Promise<void> {
  const way = new HttpWay(socketPath);
  await until(
    async () =>
      (await way.isHealthy()) &&
      (await readdir(directory).then(
        () => true,
        () => false,
      )),
    'the store answers',
  );
  await way.end();
}

/** `victim`: what `kill` kills. The mount is there, with `--http` on the socket. */
export function mountTarget(m: Mounted, socketPath: string, victim: 'daemon' | 'service'): Target {
  const directory = join(m.mnt, '.vreserve/store');
  let deaths = 0;
  return {
    socketPath,
    directory,
    files: () => readdir(directory),
    payloads: () => payloadFiles(join(m.data, '.vreserve/blobs')),
    async start() {
      if (victim === 'daemon' && deaths > 0) await m.remount();
      else if (deaths % DEATHS === DEATHS - 1) {
        // Busy while somebody is at a file.
        await until(async () => (await m.run(['umount', m.mnt])).code === 0, 'it is unmounted');
        await m.remount();
      }
      await isServed(socketPath, directory);
    },
    async kill() {
      deaths += 1;
      if (victim === 'daemon') return await m.kill();
      const pid = await servicePid(m);
      if (pid === null) throw new Error('there is no service process');
      process.kill(pid, 'SIGKILL');
      await gone(pid);
    },
  };
}
