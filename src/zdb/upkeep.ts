// What is done for a namespace between the turns: the index is told of what has changed, and files of little worth are emptied.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Keys } from './keys.js';
import { fileOf, HEADER_BYTES, placeAt } from './record.js';

/** How long others wait for it, about, and how often they come before it goes on. */
const SLICE_MS = 3;
const PAUSE_MS = 2;

/** How often it is looked whether there is something to do. */
const LOOK_MS = 500;

/** After what could not be done, for want of room, say. */
const AGAIN_MS = 2000;

/** Of the payload: what files may take beyond values and keys, before one is emptied. The rest up to 20 % is for what happens meanwhile. */
const MOST_OVERHEAD = 0.16;

/** What a namespace takes however little it holds: it is not worth the work. */
const FIXED_BYTES = 1024 * 1024;

/** A file is emptied only where so much of it, at least, is nobody's value. */
const LEAST_DEAD = 0.05;

/** How long every byte counts after there was no room. */
const TIGHT_MS = 30_000;

/** Values that are moved in one step, in bytes. */
const STEP_BYTES = 512 * 1024;

export interface UpkeepLog {
  warn(fields: object, text: string): void;
}

export class Upkeep {
  readonly #keys: Keys;
  readonly #log: UpkeepLog;
  #running: Promise<void> | null = null;
  #isStopped = false;
  #nextLookAtMs = 0;
  #notBeforeMs = 0;
  /** Until then whatever can be given back is. */
  #tightUntilMs = 0;
  /** Files that cannot be emptied. */
  readonly #stuck = new Set<number>();

  constructor(keys: Keys, log: UpkeepLog) {
    this.#keys = keys;
    this.#log = log;
  }

  /** There was no room for something: what is nobody's value goes now. */
  tighten(): void {
    const nowMs = performance.now();
    this.#tightUntilMs = nowMs + TIGHT_MS;
    this.#nextLookAtMs = nowMs;
    this.look();
  }

  /** After a turn: begins what there is to do. */
  look(): void {
    const nowMs = performance.now();
    if (this.#running !== null || this.#isStopped || nowMs < this.#notBeforeMs) return;
    if (!this.#keys.wantsFlush) {
      if (nowMs < this.#nextLookAtMs) return;
      this.#nextLookAtMs = nowMs + LOOK_MS;
      try {
        if (this.#victim() === null) return;
      } catch (error) {
        this.#failed(error);
        return;
      }
    }
    this.#running = this.#run()
      .catch((error: unknown) => this.#failed(error))
      .then(() => {
        this.#running = null;
      });
  }

  #failed(error: unknown): void {
    this.#notBeforeMs = performance.now() + AGAIN_MS;
    if (!this.#isStopped) this.#log.warn({ err: error }, 'the upkeep of a namespace could not be done');
  }

  get isIdle(): boolean {
    return this.#running === null;
  }

  /** Resolves when what is under way has stopped. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  /** Until it is under its limit. */
  async settle(): Promise<void> {
    await this.#running;
    await this.#run();
  }

  async #run(): Promise<void> {
    // Not in the middle of a turn.
    await this.#pause();
    if (this.#keys.wantsFlush) await this.#flush();
    for (let victim = this.#victim(); victim !== null && !this.#isStopped; victim = this.#victim()) {
      await this.#empty(victim);
      await this.#pause();
    }
  }

  #victim(): number | null {
    return victimOf(this.#keys, performance.now() < this.#tightUntilMs, this.#stuck);
  }

  /** Its values go to the end; then it goes. */
  async #empty(number: number): Promise<void> {
    const { log } = this.#keys;
    if (number === log.number) log.roll();
    // There was no room for another file.
    if (number === log.number) throw new Error('no room to empty the last file');
    let until = performance.now() + SLICE_MS;
    for (const record of log.forward(placeAt(number, 0))) {
      if (fileOf(record.place) !== number || this.#isStopped || !log.has(number)) break;
      if (this.#keys.isCurrent(record)) {
        const value = Buffer.allocUnsafe(record.valueBytes);
        log.read(record.place + HEADER_BYTES + record.keyBytes, value, 0, record.valueBytes);
        this.#keys.move(record, value);
      }
      if (this.#keys.pendingBytes < STEP_BYTES && performance.now() < until) continue;
      this.#keys.commit();
      await this.#pause();
      until = performance.now() + SLICE_MS;
    }
    this.#keys.commit();
    if (this.#isStopped) return;
    await this.#flush();
    if (log.files.get(number)?.liveBytes === 0) log.remove(number);
    else if (log.has(number)) {
      // Something in it is not what was written. It stays as it is, for whoever can make something of it.
      this.#stuck.add(number);
      this.#log.warn({ file: number }, 'a file of a namespace could not be emptied: it is damaged');
    }
  }

  #flush(): Promise<void> {
    let until = 0;
    const begin = () => {
      until = performance.now() + SLICE_MS;
    };
    begin();
    const pause = async () => {
      await this.#pause();
      if (this.#isStopped) throw new Error('stopped');
      begin();
    };
    return this.#keys.flush(() => performance.now() < until, pause);
  }

  /** What waits has its turn. Timers run before what has come is read, so that no turn is under way then. */
  async #pause(): Promise<void> {
    await sleep(PAUSE_MS);
  }
}

/** The file that is worth least, where files take too much, or every byte counts; null: none is to be emptied. */
function victimOf({ totals, log, fileBytes }: Keys, isTight: boolean, stuck: ReadonlySet<number>): number | null {
  const { payloadBytes, keyBytes } = totals;
  if (!isTight && fileBytes - payloadBytes - keyBytes <= payloadBytes * MOST_OVERHEAD + FIXED_BYTES) return null;
  let worst: number | null = null;
  let least = 1 - LEAST_DEAD;
  for (const [number, { endBytes, liveBytes }] of log.files) {
    if (endBytes === 0 || stuck.has(number) || liveBytes / endBytes >= least) continue;
    worst = number;
    least = liveBytes / endBytes;
  }
  return worst;
}
