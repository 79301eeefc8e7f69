// Says that names came into, or left, a queue's directory: inotify, through fs.watch.

import { type FSWatcher, watch } from 'node:fs';
import { basename } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';

/**
 * So many events in one turn of the event loop may be all that the kernel kept (fs.inotify.max_queued_events, 16384 unless set),
 * and Node.js does not say that it dropped some, maybe those of another directory: then every watch wakes.
 */
const BURST = 4096;

/** By what inotify answers. */
const LIMITS: Partial<Record<string, string>> = {
  ENOSPC: 'the sysctl fs.inotify.max_user_watches',
  EMFILE: 'the sysctl fs.inotify.max_user_instances, or the limit of open files (ulimit -n),',
};

const watches = new Set<QueueWatch>();
let eventsInTurn = 0;

function countEvent(): void {
  eventsInTurn += 1;
  if (eventsInTurn > 1) return;
  setImmediate(() => {
    if (eventsInTurn >= BURST) for (const each of watches) each.wake();
    eventsInTurn = 0;
  });
}

/**
 * The one rule: `clear` before a listing, `wait` after it. What came before `clear` is in the listing, what came after it makes
 * `changed` true, however late its event is delivered.
 */
export class QueueWatch {
  readonly #directory: string;
  readonly #watcher: FSWatcher;
  #changed = true;
  #stale = false;
  #failure: VreserveError | null = null;
  /** Of the one who waits. */
  #waiting: (() => void) | null = null;

  /** Throws SPOOL_WATCH_LIMIT, and the system's error where there is no such directory. It is not what keeps a process alive. */
  constructor(directory: string) {
    this.#directory = directory;
    this.#watcher = openWatcher(directory);
    this.#watcher.unref();
    const own = basename(directory);
    this.#watcher.on('change', (type, name) => {
      countEvent();
      // 'change' is content and times: no name came or went.
      if (type !== 'rename') return;
      // The directory itself was moved or removed, or an entry has its name: either way the path is opened anew.
      if (name === null || String(name) === own) this.#stale = true;
      this.wake();
    });
    this.#watcher.on('error', (error) => this.#fail(error.message));
    this.#watcher.on('close', () => this.#fail('it was closed'));
    watches.add(this);
  }

  /** Whether names may have come since `clear`. True of a new watch, and of a stale one. */
  get changed(): boolean {
    return this.#changed || this.#stale;
  }

  /** Whether the path may be another directory by now, which this does not watch. */
  get stale(): boolean {
    return this.#stale;
  }

  clear(): void {
    this.#changed = false;
  }

  wake(): void {
    this.#changed = true;
    this.#waiting?.();
  }

  /** Until something changed or the signal is aborted; only one at a time. Throws SPOOL_WATCH_CLOSED. Keeps the process alive. */
  async wait(signal?: AbortSignal): Promise<void> {
    if (!this.changed && this.#failure === null && signal?.aborted !== true) {
      this.#watcher.ref();
      await new Promise<void>((resolve) => {
        const go = () => {
          signal?.removeEventListener('abort', go);
          resolve();
        };
        this.#waiting = go;
        signal?.addEventListener('abort', go);
      });
      this.#waiting = null;
      this.#watcher.unref();
    }
    if (this.#failure !== null) throw this.#failure;
  }

  /** Who waits gets SPOOL_WATCH_CLOSED. */
  close(): void {
    this.#fail('it was closed');
    this.#watcher.close();
  }

  #fail(reason: string): void {
    watches.delete(this);
    this.#failure ??= new VreserveError('SPOOL_WATCH_CLOSED', { path: this.#directory, reason });
    this.#waiting?.();
  }
}

function openWatcher(directory: string): FSWatcher {
  try {
    return watch(directory);
  } catch (error) {
    const errno = errnoOf(error) ?? '';
    const limit = LIMITS[errno];
    if (limit === undefined) throw error;
    throw new VreserveError('SPOOL_WATCH_LIMIT', { path: directory, limit, errno }, { cause: error });
  }
}
