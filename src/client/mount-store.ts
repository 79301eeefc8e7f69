// Blobs of a mount, as files below `.vreserve/store`.

import { VreserveError } from '../core/errors.js';
import type { StoreTransport } from './transport.js';

export class MountStore implements StoreTransport {
  readonly #mountpoint: string;

  constructor(mountpoint: string) {
    this.#mountpoint = mountpoint;
  }

  write(): Promise<never> {
    return this.#none();
  }

  open(): Promise<never> {
    return this.#none();
  }

  stat(): Promise<never> {
    return this.#none();
  }

  remove(): Promise<never> {
    return this.#none();
  }

  page(): Promise<never> {
    return this.#none();
  }

  async #none(): Promise<never> {
    throw new VreserveError('NOT_SUPPORTED', { reason: `'${this.#mountpoint}' shows no store: ask the service over HTTP` });
  }
}
