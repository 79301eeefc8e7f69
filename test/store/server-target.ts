// The store's routes in a process of their own, without a mount, for the hammer.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { plainEnvironment } from '../crash/load.js';
import { payloadFiles } from './blobs.js';
import type { Target } from './hammer.js';

const SERVED = fileURLToPath(new URL('./served.js', import.meta.url));

/** The store is `store` in the directory, which is there; the socket is made in it. */
export function serverTarget(top: string): Target {
  const dir = join(top, 'store');
  const socketPath = join(top, 'socket');
  let server: ChildProcess | null = null;
  return {
    socketPath,
    directory: null,
    files: async () => [],
    payloads: () => payloadFiles(dir),
    async start() {
      await rm(socketPath, { force: true });
      const child = spawn(process.execPath, [SERVED, dir, socketPath, '200'], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: plainEnvironment(),
      });
      server = child;
      await new Promise<void>((resolve, reject) => {
        child.stdout?.once('data', () => resolve());
        child.once('close', (code) => reject(new Error(`the server ended with ${code}`)));
      });
    },
    async kill() {
      const child = server;
      if (child === null || child.exitCode !== null || child.signalCode !== null) return;
      const closed = once(child, 'close');
      child.kill('SIGKILL');
      await closed;
    },
  };
}
