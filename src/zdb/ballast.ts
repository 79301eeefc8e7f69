// Bytes of a lot that are kept for the index: given up when there is no room left, so that deleting never fails for want of it.

import { closeSync, ftruncateSync, openSync, rmSync, statSync } from 'node:fs';

/** Enough for the pages that some thousand deletions change. */
export const BALLAST_BYTES = 256 * 1024;

export class Ballast {
  readonly #path: string;
  #isThere: boolean;

  constructor(path: string) {
    this.#path = path;
    this.#isThere = statSync(path, { throwIfNoEntry: false })?.size === BALLAST_BYTES;
    this.restore();
  }

  get bytes(): number {
    return this.#isThere ? BALLAST_BYTES : 0;
  }

  /** False where there was nothing to give. */
  giveUp(): boolean {
    if (!this.#isThere) return false;
    rmSync(this.#path, { force: true });
    this.#isThere = false;
    return true;
  }

  /** Where the lot has room again. */
  restore(): void {
    if (this.#isThere) return;
    try {
      const fd = openSync(this.#path, 'w', 0o600);
      try {
        ftruncateSync(fd, BALLAST_BYTES);
        this.#isThere = true;
      } finally {
        closeSync(fd);
      }
    } catch {
      rmSync(this.#path, { force: true });
    }
  }
}
