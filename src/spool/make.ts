// A spool's directories: looked at, or made (Multispool 3.2).

import { constants, type Stats } from 'node:fs';
import { access, mkdir, readdir, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import type { Disk } from './disk.js';
import { Layout } from './layout.js';

/** Throws SPOOL_NOT_A_DIRECTORY or SPOOL_NOT_ACCESSIBLE unless all directories are there but `.data`, which is not looked at. */
export async function checkSpool(dir: string, queues: readonly string[], disk: Disk): Promise<void> {
  const layout = new Layout(dir);
  await checkDirectory(dir, disk);
  await checkDirectory(layout.registry, disk);
  await checkDirectory(layout.tmp, disk);
  for (const queue of queues) {
    await checkDirectory(layout.queue(queue), disk);
    await checkDirectory(layout.checkout(queue), disk);
  }
}

/**
 * Makes what is missing, and syncs the directories in which it made something. A directory that is no spool must be empty, but for
 * the `.registry` of somebody who makes the same spool now or never came further: else SPOOL_NOT_EMPTY.
 */
export async function makeSpool(dir: string, queues: readonly string[], disk: Disk): Promise<void> {
  const layout = new Layout(dir);
  const make = async (path: string) => {
    if (await makeDirectory(path, disk)) changed.add(dirname(resolve(path)));
  };
  const changed = new Set<string>();
  await make(dir);
  if (!(await looksLikeSpool(layout, disk))) await checkEmpty(layout, disk);
  await make(layout.registry);
  await make(layout.tmp);
  await make(layout.data);
  for (const queue of queues) {
    await make(layout.queue(queue));
    await make(layout.checkout(queue));
  }
  // From the inside out: what is on the disk is complete.
  for (const path of [...changed].reverse()) await disk.syncDirectory(path);
}

async function looksLikeSpool(layout: Layout, disk: Disk): Promise<boolean> {
  for (const path of [layout.registry, layout.tmp]) {
    if ((await statIfThere(path, disk))?.isDirectory() !== true) return false;
  }
  return true;
}

async function checkEmpty(layout: Layout, disk: Disk): Promise<void> {
  const names = await disk.run(() => readdir(layout.dir));
  if (names.length === 0) return;
  const begun = names.includes(basename(layout.registry)) && (await statIfThere(layout.registry, disk))?.isDirectory() === true;
  const others = names.filter((name) => ![layout.registry, layout.tmp, layout.data].map((path) => basename(path)).includes(name));
  if (!begun || (others.length > 0 && !(await looksLikeSpool(layout, disk)))) {
    throw new VreserveError('SPOOL_NOT_EMPTY', { path: layout.dir });
  }
}

/** Whether it had to be made; one that is there must be usable. */
async function makeDirectory(path: string, disk: Disk): Promise<boolean> {
  try {
    await disk.run(() => mkdir(path));
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    await checkDirectory(path, disk);
    return false;
  }
}

async function checkDirectory(path: string, disk: Disk): Promise<void> {
  const found = await statIfThere(path, disk);
  if (found?.isDirectory() !== true) {
    throw new VreserveError('SPOOL_NOT_A_DIRECTORY', { path, errno: found === null ? 'ENOENT' : 'ENOTDIR' });
  }
  try {
    await disk.run(() => access(path, constants.R_OK | constants.W_OK | constants.X_OK));
  } catch (error) {
    if (!['EACCES', 'EROFS'].includes(errnoOf(error) ?? '')) throw error;
    throw new VreserveError('SPOOL_NOT_ACCESSIBLE', { path, errno: errnoOf(error) ?? 'EACCES' }, { cause: error });
  }
}

/** Null where nothing is there, or a part of the path is no directory. */
async function statIfThere(path: string, disk: Disk): Promise<Stats | null> {
  try {
    return await disk.run(() => stat(path));
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return null;
    throw error;
  }
}
