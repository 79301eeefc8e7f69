// The pools beside the backing directory: opened before the mount, added and removed on a live one, watched, and grafted.

import { mkdirSync, realpathSync, statSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import type { EventFields } from '../core/events.js';
import { type Lot, NO_POLICY, recursivePath } from '../core/lot.js';
import { isWithin, OWN_DIRECTORY } from '../core/paths.js';
import {
  checkPoolName,
  type Graft,
  MAIN_POOL_NAME,
  type Pool,
  type PoolGiven,
  type PoolId,
  type PoolType,
  parsePool,
} from '../core/pool.js';
import type { PoolRow } from '../core/snapshot.js';
import type { SpacePool } from '../core/space.js';
import type { By, PoolRequest } from '../views/host.js';
import { MAIN_POOL, type PoolState } from './engine.js';
import type { Keeper } from './keeper.js';

export interface PoolParts {
  keeper: Keeper;
  /** Where the backing is reached. */
  view: string;
  /** What the backing is on. */
  filesystem: string;
  /** Real paths. */
  backing: string;
  mountpoint: string;
  /** What a directory lies on; null: not known. */
  diskType: (path: string) => PoolType | null;
}

/** How the mark of a pool begins: the rest of it is JSON. */
const MARK = 'vreserve pool';

/** Where spaces lie in a pool. */
const SPACES = `${OWN_DIRECTORY}/spaces`;

/** The pools of one mount, without the main one. Commands on them take all locks of the keeper. */
export class Pools {
  readonly #parts: PoolParts;
  readonly #pools = new Map<string, Pool>();
  readonly #grafts = new Map<string, Graft>();
  /** Why a pool is broken, as it was last recorded. */
  readonly #broken = new Map<string, string>();
  /** By path: why what could not be grafted when the mount began is not served. */
  readonly #lost = new Map<string, string>();
  #mountId = '';

  constructor(parts: PoolParts) {
    this.#parts = parts;
  }

  /** Before the lots are loaded: opens those of the ledger and those given. Throws POOL_…, for what is new or another's. */
  async open(given: readonly PoolGiven[]): Promise<void> {
    const { ledger, engine, log } = this.#parts.keeper.parts;
    const { mountId, pools, grafts } = await ledger.loadPools();
    this.#mountId = mountId;
    for (const pool of pools) {
      const asked = given.find(({ name }) => name === pool.name);
      const now = asked === undefined ? pool : { ...pool, ...asked, type: asked.type ?? pool.type };
      this.#checkPlace(now);
      await this.#open(now, true);
      if (asked !== undefined) await ledger.updatePool(now, []);
      this.#pools.set(now.name, now);
      const { broken = null } = engine.pool(now.id);
      if (broken !== null) log.warn({ pool: now.name, directory: now.directory, reason: broken }, 'a pool is broken');
    }
    for (const asked of given) if (!this.#pools.has(asked.name)) await this.#addNew(asked, {});
    for (const graft of grafts) await this.#graftAgain(graft);
  }

  /** The pools as they are now, the main one first. */
  rows(): PoolRow[] {
    const { engine } = this.#parts.keeper.parts;
    return [...this.#pools.values()].map(({ id, name, directory, type }) => {
      const { broken = null, io = 'cached', ioReason = '', filesystem = '', ...state } = engine.pool(id);
      return { id, name, directory, type, filesystem, io, ioReason, broken, ...state };
    });
  }

  /** As a space may lie in them, the main one first. */
  forSpaces(): SpacePool[] {
    const { keeper, backing, filesystem, diskType } = this.#parts;
    const main = keeper.parts.engine.pool(MAIN_POOL);
    const others = [...this.#pools.values()].map((pool): SpacePool => {
      const { broken = null, headroomBytes, filesystem = '' } = keeper.parts.engine.pool(pool.id);
      return {
        id: pool.id,
        name: pool.name,
        type: pool.type,
        state: broken === null ? 'served' : 'broken',
        headroomBytes,
        filesystem,
      };
    });
    const { headroomBytes } = main;
    return [
      { id: MAIN_POOL, name: MAIN_POOL_NAME, type: diskType(backing) ?? 'ssd', state: 'served', headroomBytes, filesystem },
      ...others,
    ];
  }

  /** Where the pool is, for the daemon. Throws NO_POOL. */
  directoryOf(id: PoolId): string {
    if (id === MAIN_POOL) return this.#parts.view;
    const pool = [...this.#pools.values()].find((each) => each.id === id);
    return pool === undefined ? this.#must(String(id)).directory : pool.directory;
  }

  /** What is wrong, one sentence each. */
  troubles(): string[] {
    const broken = this.rows().flatMap(({ name, directory, broken: reason }) =>
      reason === null ? [] : [`pool ${name} at ${directory} is broken: ${reason}`],
    );
    const lost = [...this.#lost].map(([path, errno]) => `${path} cannot be served from its pool: ${errno}`);
    return [...broken, ...lost];
  }

  /** Records what broke and what is back since the last time. */
  async watch(): Promise<void> {
    const { keeper } = this.#parts;
    for (const { name, directory, broken } of this.rows()) {
      const before = this.#broken.get(name) ?? null;
      if ((broken === null) === (before === null)) continue;
      if (broken === null) this.#broken.delete(name);
      else this.#broken.set(name, broken);
      const fields = { pool: name, directory, reason: broken ?? undefined };
      keeper.parts.log.warn(fields, broken === null ? 'a pool is back' : 'a pool is broken');
      await keeper.parts.ledger.saveUsage([], [keeper.event(broken === null ? 'pool-back' : 'pool-broken', null, fields)]);
    }
  }

  /** A command; what it answers is JSON. Throws NOT_YOURS, USAGE, POOL_… */
  async command({ name, words }: PoolRequest, by: By): Promise<unknown> {
    const { keeper } = this.#parts;
    const { rights } = keeper.parts;
    rights.checkKnown(by.caller);
    if (name !== 'list') rights.checkAdministrator(by.caller, 'change pools');
    rights.checkWhole(by, 'ask about pools');
    const [first, second, third, ...more] = words;
    if (name === 'list' && first === undefined) return [this.#mainRow(), ...this.rows()];
    if (name === 'add' && first !== undefined && second === undefined) {
      return keeper.alone(() => this.#add(parsePool(first), keeper.actor(by)));
    }
    if (name === 'remove' && first !== undefined && second === undefined) {
      return keeper.alone(() => this.#remove(first, keeper.actor(by)));
    }
    if (name === 'graft' && first !== undefined && second !== undefined && more.length === 0) {
      return keeper.alone(() => this.graft(first, second, Number(third ?? 0), by));
    }
    if (name === 'ungraft' && first !== undefined && second === undefined) return keeper.alone(() => this.ungraft(first));
    throw new VreserveError('BAD_COMMAND', { reason: 'write: pool add NAME=DIR[,…], pool remove NAME, or pool list' });
  }

  /**
   * Makes a directory of the pool that is served at `path`, which is empty or not there, and a root lot of so many
   * dedicated bytes that owns it. The caller holds all lots. Throws NO_POOL, NOT_GRAFTED, and what making the lot gives.
   */
  async graft(path: string, poolName: string, dedicatedBytes: number, by: By): Promise<Lot> {
    const { keeper, view } = this.#parts;
    const { ledger, engine, rights, clock } = keeper.parts;
    const pool = this.#must(poolName);
    this.servedNamed(poolName);
    const place = keeper.places.place(path, by);
    const id = await ledger.newLotId();
    const graft: Graft = { path: place.path, pool: pool.id, directory: `${SPACES}/${id}` };
    try {
      mkdirSync(join(view, place.path), { recursive: true });
      // A disk that does not answer must not hold up this thread.
      await mkdir(join(pool.directory, graft.directory), { recursive: true });
      await engine.graft(graft.path, graft.pool, graft.directory, false);
    } catch (error) {
      throw notGrafted(place.shown, error);
    }
    const lot: Lot = {
      id,
      name: place.path,
      ...rights.ownerFor(by.caller),
      selfParent: true,
      parents: [],
      paths: [recursivePath(place.path)],
      policy: { ...NO_POLICY, createdAtMs: clock(), dedicatedBytes },
      pool: pool.id,
    };
    try {
      await ledger.putGraft(graft, []);
      const fields = { lot: lot.name, path: lot.name, pool: pool.name, bytes: dedicatedBytes, ...keeper.actor(by) };
      const events = () => [keeper.event('grant', lot.id, fields)];
      await keeper.make({ put: [lot], remove: [] }, { ...keeper.refusing(lot.policy, place.shown, by), events });
    } catch (error) {
      await engine.ungraft(graft.path);
      await ledger.dropGraft(graft.path, []);
      await rmdir(join(pool.directory, graft.directory));
      throw error;
    }
    this.#grafts.set(graft.path, graft);
    return lot;
  }

  /**
   * Serves a directory of a pool, which is there, in the place of an empty directory of the mount; a lot is bound afterwards. Nothing
   * where it is so already. The caller holds all lots. Throws NOT_GRAFTED.
   */
  async attach(graft: Graft): Promise<void> {
    const { engine, ledger } = this.#parts.keeper.parts;
    if (this.#grafts.has(graft.path)) return;
    try {
      await engine.graft(graft.path, graft.pool, graft.directory, graft.byKernel === true);
    } catch (error) {
      throw notGrafted(graft.path, error);
    }
    try {
      await ledger.putGraft(graft, []);
    } catch (error) {
      await engine.ungraft(graft.path);
      throw error;
    }
    this.#grafts.set(graft.path, graft);
  }

  /** Where a path of the mount really is. */
  locate(path: string): string {
    for (const graft of this.#grafts.values()) {
      if (isWithin(path, graft.path)) return join(this.directoryOf(graft.pool), graft.directory, path.slice(graft.path.length));
    }
    return join(this.#parts.view, path);
  }

  /** The numbers of those that are served, the main one first. */
  served(): PoolId[] {
    return this.forSpaces()
      .filter(({ state }) => state === 'served')
      .map(({ id }) => id);
  }

  /** Throws NO_POOL, and POOL_FAILED for one that is not served. */
  servedNamed(name: string): PoolId {
    const id = name === MAIN_POOL_NAME ? MAIN_POOL : this.#must(name).id;
    const { broken = null } = this.#parts.keeper.parts.engine.pool(id);
    if (broken !== null)
      throw new VreserveError('POOL_FAILED', { name, path: this.directoryOf(id), reason: broken, errno: 'EIO' });
    return id;
  }

  /** What is grafted at exactly this path. */
  graftAt(path: string): Graft | undefined {
    return this.#grafts.get(path);
  }

  /** Throws NO_POOL. */
  nameOf(id: PoolId): string {
    if (id === MAIN_POOL) return MAIN_POOL_NAME;
    return [...this.#pools.values()].find((each) => each.id === id)?.name ?? this.#must(String(id)).name;
  }

  /** The empty directory is there again. What was in it stays in the pool. Throws NOT_GRAFTED. */
  async ungraft(path: string): Promise<Graft> {
    const { engine, ledger } = this.#parts.keeper.parts;
    const graft = this.#grafts.get(path);
    if (graft === undefined)
      throw new VreserveError('NOT_GRAFTED', { path, reason: 'nothing is grafted there', errno: 'ENOENT' });
    try {
      await engine.ungraft(path);
    } catch (error) {
      throw notGrafted(path, error);
    }
    await ledger.dropGraft(path, []);
    this.#grafts.delete(path);
    this.#lost.delete(path);
    return graft;
  }

  /** What is grafted of a pool. */
  graftsOf(pool: Pool): Graft[] {
    return [...this.#grafts.values()].filter((graft) => graft.pool === pool.id);
  }

  async #add(given: PoolGiven, by: EventFields): Promise<PoolRow | undefined> {
    const directory = realDirectory(given);
    const known = this.#pools.get(given.name);
    if (known !== undefined) throw new VreserveError('POOL_EXISTS', { name: given.name, where: known.directory });
    await this.#addNew({ ...given, directory }, by);
    return this.rows().find(({ name }) => name === given.name);
  }

  async #addNew(given: PoolGiven, by: EventFields): Promise<void> {
    const { keeper } = this.#parts;
    const { ledger, readOnly } = keeper.parts;
    if (readOnly) throw new VreserveError('READ_ONLY');
    checkPoolName(given.name);
    this.#checkPlace(given);
    const type = given.type ?? this.#parts.diskType(given.directory) ?? 'ssd';
    const pool = await ledger.addPool({ ...given, type }, []);
    try {
      await this.#open(pool, false);
    } catch (error) {
      await ledger.removePool(pool.id, []);
      throw error;
    }
    this.#pools.set(pool.name, pool);
    const fields = { pool: pool.name, directory: pool.directory, type, ...by };
    await ledger.saveUsage([], [keeper.event('pool-added', null, fields)]);
  }

  async #remove(name: string, by: EventFields): Promise<{ name: string }> {
    const { keeper } = this.#parts;
    const { engine, ledger } = keeper.parts;
    const pool = this.#must(name);
    const grafts = this.graftsOf(pool).map(({ path }) => path);
    if (grafts.length > 0) throw new VreserveError('POOL_IN_USE', { name, reason: `${grafts.join(', ')} is in it` });
    const lots = [...keeper.book.all()].filter((lot) => lot.pool === pool.id).map((lot) => lot.name);
    if (lots.length > 0) throw new VreserveError('POOL_IN_USE', { name, reason: `lot ${lots.join(', ')} is in it` });
    try {
      await engine.removePool(pool.id);
    } catch (error) {
      throw new VreserveError('POOL_IN_USE', { name, reason: asVreserveError(error).message }, { cause: error });
    }
    const fields = { pool: name, directory: pool.directory, ...by };
    await ledger.removePool(pool.id, [keeper.event('pool-removed', null, fields)]);
    this.#pools.delete(name);
    this.#broken.delete(name);
    return { name };
  }

  /** `known`: it may be away for now. */
  async #open({ id, name, directory, capacityBytes, marginBytes }: Pool, known: boolean): Promise<void> {
    const { engine } = this.#parts.keeper.parts;
    const mark = `${MARK} ${JSON.stringify({ name, mount: this.#mountId })}\n`;
    try {
      await engine.addPool({ id, name, directory, mark, known, capacityBytes, marginBytes });
    } catch (error) {
      const errno = errnoOf(error) ?? 'EIO';
      const reason = error instanceof Error ? (error.message.split(': ')[0] ?? errno) : errno;
      const code = errno === 'EBUSY' || errno === 'EEXIST' ? 'POOL_TAKEN' : 'POOL_FAILED';
      throw new VreserveError(code, { name, path: directory, reason, errno }, { cause: error });
    }
  }

  /** Throws POOL_PLACE where the directory, or one above or below it, is served already. */
  #checkPlace({ name, directory }: PoolGiven): void {
    const { backing, mountpoint } = this.#parts;
    const others: [string, string][] = [
      [backing, 'the backing directory'],
      [mountpoint, 'the mountpoint'],
      ...[...this.#pools.values()]
        .filter((pool) => pool.name !== name)
        .map((pool): [string, string] => [pool.directory, `pool ${pool.name}`]),
    ];
    for (const [other, what] of others) {
      if (!isWithin(directory, other) && !isWithin(other, directory)) continue;
      const reason = directory === other ? `it is ${what}` : `it is inside, or around, ${what} '${other}'`;
      throw new VreserveError('POOL_PLACE', { name, path: directory, reason });
    }
  }

  async #graftAgain(graft: Graft): Promise<void> {
    const { keeper, view } = this.#parts;
    const { engine, readOnly, log } = keeper.parts;
    this.#grafts.set(graft.path, graft);
    try {
      // Somebody may have taken the empty directory away behind the mount.
      if (!readOnly) mkdirSync(join(view, graft.path), { recursive: true });
      await engine.graft(graft.path, graft.pool, graft.directory, graft.byKernel === true);
    } catch (error) {
      log.error({ err: error, graft }, 'what lies in a pool cannot be served');
      this.#lost.set(graft.path, errnoOf(error) ?? 'EIO');
    }
  }

  #must(name: string): Pool {
    const pool = this.#pools.get(name);
    if (pool !== undefined) return pool;
    throw new VreserveError('NO_POOL', { name, has: [MAIN_POOL_NAME, ...this.#pools.keys()].join(', ') });
  }

  #mainRow(): Omit<PoolRow, 'filesystem' | 'io' | 'ioReason'> & PoolState {
    const { keeper, backing, diskType } = this.#parts;
    const state = keeper.parts.engine.pool(MAIN_POOL);
    return { id: MAIN_POOL, name: MAIN_POOL_NAME, directory: backing, type: diskType(backing) ?? 'ssd', broken: null, ...state };
  }
}

/** The real path of a pool's directory. Throws POOL_FAILED. */
export function realDirectory({ name, directory }: PoolGiven): string {
  try {
    const real = realpathSync(directory);
    if (statSync(real).isDirectory()) return real;
  } catch (error) {
    const errno = errnoOf(error) ?? 'EIO';
    const reason = errno === 'ENOENT' ? 'it does not exist' : asVreserveError(error).message;
    throw new VreserveError('POOL_FAILED', { name, path: directory, reason, errno }, { cause: error });
  }
  throw new VreserveError('POOL_FAILED', { name, path: directory, reason: 'it is not a directory', errno: 'ENOTDIR' });
}

function notGrafted(path: string, error: unknown): VreserveError {
  const errno = errnoOf(error) ?? 'EIO';
  const reasons: Record<string, string> = {
    ENOTEMPTY: 'it is not empty',
    ENOTDIR: 'it is not a directory',
    EBUSY: 'it is in use',
    EXDEV: 'it lies in another pool',
    EIO: 'the pool is broken',
  };
  return new VreserveError('NOT_GRAFTED', { path, reason: reasons[errno] ?? errno, errno }, { cause: error });
}
