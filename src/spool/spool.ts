// A spool: queues of files that processes share through atomic file operations.

import { join } from 'node:path';
import { VreserveError } from '../core/errors.js';
import { CheckedOutEntry, type Outcome } from './checked-out.js';
import type { DataFile } from './data-file.js';
import { type NameGenerator, putInto, reserveName } from './enqueue.js';
import { Entry } from './entry.js';
import { SpoolFiles, unlessMissing } from './files.js';
import type { SpoolKind } from './kind.js';
import { checkSpool, makeSpool } from './make.js';
import { checkEntryName, checkQueueNames, printable, type UniqueName } from './names.js';
import { QueueReader } from './reader.js';

/**
 * One spool directory. Holds nothing open: two objects, in one process or in two, are the same spool. Errors are a VreserveError
 * with a code SPOOL_…, or the system's as they are.
 */
export class Spool<Meta, Data, Queue extends string> {
  readonly dir: string;
  readonly kind: SpoolKind<Meta, Data, Queue>;
  readonly #files: SpoolFiles<Meta, Data, Queue>;

  private constructor(dir: string, kind: SpoolKind<Meta, Data, Queue>) {
    checkQueueNames(kind.queues);
    this.dir = dir;
    this.kind = kind;
    this.#files = new SpoolFiles(dir, kind);
  }

  /** Throws SPOOL_NOT_A_DIRECTORY, SPOOL_NOT_ACCESSIBLE, SPOOL_BAD_QUEUE; with `createIfMissing` as `create`. */
  static async load<Meta, Data, Queue extends string>(
    dir: string,
    kind: SpoolKind<Meta, Data, Queue>,
    options: { createIfMissing?: boolean } = {},
  ): Promise<Spool<Meta, Data, Queue>> {
    if (options.createIfMissing === true) return Spool.create(dir, kind);
    const spool = new Spool(dir, kind);
    await checkSpool(dir, kind.queues, spool.#files.disk);
    return spool;
  }

  /** A spool that is there gets the queues that it lacks. Throws as `load`, and SPOOL_NOT_EMPTY. Its parent must be there. */
  static async create<Meta, Data, Queue extends string>(
    dir: string,
    kind: SpoolKind<Meta, Data, Queue>,
  ): Promise<Spool<Meta, Data, Queue>> {
    const spool = new Spool(dir, kind);
    await makeSpool(dir, kind.queues, spool.#files.disk);
    return spool;
  }

  /** Without a look at the directory. Throws SPOOL_BAD_QUEUE. */
  static loadUnsafe<Meta, Data, Queue extends string>(dir: string, kind: SpoolKind<Meta, Data, Queue>): Spool<Meta, Data, Queue> {
    return new Spool(dir, kind);
  }

  /** The entries that are queued, bytewise by name. */
  async list(queue: Queue): Promise<Entry<Meta, Data, Queue>[]> {
    return (await this.listNames(queue)).map((name) => new Entry(this, this.#files, queue, name));
  }

  /** As `list`. */
  async listNames(queue: Queue): Promise<string[]> {
    this.#files.checkQueue(queue);
    return this.#files.disk.names(this.#files.layout.queue(queue));
  }

  /** Throws SPOOL_BAD_NAME; whether there is one is not looked at. */
  entry(queue: Queue, name: string): Entry<Meta, Data, Queue> {
    this.#files.checkQueue(queue);
    checkEntryName(name);
    return new Entry(this, this.#files, queue, name);
  }

  /** For `enqueue` with `use`. Throws SPOOL_BAD_NAME, SPOOL_NAME_TAKEN. */
  reserveName(generator: NameGenerator): Promise<UniqueName> {
    return reserveName(this.#files, generator);
  }

  /**
   * A new entry, on the disk when it resolves. Where it fails nothing stays, a name that was reserved before neither, and the first
   * error is thrown. A name to use is not looked up. Throws SPOOL_BAD_NAME, SPOOL_NAME_TAKEN, SPOOL_NOT_UTF8.
   */
  async enqueue(
    queue: Queue,
    meta: Meta,
    data: Data,
    name: { reserve: NameGenerator } | { use: UniqueName },
  ): Promise<Entry<Meta, Data, Queue>> {
    this.#files.checkQueue(queue);
    const unique = 'use' in name ? name.use : await this.reserveName(name.reserve);
    checkEntryName(unique);
    await putInto(this.#files, queue, unique, meta, data);
    return new Entry(this, this.#files, queue, unique);
  }

  /**
   * Checks the entry out, and does with it what `f` decides. Where `f` throws, the entry stays checked out. Throws
   * SPOOL_ENTRY_DISAPPEARED, and as `checkout`.
   */
  async withEntry(
    entry: Entry<Meta, Data, Queue>,
    f: (meta: Meta, dataFile: DataFile<Data>) => Promise<Outcome<Meta, Queue>>,
  ): Promise<void> {
    const taken = await this.checkout(entry);
    await taken.settle(await f(taken.contents, taken.dataFile));
  }

  /** As `withEntry`; false where the entry is not in its queue any more. */
  async withEntryIfFound(
    entry: Entry<Meta, Data, Queue>,
    f: (meta: Meta, dataFile: DataFile<Data>) => Promise<Outcome<Meta, Queue>>,
  ): Promise<boolean> {
    const taken = await this.checkoutIfFound(entry);
    if (taken === null) return false;
    await taken.settle(await f(taken.contents, taken.dataFile));
    return true;
  }

  /** Takes the entry out of its queue, for this caller alone. Throws SPOOL_ENTRY_DISAPPEARED, and as `checkoutIfFound`. */
  async checkout(entry: Entry<Meta, Data, Queue>): Promise<CheckedOutEntry<Meta, Data, Queue>> {
    const taken = await this.checkoutIfFound(entry);
    if (taken !== null) return taken;
    throw new VreserveError('SPOOL_ENTRY_DISAPPEARED', { name: printable(entry.name), queue: entry.queue });
  }

  /**
   * As `checkout`; null where the entry, or its registry file, is not there. Where its metadata cannot be read (SPOOL_NOT_UTF8,
   * SPOOL_BAD_META) it stays checked out.
   */
  async checkoutIfFound(entry: Entry<Meta, Data, Queue>): Promise<CheckedOutEntry<Meta, Data, Queue> | null> {
    const { queue, name } = entry;
    this.#files.checkQueue(queue);
    const { disk, layout } = this.#files;
    const queued = join(layout.queue(queue), name);
    const taken = await unlessMissing(async () => {
      await this.#files.touchRegistry(name);
      await disk.touch(queued);
      await disk.rename(queued, join(layout.checkout(queue), name));
    });
    return taken ? this.#checkedOut(queue, name) : null;
  }

  /**
   * Everything that is checked out of a queue, whoever owns it, bytewise by name: for one who knows that its owners are gone, and
   * saves it back. Throws SPOOL_NOT_UTF8, SPOOL_BAD_META.
   */
  async listCheckoutsUnsafe(queue: Queue): Promise<CheckedOutEntry<Meta, Data, Queue>[]> {
    this.#files.checkQueue(queue);
    const names = await this.#files.disk.names(this.#files.layout.checkout(queue));
    const entries: CheckedOutEntry<Meta, Data, Queue>[] = [];
    for (const name of names) {
      // One that has gone since the listing is not checked out any more.
      await unlessMissing(async () => void entries.push(await this.#checkedOut(queue, name)));
    }
    return entries;
  }

  /** Opens nothing yet. */
  reader(queue: Queue): QueueReader<Meta, Data, Queue> {
    this.#files.checkQueue(queue);
    return new QueueReader(this, queue, this.#files.layout.queue(queue));
  }

  async #checkedOut(queue: Queue, name: string): Promise<CheckedOutEntry<Meta, Data, Queue>> {
    const contents = await this.#files.readMeta(this.#files.layout.checkout(queue), name);
    return new CheckedOutEntry(this.#files, queue, name, contents);
  }
}
