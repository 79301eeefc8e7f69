// More filesystems to run the tests on: a directory on each, whose loop device goes with its mount.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Session } from '../helpers/session.js';

/** Sparse: only what the tests write is taken. */
const IMAGE_SIZE = '4G';

async function onLoop(session: Session, top: string, filesystem: string): Promise<string> {
  const [image, mnt] = [join(top, 'image'), join(top, 'mnt')];
  await session.command('truncate', ['-s', IMAGE_SIZE, image]);
  await session.command(`mkfs.${filesystem}`, ['-q', image]);
  await mkdir(mnt);
  // The loop device of `mount -o loop` is given back by umount.
  await session.command('mount', ['-t', filesystem, '-o', 'loop', image, mnt]);
  return mnt;
}

async function onOverlay(session: Session, top: string): Promise<string> {
  // An overlay cannot be the upper layer of another, and the temporary directory may be one.
  const [layers, mnt] = [join(top, 'layers'), join(top, 'mnt')];
  for (const directory of [layers, mnt]) await mkdir(directory);
  await session.command('mount', ['-t', 'tmpfs', '-o', 'size=4g', 'vreserve-stress', layers]);
  const [lower, upper, work] = ['lower', 'upper', 'work'].map((name) => join(layers, name)) as [string, string, string];
  for (const directory of [lower, upper, work]) await mkdir(directory);
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  await session.command('mount', ['-t', 'overlay', '-o', options, 'vreserve-stress', mnt]);
  return mnt;
}

export const BACKINGS = ['xfs', 'btrfs', 'overlay'] as const;
export type Backing = (typeof BACKINGS)[number];

/** Makes one, and returns a directory on it that anybody may use as a temporary one. */
export async function makeBacking(session: Session, backing: Backing): Promise<string> {
  const top = await session.directory();
  const mnt = backing === 'overlay' ? await onOverlay(session, top) : await onLoop(session, top, backing);
  // Tests that run as an ordinary user pass through here.
  await session.command('chmod', ['755', top]);
  await session.command('chmod', ['1777', mnt]);
  return mnt;
}
