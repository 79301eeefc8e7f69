// One turn of the event loop: what all clients have asked for in it is written together, and answered after that.

import type { Namespace } from './namespace.js';
import { failure } from './resp.js';

/** A command that changed something, as it can be done once more. */
export interface Write {
  namespace: Namespace;
  /** Returns the answer. */
  again: () => Buffer;
  /** Takes another answer in place of the one that it had. */
  answer: (answer: Buffer) => void;
}

/** Who has asked. */
export interface Asker {
  /** The answers can go, unless it is held. */
  send(): void;
  /** They go later: nothing further is taken from this client until then. */
  hold(): void;
  /** The reverse; they go. */
  release(): void;
}

/** What waits is written when there is so much of it. */
const MOST_PENDING_BYTES = 4 * 1024 * 1024;

export const NO_DISK = failure('Cannot write data right now');

export interface TurnLog {
  warn(fields: object, text: string): void;
}

export class Turn {
  readonly #isSynced: boolean;
  readonly #log: TurnLog;
  readonly #askers = new Set<Asker>();
  readonly #writers = new Set<Asker>();
  /** Written to since the last end of a turn. */
  readonly #changed = new Set<Namespace>();
  #writes: Write[] = [];
  #isBegun = false;
  #lastWarnedAtMs = Number.NEGATIVE_INFINITY;

  /** `isSynced`: what changes something is answered when it is on the disk. */
  constructor(isSynced: boolean, log: TurnLog) {
    this.#isSynced = isSynced;
    this.#log = log;
  }

  /** It has answers that wait for the end of the turn. */
  join(asker: Asker): void {
    this.#askers.add(asker);
    if (this.#isBegun) return;
    this.#isBegun = true;
    setImmediate(() => this.#end());
  }

  /** The answer of this command waits for the end of the turn already. */
  wrote(asker: Asker, write: Write): void {
    this.#writers.add(asker);
    this.#writes.push(write);
    if (write.namespace.keys.pendingBytes > MOST_PENDING_BYTES) this.commit();
  }

  #end(): void {
    this.#isBegun = false;
    this.commit();
    const changed = [...this.#changed];
    this.#changed.clear();
    const writers = [...this.#writers];
    this.#writers.clear();
    const isHeld = this.#isSynced && changed.length > 0;
    if (isHeld) for (const writer of writers) writer.hold();
    const askers = [...this.#askers];
    // Who sends may go on at once, and have answers for the next turn.
    this.#askers.clear();
    for (const asker of askers) asker.send();
    for (const { upkeep } of changed) upkeep.look();
    if (!isHeld) return;
    Promise.all(changed.map(({ keys }) => keys.sync())).then(
      () => {
        for (const writer of writers) writer.release();
      },
      (error: unknown) => this.#lost(error),
    );
  }

  /** Writes what was changed so far. Those that wait for it are corrected where it could not be. */
  commit(): void {
    const writes = this.#writes;
    this.#writes = [];
    const failed = new Set<Namespace>();
    for (const { namespace } of writes) {
      if (!namespace.keys.isDirty || failed.has(namespace)) continue;
      if (this.#commitOne(namespace)) this.#changed.add(namespace);
      else failed.add(namespace);
    }
    if (failed.size === 0) return;
    for (const { upkeep } of failed) upkeep.tighten();
    for (const { namespace, again, answer } of writes) {
      if (!failed.has(namespace)) continue;
      // One may fit where all together do not, and a deletion always does.
      const answered = again();
      const isDone = !namespace.keys.isDirty || this.#commitOne(namespace);
      if (isDone) this.#changed.add(namespace);
      answer(isDone ? answered : NO_DISK);
    }
  }

  #commitOne({ name, keys }: Namespace): boolean {
    try {
      keys.commit();
      return true;
    } catch (error) {
      const nowMs = performance.now();
      if (nowMs - this.#lastWarnedAtMs > 1000) this.#log.warn({ err: error, namespace: name }, 'values could not be written');
      this.#lastWarnedAtMs = nowMs;
      return false;
    }
  }

  /** What was answered so far is on the disk; what was not, nobody can tell. */
  #lost(error: unknown): void {
    this.#log.warn({ err: error }, 'values could not be brought to the disk: the process ends');
    process.exit(1);
  }
}
