// Finds the files of some lots in the backing, without blocking anyone: what could be deleted.

import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { LotBook } from '../core/book.js';
import { errnoOf } from '../core/errors.js';
import { DEFAULT_LOT_ID, isForeign, type LotId } from '../core/lot.js';
import { isWithin, joinBelow, OWN_DIRECTORY } from '../core/paths.js';
import type { ReclaimFile } from '../core/reclaim.js';

/** Files are looked at so many at a time. */
const AT_ONCE = 64;

/**
 * The files of the lots that have one name only (others free nothing with one of their names). `view` is the backing.
 * What vanishes meanwhile is passed over; no symlink is followed.
 */
export async function filesOf(lots: ReadonlySet<LotId>, book: LotBook, view: string): Promise<ReclaimFile[]> {
  const found: ReclaimFile[] = [];
  const waiting = topmost(lots, book);
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const names = await namesIn(join(view, path), path, waiting);
    for (let at = 0; at < names.length; at += AT_ONCE) {
      const files = await Promise.all(
        names.slice(at, at + AT_ONCE).map((name) => fileAt(joinBelow(path, `/${name}`), lots, book, view)),
      );
      for (const file of files) if (file !== null) found.push(file);
    }
  }
  return found;
}

/** Where the lots' files can lie: no path below another. A file that is bound itself is found in its directory. */
function topmost(lots: ReadonlySet<LotId>, book: LotBook): string[] {
  if (lots.has(DEFAULT_LOT_ID)) return ['/'];
  const paths = [...lots].flatMap((id) => book.must(id).paths).filter(({ path, exclude }) => !exclude && !isForeign(path));
  const sorted = paths.map(({ path }) => path).sort();
  const tops: string[] = [];
  for (const path of sorted) if (!tops.some((top) => isWithin(path, top))) tops.push(path);
  return tops;
}

/** Names of what is no directory; directories are put on the list. A path that is a file itself gives its own name as ''. */
async function namesIn(directory: string, path: string, waiting: string[]): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of await opendir(directory)) {
      if (path === '/' && entry.name === OWN_DIRECTORY) continue;
      if (entry.isDirectory()) waiting.push(joinBelow(path, `/${entry.name}`));
      else names.push(entry.name);
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return [''];
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  return names;
}

async function fileAt(path: string, lots: ReadonlySet<LotId>, book: LotBook, view: string): Promise<ReclaimFile | null> {
  const own = path.endsWith('/') ? path.slice(0, -1) : path;
  const lot = book.ownerOf(own, false);
  if (!lots.has(lot)) return null;
  try {
    const stat = await lstat(join(view, own));
    if (stat.isDirectory() || stat.nlink > 1) return null;
    return { path: own, lot, inode: stat.ino, bytes: stat.isFile() ? stat.size : 0, accessedAtMs: stat.atimeMs };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return null;
    throw error;
  }
}
