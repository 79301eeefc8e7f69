// The process that uses the mount for its daemon, and ends with it.

import { RequestBox } from './box.js';
import { type BoxAnswer, type BoxCall, plainError } from './box-messages.js';

/** Serves the box of a directory over the channel to the parent, and ends the process when that has gone. */
export async function serveBox(dir: string): Promise<never> {
  const box = new RequestBox(dir);
  const tell = (answer: BoxAnswer) => void process.send?.(answer, () => {});
  // Signals are the daemon's to act on: in the foreground the terminal sends them to both.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  const answer = async (call: BoxCall): Promise<void> => {
    try {
      tell({ id: call.id, value: await run(box, call, tell) });
    } catch (error) {
      tell({ id: call.id, error: plainError(error) });
    }
  };
  process.on('message', (call: BoxCall) => void answer(call));
  // What has not begun by then must not be done in the mount of another daemon.
  process.on('disconnect', () => process.exit(0));
  return new Promise<never>(() => {});
}

async function run(box: RequestBox, call: BoxCall, tell: (answer: BoxAnswer) => void): Promise<unknown> {
  if (call.method !== 'attach' && call.method !== 'close') await box.checkAttached();
  switch (call.method) {
    case 'watch':
      box.close();
      return box.watch(
        (heard) => tell({ heard }),
        (error) => tell({ watchError: plainError(error) }),
      );
    case 'close':
      return box.close();
    case 'read': {
      const found = await box.read(...(call.args as Parameters<RequestBox['read']>));
      return found && { ...found, refusal: found.refusal && plainError(found.refusal) };
    }
    default: {
      const method = box[call.method] as (...args: unknown[]) => Promise<unknown>;
      return method.apply(box, call.args);
    }
  }
}
