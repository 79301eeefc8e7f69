// Lots of key-value namespaces: each owns the directory of one, which lies where no command can bind anything, or in another pool in the
// place of an empty one there.

import { lstatSync, mkdirSync } from 'node:fs';
import { mkdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LotChange } from '../core/book.js';
import { formatExactBytes } from '../core/bytes.js';
import { dropLot } from '../core/change.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import type { EventName } from '../core/events.js';
import { DEFAULT_LOT_ID, type Lot, NO_POLICY, recursivePath } from '../core/lot.js';
import {
  type NamespaceLots as Host,
  lotNameOf,
  NAMESPACES_DIRECTORY,
  type NamespaceGrant,
  namespaceAt,
  namespacePath,
} from '../core/namespace-layout.js';
import { OWN_DIRECTORY } from '../core/paths.js';
import { MAIN_POOL_ID, type PoolId } from '../core/pool.js';
import { noRoom, poolsFor, type SpacePolicy } from '../core/space.js';
import type { By } from '../views/host.js';
import type { Keeper } from './keeper.js';
import { policyFields } from './policies.js';
import type { Pools } from './pools.js';

/** Nobody but the namespaces themselves has business in it. */
const MODE = 0o700;

/** How long the last close of a file is waited for. */
const MOST_TRIES = 100;
const BETWEEN_TRIES_MS = 20;

export class NamespaceLots {
  readonly #keeper: Keeper;
  readonly #pools: Pools;
  /** In the backing. */
  readonly #directory: string;
  readonly #uid: number;

  /** `directory`: vreserve's own in the backing; `uid`: whom the daemon runs as. */
  constructor(keeper: Keeper, pools: Pools, directory: string, uid: number) {
    this.#keeper = keeper;
    this.#pools = pools;
    this.#directory = join(directory, NAMESPACES_DIRECTORY);
    this.#uid = uid;
  }

  /** Before the mount: makes the directory where it is wanted and missing, and serves the one that is there. Throws the system's error. */
  prepare(isWanted: boolean): void {
    const { engine, readOnly } = this.#keeper.parts;
    if (isWanted && !readOnly) mkdirSync(this.#directory, { mode: MODE, recursive: true });
    if (lstatSync(this.#directory, { throwIfNoEntry: false })?.isDirectory() === true) engine.serveNamespaces();
  }

  /** How many namespaces have a lot. */
  get count(): number {
    return [...this.#keeper.book.all()].filter((lot) => lot.paths.some(({ path }) => namespaceAt(path) !== null)).length;
  }

  get host(): Host {
    return {
      makeNamespaceLot: (name, grant, owner, policy) => this.#keeper.alone(() => this.#make(name, grant, owner, policy)),
      namespaceLot: async (name) => {
        const lot = this.lotOf(name);
        if (lot === undefined) return null;
        const { dedicatedBytes, opportunisticBytes } = lot.policy;
        return { dedicatedBytes, opportunisticBytes, pool: this.#pools.nameOf(lot.pool ?? MAIN_POOL_ID) };
      },
      dropNamespaceLot: async (name) => {
        await this.#keeper.alone(() => this.#drop(name));
        await this.#takeBack(name);
      },
      namespacesWithLots: async () =>
        [...this.#keeper.book.all()].flatMap(({ paths }) => paths.flatMap(({ path }) => namespaceAt(path) ?? [])),
    };
  }

  /** Of the namespace; undefined: there is none. */
  lotOf(name: string): Lot | undefined {
    const bound = this.#keeper.book.at(namespacePath(name));
    return bound === undefined ? undefined : this.#keeper.book.get(bound.lot);
  }

  async #make(name: string, grant: NamespaceGrant, owner: string | null, policy: SpacePolicy | null): Promise<void> {
    if (this.lotOf(name) !== undefined) return;
    const grafted = this.#pools.graftAt(namespacePath(name));
    if (policy === null || grafted !== undefined) return this.#grant(name, grant, owner, grafted?.pool ?? MAIN_POOL_ID);
    const pools = this.#pools.forSpaces();
    for (const { id } of poolsFor(policy, grant.dedicatedBytes, pools)) {
      try {
        return await (id === MAIN_POOL_ID ? this.#grant(name, grant, owner, id) : this.#makeIn(id, name, grant, owner));
      } catch (error) {
        // Something else took the room meanwhile.
        if (!(error instanceof VreserveError && error.code === 'NO_SPACE')) throw error;
      }
    }
    throw noRoom(policy, grant.dedicatedBytes, pools, formatExactBytes);
  }

  /** In another pool: its directory first, then the lot. */
  async #makeIn(pool: PoolId, name: string, grant: NamespaceGrant, owner: string | null): Promise<void> {
    const directory = `${OWN_DIRECTORY}/${NAMESPACES_DIRECTORY}/${name}`;
    const there = join(this.#pools.directoryOf(pool), directory);
    // One that is not served is of nobody.
    await rm(there, { recursive: true, force: true });
    await mkdir(there, { recursive: true, mode: MODE });
    await mkdir(join(this.#directory, name), { recursive: true, mode: MODE });
    try {
      await this.#pools.attach({ path: namespacePath(name), pool, directory });
      await this.#grant(name, grant, owner, pool);
    } catch (error) {
      await this.#takeBack(name);
      throw error;
    }
  }

  async #grant(name: string, grant: NamespaceGrant, owner: string | null, pool: PoolId): Promise<void> {
    const { ledger, clock } = this.#keeper.parts;
    const lotName = lotNameOf(name);
    if (this.#keeper.book.named(lotName) !== undefined) throw new VreserveError('LOT_EXISTS', { lot: lotName });
    const lot: Lot = {
      id: await ledger.newLotId(),
      name: lotName,
      owner: owner ?? String(this.#uid),
      confinedOwner: false,
      selfParent: true,
      parents: [],
      paths: [recursivePath(namespacePath(name))],
      policy: { ...NO_POLICY, ...grant, createdAtMs: clock() },
      ...(pool === MAIN_POOL_ID ? {} : { pool }),
    };
    await this.#change({ put: [lot], remove: [] }, 'grant', lot, `namespace '${name}'`);
  }

  async #drop(name: string): Promise<void> {
    const lot = this.lotOf(name);
    if (lot === undefined) return;
    await this.#change(dropLot(this.#keeper.book, lot), 'release', lot, `namespace '${name}'`);
  }

  /** Of one in another pool, the graft and the empty directories. Throws NOT_GRAFTED. */
  async #takeBack(name: string): Promise<void> {
    const path = namespacePath(name);
    const graft = this.#pools.graftAt(path);
    if (graft === undefined) return;
    for (let tries = 1; ; tries++) {
      try {
        await this.#pools.ungraft(path);
        break;
      } catch (error) {
        // The kernel tells of a close some time later.
        if (errnoOf(error) !== 'EBUSY' || tries === MOST_TRIES) throw error;
        await sleep(BETWEEN_TRIES_MS);
      }
    }
    for (const at of [join(this.#directory, name), join(this.#pools.directoryOf(graft.pool), graft.directory)]) {
      await rmdir(at).catch(() => {});
    }
  }

  async #change(change: LotChange, event: EventName, lot: Lot, shown: string): Promise<void> {
    const by = this.#self();
    const fields = { lot: lot.name, path: lot.paths[0]?.path, ...policyFields(lot.policy), ...this.#keeper.actor(by) };
    await this.#keeper.make(change, {
      ...this.#keeper.refusing(lot.policy, shown, by),
      givesBack: event === 'release',
      events: () => [this.#keeper.event(event, lot.id, fields)],
    });
  }

  #self(): By {
    const caller = { pid: process.pid, uid: this.#uid, gid: 0, groups: [], home: true, sysAdmin: true, dacOverride: true };
    return { caller, scope: DEFAULT_LOT_ID, directory: '/' };
  }
}
