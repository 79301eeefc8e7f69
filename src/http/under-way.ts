// The requests that a server is at, for who ends it after them.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';

export class UnderWay {
  readonly #responses = new Set<ServerResponse>();
  #onOver: () => void = () => {};

  constructor(server: Server) {
    server.prependListener('request', (_: IncomingMessage, response: ServerResponse) => {
      this.#responses.add(response);
      response.once('close', () => {
        this.#responses.delete(response);
        if (this.#responses.size === 0) this.#onOver();
      });
    });
  }

  /** Resolves when there is none any more, or the signal comes. */
  over(signal: AbortSignal): Promise<void> {
    return new Promise((done) => {
      if (this.#responses.size === 0 || signal.aborted) return done();
      this.#onOver = done;
      signal.addEventListener('abort', () => done(), { once: true });
    });
  }
}
