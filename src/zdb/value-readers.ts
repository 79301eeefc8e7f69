// Descriptors that read the files of values: for reading alone, so that the kernel, where it can, reads past the daemon.

import { closeSync, openSync, readSync } from 'node:fs';
import { VreserveError } from '../core/errors.js';

const MOST_DESCRIPTORS = 32;

export class Readers {
  readonly #pathOf: (file: number) => string;
  /** By the number of the file, the one that was opened first in front. */
  readonly #open = new Map<number, number>();

  constructor(pathOf: (file: number) => string) {
    this.#pathOf = pathOf;
  }

  /** Throws the system's error, EIO where there are fewer bytes. */
  read(file: number, offset: number, into: Buffer, at: number, length: number): void {
    if (readSync(this.#reader(file), into, at, length, offset) === length) return;
    throw new VreserveError('SYSTEM', { errno: 'EIO', reason: `file ${file} of a namespace is shorter than it was` });
  }

  #reader(file: number): number {
    const known = this.#open.get(file);
    if (known !== undefined) return known;
    const fd = openSync(this.#pathOf(file), 'r');
    const [oldest] = this.#open.keys();
    if (oldest !== undefined && this.#open.size >= MOST_DESCRIPTORS) this.forget(oldest);
    this.#open.set(file, fd);
    return fd;
  }

  forget(file: number): void {
    const fd = this.#open.get(file);
    if (fd !== undefined) closeSync(fd);
    this.#open.delete(file);
  }

  close(): void {
    for (const file of [...this.#open.keys()]) this.forget(file);
  }
}
