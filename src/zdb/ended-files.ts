// Files of values that are added to no more, and may not be on the disk yet.

import { closeSync, fdatasync } from 'node:fs';

/** So many are kept open for the next who wants them on the disk. */
const MOST_WAITING = 16;

export class EndedFiles {
  /** Descriptors. */
  #waiting: number[] = [];
  /** Under way. */
  #syncs = 0;

  /** The descriptor is closed when the file is on the disk. */
  add(fd: number): void {
    this.#waiting.push(fd);
    // Nobody waits for them, so an error is found by who syncs next: the disk tells it once more.
    if (this.#waiting.length > MOST_WAITING) this.#seal(this.#waiting.splice(0, 1)).catch(() => {});
  }

  /** Nothing waits, and nothing is on its way to the disk. */
  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#syncs === 0;
  }

  /** All of them are on the disk, and so is what is open as `last`, which stays open. */
  async sync(last: number): Promise<void> {
    this.#syncs += 1;
    try {
      await Promise.all([synced(last), this.#seal(this.#waiting.splice(0))]);
    } finally {
      this.#syncs -= 1;
    }
  }

  close(): Promise<void> {
    return this.#seal(this.#waiting.splice(0));
  }

  async #seal(fds: readonly number[]): Promise<void> {
    this.#syncs += 1;
    try {
      await Promise.all(fds.map((fd) => synced(fd).finally(() => closeSync(fd))));
    } finally {
      this.#syncs -= 1;
    }
  }
}

function synced(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fdatasync(fd, (error) => (error === null ? resolve() : reject(error)));
  });
}
