// The directory of the spool in the backing, before it is served: what is there, making it, and clearing up after a crash.

import { chmodSync, type Dirent, lstatSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../core/errors.js';
import { SPOOL_LOT } from '../core/own-lots.js';
import { REQUESTS, SPOOL_DIRECTORY, SPOOL_LAYOUT } from '../core/spool-layout.js';
import type { FoundDirectory, OwnDirectory } from './own-lot.js';

/** Everybody may make a spool in it, and take away their own. */
const MODE = 0o1777;

/** Of the capacity, where no grant is asked for and there is no lot yet. */
const DEFAULT_FRACTION = 0.01;

export const SPOOL: OwnDirectory = {
  lot: SPOOL_LOT,
  name: SPOOL_DIRECTORY,
  firstGrant: (capacityBytes) => ({ dedicatedBytes: Math.floor(capacityBytes * DEFAULT_FRACTION), opportunisticBytes: 0 }),
  look: lookAtSpool,
  make: makeSpool,
  clear: clearSpool,
  serve: (engine) => engine.serveSpool(SPOOL_LAYOUT),
};

function lookAtSpool(path: string): FoundDirectory {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 'absent';
  if (!stat.isDirectory()) return 'other';
  // The daemon's own directories are there from the first mount on.
  const isOwn = ({ name }: Dirent) => name === REQUESTS && !holdsFiles(join(path, name));
  return readdirSync(path, { withFileTypes: true }).every(isOwn) ? 'empty' : 'filled';
}

function holdsFiles(directory: string): boolean {
  return entriesOf(directory).some((entry) => !entry.isDirectory() || holdsFiles(join(directory, entry.name)));
}

function makeSpool(path: string): void {
  mkdirSync(path);
  chmodSync(path, MODE);
}

function clearSpool(path: string): string[] {
  const left: string[] = [];
  clear(path, SPOOL_LAYOUT.spool, left);
  for (const entry of entriesOf(path)) if (entry.isDirectory()) clear(join(path, entry.name), SPOOL_LAYOUT.queue, left);
  return left;
}

function clear(directory: string, layout: readonly string[], left: string[]): void {
  for (const { name } of entriesOf(directory)) {
    if (!name.startsWith(SPOOL_LAYOUT.making)) continue;
    const path = join(directory, name);
    try {
      // Nothing but what was made: a file in it would be somebody's.
      for (const part of layout.toReversed()) remove(join(path, part));
      remove(path);
    } catch {
      left.push(path);
    }
  }
}

function remove(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}
