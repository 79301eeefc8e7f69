// Numbers of contents: 64 bits at random, and none twice.

import { randomBytes } from 'node:crypto';

/** Gives numbers of 0 to 2^64 - 1. */
export type IdSource = () => bigint;

export const randomId: IdSource = () => randomBytes(8).readBigUInt64BE();

const LIMIT = 2n ** 64n;

/** The ids whose files may be there. */
export class Ids {
  readonly #source: IdSource;
  readonly #used = new Set<string>();

  constructor(source: IdSource) {
    this.#source = source;
  }

  /** A free one; where the source gives one that is used, the next above it, and after the last the first. */
  take(): string {
    let id = this.#source();
    while (this.#used.has(String(id))) id = (id + 1n) % LIMIT;
    this.#used.add(String(id));
    return String(id);
  }

  keep(id: string): void {
    this.#used.add(id);
  }

  /** Its file is gone. */
  free(id: string): void {
    this.#used.delete(id);
  }
}
