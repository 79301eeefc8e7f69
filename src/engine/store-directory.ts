// The directory of the store in the backing, before it is served.

import { lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { STORE_LOT } from '../core/own-lots.js';
import { BLOBS_DIRECTORY } from '../core/store-layout.js';
import type { FoundDirectory, OwnDirectory } from './own-lot.js';

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
  return readdirSync(path).length === 0 ? 'empty' : 'filled';
}
