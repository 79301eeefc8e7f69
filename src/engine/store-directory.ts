// The directory of the store in the backing, before it is served.

import { lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { STORE_LOT } from '../core/own-lots.js';
import { BLOBS_DIRECTORY, DATA_DIRECTORY, LOTS_DIRECTORY } from '../core/store-layout.js';
import type { FoundDirectory, OwnDirectory } from './own-lot.js';

/** What is there as long as the store is. */
const OF_EVERY_STORE: readonly string[] = ['records', 'records.new', DATA_DIRECTORY, LOTS_DIRECTORY];

/** Nobody but the store itself has business in it. */
const MODE = 0o700;

export const STORE: OwnDirectory = {
  lot: STORE_LOT,
  name: BLOBS_DIRECTORY,
  // Nothing is set aside for it, and nothing but the pool limits it.
  firstGrant: (capacityBytes) => ({ dedicatedBytes: 0, opportunisticBytes: capacityBytes }),
  look,
  make: (path) => mkdirSync(path, { mode: MODE }),
  // What was on its way into it, the store finds by itself.
  clear: () => [],
  serve: (engine) => engine.serveStore(),
};

function look(path: string): FoundDirectory {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 'absent';
  if (!stat.isDirectory()) return 'other';
  return isWithoutContent(path) ? 'empty' : 'filled';
}

/** True for a store from which everything was removed, too: its records are of no use to anybody then. */
function isWithoutContent(path: string): boolean {
  const entries = readdirSync(path, { withFileTypes: true });
  if (entries.some(({ name }) => !OF_EVERY_STORE.includes(name))) return false;
  const directories = entries.filter((entry) => entry.isDirectory());
  return directories.every(({ name }) =>
    readdirSync(join(path, name), { withFileTypes: true }).every(
      (entry) => entry.isDirectory() && readdirSync(join(path, name, entry.name)).length === 0,
    ),
  );
}
