// Directories of the store: made, and synced so that the names in them survive a crash.

import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../core/errors.js';
import { SharedRun } from '../core/shared-run.js';
import { syncDirectory } from '../system/sync-directory.js';

/** fsync of directories, at most one at a time of each: who asks meanwhile shares the next one. */
export class Directories {
  readonly #syncs = new Map<string, SharedRun<void>>();

  /** Resolves when all that was done in the directory before the call is on the disk. */
  sync(path: string): Promise<void> {
    let shared = this.#syncs.get(path);
    if (shared === undefined) {
      shared = new SharedRun(() => syncDirectory(path));
      this.#syncs.set(path, shared);
    }
    return shared.run();
  }

  /** Makes it where it is missing, on the disk. Its parent must be there. */
  async make(path: string): Promise<void> {
    try {
      await mkdir(path);
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return;
      throw error;
    }
    await this.sync(dirname(path));
  }
}
