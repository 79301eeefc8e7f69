// A store as a directory of files: what opening, closing, listing and removing them comes to.

import { copyFile } from 'node:fs/promises';
import { VreserveError } from '../core/errors.js';
import type { BlobBegin, BlobFile, BlobFiles, BlobUpload } from '../core/store-files.js';
import { shown } from './names.js';
import { renderLog } from './status.js';
import type { Store } from './store.js';
import type { Upload } from './upload.js';

/** Names in one answer. */
const PAGE = 10_000;

export class StoreFiles implements BlobFiles {
  readonly #store: Store;
  readonly #uploads = new Map<number, Upload>();
  #lastUpload = 0;

  constructor(store: Store) {
    this.#store = store;
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
    const upload = await this.#store.begin(name, how === 'new' ? 'create' : 'replace');
    try {
      const blob = this.#store.stat(name);
      if (how === 'copy' && blob !== null) await copyFile(this.#store.pathOf(blob), upload.path);
    } catch (error) {
      await upload.fail(error);
      throw error;
    }
    this.#lastUpload += 1;
    this.#uploads.set(this.#lastUpload, upload);
    return { upload: this.#lastUpload, path: this.#within(upload.path) };
  }

  async commitBlob(upload: number): Promise<void> {
    await this.#take(upload).commit();
  }

  async failBlob(upload: number, reason: string): Promise<void> {
    const given = this.#uploads.get(upload);
    if (given === undefined) return;
    this.#uploads.delete(upload);
    await given.fail(new VreserveError('STORE_BROKEN_OFF', { name: shown(given.name), reason }));
  }

  async removeBlob(name: string): Promise<void> {
    if (await this.#store.remove(name)) return;
    throw new VreserveError(this.#look(name) === null ? 'STORE_NO_BLOB' : 'STORE_PENDING', { name: shown(name) });
  }

  #take(number: number): Upload {
    const upload = this.#uploads.get(number);
    if (upload === undefined) throw new VreserveError('STORE_CLOSED');
    this.#uploads.delete(number);
    return upload;
  }

  #within(path: string): string {
    return path.slice(this.#store.dir.length + 1);
  }
}
