// What the spaces ask for, from the keeper and the service process.

import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { addLot, freeTree } from '../core/change.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import { addUsage, DEFAULT_LOT_ID, type Lot, NO_POLICY, NO_USAGE, recursivePath } from '../core/lot.js';
import { isWithin, parentPath } from '../core/paths.js';
import { type DiskType, MAIN_POOL_ID, SPACES_PATH } from '../core/space.js';
import type { Keeper } from '../engine/keeper.js';
import { KeptLots } from '../engine/kept-lots.js';
import type { SpaceDirectories, SpaceHost } from '../spaces/host.js';
import { REMOVED_PATH, WORK_PATH } from '../spaces/layout.js';
import type { By } from '../views/host.js';

export interface MountSpacesParts {
  keeper: Keeper;
  /** Where the backing is reached. */
  view: string;
  /** What the main pool lies on; null: not known. */
  type: DiskType | null;
  /** How many requests wait for bytes of the pool. */
  waiting: () => number;
  directories: () => Promise<SpaceDirectories>;
}

/** Number and name of the pool that every mount has. */
const MAIN = { id: MAIN_POOL_ID, name: 'main' };

export function mountSpaces({ keeper, view, type, waiting, directories }: MountSpacesParts): SpaceHost {
  const { book, places } = keeper;
  const { engine, ledger, rights, clock, readOnly } = keeper.parts;
  const lots = new KeptLots(keeper);
  const checkWhole = (by: By, what: string) => {
    rights.checkKnown(by.caller);
    rights.checkWhole(by, what);
  };
  const bad = (path: string, reason: string) => new VreserveError('SPACE_BAD_PLACE', { path, reason });
  /** Throws SPACE_BAD_PLACE where it lies in a lot, or one lies in it. */
  const refuseBound = (at: string, shown: string) => {
    const bound = book.at(at);
    if (bound !== undefined) throw bad(shown, `it is a path of lot '${book.must(bound.lot).name}' already`);
    const around = places.around(at);
    if (around !== DEFAULT_LOT_ID) throw bad(shown, `it lies in lot '${book.must(around).name}'`);
    for (const lot of book.all()) {
      const below = lot.paths.find((each) => isWithin(each.path, at));
      if (below !== undefined) throw bad(shown, `'${below.path}' below it is a path of lot '${lot.name}'`);
    }
  };
  const freshPlace = (path: string, by: By): string => {
    const { shown, path: at, exists, directory } = places.place(path, by);
    refuseBound(at, shown);
    if (at === SPACES_PATH || isWithin(at, WORK_PATH)) throw bad(shown, 'that is where spaces are');
    if (exists) throw bad(shown, 'something is there already');
    const parent = parentPath(at);
    if (directory !== parent && parent !== SPACES_PATH) throw bad(shown, `the directory '${parent}' does not exist`);
    return at;
  };
  return {
    readOnly,
    record: ledger,
    checkMayChange: (by, what) => {
      checkWhole(by, what);
      rights.checkAdministrator(by.caller, what);
    },
    checkMaySee: checkWhole,
    newLotId: () => ledger.newLotId(),
    hasLotNamed: (name) => book.named(name) !== undefined,
    keep: (lot, isSpace) => void (isSpace ? book.spaces.add(lot) : book.spaces.delete(lot)),
    freshPlace,
    pools: () => [{ ...MAIN, type, state: 'served', headroomBytes: engine.pool().headroomBytes }],
    waiting,
    admit: ({ name, lotId: id, path }, dedicatedBytes, by) =>
      lots.change(by, name, 'grant', async () => {
        // With all lots held nothing can be bound around it any more.
        refuseBound(path, path);
        const lot: Lot = {
          id,
          name,
          ...rights.ownerFor(by.caller),
          selfParent: true,
          parents: [],
          paths: [recursivePath(path)],
          policy: { ...NO_POLICY, createdAtMs: clock(), dedicatedBytes },
        };
        return addLot(book, lot, []);
      }),
    resize: async (lot, bytes, by) => void (await keeper.resize(lot, bytes, by)),
    free: async ({ name, path, lotId }, by) => {
      const { put, remove } = freeTree(book, path, lotId);
      if (put.length + remove.length > 0) await lots.change(by, name, 'removal', async () => freeTree(book, path, lotId));
    },
    bytesOf: (id) => {
      const lot = book.get(id);
      if (lot === undefined) return null;
      let used = NO_USAGE;
      for (const below of book.withDescendants(id)) used = addUsage(used, keeper.usageOf(below));
      return { sizeBytes: lot.policy.dedicatedBytes, usedBytes: used.bytes };
    },
    hasDirectory: (path) => orAbsent(() => lstatSync(join(view, path)).isDirectory()),
    hasGarbage: () => orAbsent(() => readdirSync(join(view, REMOVED_PATH)).length > 0),
    directories,
    // There is one pool.
    attach: async () => {},
    detach: async () => {},
    discard: async () => {},
    discarded: async () => false,
  };
}

/** False where there is nothing. */
function orAbsent(look: () => boolean): boolean {
  try {
    return look();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}
