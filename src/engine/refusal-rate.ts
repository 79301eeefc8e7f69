// How many refusals of one user become lines of the journal: what is refused costs the asker nothing, and a line costs a commit.

/** Lines a second for each user. */
const RATE = 20;

interface Second {
  startMs: number;
  lines: number;
  unsaid: number;
}

/** Counts by user. */
export class RefusalRate {
  readonly #users = new Map<number, Second>();

  /** How many went unsaid before this line; null: this one does, too. */
  next(uid: number, nowMs: number): number | null {
    const known = this.#users.get(uid);
    if (known === undefined || nowMs - known.startMs >= 1000 || nowMs < known.startMs) {
      if (this.#users.size > 1000) this.#users.clear();
      this.#users.set(uid, { startMs: nowMs, lines: 1, unsaid: 0 });
      return known?.unsaid ?? 0;
    }
    if (known.lines >= RATE) {
      known.unsaid += 1;
      return null;
    }
    known.lines += 1;
    return 0;
  }
}
