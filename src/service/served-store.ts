// The store of a mount, opened through the mount, so that its bytes are charged as any others.

import { join } from 'node:path';
import type { ImportProgress, ImportReport } from '../core/blob-import.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { type BlobFiles, blobFilesOf, type StoreLotsHost } from '../core/store-files.js';
import { BLOBS_PATH } from '../core/store-layout.js';
import type { LotNames } from '../http/store-routes.js';
import type { Log } from '../log.js';
import type { Remote } from '../process/calls.js';
import { StoreFiles } from '../store/files.js';
import { importOriginal } from '../store/import.js';
import { intoStore } from '../store/import-targets.js';
import { Store } from '../store/store.js';

export interface ServedStoreParts {
  mountpoint: string;
  daemon: Remote<StoreLotsHost>;
  log: Log;
  onImport: (progress: ImportProgress) => void;
}

export class ServedStore {
  readonly #parts: ServedStoreParts;
  #store: Store | null = null;
  #files: StoreFiles | null = null;

  constructor(parts: ServedStoreParts) {
    this.#parts = parts;
  }

  /** Throws NO_STORE. */
  get opened(): Store {
    if (this.#store === null) throw new VreserveError('NO_STORE');
    return this.#store;
  }

  /** As HTTP calls them. */
  get lots(): LotNames {
    const { daemon } = this.#parts;
    return { kept: (name) => daemon.keptLot(name), named: (kept) => daemon.lotNames(kept) };
  }

  /** They throw NO_STORE. */
  readonly files: BlobFiles = blobFilesOf(async () => {
    if (this.#files === null) throw new VreserveError('NO_STORE');
    return this.#files;
  });

  /** Why it is not there; null: it is. */
  async open(serving: { readOnly: boolean; gcIntervalMs: number }): Promise<string | null> {
    const { mountpoint, daemon, log } = this.#parts;
    try {
      this.#store = await Store.open(join(mountpoint, BLOBS_PATH), {
        ...serving,
        log,
        prepareLot: (kept) => daemon.prepareStoreLot(kept),
      });
      this.#files = new StoreFiles(this.#store);
      return null;
    } catch (error) {
      log.error({ err: error }, 'the store could not be opened');
      return `the store is not served: ${asVreserveError(error).message}`;
    }
  }

  import(dir: string): Promise<ImportReport> {
    return importOriginal(dir, intoStore(this.opened), this.#parts.onImport);
  }

  async close(): Promise<void> {
    const store = this.#store;
    this.#store = null;
    this.#files = null;
    await store?.close();
  }
}
