// One process at a time has a store open. The lock is a socket without a file: it goes with its process, however that ends.

import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { errnoOf, VreserveError } from '../core/errors.js';

export interface StoreLock {
  release(): Promise<void>;
}

/** Throws STORE_IN_USE. Holds in one network namespace, and for one way to see the directory: the mount's and the backing's are two. */
export async function lockStore(dir: string): Promise<StoreLock> {
  const { dev, ino } = await stat(dir, { bigint: true });
  const server = createServer((socket) => socket.destroy());
  try {
    server.listen(`\0vreserve-store-${dev}-${ino}`);
    await once(server, 'listening');
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE') throw error;
    throw new VreserveError('STORE_IN_USE', { path: dir }, { cause: error });
  }
  // It keeps no process alive.
  server.unref();
  return { release: () => closed(server) };
}

async function closed(server: Server): Promise<void> {
  const gone = once(server, 'close');
  server.close();
  await gone;
}
