// Takes the entries of one queue, one after the other, and waits for more without polling (Multispool 3.4).

import { errnoOf, VreserveError } from '../core/errors.js';
import type { CheckedOutEntry, Outcome } from './checked-out.js';
import type { DataFile } from './data-file.js';
import { QueueWatch } from './queue-watch.js';
import type { Spool } from './spool.js';
import { Turns } from './turns.js';

/** What a program does with an entry. Where it throws, the entry stays checked out. */
export type EntryFunction<Meta, Data, Queue extends string> = (
  meta: Meta,
  dataFile: DataFile<Data>,
  name: string,
) => Promise<Outcome<Meta, Queue>>;

export interface ReadOptions {
  /** Ends the wait. An entry that is checked out by then is returned, or worked off, all the same. */
  signal?: AbortSignal;
}

/**
 * Any number of readers, in any number of processes, share a queue: each entry goes to one of them. Entries come by name within one
 * listing; there is no fairness between readers.
 */
export class QueueReader<Meta, Data, Queue extends string> {
  readonly #spool: Spool<Meta, Data, Queue>;
  readonly #queue: Queue;
  readonly #directory: string;
  /** Calls of `dequeue` wait one after the other; guards `#names` and `#watch`. */
  readonly #waiters = new Turns(1);
  /** Of the last listing, what was not tried yet, in order. */
  #names: Iterator<string> = [][Symbol.iterator]();
  #watch: QueueWatch | null = null;
  /** The same for `dequeueAvailable`. */
  readonly #takers = new Turns(1);
  #available: Iterator<string> = [][Symbol.iterator]();
  #closed = false;

  /** Made by a Spool. */
  constructor(spool: Spool<Meta, Data, Queue>, queue: Queue, directory: string) {
    this.#spool = spool;
    this.#queue = queue;
    this.#directory = directory;
  }

  /**
   * The next entry, now this caller's; waits until there is one, and keeps the process alive meanwhile. Several calls at once are
   * served in their order. Throws as `checkoutIfFound`, SPOOL_WATCH_CLOSED, SPOOL_WATCH_LIMIT, and ENOENT when the queue's
   * directory is removed.
   */
  async dequeue(options: ReadOptions = {}): Promise<CheckedOutEntry<Meta, Data, Queue> | 'stopped'> {
    if (!(await this.#waiters.take(options.signal))) return 'stopped';
    try {
      return await this.#next(options.signal);
    } finally {
      this.#waiters.pass();
    }
  }

  /** The next entry of those that are there now; null where there is none. Does not wait, and needs no inotify. */
  async dequeueAvailable(): Promise<CheckedOutEntry<Meta, Data, Queue> | null> {
    await this.#takers.take();
    try {
      const before = await this.#firstOf(this.#available);
      if (before !== null) return before;
      this.#available = await this.#list();
      return await this.#firstOf(this.#available);
    } finally {
      this.#takers.pass();
    }
  }

  /** Works off entries, one at a time, until the signal is aborted. */
  async iter(f: EntryFunction<Meta, Data, Queue>, options: ReadOptions = {}): Promise<void> {
    for (;;) {
      const entry = await this.dequeue(options);
      if (entry === 'stopped') return;
      await entry.settle(await f(entry.contents, entry.dataFile, entry.name));
    }
  }

  /** Works off the entries that are there now, one at a time. */
  async iterAvailable(f: EntryFunction<Meta, Data, Queue>): Promise<void> {
    const names = await this.#list();
    for (let entry = await this.#firstOf(names); entry !== null; entry = await this.#firstOf(names)) {
      await entry.settle(await f(entry.contents, entry.dataFile, entry.name));
    }
  }

  /** Ends the watch, and every wait with SPOOL_WATCH_CLOSED. */
  close(): void {
    this.#closed = true;
    this.#watch?.close();
  }

  async #next(signal: AbortSignal | undefined): Promise<CheckedOutEntry<Meta, Data, Queue> | 'stopped'> {
    for (let listings = 0; ; ) {
      if (this.#closed) throw new VreserveError('SPOOL_WATCH_CLOSED', { path: this.#directory, reason: 'it was closed' });
      const entry = await this.#firstOf(this.#names, signal);
      if (entry !== null) return entry;
      if (signal?.aborted === true) return 'stopped';
      // A queue that was empty is watched from now on, and listed once more before anybody waits.
      if (listings > 0) this.#openWatch();
      if (this.#watch?.changed === false) {
        await this.#watch.wait(signal);
        continue;
      }
      this.#watch?.clear();
      this.#names = await this.#list();
      listings += 1;
    }
  }

  #openWatch(): void {
    if (this.#closed) return;
    if (this.#watch !== null && !this.#watch.stale) return;
    this.#watch?.close();
    this.#watch = new QueueWatch(this.#directory);
  }

  async #list(): Promise<Iterator<string>> {
    return (await this.#spool.listNames(this.#queue))[Symbol.iterator]();
  }

  /** The first that nobody else took, or owns; null where none is left, or the signal is aborted. */
  async #firstOf(names: Iterator<string>, signal?: AbortSignal): Promise<CheckedOutEntry<Meta, Data, Queue> | null> {
    while (signal?.aborted !== true) {
      const next = names.next();
      if (next.done === true) return null;
      const entry = await this.#spool.checkoutIfFound(this.#spool.entry(this.#queue, next.value)).catch(notOurs);
      if (entry !== null) return entry;
    }
    return null;
  }
}

/** In a directory that is sticky, entries of others are not to be had: they are passed over. */
function notOurs(error: unknown): null {
  const syscall = error instanceof Error && 'syscall' in error ? error.syscall : null;
  const isRefused = errnoOf(error) === 'EPERM' || errnoOf(error) === 'EACCES';
  // Once the rename is done it is ours.
  if (isRefused && (syscall === 'utime' || syscall === 'rename')) return null;
  throw error;
}
