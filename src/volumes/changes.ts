// Making and removing volumes, step by step: killed between any two, the next start undoes the making and finishes the removal.

import { formatExactBytes } from '../core/bytes.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import { UNLIMITED } from '../core/lot.js';
import type { Garbage } from '../removal/garbage.js';
import type { ReserveOptions } from '../views/host.js';
import type { VolumeDirectory } from './directory.js';
import type { VolumeHost, VolumeLot } from './host.js';
import type { VolumeLog } from './log.js';
import { isVolumeName, VOLUMES_PATH, volumePath } from './names.js';
import { PLAIN_DIRECTORY, type VolumeOptions } from './options.js';

/** How long a refused creation waits for bytes that are just being freed. */
const FREEING_MS = 3000;

/** How often what was bound anew in a volume that is being removed is freed again. */
const TRIES = 3;

export interface ChangesParts {
  host: VolumeHost;
  directory: VolumeDirectory;
  garbage: Garbage;
  log: VolumeLog;
}

/** Whoever calls has the turn of the name. */
export class VolumeChanges {
  readonly #parts: ChangesParts;

  constructor(parts: ChangesParts) {
    this.#parts = parts;
  }

  /** As VolumeDriver.create. */
  async create(name: string, options: VolumeOptions): Promise<void> {
    const { directory } = this.#parts;
    await this.#settle(name);
    const found = await directory.look(name);
    if (found === 'other') throw new VreserveError('VOLUME_BAD_NAME', { name, reason: 'what has it is no directory' });
    const isThere = found === 'volume';
    const lot = await this.#ownLot(name);
    if (isThere || lot !== null) await this.#createAgain(name, options, lot, isThere);
    else await this.#createNew(name, options);
  }

  /** Of a volume that is there, and that nobody uses. */
  async remove(name: string): Promise<void> {
    const { garbage, log } = this.#parts;
    await garbage.after(() => this.#remove(name));
    log.info({ volume: name }, 'volume removed');
  }

  /** What a killed process has begun is undone, or gone on with; a reservation without a directory gets one. */
  async recover(): Promise<void> {
    const { directory, garbage } = this.#parts;
    const undone = await directory.changing('creating');
    await this.#mend(undone, 'its creation was undone', (name) => this.#undoCreation(name));
    const finished = await directory.changing('removing');
    await this.#mend(finished, 'its removal was finished', (name) => this.#goOnRemoving(name));
    const missing = await this.#withoutDirectory();
    await this.#mend(missing, 'its directory was missing', (name) => directory.make(name, PLAIN_DIRECTORY));
    garbage.collect();
  }

  async #mend(names: readonly string[], what: string, mend: (name: string) => Promise<void>): Promise<void> {
    const { log } = this.#parts;
    for (const name of names) {
      try {
        await mend(name);
        log.warn({ volume: name }, `a volume was left half: ${what}`);
      } catch (error) {
        log.error({ err: error, volume: name }, 'a volume was left half, and could not be mended');
      }
    }
  }

  /** A change of before that has failed half-way is brought to its end. */
  async #settle(name: string): Promise<void> {
    const { directory, garbage } = this.#parts;
    if (await directory.isChanging('creating', name)) await this.#undoCreation(name);
    if (await directory.isChanging('removing', name)) await garbage.after(() => this.#goOnRemoving(name));
  }

  async #remove(name: string): Promise<void> {
    try {
      await this.#parts.directory.begin('removing', name);
    } catch (error) {
      // A disk that is full has no room for a note, and all the more reason for the removal.
      if (errnoOf(error) !== 'ENOSPC' && errnoOf(error) !== 'EDQUOT') throw error;
    }
    await this.#goOnRemoving(name);
  }

  async #createNew(name: string, options: VolumeOptions): Promise<void> {
    const { directory, log } = this.#parts;
    await directory.begin('creating', name);
    try {
      await this.#reserve(name, options.sizeBytes ?? 0, newPolicy(options));
      await directory.make(name, options);
    } catch (error) {
      await this.#undoCreation(name);
      throw error;
    }
    await directory.end('creating', name);
    log.info({ volume: name, sizeBytes: options.sizeBytes ?? null }, 'volume created');
  }

  /** There is a directory, or a reservation, or both. */
  async #createAgain(name: string, options: VolumeOptions, lot: VolumeLot | null, isThere: boolean): Promise<void> {
    if (lot === null) await this.#reserve(name, options.sizeBytes ?? 0, newPolicy(options));
    else if (asksForMore(name, options, lot)) {
      await this.#reserve(name, options.sizeBytes ?? lot.dedicatedBytes, policyOf(options));
    }
    if (!isThere) await this.#parts.directory.make(name, options);
  }

  async #reserve(name: string, bytes: number, policy: ReserveOptions): Promise<void> {
    const { host, garbage } = this.#parts;
    try {
      await host.reserve(volumePath(name), bytes, policy);
    } catch (error) {
      const isFull = error instanceof VreserveError && error.code === 'NO_SPACE';
      if (!isFull || !(await garbage.settled(FREEING_MS))) throw error;
      await host.reserve(volumePath(name), bytes, policy);
    }
  }

  /** What somebody has put there all the same, by hand, is not thrown away: it is a volume then. */
  async #undoCreation(name: string): Promise<void> {
    const { directory, host } = this.#parts;
    if (await directory.unmake(name)) await host.free(volumePath(name));
    await directory.end('creating', name);
  }

  /** The lots go first, since what is bound cannot be renamed; then the volume, at one stroke; then its files. */
  async #goOnRemoving(name: string): Promise<void> {
    const { directory, host } = this.#parts;
    for (let tries = 1; ; tries++) {
      await host.free(volumePath(name));
      try {
        await directory.takeAway(name);
        break;
      } catch (error) {
        if (errnoOf(error) !== 'EBUSY' || tries === TRIES) throw error;
      }
    }
    await directory.end('removing', name);
  }

  async #ownLot(name: string): Promise<VolumeLot | null> {
    const lot = await this.#parts.host.lotOf(volumePath(name));
    return lot.isOwn ? lot : null;
  }

  async #withoutDirectory(): Promise<string[]> {
    const { directory, host } = this.#parts;
    const there = new Set(await directory.names());
    const bound = (await host.boundIn(VOLUMES_PATH)).map((path) => path.slice(VOLUMES_PATH.length + 1));
    return bound.filter((name) => isVolumeName(name) && !there.has(name));
  }
}

function policyOf({ opportunisticBytes, maxObjects, expiresInMs }: VolumeOptions): ReserveOptions {
  return {
    ...(opportunisticBytes === undefined ? {} : { opportunisticBytes }),
    ...(maxObjects === undefined ? {} : { maxObjects }),
    ...(expiresInMs === undefined ? {} : { expiresInMs }),
  };
}

/** Without a size nothing is promised, and nothing but the pool is the limit. */
function newPolicy(options: VolumeOptions): ReserveOptions {
  const limit = options.sizeBytes === undefined ? { opportunisticBytes: UNLIMITED } : {};
  return { ...limit, ...policyOf(options) };
}

/** Throws VOLUME_SMALLER where it would take something away. */
function asksForMore(name: string, options: VolumeOptions, lot: VolumeLot): boolean {
  const asked: [what: string, asked: number | undefined, has: number, show: (value: number) => string][] = [
    ['size', options.sizeBytes, lot.dedicatedBytes, formatExactBytes],
    ['opportunistic', options.opportunisticBytes, lot.opportunisticBytes, formatExactBytes],
    ['objects', options.maxObjects, lot.maxObjects, String],
  ];
  let isMore = options.expiresInMs !== undefined;
  for (const [what, wants, has, show] of asked) {
    if (wants === undefined || wants === has) continue;
    if (has === UNLIMITED || (wants !== UNLIMITED && wants < has)) {
      const limit = has === UNLIMITED ? 'no limit' : show(has);
      throw new VreserveError('VOLUME_SMALLER', { name, reason: `${what} is ${limit}, ${show(wants)} asked for` });
    }
    isMore = true;
  }
  return isMore;
}
