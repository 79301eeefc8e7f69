// Signals that ask a command to stop: it ends what it is at in order, and says with its exit code that it was asked.
import { constants } from 'node:os';

const ASKING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Takes the signals from when it is made until `end`. */
export class Stop {
  readonly #controller = new AbortController();
  readonly #again: (signal: NodeJS.Signals, count: number) => void;
  #first: NodeJS.Signals | null = null;
  #count = 0;
  readonly #hear = (signal: NodeJS.Signals) => {
    this.#count++;
    this.#first ??= signal;
    if (this.#count === 1) this.#controller.abort();
    else this.#again(signal, this.#count);
  };

  /** `again` is called for the second signal and each one after it, with how many there were. */
  constructor(again: (signal: NodeJS.Signals, count: number) => void = () => {}) {
    this.#again = again;
    for (const name of ASKING) process.on(name, this.#hear);
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isAsked(): boolean {
    return this.#controller.signal.aborted;
  }

  /** How many signals there were. */
  get count(): number {
    return this.#count;
  }

  /** As a signal would ask, and without one: stdout has lost its reader. */
  ask(): void {
    this.#controller.abort();
  }

  /** What a shell says of a command that this signal ended: 130 after SIGINT, 143 after SIGTERM; 0 without a signal. */
  get exitCode(): number {
    return this.#first === null ? 0 : 128 + constants.signals[this.#first];
  }

  end(): void {
    for (const name of ASKING) process.off(name, this.#hear);
  }
}
