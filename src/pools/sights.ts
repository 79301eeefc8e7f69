// What the watch looks at: the pools that are mounted below a directory, or those that a mount has.

import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseMountinfo } from '../core/mountinfo.js';
import { mountTroubles } from './pool-health.js';
import type { PoolSight } from './watch.js';

/** Every btrfs that is mounted directly below the directory. */
export async function poolsBelow(poolsDir: string): Promise<PoolSight[]> {
  const mounts = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'));
  const seen = mounts.filter(({ mountpoint }, i) => mounts.findLastIndex((each) => each.mountpoint === mountpoint) === i);
  const pools = seen.filter(({ type, mountpoint }) => type === 'btrfs' && dirname(mountpoint) === poolsDir);
  return Promise.all(
    pools.map(async (mount) => ({
      name: mount.mountpoint.slice(poolsDir.length).replace(/^\//, ''),
      directory: mount.mountpoint,
      troubles: await mountTroubles(mount),
    })),
  );
}

/** The filesystems that these directories are on, whatever they are. */
export async function poolsAt(pools: readonly { name: string; directory: string }[]): Promise<PoolSight[]> {
  const mounts = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'));
  return Promise.all(
    pools.map(async ({ name, directory }) => {
      const under = ({ mountpoint }: { mountpoint: string }) =>
        mountpoint === '/' || directory === mountpoint || directory.startsWith(`${mountpoint}/`);
      const mount = mounts
        .filter(under)
        .reduce<(typeof mounts)[number] | undefined>(
          (best, each) => (best === undefined || each.mountpoint.length >= best.mountpoint.length ? each : best),
          undefined,
        );
      return { name, directory, troubles: mount === undefined ? ['it is not mounted any more'] : await mountTroubles(mount) };
    }),
  );
}
