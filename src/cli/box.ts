// The process that uses the mount for its daemon, which must not use it itself.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { VreserveError } from '../core/errors.js';
import { serveBox } from '../waiting/box-process.js';
import { RemoteBox } from '../waiting/remote-box.js';
import type { Command } from './command.js';

export const box: Command = {
  usage: 'box DIR',
  description: ['Uses the spool of requests in a mount for its daemon. Started by the daemon, and by nobody else.'],
  examples: [],
  options: {},
  words: [1, 1],
  async run({ positionals: [dir = ''] }) {
    if (process.send === undefined) throw new VreserveError('USAGE', { reason: 'box is started by the daemon' });
    process.umask(0o022);
    return serveBox(dir);
  },
};

/** Starts it. `dir`: as seen through the mount. */
export function startBox(dir: string): RemoteBox {
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  return new RemoteBox(() =>
    // A working directory of its own would keep a filesystem busy.
    spawn(process.execPath, [main, 'box', dir], {
      cwd: '/',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      serialization: 'advanced',
    }),
  );
}
