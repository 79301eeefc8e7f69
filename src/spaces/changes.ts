// Making, resizing and removing spaces, step by step: killed between any two, the next start undoes it or goes on, and no space is half.
//
// Making: a record that it has begun; the directory; the lot, which is the admission; the record that it is over.
// Removing: a record that it has begun; the lot and all that is bound below it; the directory out of sight; the record goes; its files.
// In another pool than the main one, and where the kernel enforces it, the directory at its path stays empty, and one of the pool's own is
// grafted there: from before there is a lot until after it has gone.
// A size is one transaction of the ledger.

import { formatCount, formatExactBytes } from '../core/bytes.js';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import { MAIN_POOL_ID } from '../core/pool.js';
import { type Enforcer, noRoom, poolsFor, type Space, type SpacePolicy, type SpacePool, spacePath } from '../core/space.js';
import type { By } from '../views/host.js';
import type { SpaceDirectories, SpaceHost, SpaceLog } from './host.js';

/** How long a refused command waits for bytes that are just being freed. */
const FREEING_MS = 3000;

/** How often what was bound anew in a space that is being removed is freed again. */
const TRIES = 3;

export interface ChangesParts {
  host: SpaceHost;
  log: SpaceLog;
  /** The daemon itself, which mends. */
  self: By;
}

/** A space as it is asked for, checked. */
export interface Asked {
  name: string;
  bytes: number;
  policy: SpacePolicy;
  enforce: Enforcer;
  /** In the mount; null: below `/spaces`. */
  at: string | null;
  isHidden: boolean;
}

/** Whoever calls has the turn of the name. */
export class SpaceChanges {
  readonly #parts: ChangesParts;
  readonly #spaces = new Map<string, Space>();
  /** By name: what could not be mended. */
  readonly #troubles = new Map<string, string>();
  /** Something was removed, so that files may still be on their way out. */
  #mayBeClearing = false;

  constructor(parts: ChangesParts) {
    this.#parts = parts;
  }

  get troubles(): string[] {
    return [...this.#troubles].map(([name, reason]) => `space '${name}' is not whole, and cannot be mended: ${reason}`);
  }

  get(name: string): Space | undefined {
    return this.#spaces.get(name);
  }

  all(): Space[] {
    return [...this.#spaces.values()];
  }

  /** As Spaces.load. */
  async load(): Promise<void> {
    for (const space of await this.#parts.host.record.spaces()) this.#keep(space);
  }

  /** As Spaces.recover. */
  async recover(): Promise<void> {
    const { host, log } = this.#parts;
    for (const space of this.all()) {
      const { name, state } = space;
      try {
        // A daemon may have been killed between the two.
        if (state === 'ready' && space.enforce === 'kernel') await host.enforce(space);
        if (state === 'ready' && (await this.#isWhole(space))) continue;
        if (state === 'ready') await this.#makeDirectory(space);
        else await this.settle(name);
        log.warn({ space: name, state }, 'a space was left half, and was mended');
      } catch (error) {
        log.error({ err: error, space: name, state }, 'a space was left half, and could not be mended');
        this.#troubles.set(name, asVreserveError(error).message);
      }
    }
    if (!(await host.hasGarbage())) return;
    // It clears away by itself what it finds.
    this.#mayBeClearing = true;
    await host.directories().catch((error: unknown) => log.error({ err: error }, 'removed spaces could not be cleared away'));
  }

  /** Throws SPACE_BAD_PLACE, SPACE_NAME_TAKEN, SPACE_NO_ROOM, OTHERS_WAIT, NOT_SUPPORTED. */
  async create(asked: Asked, by: By): Promise<Space> {
    const { host, log } = this.#parts;
    const { name, bytes, policy, enforce, at } = asked;
    if (host.hasLotNamed(name)) throw new VreserveError('SPACE_NAME_TAKEN', { name });
    const path = host.freshPlace(at ?? spacePath(name), by);
    const space = await this.#freeing(
      () => poolsFor(policy, bytes, this.#open(enforce)),
      (pools) => this.#createOnFirst(asked, path, pools, by),
    );
    if (space === null) throw this.#refusal(asked);
    log.info({ space: name, path, bytes, pool: space.pool }, 'space created');
    return space;
  }

  /** Throws SPACE_SHRINK, NO_SPACE, BELOW_CHILDREN. */
  async resize(space: Space, bytes: number, by: By): Promise<void> {
    const { host } = this.#parts;
    const sizeBytes = host.bytesOf(space)?.sizeBytes;
    if (sizeBytes === undefined) throw new VreserveError('SPACE_UNKNOWN', { name: space.name });
    if (bytes === sizeBytes) return;
    try {
      await host.resize(space, bytes, by);
    } catch (error) {
      if (isCode(error, 'BELOW_USE')) throw shrinks(error, bytes, sizeBytes);
      if (!isCode(error, 'NO_SPACE') || !(await this.cleared(FREEING_MS))) throw error;
      await host.resize(space, bytes, by);
    }
  }

  /** With all that is in it; false: there is none. Throws SPACE_IN_USE. */
  async remove(name: string, by: By): Promise<boolean> {
    const { host, log } = this.#parts;
    await this.settle(name);
    const space = this.#spaces.get(name);
    if (space === undefined) return false;
    const directories = await host.directories();
    const pid = await directories.spaceUser(space.path);
    if (pid !== null) throw new VreserveError('SPACE_IN_USE', { name, reason: `process ${pid} has it mounted` });
    await this.#put({ ...space, state: 'deleting' });
    try {
      if (isGrafted(space)) await host.detach(space);
    } catch (error) {
      // Nothing has been taken from it yet.
      await this.#put(space);
      throw error;
    }
    await this.#goOnRemoving(space, by);
    log.info({ space: name, path: space.path }, 'space deleted');
    return true;
  }

  /** A change of before that has failed half-way, or was killed, is brought to its end. */
  async settle(name: string): Promise<void> {
    const space = this.#spaces.get(name);
    if (space === undefined || space.state === 'ready') return;
    const { host, self } = this.#parts;
    if (space.state === 'deleting') await this.#goOnRemoving(space, self);
    else if (host.bytesOf(space) === null) await this.#undo(space, true);
    // Its bytes are set aside, which is the last step.
    else await this.#put({ ...space, state: 'ready' });
    this.#troubles.delete(name);
  }

  /** Who has removed the directory by hand gets a new one, and who has taken its limit away gets that. */
  async mend(space: Space): Promise<void> {
    if (space.enforce === 'kernel') await this.#parts.host.enforce(space);
    if (!(await this.#isWhole(space))) await this.#makeDirectory(space);
    this.#troubles.delete(space.name);
  }

  /** Waits until the files of what was removed are gone, at most so long. False: there was nothing to wait for. */
  async cleared(mostMs: number): Promise<boolean> {
    if (!this.#mayBeClearing) return false;
    const { host } = this.#parts;
    const here = host.directories().then((directories) => directories.spacesCleared(mostMs));
    return (await Promise.all([here, host.discarded(mostMs)])).some((isCleared) => isCleared);
  }

  /** Throws NOT_SUPPORTED where the kernel can enforce nothing. */
  #eligible(enforce: Enforcer): SpacePool[] {
    const { host } = this.#parts;
    const pools = host.pools().filter(({ state }) => state === 'served');
    if (enforce === 'mount') return pools;
    const reasons = new Map(pools.map((pool) => [pool, host.whyNotByKernel(pool.id)]));
    const able = pools.filter((pool) => reasons.get(pool) === null);
    if (able.length > 0) return able;
    const each = pools.map((pool) => `${pool.name} is on ${pool.filesystem}: ${reasons.get(pool)}`).join('; ');
    throw new VreserveError('NOT_SUPPORTED', { reason: `the kernel can enforce no space here (${each}): leave out --enforce` });
  }

  /** First come, first served: what the main pool has is for those who wait for it. */
  #open(enforce: Enforcer): SpacePool[] {
    const pools = this.#eligible(enforce);
    return this.#parts.host.waiting() === 0 ? pools : pools.filter(({ id }) => id !== MAIN_POOL_ID);
  }

  #refusal({ name, bytes: askedBytes, policy, enforce }: Asked): VreserveError {
    const pools = this.#eligible(enforce);
    const count = this.#parts.host.waiting();
    if (count === 0 || poolsFor(policy, askedBytes, pools).length === 0)
      return noRoom(policy, askedBytes, pools, formatExactBytes);
    const othersText = count === 1 ? '1 request waits' : `${formatCount(count)} requests wait`;
    return new VreserveError('OTHERS_WAIT', {
      path: name,
      askedBytes,
      askedText: formatExactBytes(askedBytes),
      count,
      othersText,
    });
  }

  /** Tries once more where nothing has room and files are on their way out. */
  async #freeing<T>(find: () => SpacePool[], use: (pools: SpacePool[]) => Promise<T | null>): Promise<T | null> {
    const done = await use(find());
    if (done !== null || !(await this.cleared(FREEING_MS))) return done;
    return use(find());
  }

  /** null: none of the pools has the bytes by now. */
  async #createOnFirst(asked: Asked, path: string, pools: readonly SpacePool[], by: By): Promise<Space | null> {
    for (const pool of pools) {
      try {
        return await this.#createOn(asked, path, pool, by);
      } catch (error) {
        if (!isCode(error, 'NO_SPACE')) throw error;
      }
    }
    return null;
  }

  async #createOn({ name, bytes, policy, enforce, isHidden }: Asked, path: string, pool: SpacePool, by: By): Promise<Space> {
    const { host } = this.#parts;
    const lotId = await host.newLotId();
    const space: Space = { name, lotId, path, pool: pool.id, policy, enforce, isHidden, state: 'creating' };
    await this.#put(space);
    let isOurs = true;
    try {
      const directories = await host.directories();
      isOurs = await directories.makeSpace(path);
      if (!isOurs) throw new VreserveError('SPACE_BAD_PLACE', { path, reason: 'something is there already' });
      if (isGrafted(space)) await host.attach(space, bytes);
      await host.admit(space, bytes, by);
      const ready: Space = { ...space, state: 'ready' };
      await this.#put(ready);
      return ready;
    } catch (error) {
      await this.#undo(space, isOurs).catch((failure: unknown) => {
        this.#parts.log.error({ err: failure, space: name }, 'the creation of a space could not be undone');
        this.#troubles.set(name, asVreserveError(failure).message);
      });
      throw error;
    }
  }

  /** `isOurs`: what is at the path. What somebody has put there all the same is not thrown away. */
  async #undo(space: Space, isOurs: boolean): Promise<void> {
    const { host, self } = this.#parts;
    if (isGrafted(space)) await host.detach(space);
    if (host.bytesOf(space) !== null) await host.free(space, self);
    if (isGrafted(space)) await host.discard(space);
    if (isOurs && (await host.hasDirectory(space.path))) await (await host.directories()).unmakeSpace(space.path);
    await this.#forget(space);
  }

  /** The lots go first, since what is bound cannot be renamed; then the directory, at one stroke; then its files. */
  async #goOnRemoving(space: Space, by: By): Promise<void> {
    const { host } = this.#parts;
    const directories: SpaceDirectories = await host.directories();
    this.#mayBeClearing = true;
    if (isGrafted(space)) {
      await host.detach(space);
      await host.free(space, by);
      await host.discard(space);
      await directories.unmakeSpace(space.path);
      return this.#forget(space);
    }
    for (let tries = 1; ; tries++) {
      await host.free(space, by);
      try {
        await directories.takeSpaceAway(space.path);
        break;
      } catch (error) {
        if (errnoOf(error) !== 'EBUSY' || tries === TRIES) throw error;
      }
    }
    await this.#forget(space);
  }

  /** One that is grafted is served from there or not at all: nobody can take that away. */
  async #isWhole(space: Space): Promise<boolean> {
    return isGrafted(space) || (await this.#parts.host.hasDirectory(space.path));
  }

  async #makeDirectory({ path }: Space): Promise<void> {
    const isNew = await (await this.#parts.host.directories()).makeSpace(path);
    if (isNew || (await this.#parts.host.hasDirectory(path))) return;
    throw new VreserveError('SPACE_BAD_PLACE', { path, reason: 'something else is there' });
  }

  async #put(space: Space): Promise<void> {
    await this.#parts.host.record.putSpace(space);
    this.#keep(space);
  }

  #keep(space: Space): void {
    this.#spaces.set(space.name, space);
    this.#parts.host.keep(space.lotId, true);
  }

  async #forget({ name, lotId }: Space): Promise<void> {
    const { host } = this.#parts;
    await host.record.removeSpace(name);
    this.#spaces.delete(name);
    this.#troubles.delete(name);
    host.keep(lotId, false);
  }
}

function isGrafted({ pool, enforce }: Space): boolean {
  return pool !== MAIN_POOL_ID || enforce === 'kernel';
}

/** What is told of a size that is less than what is there. */
function shrinks(error: VreserveError, askedBytes: number, oldBytes: number): VreserveError {
  const heldBytes = Number(error.details.heldBytes);
  const details = { oldBytes, askedBytes, heldBytes, heldText: formatExactBytes(heldBytes) };
  return new VreserveError('SPACE_SHRINK', details, { cause: error });
}

function isCode(error: unknown, code: VreserveError['code']): error is VreserveError {
  return error instanceof VreserveError && error.code === code;
}
