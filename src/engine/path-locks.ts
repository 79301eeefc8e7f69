// Serializes commands whose paths concern each other: the same path, or one below the other. Others run together.

import { isWithin } from '../core/paths.js';

interface Holder {
  /** null: every path. */
  path: string | null;
  done: Promise<void>;
}

/** First come, first served: a command waits for all earlier ones that it meets, so there is no deadlock. */
export class PathLocks {
  readonly #holders = new Set<Holder>();

  /** Runs `work` when no earlier command on a path above, at or below `path` is left. */
  run<T>(path: string, work: () => Promise<T>): Promise<T> {
    return this.#after(path, (held) => held === null || isWithin(held, path) || isWithin(path, held), work);
  }

  /** Runs `work` alone: commands on paths that came earlier are over, later ones wait. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#after(null, () => true, work);
  }

  /** Resolves when every command that runs or waits now is over. */
  async idle(): Promise<void> {
    await Promise.all([...this.#holders].map((h) => h.done));
  }

  async #after<T>(path: string | null, meets: (held: string | null) => boolean, work: () => Promise<T>): Promise<T> {
    const earlier = [...this.#holders].filter((h) => meets(h.path)).map((h) => h.done);
    let finish = () => {};
    const holder = { path, done: new Promise<void>((resolve) => (finish = resolve)) };
    this.#holders.add(holder);
    try {
      await Promise.all(earlier);
      return await work();
    } finally {
      this.#holders.delete(holder);
      finish();
    }
  }
}
