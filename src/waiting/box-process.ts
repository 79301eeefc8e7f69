// The process that uses the mount for its daemon, and ends with it.

import { callsWithDaemon } from '../process/for-daemon.js';
import { plainError } from '../process/plain-error.js';
import { RequestBox } from './box.js';
import type { BoxListener, BoxMethods } from './box-messages.js';

/** Serves the box of a directory to the daemon, and ends the process when that has gone. */
export async function serveBox(dir: string): Promise<never> {
  const box = new RequestBox(dir);
  const daemon = callsWithDaemon<BoxListener>();
  /** In the mount that it was attached to, and in no other. */
  const there =
    <Args extends unknown[], Value>(method: (...args: Args) => Value) =>
    async (...args: Args): Promise<Awaited<Value>> => {
      await box.checkAttached();
      return await method.apply(box, args);
    };
  const methods: BoxMethods = {
    attach: () => box.attach(),
    checkAttached: () => box.checkAttached(),
    watch: there(() => {
      box.close();
      box.watch(
        (name) => daemon.tell('heard', name),
        (error) => daemon.tell('watchFailed', plainError(error)),
      );
    }),
    close: async () => box.close(),
    pending: there(box.pending),
    inOrder: there(box.inOrder),
    claimed: there(box.claimed),
    isPending: there(box.isPending),
    read: there(async (name) => {
      const found = await box.read(name);
      return found && { ...found, refusal: found.refusal && plainError(found.refusal) };
    }),
    reserveName: there(box.reserveName),
    put: there(box.put),
    giveUp: there(box.giveUp),
    claim: there(box.claim),
    putBack: there(box.putBack),
    finish: there(box.finish),
    remove: there(box.remove),
    clear: there(box.clear),
    trim: there(box.trim),
  };
  daemon.answer(methods);
  return new Promise<never>(() => {});
}
