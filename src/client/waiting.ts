// A command that waits in line: its write to `control` blocks, and only the end of the process that writes ends it.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { objectIn, refusalIn } from './answers.js';
import type { Stop } from './stop.js';

/** From the parent, on one line. */
export interface WaitingRequest {
  mountpoint: string;
  request: object;
}

/**
 * Sends it from a process of its own, which acts as this user, occupies no thread here, and is ended where the answer is not to be
 * waited for any more, also when this process dies: then the request leaves the line.
 */
export async function sendWaiting(mountpoint: string, request: object, stop: Stop): Promise<Record<string, unknown>> {
  stop.check();
  const main = fileURLToPath(new URL('./wait-process.js', import.meta.url));
  const { NODE_OPTIONS: _, ...env } = process.env;
  // A session of its own: what the terminal sends to this process is this process's to act on.
  const child = spawn(process.execPath, [main], { cwd: '/', env, detached: true, stdio: ['pipe', 'pipe', 'ignore'] });
  stop.onStop(() => {
    child.kill('SIGKILL');
    child.unref();
    child.stdout.destroy();
  });
  const said: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => said.push(part));
  child.stdin.on('error', () => {});
  const ended = new Promise<void>((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', (error) => reject(asVreserveError(error)));
  });
  child.stdin.write(`${JSON.stringify({ mountpoint, request } satisfies WaitingRequest)}\n`);
  await stop.wait(ended);
  if (said.length === 0) throw new VreserveError('BROKEN_OFF', { where: 'the process that waited' });
  const reply = objectIn(Buffer.concat(said).toString(), `'${mountpoint}'`);
  if (reply.ok === true) return reply;
  throw refusalIn(reply);
}
