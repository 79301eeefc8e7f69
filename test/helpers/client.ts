// What tests of the client ask: a mount in each way that there is, services that are served alone, and servers that answer as they are told.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createNetServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type ClientOptions, VreserveClient } from '../../src/client/client.js';
import { asVreserveError } from '../../src/core/errors.js';
import { type Mounted, type MountOptions, mount, temporaryDirectory } from './mount.js';
import { MAIN } from './run.js';

export const WAYS = ['tcp', 'socket', 'mount'] as const;
export type Way = (typeof WAYS)[number];

export interface Reached {
  m: Mounted;
  target: string;
  client: VreserveClient;
}

/** A client that is closed with the test. */
export function clientOf(t: Test, target: string, options?: ClientOptions): VreserveClient {
  const client = new VreserveClient(target, options);
  t.teardown(() => client.close());
  return client;
}

/** A mount with its service on TCP (for the mount itself, too) or a socket, and a client that reaches it that way. */
export async function reach(t: Test, way: Way, args: readonly string[] = [], options: MountOptions = {}): Promise<Reached> {
  const socket = join(await temporaryDirectory(t), 'socket');
  const http = way === 'socket' ? `unix:${socket}` : '127.0.0.1:0';
  const m = await mount(t, { ...options, args: ['--http', http, ...args] });
  const target = way === 'mount' ? m.mnt : (m.ready.http ?? '');
  return { m, target, client: clientOf(t, target) };
}

/** The code of an error of ours, the name of another, or `no error`. */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'no error';
  } catch (error) {
    if (error instanceof DOMException) return error.name;
    return asVreserveError(error).code;
  }
}

export interface Alone {
  target: string;
  child: ChildProcess;
}

/** `vreserve` with these words, which serves until the test ends; `where` finds its address in what it says. */
export async function serveAlone(t: Test, words: readonly string[], where: RegExp): Promise<Alone> {
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  let said = '';
  const target = await new Promise<string>((found, failed) => {
    child.stdout.on('data', (part: Buffer) => {
      said += part.toString();
      const [, address] = where.exec(said) ?? [];
      if (address !== undefined) found(address);
    });
    child.once('close', () => failed(new Error(`it ended: ${said}`)));
  });
  return { target, child };
}

/** `vreserve store serve` on a directory, at an address. */
export async function serveStore(t: Test, dir: string, address = '127.0.0.1:0', ...more: string[]): Promise<Alone> {
  return serveAlone(t, ['store', 'serve', dir, '-s', address, '--json', ...more], /"http":"([^"]+)"/);
}

/** An HTTP server that answers as it is told. */
export async function told(t: Test, answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that does with a connection what it is told; `sockets` are all that came. */
export async function raw(t: Test, take: (socket: Socket) => void): Promise<{ target: string; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createNetServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    take(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
  });
  return { target: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets };
}
