// An entry by queue and name: whether it is still there is found out when it is used.

import type { Stats } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { DataFile } from './data-file.js';
import type { SpoolFiles } from './files.js';
import { printable } from './names.js';
import type { Spool } from './spool.js';

/** Says where an entry is thought to be; owns nothing. */
export class Entry<Meta, Data, Queue extends string> {
  readonly spool: Spool<Meta, Data, Queue>;
  readonly queue: Queue;
  readonly name: string;
  /** Past all ownership. */
  readonly direct: DirectAccess<Meta, Data>;
  readonly #files: SpoolFiles<Meta, Data, Queue>;

  /** Made by a Spool. */
  constructor(spool: Spool<Meta, Data, Queue>, files: SpoolFiles<Meta, Data, Queue>, queue: Queue, name: string) {
    this.spool = spool;
    this.queue = queue;
    this.name = name;
    this.#files = files;
    this.direct = new DirectAccess(files, queue, name);
  }

  /** Of the registry file: its mtime is when the entry was last moved. Throws SPOOL_NO_ENTRY where the name is not in use. */
  async stat(): Promise<Stats> {
    try {
      return await this.#files.disk.stat(join(this.#files.layout.registry, this.name));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      throw new VreserveError('SPOOL_NO_ENTRY', { name: printable(this.name), where: '' }, { cause: error });
    }
  }
}

/**
 * Unsafe: reads, writes and removes a queued entry while others may check it out. For spools that nobody else uses, and for people
 * who repair one. An entry that is not in its queue is ENOENT.
 */
export class DirectAccess<Meta, Data> {
  readonly dataFile: DataFile<Data>;
  readonly #files: SpoolFiles<Meta, Data, string>;
  readonly #directory: string;
  readonly #name: string;

  constructor(files: SpoolFiles<Meta, Data, string>, queue: string, name: string) {
    this.dataFile = new DataFile(files, name);
    this.#files = files;
    this.#directory = files.layout.queue(queue);
    this.#name = name;
  }

  /** Throws SPOOL_NOT_UTF8, SPOOL_BAD_META. */
  contents(): Promise<Meta> {
    return this.#files.readMeta(this.#directory, this.#name);
  }

  /** Replaces the metadata; on the disk when it resolves. */
  async save(meta: Meta): Promise<void> {
    await this.#files.saveMeta(this.#directory, this.#name, meta);
    await this.#files.disk.syncDirectory(this.#directory);
  }

  remove(): Promise<void> {
    return this.#files.remove(this.#directory, this.#name);
  }
}
