// A store as a directory of files: what opening, closing, listing and removing them comes to.

import { copyFile } from 'node:fs/promises';
import { errnoOf, VreserveError } from '../core/errors.js';
import type { BlobBegin, BlobFile, BlobFiles, BlobUpload } from '../core/store-files.js';
import { shown } from './names.js';
import { renderLog } from './status.js';
import type { Store } from './store.js';
import type { Upload } from './upload.js';

/** Names in one answer. */
const PAGE = 10_000;

export class StoreFiles implements BlobFiles {
  readonly #store: Store;
  /** By the ids of their contents. */
  readonly #uploads = new Map<string, Upload>();
  #seenVersion = -1;
  #changedAtMs = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  async blobsChangedAtMs(): Promise<number> {
    const { version } = this.#store;
    // Never the same for another list, however soon after.
    if (version !== this.#seenVersion) this.#changedAtMs = Math.max(Date.now(), this.#changedAtMs + 1);
    this.#seenVersion = version;
    return this.#changedAtMs;
  }

  async lookAtBlob(name: string): Promise<BlobFile | null> {
    return this.#look(name);
  }

  #look(name: string): BlobFile | null {
    const status = this.#store.status(name);
    if (status === null || status.state === 'Failure') return null;
    const { blob } = status;
    if (blob === null) return { state: 'Pending', sizeBytes: 0, modifiedAtMs: Date.now(), contentType: '' };
    const { sizeBytes, modifiedAtMs, contentType } = blob;
    return { state: 'OK', sizeBytes, modifiedAtMs, contentType };
  }

  async logOfBlob(name: string): Promise<string | null> {
    const transitions = this.#store.transitions(name);
    return transitions.length === 0 ? null : renderLog(transitions);
  }

  async blobNames(after: string | null): Promise<{ names: string[]; next: string | null }> {
    const { entries, next } = this.#store.list({ after, limit: PAGE });
    return { names: entries.filter(({ state }) => state !== 'Failure').map(({ name }) => name), next };
  }

  async openBlob(name: string): Promise<string> {
    const blob = this.#store.stat(name);
    if (blob !== null) return this.#within(this.#store.pathOf(blob));
    throw new VreserveError(this.#look(name) === null ? 'STORE_NO_BLOB' : 'STORE_PENDING', { name: shown(name) });
  }

  async beginBlob(name: string, how: BlobBegin): Promise<BlobUpload> {
    // Who writes the file meets the edge of the grant by itself, and cannot ask for room.
    await this.#store.free();
    const upload = await this.#store.begin(name, how === 'new' ? 'make' : 'replace');
    try {
      if (how === 'copy') await this.#copy(name, upload.path);
    } catch (error) {
      await upload.fail(error);
      throw error;
    }
    this.#uploads.set(upload.id, upload);
    return { upload: upload.id, path: this.#within(upload.path) };
  }

  async commitBlob(upload: string): Promise<void> {
    await this.#take(upload).commit();
    await this.#store.free();
  }

  async failBlob(upload: string, reason: string): Promise<void> {
    const given = this.#uploads.get(upload);
    if (given === undefined) return;
    this.#uploads.delete(upload);
    await given.fail(new VreserveError('STORE_BROKEN_OFF', { name: shown(given.name), reason }));
  }

  async removeBlob(name: string): Promise<void> {
    if (await this.#store.remove(name)) return this.#store.free();
    throw new VreserveError(this.#look(name) === null ? 'STORE_NO_BLOB' : 'STORE_PENDING', { name: shown(name) });
  }

  /** What the name has now, if anything. */
  async #copy(name: string, to: string): Promise<void> {
    for (let blob = this.#store.stat(name); blob !== null; ) {
      try {
        return await copyFile(this.#store.pathOf(blob), to);
      } catch (error) {
        const now = this.#store.stat(name);
        // Where another content has taken its place meanwhile, its file may be gone.
        if (errnoOf(error) !== 'ENOENT' || now === blob) throw error;
        blob = now;
      }
    }
  }

  #take(id: string): Upload {
    const upload = this.#uploads.get(id);
    if (upload === undefined) throw new VreserveError('STORE_CLOSED');
    this.#uploads.delete(id);
    return upload;
  }

  #within(path: string): string {
    return path.slice(this.#store.dir.length + 1);
  }
}
