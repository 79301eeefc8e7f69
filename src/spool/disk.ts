// Every operation of a spool on the disk, one job of the throttle each.

import { constants, type Stats } from 'node:fs';
import { open, readdir, readFile, rename, stat, unlink, utimes } from 'node:fs/promises';
import type { Clock } from '../core/clock.js';
import { type Content, saveAtomically } from './atomic.js';
import { DirectorySync } from './directory-sync.js';
import type { Throttle } from './kind.js';
import { CHECKOUT, decodeName } from './names.js';

/** Operations by path. System errors pass through as they are. */
export class Disk {
  readonly run: Throttle;
  readonly #clock: Clock;
  readonly #directories: DirectorySync;

  constructor(throttle: Throttle | undefined, clock: Clock | undefined) {
    this.run = throttle ?? ((job) => job());
    this.#clock = clock ?? Date.now;
    this.#directories = new DirectorySync(this.run);
  }

  /** Both times of the file become now; every step of an entry does this (Multispool 3.3). */
  touch(path: string): Promise<void> {
    // Half a microsecond more: Node.js cuts the fraction off, and floating point may be just below it.
    const seconds = (this.#clock() + 0.0005) / 1000;
    return this.run(() => utimes(path, seconds, seconds));
  }

  /** Makes an empty file; EEXIST where there is one. */
  createExclusively(path: string): Promise<void> {
    return this.run(async () => {
      const handle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644);
      await handle.close();
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.run(() => rename(from, to));
  }

  unlink(path: string): Promise<void> {
    return this.run(() => unlink(path));
  }

  stat(path: string): Promise<Stats> {
    return this.run(() => stat(path));
  }

  read(path: string): Promise<Uint8Array> {
    return this.run(() => readFile(path));
  }

  save(path: string, content: Content, prefix?: string): Promise<void> {
    return this.run(() => saveAtomically(path, content, prefix));
  }

  /** The file's content is on the disk; of a directory its names. */
  syncFile(path: string): Promise<void> {
    return this.run(async () => {
      const handle = await open(path, constants.O_RDONLY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
  }

  /** The directory's names are on the disk. */
  syncDirectory(path: string): Promise<void> {
    return this.#directories.sync(path);
  }

  /** All names but `.checkout`, bytewise; those that are not UTF-8 are no entries and left out. */
  async names(directory: string): Promise<string[]> {
    const all = await this.run(() => readdir(directory, { encoding: 'buffer' }));
    return all
      .sort(Buffer.compare)
      .map(decodeName)
      .filter((name) => name !== null)
      .filter((name) => name !== CHECKOUT);
  }
}
