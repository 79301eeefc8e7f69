// Where the paths of commands lie in the mount, and whether their askers may reserve there.

import type { LotBook } from '../core/book.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_ID, type LotId } from '../core/lot.js';
import { checkBindable, checkPath, isWithin, joinBelow, parentPath } from '../core/paths.js';
import type { By } from '../views/host.js';
import type { Engine, ResolvedPath } from './engine.js';
import { noReservation, ownScope } from './refusals.js';
import type { Rights } from './rights.js';

/** A path of a command: as the asker wrote it, and as the mount has it. */
export interface Place extends ResolvedPath {
  shown: string;
}

export class Places {
  readonly #engine: Engine;
  readonly #book: LotBook;
  readonly #rights: Rights;

  constructor(engine: Engine, book: LotBook, rights: Rights) {
    this.#engine = engine;
    this.#book = book;
    this.#rights = rights;
  }

  /** What is at an absolute path of the mount, as far as the caller may look. Throws SYSTEM, which does not tell it. */
  look(path: string, by: By): ResolvedPath {
    try {
      return this.#engine.resolve(path, this.#rights.isAdministrator(by.caller) ? null : by.caller, by.held ?? by.directory);
    } catch (error) {
      const errno = errnoOf(error) ?? 'EIO';
      throw new VreserveError('SYSTEM', { errno, reason: `the path leads nowhere in the mount: ${errno}` }, { cause: error });
    }
  }

  /** Where a path of a command is in the mount. Throws BAD_PATH, PATH_TOO_LONG, NO_SUCH_LOT (the scope is gone) or SYSTEM. */
  place(path: string, by: By): Place {
    const shown = checkPath(path);
    if (by.scope !== DEFAULT_LOT_ID && this.#book.get(by.scope) === undefined) throw noReservation('/');
    const resolved = this.#resolve(checkPath(joinBelow(by.directory, shown)), by);
    // A symlink below the scope may lead out of it.
    if (!isWithin(resolved.path, by.directory)) {
      throw new VreserveError('BAD_PATH', { path: shown, reason: 'it leads outside the lot whose .vreserve was asked' });
    }
    if (by.directory !== '/' && resolved.path === by.directory) {
      throw ownScope(shown);
    }
    checkBindable(resolved.path);
    return { ...resolved, shown };
  }

  /** A bound path is that of its lot whatever lies there now: a symlink put in its place leads nowhere else. */
  #resolve(path: string, by: By): ResolvedPath {
    if (this.#book.at(path) === undefined) return this.look(path, by);
    return { path, exists: true, isDirectory: true, directory: parentPath(path) };
  }

  /** Throws NOT_YOURS unless the caller may reserve at the place; null: at the root, or the top of the scope. */
  checkReserve(place: { shown: string; path: string } | null, by: By): Promise<void> {
    const path = place?.path ?? by.directory;
    const { directory } = this.#resolve(path, by);
    const around = this.around(path);
    return this.#rights.checkReserve(by.caller, place?.shown ?? '/', around, this.#book, () =>
      this.#engine.access(directory, path, by.caller),
    );
  }

  /** The lot in which a path lies, its own binding left out. */
  around(path: string): LotId {
    return this.#book.at(path) === undefined ? this.#book.ownerOf(path, true) : this.#book.ownerOf(parentPath(path), true);
  }
}
