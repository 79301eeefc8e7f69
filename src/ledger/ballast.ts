// A file of real bytes that is given up when the disk is full, so that freeing never fails for want of space.

import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fdatasyncSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Enough for the WAL of many small transactions. */
export const BALLAST_BYTES = 1024 * 1024;

/** Made anew only with this much free besides, or it would be given up again at once. */
const SPARE_BYTES = 8 * BALLAST_BYTES;

/** The ballast of one ledger. Not made, and nothing given up, where `file` is null (a ledger that is not on the backing). */
export class Ballast {
  readonly #file: string | null;
  #there = false;

  constructor(file: string | null) {
    this.#file = file;
    if (file === null) return;
    this.#there = existsSync(file);
    if (!this.#there) this.restore(0);
  }

  /** True while there is nothing left to give. */
  get givenUp(): boolean {
    return this.#file !== null && !this.#there;
  }

  /** Frees the space. False when there was nothing to free. */
  giveUp(): boolean {
    if (this.#file === null || !this.#there) return false;
    rmSync(this.#file, { force: true });
    this.#there = false;
    return true;
  }

  /** Makes the file anew where the disk has room for it and `spareBytes` besides; never throws for want of space. */
  restore(spareBytes = SPARE_BYTES): void {
    if (this.#file === null || this.#there) return;
    try {
      const { bavail, bsize } = statfsSync(dirname(this.#file));
      if (bavail * bsize < BALLAST_BYTES + spareBytes) return;
      this.#write(this.#file);
      this.#there = true;
    } catch {
      rmSync(this.#file, { force: true });
    }
  }

  #write(file: string): void {
    const fd = openSync(file, 'w', 0o600);
    try {
      // Random, because a filesystem that compresses would store zeros in no space at all.
      const bytes = randomBytes(BALLAST_BYTES);
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}
