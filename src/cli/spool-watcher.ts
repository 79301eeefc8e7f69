// What runs behind `spool watch`: entries taken as there is room for their commands, and finished as those end.
import { asVreserveError } from '../core/errors.js';
import { note, print, printJson } from './output.js';
import { type Held, isUnreadable, removeHeld, saveHeld } from './spool-held.js';
import type { AnySpool } from './spool-open.js';
import { CommandRun, type Ending } from './spool-run.js';
import type { Stop } from './spool-stop.js';

export interface WatchOptions {
  /** The spool's directory as it was typed, for what is said. */
  word: string;
  spool: AnySpool;
  queue: string;
  onSuccess: string | undefined;
  onFailure: string | undefined;
  jobs: number;
  command: readonly string[];
  quiet: boolean;
  json: boolean;
}

/** What became of an entry: `put-back` after its command was interrupted; `left`: it stays checked out. */
type Outcome = { state: 'removed' } | { state: 'saved' | 'put-back'; to: string } | { state: 'left' };

export class Watcher {
  readonly #options: WatchOptions;
  readonly #stop: Stop;
  readonly #running = new Map<CommandRun, Promise<void>>();
  #failures = 0;
  #interrupting = false;
  #interrupted = false;

  constructor(options: WatchOptions, stop: Stop) {
    this.#options = options;
    this.#stop = stop;
  }

  /** A command was broken off. */
  get isInterrupted(): boolean {
    return this.#interrupted;
  }

  /** Passes a signal on to the commands that run; what they do not finish goes back into the queue. */
  interrupt(signal: NodeJS.Signals): void {
    this.#interrupting = true;
    for (const run of this.#running.keys()) run.kill(signal);
  }

  /** Takes entries until it is asked to stop; how many commands failed. */
  async run(): Promise<number> {
    const { spool, queue } = this.#options;
    const reader = spool.reader(queue);
    try {
      return await this.#each(async () => {
        const held = await reader.dequeue({ signal: this.#stop.signal });
        return held === 'stopped' ? null : held;
      });
    } finally {
      reader.close();
    }
  }

  /** Takes what is there now; how many commands failed. */
  async runOnce(): Promise<number> {
    const { spool, queue } = this.#options;
    const names = await spool.listNames(queue);
    return await this.#each(async () => {
      for (;;) {
        const name = names.shift();
        if (name === undefined) return null;
        const held = await spool.checkoutIfFound(spool.entry(queue, name));
        if (held !== null) return held;
      }
    });
  }

  async #each(next: () => Promise<Held | null>): Promise<number> {
    try {
      while (!this.#stop.isAsked) {
        if (this.#running.size >= this.#options.jobs) {
          await Promise.race(this.#running.values());
          continue;
        }
        const held = await this.#nextReadable(next);
        if (held === null) break;
        this.#start(held);
      }
    } finally {
      await Promise.all(this.#running.values());
    }
    return this.#failures;
  }

  /** An entry whose metadata is no text is passed over, and stays checked out. */
  async #nextReadable(next: () => Promise<Held | null>): Promise<Held | null> {
    for (;;) {
      try {
        return await next();
      } catch (error) {
        if (!isUnreadable(error)) throw error;
        this.#failures++;
        note(`${asVreserveError(error).message}; it stays checked out`);
      }
    }
  }

  #start(held: Held): void {
    const { spool, command, json } = this.#options;
    const startMs = performance.now();
    const run = new CommandRun(command, spool.dir, held, json ? 2 : 1);
    const work = run.ended
      .then((ending) => this.#finish(held, ending, performance.now() - startMs))
      .finally(() => this.#running.delete(run));
    this.#running.set(run, work);
  }

  async #finish(held: Held, ending: Ending, durationMs: number): Promise<void> {
    const isDone = ending.reason === '';
    const isBroken = !isDone && this.#interrupting;
    if (isBroken) this.#interrupted = true;
    else if (!isDone) this.#failures++;
    try {
      this.#report(held, ending, await this.#settle(held, isDone, isBroken), durationMs);
    } catch (error) {
      if (isDone) this.#failures++;
      const reason = `${isDone ? '' : `${ending.reason}; `}it could not be finished: ${asVreserveError(error).message}`;
      this.#report(held, { ...ending, reason }, { state: 'left' }, durationMs);
    }
  }

  async #settle(held: Held, isDone: boolean, isBroken: boolean): Promise<Outcome> {
    const { spool, queue, onSuccess, onFailure } = this.#options;
    const to = isBroken ? queue : isDone ? onSuccess : onFailure;
    if (to !== undefined) {
      await saveHeld(spool, held, to);
      return { state: isBroken ? 'put-back' : 'saved', to };
    }
    if (!isDone) return { state: 'left' };
    await removeHeld(spool, held);
    return { state: 'removed' };
  }

  #report({ name, queue }: Held, { exitCode, signal, reason }: Ending, outcome: Outcome, durationMs: number): void {
    const { word, json, quiet } = this.#options;
    if (outcome.state === 'left') {
      note(`${name}: ${reason}; it stays checked out, and goes back with: vreserve spool recover ${word} ${queue}`);
    }
    if (quiet) return;
    if (json) {
      printJson({ name, queue, ...outcome, exitCode, signal, reason, durationMs: Math.round(durationMs) });
    } else if (outcome.state !== 'left') {
      const verb = outcome.state === 'removed' ? 'removed' : outcome.state === 'saved' ? `saved into ${outcome.to}` : 'put back';
      print(`${name}  ${verb}${reason === '' ? '' : ` (${reason})`}  ${(durationMs / 1000).toFixed(1)} s`);
    }
  }
}
