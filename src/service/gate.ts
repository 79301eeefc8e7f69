// How much is asked of the daemon at a time, so that its event loop is not held up by who comes in numbers.

/**
 * Runs so many jobs at a time, the others in the order in which they came. One that is not done in `patienceMs` does not count any
 * more: what it waits for is not the daemon's attention.
 */
export class Gate {
  readonly #patienceMs: number;
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number, patienceMs: number) {
    this.#free = most;
    this.#patienceMs = patienceMs;
  }

  /** The same function, which waits for its turn. */
  behind<Args extends unknown[], Value>(job: (...args: Args) => Promise<Value>): (...args: Args) => Promise<Value> {
    return async (...args) => {
      const leave = await this.#enter();
      return job(...args).finally(leave);
    };
  }

  async #enter(): Promise<() => void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((turn) => this.#waiting.push(turn));
    let isIn = true;
    const leave = () => {
      clearTimeout(timer);
      if (isIn) this.#pass();
      isIn = false;
    };
    const timer = setTimeout(leave, this.#patienceMs);
    return leave;
  }

  /** Whoever waits takes the place that has come free. */
  #pass(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}
