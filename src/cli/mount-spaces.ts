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
import type { KernelQuota, Quota } from '../spaces/kernel-quota.js';
import { REMOVED_PATH, WORK_PATH } from '../spaces/layout.js';
import { PoolDirectory } from '../spaces/pool-directory.js';
import { Projects } from '../spaces/projects.js';
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
  const { engine, ledger, rights, clock, readOnly } = keeper.parts;
  const lots = new KeptLots(keeper);
  const quotas: Record<string, KernelQuota> = { btrfs: new Subvolumes(tools), xfs: new Projects(tools) };
  /** By pool, those that had something to do. */
  const elsewhere = new Map<PoolId, PoolDirectory>();
  const directoryIn = (pool: PoolId) => {
    const quota = () => quotas[pools.forSpaces().find(({ id }) => id === pool)?.filesystem ?? ''] ?? null;
    const known = elsewhere.get(pool) ?? new PoolDirectory(pools.directoryOf(pool), quota, log);
    elsewhere.set(pool, known);
    return known;
  };
  const isServed = (pool: PoolId) => pools.forSpaces().some(({ id, state }) => id === pool && state === 'served');
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
    whyNotByKernel: (pool) => directoryIn(pool).whyNotByKernel(),
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
      const heldBytes = (await directoryIn(pool).measure([name])).get(name)?.usedBytes ?? 0;
      const beforeBytes = book.must(lotId).policy.dedicatedBytes;
      if (bytes < beforeBytes && bytes < heldBytes) throw tooSmall(name, bytes, heldBytes);
      await keeper.resize(lotId, bytes, by);
      await directoryIn(pool)
        .limit(name, bytes)
        .catch(async (error: unknown) => {
          await keeper.resize(lotId, beforeBytes, by);
          throw error;
        });
    },
    enforce: async ({ name, pool, lotId }) => {
      const bytes = book.get(lotId)?.policy.dedicatedBytes;
      if (isServed(pool) && bytes !== undefined) await directoryIn(pool).limit(name, bytes);
    },
    measure: async (spaces) => {
      const found = new Map<string, Quota | null>();
      for (const pool of new Set(spaces.map((space) => space.pool))) {
        if (!isServed(pool)) continue;
        const names = spaces.filter((space) => space.pool === pool).map(({ name }) => name);
        // One whose pool is about to go holds what it held.
        const read = await directoryIn(pool)
          .measure(names)
          .catch((error: unknown) => log.warn({ err: error, pool }, 'quotas could not be read'));
        for (const [name, quota] of read ?? []) found.set(name, quota);
      }
      for (const { name, lotId } of spaces) {
        const quota = found.get(name) ?? null;
        if (quota !== null) engine.measured(lotId, quota.usedBytes);
      }
      return found;
    },
    onUse: (used) => {
      keeper.usage.onUse = used;
    },
    free: async ({ name, path, lotId }, by) => {
      const { put, remove } = freeTree(book, path, lotId);
      if (put.length + remove.length > 0) await lots.change(by, name, 'removal', async () => freeTree(book, path, lotId));
    },
    bytesOf: ({ lotId: id }) => {
      const lot = book.get(id);
      if (lot === undefined) return null;
      let used = NO_USAGE;
      for (const below of book.withDescendants(id)) used = addUsage(used, keeper.usageOf(below));
      return { sizeBytes: lot.policy.dedicatedBytes, usedBytes: used.bytes };
    },
    hasDirectory: (path) => orAbsent(async () => (await lstat(join(view, path))).isDirectory()),
    hasGarbage: async () => {
      const served = pools.forSpaces().filter(({ id }) => isServed(id));
      const left = await Promise.all(served.map(({ id }) => directoryIn(id).collect()));
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
      if (isByKernel(space)) await directory.limit(name, bytes);
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
    discard: (space) => directoryIn(space.pool).takeAway(space.name, isByKernel(space)),
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
