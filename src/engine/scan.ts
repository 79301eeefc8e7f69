// Finds the files of some lots in the backing, without blocking anyone: what could be deleted.

import { lstat, opendir } from 'node:fs/promises';
import { basename } from 'node:path';
import type { LotBook } from '../core/book.js';
import { errnoOf } from '../core/errors.js';
import { DEFAULT_LOT_ID, isForeign, type LotId } from '../core/lot.js';
import { isWithin, joinBelow, OWN_DIRECTORY, parentPath } from '../core/paths.js';
import type { ReclaimFile } from '../core/reclaim.js';

/** Files are looked at so many at a time. */
const AT_ONCE = 64;

type Locate = (path: string) => string;

interface Directory {
  path: string;
  uid: number;
  names: string[];
}

/**
 * The files of the lots that have one name only (others free nothing with one of their names). `locate` says where a path of
 * the mount really is.
 * What vanishes meanwhile is passed over; no symlink is followed. `onLooked` is told how many files were looked at.
 */
export async function filesOf(
  lots: ReadonlySet<LotId>,
  book: LotBook,
  locate: Locate,
  onLooked: (files: number) => void,
): Promise<ReclaimFile[]> {
  const found: ReclaimFile[] = [];
  const waiting = topmost(lots, book);
  // A backing that is not there has no files either, and must not look like it.
  await lstat(locate('/'));
  let looked = 0;
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const directory = await readDirectory(locate, path, waiting);
    for (let at = 0; at < directory.names.length; at += AT_ONCE) {
      const names = directory.names.slice(at, at + AT_ONCE);
      const files = await Promise.all(names.map((name) => fileAt(name, directory, lots, book, locate)));
      for (const file of files) if (file !== null) found.push(file);
      looked += files.length;
      onLooked(looked);
    }
  }
  return found;
}

/** Where the lots' files can lie: no path below another. A file that is bound itself is found in its directory. */
function topmost(lots: ReadonlySet<LotId>, book: LotBook): string[] {
  if (lots.has(DEFAULT_LOT_ID)) return ['/'];
  const paths = [...lots].flatMap((id) => book.must(id).paths).filter(({ path, exclude }) => !exclude && isReclaimable(path));
  const all = new Set(paths.map(({ path }) => path));
  return [...all].filter((path) => {
    for (let above = parentPath(path); above !== '/'; above = parentPath(above)) if (all.has(above)) return false;
    return true;
  });
}

/** What lies in `.vreserve` is in nobody's way, whatever its lot's policy says: the engine does not take it away either. */
function isReclaimable(path: string): boolean {
  return !isForeign(path) && !isWithin(path, `/${OWN_DIRECTORY}`);
}

/** What is no directory; directories are put on the list. A path that is a file itself is the one name in its directory. */
async function readDirectory(locate: Locate, path: string, waiting: string[]): Promise<Directory> {
  const names: string[] = [];
  try {
    const { uid } = await lstat(locate(path));
    for await (const entry of await opendir(locate(path))) {
      if (path === '/' && entry.name === OWN_DIRECTORY) continue;
      if (entry.isDirectory()) waiting.push(joinBelow(path, `/${entry.name}`));
      else names.push(entry.name);
    }
    return { path, uid, names };
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') {
      const above = parentPath(path);
      const { uid } = await lstat(locate(above));
      return { path: above, uid, names: [basename(path)] };
    }
    if (errnoOf(error) !== 'ENOENT') throw error;
    return { path, uid: -1, names: [] };
  }
}

async function fileAt(
  name: string,
  directory: Directory,
  lots: ReadonlySet<LotId>,
  book: LotBook,
  locate: Locate,
): Promise<ReclaimFile | null> {
  const path = joinBelow(directory.path, `/${name}`);
  const lot = book.ownerOf(path, false);
  if (!lots.has(lot)) return null;
  try {
    const stat = await lstat(locate(path));
    if (stat.isDirectory() || stat.nlink > 1) return null;
    const { ino: inode, uid, atimeMs: accessedAtMs } = stat;
    return { path, lot, inode, bytes: stat.isFile() ? stat.size : 0, accessedAtMs, uid, directoryUid: directory.uid };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return null;
    throw error;
  }
}
