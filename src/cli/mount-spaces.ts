// What the spaces ask for, from the keeper and the service process.

import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { addLot, freeTree } from '../core/change.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import { addUsage, DEFAULT_LOT_ID, type Lot, NO_POLICY, NO_USAGE, recursivePath } from '../core/lot.js';
import { isWithin, parentPath } from '../core/paths.js';
import { MAIN_POOL_ID, type PoolId } from '../core/pool.js';
import { SPACES_PATH, type Space } from '../core/space.js';
import type { Keeper } from '../engine/keeper.js';
import { KeptLots } from '../engine/kept-lots.js';
import type { Pools } from '../engine/pools.js';
import { tooSmall } from '../engine/refusals.js';
import type { Tools } from '../pools/tools.js';
import type { SpaceDirectories, SpaceHost, SpaceLog } from '../spaces/host.js';
import { REMOVED_PATH, WORK_PATH } from '../spaces/layout.js';
import { PoolDirectory } from '../spaces/pool-directory.js';
import { Subvolumes } from '../spaces/subvolumes.js';
import type { By } from '../views/host.js';

export interface MountSpacesParts {
  keeper: Keeper;
  /** Where the backing is reached. */
  view: string;
  pools: Pools;
  tools: Tools;
  log: SpaceLog;
  /** How many requests wait for bytes of the pool. */
  waiting: () => number;
  directories: () => Promise<SpaceDirectories>;
}

export function mountSpaces({ keeper, view, pools, tools, log, waiting, directories }: MountSpacesParts): SpaceHost {
  const { book, places } = keeper;
  const { ledger, rights, clock, readOnly } = keeper.parts;
  const lots = new KeptLots(keeper);
  const subvolumes = new Subvolumes(tools);
  /** By pool, those that had something to do. */
  const elsewhere = new Map<PoolId, PoolDirectory>();
  const directoryIn = (pool: PoolId) => {
    const known = elsewhere.get(pool) ?? new PoolDirectory(pools.directoryOf(pool), subvolumes, log);
    elsewhere.set(pool, known);
    return known;
  };
  /** What spaces hold that the kernel enforces, by name. */
  const measured = new Map<string, number>();
  const isByKernel = ({ enforce }: Space) => enforce === 'kernel';
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
    pools: () => pools.forSpaces(),
    waiting,
    admit: ({ name, lotId: id, path, pool, enforce }, dedicatedBytes, by) =>
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
          ...(pool === MAIN_POOL_ID ? {} : { pool }),
          ...(enforce === 'kernel' ? { enforcedByKernel: true } : {}),
        };
        return addLot(book, lot, []);
      }),
    resize: async (space, bytes, by) => {
      const { name, pool, lotId } = space;
      if (!isByKernel(space)) return void (await keeper.resize(lotId, bytes, by));
      const path = directoryIn(pool).at(name);
      const heldBytes = (await subvolumes.used(path)) ?? 0;
      const beforeBytes = book.must(lotId).policy.dedicatedBytes;
      if (bytes < beforeBytes && bytes < heldBytes) throw tooSmall(name, bytes, heldBytes);
      await keeper.resize(lotId, bytes, by);
      await subvolumes.limit(path, bytes).catch(async (error: unknown) => {
        await keeper.resize(lotId, beforeBytes, by);
        throw error;
      });
    },
    enforce: async ({ name, pool, lotId }) => {
      const bytes = book.get(lotId)?.policy.dedicatedBytes;
      const isServed = pools.forSpaces().some(({ id, state }) => id === pool && state === 'served');
      if (isServed && bytes !== undefined) await subvolumes.limit(directoryIn(pool).at(name), bytes);
    },
    measure: async (spaces) => {
      for (const { name, pool } of spaces.filter(isByKernel)) {
        // One that is on its way out, or whose pool is away, holds what it held.
        const used = await subvolumes.used(directoryIn(pool).at(name)).catch(() => null);
        if (used !== null) measured.set(name, used);
      }
    },
    free: async ({ name, path, lotId }, by) => {
      const { put, remove } = freeTree(book, path, lotId);
      if (put.length + remove.length > 0) await lots.change(by, name, 'removal', async () => freeTree(book, path, lotId));
    },
    bytesOf: ({ name, lotId: id }) => {
      const lot = book.get(id);
      if (lot === undefined) return null;
      let used = NO_USAGE;
      for (const below of book.withDescendants(id)) used = addUsage(used, keeper.usageOf(below));
      return { sizeBytes: lot.policy.dedicatedBytes, usedBytes: measured.get(name) ?? used.bytes };
    },
    hasDirectory: (path) => orAbsent(async () => (await lstat(join(view, path))).isDirectory()),
    hasGarbage: async () => {
      const others = pools.forSpaces().filter(({ id, state }) => id !== MAIN_POOL_ID && state === 'served');
      const left = await Promise.all(others.map(({ id }) => directoryIn(id).collect()));
      return left.includes(true) || orAbsent(async () => (await readdir(join(view, REMOVED_PATH))).length > 0);
    },
    close: async () => {
      await Promise.all([...elsewhere.values()].map((each) => each.stop()));
    },
    directories,
    attach: async (space, bytes) => {
      const { name, path, pool } = space;
      const directory = directoryIn(pool);
      await directory.make(name, isByKernel(space));
      if (isByKernel(space)) await subvolumes.limit(directory.at(name), bytes);
      const graft = { path, pool, directory: PoolDirectory.pathOf(name), byKernel: isByKernel(space) };
      await keeper.alone(() => pools.attach(graft));
    },
    detach: ({ name, path }) =>
      keeper.alone(async () => {
        if (pools.graftAt(path) === undefined) return;
        await pools.ungraft(path).catch((error: unknown) => {
          if (errnoOf(error) !== 'EBUSY') throw error;
          throw new VreserveError('SPACE_IN_USE', { name, reason: 'files of it are open' }, { cause: error });
        });
      }),
    discard: async ({ name, pool }) => {
      const directory = directoryIn(pool);
      subvolumes.forget(directory.at(name));
      measured.delete(name);
      await directory.takeAway(name);
    },
    discarded: async (mostMs) =>
      (await Promise.all([...elsewhere.values()].map((each) => each.settled(mostMs)))).some((isCleared) => isCleared),
  };
}

/** False where there is nothing. */
async function orAbsent(look: () => Promise<boolean>): Promise<boolean> {
  try {
    return await look();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}
