// Lines of the log on their way to another process, many in one message.

import type { Lines } from '../log.js';

export class ToldLines implements Lines {
  readonly #tell: (lines: string) => void;
  #lines = '';

  constructor(tell: (lines: string) => void) {
    this.#tell = tell;
  }

  write(lines: string): void {
    if (this.#lines === '') setImmediate(() => this.flush());
    this.#lines += lines;
  }

  flush(): void {
    if (this.#lines !== '') this.#tell(this.#lines);
    this.#lines = '';
  }
}
