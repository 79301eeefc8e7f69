// Removes trees of any depth and with any names, without following a link and with few descriptors.

import { randomUUID } from 'node:crypto';
import { opendir, rename, rmdir, unlink } from 'node:fs/promises';
import { errnoOf } from '../core/errors.js';
import { HeldDirectory } from './held-directory.js';

/** Names of one directory that are at work at a time. */
const MANY = 4;

interface Entry {
  name: Buffer;
  isDirectory: boolean;
}

/** What could not be removed, and why the first of it. */
export interface Left {
  names: number;
  error: unknown;
}

/**
 * Empties a directory. One in it that is not empty gives its own directories up to it before it goes, so that no path gets
 * longer. Resolves to what is left; ends early at the signal.
 */
export async function clear(directory: HeldDirectory, signal: AbortSignal): Promise<Left> {
  const stays = new Map<string, unknown>();
  for (let removed = 1; removed > 0 && !signal.aborted; ) {
    removed = await eachEntry(directory, async (entry) => {
      const key = entry.name.toString('latin1');
      if (signal.aborted || stays.has(key)) return false;
      try {
        await removeTree(directory, entry, signal);
        return true;
      } catch (error) {
        // Others have taken it away, and the next pass sees what there is then.
        if (errnoOf(error) === 'ENOENT') return true;
        if (!signal.aborted) stays.set(key, error);
        return false;
      }
    });
  }
  return { names: stays.size, error: stays.values().next().value };
}

async function removeTree(outer: HeldDirectory, entry: Entry, signal: AbortSignal): Promise<void> {
  while (!(await isRemoved(outer, entry))) {
    const moved = await HeldDirectory.with(outer.at(entry.name), (inner) =>
      eachEntry(inner, async (each) => {
        signal.throwIfAborted();
        if (!(await isRemoved(inner, each))) await rename(inner.at(each.name), outer.at(randomUUID()));
        return true;
      }),
    );
    if (moved === 0) await rmdir(outer.at(entry.name));
  }
}

/** False: it is a directory with something in it. */
async function isRemoved(directory: HeldDirectory, { name, isDirectory }: Entry): Promise<boolean> {
  try {
    await (isDirectory ? rmdir : unlink)(directory.at(name));
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return true;
    if (isDirectory && (errnoOf(error) === 'ENOTEMPTY' || errnoOf(error) === 'EEXIST')) return false;
    throw error;
  }
}

/** How many entries `work` says yes to. Rejects with the first failure, when no work is under way any more. */
async function eachEntry(directory: HeldDirectory, work: (entry: Entry) => Promise<boolean>): Promise<number> {
  const underWay = new Set<Promise<void>>();
  const failures: unknown[] = [];
  let yes = 0;
  const start = async (entry: Entry) => {
    try {
      if (await work(entry)) yes += 1;
    } catch (error) {
      failures.push(error);
    }
  };
  // Names need not be text, and all of them at once may be too many.
  for await (const found of await opendir(directory.at().toString(), { encoding: 'buffer' as BufferEncoding })) {
    if (failures.length > 0) break;
    const entry = { name: found.name as unknown as Buffer, isDirectory: found.isDirectory() };
    const job = start(entry).finally(() => underWay.delete(job));
    underWay.add(job);
    if (underWay.size >= MANY) await Promise.race(underWay);
  }
  await Promise.all(underWay);
  if (failures.length > 0) throw failures[0];
  return yes;
}
