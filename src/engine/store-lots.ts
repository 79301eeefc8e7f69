// Lots that pay for contents of the store: each has a directory of its own there, named by its number, that is bound to it.

import { lstatSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { noLot } from '../core/change.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import type { LotId } from '../core/lot.js';
import type { StoreLotsHost } from '../core/store-files.js';
import { BLOBS_DIRECTORY, BLOBS_PATH, LOTS_DIRECTORY } from '../core/store-layout.js';
import type { Binding } from './engine.js';
import type { Keeper } from './keeper.js';

/**
 * The bindings are not among the paths of the lots, so that a reservation stays one: what is in the directories says which
 * they are. A lot's number is never given twice, and when the lot goes the engine takes its bindings along: the contents are
 * then the store's own to pay for.
 */
export class StoreLots {
  readonly #keeper: Keeper;
  /** In the backing. */
  readonly #directory: string;
  readonly #bound = new Set<LotId>();

  /** `directory`: vreserve's own in the backing. */
  constructor(keeper: Keeper, directory: string) {
    this.#keeper = keeper;
    this.#directory = join(directory, BLOBS_DIRECTORY, LOTS_DIRECTORY);
  }

  /** Before the mount, after the lots are known to the engine. */
  load(): void {
    // What else may be in the place of the store is nobody's lot.
    if (lstatSync(dirname(this.#directory), { throwIfNoEntry: false })?.isDirectory() !== true) return;
    for (const name of namesIn(this.#directory)) {
      const id = Number(name);
      if (!/^[1-9][0-9]{0,9}$/.test(name) || this.#keeper.book.get(id) === undefined) continue;
      this.#keeper.parts.engine.bind(bindingOf(id));
      this.#bound.add(id);
    }
  }

  /** What the store asks about lots: it keeps their numbers. */
  get host(): StoreLotsHost {
    const { book } = this.#keeper;
    return {
      keptLot: async (name) => {
        const lot = book.named(name);
        if (lot === undefined) throw noLot(name);
        return String(lot.id);
      },
      lotNames: async (kept) =>
        new Map(
          kept.flatMap((id): [string, string][] => {
            const lot = book.get(Number(id));
            return lot === undefined ? [] : [[id, lot.name]];
          }),
        ),
      prepareStoreLot: (kept) => this.#prepare(Number(kept)),
    };
  }

  /** The directory of the lot belongs to it from now on; that of one that is gone is the store's own. Throws what the engine refuses. */
  #prepare(id: LotId): Promise<void> {
    return this.#keeper.alone(async () => {
      const { engine } = this.#keeper.parts;
      if (this.#bound.has(id) || this.#keeper.book.get(id) === undefined) return;
      const admission = await engine.reshape({
        lots: [],
        gone: [],
        bind: [bindingOf(id)],
        unbind: [],
        mustCover: false,
        force: true,
      });
      if (!admission.granted)
        throw new VreserveError('SYSTEM', { errno: admission.errno, reason: `lot ${id} cannot pay for blobs` });
      this.#bound.add(id);
    });
  }
}

function bindingOf(id: LotId): Binding {
  return { path: `${BLOBS_PATH}/${LOTS_DIRECTORY}/${id}`, id, recursive: true, exclude: false };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return [];
    throw error;
  }
}
