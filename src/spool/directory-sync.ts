// Makes the names in a directory survive a crash. Who asks while a sync of the same directory runs shares the next one.

import { syncDirectory } from '../system/sync-directory.js';
import type { Throttle } from './kind.js';

/** fsync of directories, at most one at a time of each. */
export class DirectorySync {
  readonly #throttle: Throttle;
  /** By path: the one that was begun last. */
  readonly #running = new Map<string, Promise<void>>();
  /** By path: the one that has not begun, and so covers all that was done before now. */
  readonly #next = new Map<string, Promise<void>>();

  constructor(throttle: Throttle) {
    this.#throttle = throttle;
  }

  /** Resolves when all that was done in the directory before the call is on the disk. */
  sync(path: string): Promise<void> {
    const shared = this.#next.get(path);
    if (shared !== undefined) return shared;
    const next = this.#after(path);
    this.#next.set(path, next);
    // It takes itself away when it begins; where the throttle never ran it, here.
    const forget = () => this.#forget(this.#next, path, next);
    next.then(forget, forget);
    return next;
  }

  async #after(path: string): Promise<void> {
    await this.#running.get(path)?.catch(() => {});
    await this.#throttle(() => {
      this.#next.delete(path);
      const running = syncDirectory(path);
      this.#running.set(path, running);
      const forget = () => this.#forget(this.#running, path, running);
      running.then(forget, forget);
      return running;
    });
  }

  #forget(from: Map<string, Promise<void>>, path: string, promise: Promise<void>): void {
    if (from.get(path) === promise) from.delete(path);
  }
}
