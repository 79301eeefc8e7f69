// What `serve DATA` keeps: all that is promised, in one file, written anew with each change.

import { mkdirSync, readFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MAX_BYTES } from '../core/bytes.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import type { Promised } from '../http/advisory.js';

/** In the directory of vreserve's own, beside the ledger of a mount, which it has nothing to do with. */
const FILE = join('.vreserve', 'promised.json');

export class PromisesFile {
  readonly #path: string;

  constructor(directory: string) {
    this.#path = join(directory, FILE);
  }

  /** Nothing where there is no file yet. Throws USAGE, SYSTEM. */
  read(): Promised[] {
    try {
      mkdirSync(dirname(this.#path), { mode: 0o700 });
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw this.#failed('be used', error);
    }
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw this.#failed('be used', error);
    }
    try {
      const rows = JSON.parse(text) as unknown;
      if (Array.isArray(rows) && rows.every(isPromised)) return rows;
    } catch {
      // Told below.
    }
    throw this.#failed('be understood; it was left as it is', null);
  }

  /** On disk when it resolves. Throws SYSTEM. */
  async write(promised: readonly Promised[]): Promise<void> {
    const beside = `${this.#path}.new`;
    try {
      const file = await open(beside, 'w', 0o600);
      try {
        await file.writeFile(`${JSON.stringify(promised)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(beside, this.#path);
      const directory = await open(dirname(this.#path), 'r');
      await directory.sync().finally(() => directory.close());
    } catch (error) {
      throw this.#failed('be written', error);
    }
  }

  #failed(what: string, cause: unknown): VreserveError {
    const errno = errnoOf(cause) ?? 'EIO';
    const why = cause === null ? '' : `: ${errno}`;
    return new VreserveError('SYSTEM', { errno, reason: `'${this.#path}' cannot ${what}${why}` }, { cause });
  }
}

function isPromised(row: unknown): row is Promised {
  if (typeof row !== 'object' || row === null) return false;
  const { path, bytes } = row as Partial<Promised>;
  return typeof path === 'string' && typeof bytes === 'number' && Number.isSafeInteger(bytes) && bytes > 0 && bytes <= MAX_BYTES;
}
