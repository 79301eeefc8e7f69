// Removes what was taken away, one round at a time, while nobody need wait for it.

import { setTimeout as sleep } from 'node:timers/promises';
import { clear } from './clear.js';
import type { HeldDirectory } from './held-directory.js';

/** What was taken away. */
export interface Removed {
  /** Runs `work` on the directory that holds it. */
  withRemoved<T>(work: (removed: HeldDirectory) => Promise<T>): Promise<T>;
}

/** As pino takes it. */
export interface RemovalLog {
  error(fields: object, text: string): void;
}

export class Garbage {
  readonly #removed: Removed;
  /** Whose files they were, for the log: 'volumes'. */
  readonly #what: string;
  readonly #log: RemovalLog;
  readonly #stop = new AbortController();
  /** Removals that are under way, and the round. None of them rejects. */
  readonly #busy = new Set<Promise<unknown>>();
  #isCollecting = false;
  #again = false;

  constructor(removed: Removed, what: string, log: RemovalLog) {
    this.#removed = removed;
    this.#what = what;
    this.#log = log;
  }

  /** Runs what takes something away, and removes that afterwards. */
  async after<T>(taking: () => Promise<T>): Promise<T> {
    const taken = taking();
    this.#watch(taken.catch(() => {}).then(() => this.collect()));
    return taken;
  }

  /** There may be something to remove. */
  collect(): void {
    this.#again = true;
    if (this.#isCollecting) return;
    this.#isCollecting = true;
    this.#watch(this.#rounds());
  }

  /** Waits until nothing is being removed, at most so long. False: there was nothing to wait for. */
  async settled(mostMs: number): Promise<boolean> {
    if (this.#busy.size === 0) return false;
    const over = new AbortController();
    const late = sleep(mostMs, undefined, { signal: over.signal }).catch(() => {});
    await Promise.race([this.#idle(over.signal), late]);
    over.abort();
    return true;
  }

  /** What is left is removed after the next start. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#idle();
  }

  async #idle(signal?: AbortSignal): Promise<void> {
    while (this.#busy.size > 0 && signal?.aborted !== true) await Promise.all(this.#busy);
  }

  #watch(work: Promise<unknown>): void {
    this.#busy.add(work);
    void work.then(() => this.#busy.delete(work));
  }

  async #rounds(): Promise<void> {
    const { signal } = this.#stop;
    while (this.#again && !signal.aborted) {
      this.#again = false;
      try {
        const { names, error } = await this.#removed.withRemoved((removed) => clear(removed, signal));
        if (names > 0) this.#log.error({ err: error, names }, `of removed ${this.#what} not everything could be removed`);
      } catch (error) {
        if (!signal.aborted) this.#log.error({ err: error }, `removed ${this.#what} could not be cleared away`);
      }
    }
    this.#isCollecting = false;
  }
}
