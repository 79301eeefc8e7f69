// An entry that this process owns, until it saves or removes it.

import { join } from 'node:path';
import { VreserveError } from '../core/errors.js';
import { DataFile } from './data-file.js';
import type { SpoolFiles } from './files.js';
import { printable } from './names.js';

/** What becomes of an entry: it goes into a queue, or it is done. */
export type Outcome<Meta, Queue extends string> = { save: Queue; meta: Meta } | { remove: true };

/** There is no lease: one that is neither saved nor removed stays checked out for ever. */
export class CheckedOutEntry<Meta, Data, Queue extends string> {
  readonly name: string;
  /** The queue it came from. */
  readonly queue: Queue;
  readonly dataFile: DataFile<Data>;
  readonly #files: SpoolFiles<Meta, Data, Queue>;
  readonly #directory: string;
  #contents: Meta;
  #settled = false;

  /** Made by a Spool. */
  constructor(files: SpoolFiles<Meta, Data, Queue>, queue: Queue, name: string, contents: Meta) {
    this.name = name;
    this.queue = queue;
    this.dataFile = new DataFile(files, name);
    this.#files = files;
    this.#directory = files.layout.checkout(queue);
    this.#contents = contents;
  }

  /** The metadata, as read or as last updated. */
  get contents(): Meta {
    return this.#contents;
  }

  /** In memory: `save` writes it. */
  update(meta: Meta): void {
    this.#contents = meta;
  }

  /** Into that queue, where anybody may take it; an entry of the same name there is replaced. On the disk when it resolves. */
  async save(queue: Queue): Promise<void> {
    this.#checkOwned();
    this.#files.checkQueue(queue);
    const { disk, layout } = this.#files;
    const path = join(this.#directory, this.name);
    await this.#files.saveMeta(this.#directory, this.name, this.#contents);
    await this.#files.touchRegistry(this.name);
    await disk.touch(path);
    await disk.rename(path, join(layout.queue(queue), this.name));
    this.#settled = true;
    await disk.syncDirectory(layout.queue(queue));
  }

  /** With its payload; its name is free then. A file that is missing is ENOENT, and what comes after it stays. */
  async remove(): Promise<void> {
    this.#checkOwned();
    await this.#files.remove(this.#directory, this.name);
    this.#settled = true;
  }

  /** As a function over the entry decided. */
  async settle(outcome: Outcome<Meta, Queue>): Promise<void> {
    if ('save' in outcome) {
      this.update(outcome.meta);
      await this.save(outcome.save);
    } else {
      await this.remove();
    }
  }

  /** Else a second save would make a second entry of a name that somebody else may own by now. */
  #checkOwned(): void {
    if (!this.#settled) return;
    const where = ' checked out here: it was saved or removed before';
    throw new VreserveError('SPOOL_NO_ENTRY', { name: printable(this.name), where });
  }
}
