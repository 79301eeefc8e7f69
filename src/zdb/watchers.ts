// Clients that wait until another one runs a command in their namespace.

import type { Watchers as Asked } from './commands/server-parts.js';
import type { Namespace } from './namespace.js';
import type { Session } from './session.js';

interface Watch {
  session: Session;
  namespace: Namespace;
  name: string | null;
  done: (name: string | null) => void;
}

export class Watchers implements Asked {
  readonly #watching = new Set<Watch>();

  /** Nobody waits: there is nothing to be told. */
  get isEmpty(): boolean {
    return this.#watching.size === 0;
  }

  wait(session: Session, namespace: Namespace, name: string | null, timeoutMs: number): Promise<string | null> {
    return new Promise((resolve) => {
      const done = (found: string | null) => {
        clearTimeout(timer);
        this.#watching.delete(watch);
        resolve(found);
      };
      const watch = { session, namespace, name, done };
      const timer = setTimeout(() => done(null), timeoutMs);
      session.onEnd = () => done(null);
      this.#watching.add(watch);
    });
  }

  ran(session: Session, namespace: Namespace, name: string): void {
    for (const watch of this.#watching) {
      if (watch.session === session || watch.namespace !== namespace) continue;
      if (watch.name === null || watch.name === name) watch.done(name);
    }
  }
}
