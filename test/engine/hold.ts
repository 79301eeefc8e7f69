// A disk that does not answer: whoever opens or reads certain files of a backing waits until it is let go.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { compileProgram } from '../helpers/fsop.js';
import type { Teardown } from '../helpers/mount.js';

export interface Held {
  /** Resolves when so many have been held up. */
  held(count: number): Promise<void>;
  letGo(): Promise<void>;
}

/** Ends with the test at the latest. Rejects where the kernel has no fanotify permissions. */
export async function hold(t: Teardown, paths: readonly string[]): Promise<Held> {
  const child = spawn(await compileProgram('hold', ['engine/hold.c']), paths, { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  let count = 0;
  let changed = () => {};
  const ready = new Promise<void>((resolve, reject) => {
    createInterface(child.stdout).on('line', (line) => {
      if (line === 'ready') resolve();
      else count += 1;
      changed();
    });
    child.on('close', () => reject(new Error('there is no fanotify here')));
  });
  const letGo = async () => {
    child.stdin.end();
    await closed;
  };
  t.teardown(letGo);
  await ready;
  return {
    async held(most) {
      while (count < most) {
        await new Promise<void>((resolve) => {
          changed = resolve;
        });
      }
    },
    letGo,
  };
}
