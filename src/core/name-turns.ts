// One change of a name at a time, first come, first served; changes of different names at once.

export class NameTurns {
  /** By name: the end of the last job. Names without a job are not in it. */
  readonly #last = new Map<string, Promise<void>>();

  async run<Result>(name: string, job: () => Promise<Result>): Promise<Result> {
    const before = this.#last.get(name);
    const result = before === undefined ? job() : before.then(job);
    const end = result.then(
      () => {},
      () => {},
    );
    this.#last.set(name, end);
    try {
      return await result;
    } finally {
      if (this.#last.get(name) === end) this.#last.delete(name);
    }
  }

  /** Resolves when no job runs or waits. */
  async idle(): Promise<void> {
    while (this.#last.size > 0) await Promise.all(this.#last.values());
  }
}
