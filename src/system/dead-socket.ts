// Sockets in the filesystem that processes have left which were killed.
import { once } from 'node:events';
import { lstatSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { errnoOf } from '../core/errors.js';

/** Removes a socket at which nobody listens, so that somebody can. Nothing else is removed. */
export async function removeDeadSocket(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const socket = connect(path);
  try {
    await once(socket, 'connect');
  } catch (error) {
    if (errnoOf(error) === 'ECONNREFUSED') unlinkSync(path);
  } finally {
    socket.destroy();
  }
}
