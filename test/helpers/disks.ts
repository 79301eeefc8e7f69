// Filesystems in files, on loop devices, for tests of several pools; taken down with the test.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Teardown } from './mount.js';
import { must, run } from './run.js';

export type DiskKind = 'ext4' | 'btrfs' | 'xfs' | 'tmpfs';

/** A disk of a test: what is mounted there, and from what. */
export interface Disk {
  /** The mountpoint. */
  at: string;
  kind: DiskKind;
  /** Mounts it again, after `lose`. */
  mount(): Promise<void>;
  /** Detaches it from its path, whoever uses it. */
  lose(): Promise<void>;
}

/** Why there can be none; false where there can. */
export async function whyNoDisk(kind: DiskKind): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'only root can mount';
  if (kind === 'tmpfs') return false;
  // xfs knows -V alone.
  const { code } = await run(`mkfs.${kind}`, ['-V']).catch(() => ({ code: 127 }));
  if (code === 127) return `there is no mkfs.${kind}`;
  const loops = await run('losetup', ['--find']);
  return loops.code === 0 ? false : 'there are no loop devices';
}

/**
 * A new filesystem of `mebibytes` (XFS takes 300 at least) below `top`, which is the test's own directory (see `temporaryDirectory`), with
 * these options of mount(8) besides.
 */
export async function makeDisk(
  t: Teardown,
  top: string,
  name: string,
  kind: DiskKind,
  mebibytes: number,
  options = 'rw',
): Promise<Disk> {
  const at = join(top, name);
  const image = join(top, `${name}.img`);
  await mkdir(at);
  if (kind !== 'tmpfs') {
    await must(run('truncate', ['-s', `${mebibytes}M`, image]));
    await must(run(`mkfs.${kind}`, ['-q', image]));
  }
  const disk: Disk = {
    at,
    kind,
    async mount() {
      // The loop device goes with the last use of what is mounted from it.
      if (kind === 'tmpfs') await must(run('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'vreserve-test', at]));
      else await must(run('mount', ['-o', `loop,${options}`, image, at]));
    },
    async lose() {
      await must(run('umount', ['--lazy', at]));
    },
  };
  t.teardown(async () => {
    await run('umount', ['--lazy', at]);
  });
  await disk.mount();
  return disk;
}
