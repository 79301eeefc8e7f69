// A job that many ask for at once, run as seldom as it can be.

/** Runs the job one at a time. Who asks while it runs shares the next run, which covers all that was done before the call. */
export class SharedRun<Result> {
  readonly #job: () => Promise<Result>;
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<Result> | null = null;

  constructor(job: () => Promise<Result>) {
    this.#job = job;
  }

  /** Rejects as the run does that was shared. */
  run(): Promise<Result> {
    this.#next ??= this.#begin();
    return this.#next;
  }

  async #begin(): Promise<Result> {
    await this.#running.catch(() => {});
    this.#next = null;
    const running = this.#job();
    this.#running = running;
    return running;
  }
}
