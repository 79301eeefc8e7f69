// Asks the HTTP service of a mount: whole requests, and raw bytes; and finds the process that it is.
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Where a service is: `http://127.0.0.1:PORT` or `unix:PATH`, as `mount --json` says it. */
export type At = { socketPath: string } | { host: string; port: number };

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Ask {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

export function at(address: string | null): At {
  if (address === null) throw new Error('there is no service');
  if (address.startsWith('unix:')) return { socketPath: address.slice(5) };
  const { hostname, port } = new URL(address);
  return { host: hostname, port: Number(port) };
}

/** One request on a connection of its own. */
export function ask(where: At, path: string, { method = 'GET', headers = {}, body }: Ask = {}): Promise<Answer> {
  return new Promise((done, failed) => {
    const request = httpRequest({ ...where, path, method, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', failed);
      response.on('end', () =>
        done({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts).toString() }),
      );
    });
    request.on('error', failed);
    request.end(body);
  });
}

/** JSON there and back. */
export async function askJson(
  where: At,
  path: string,
  method = 'GET',
  json?: unknown,
): Promise<{ status: number; json: unknown }> {
  const body = json === undefined ? {} : { body: JSON.stringify(json), headers: { 'content-type': 'application/json' } };
  const answer = await ask(where, path, { method, ...body });
  return { status: answer.status, json: answer.body === '' ? null : (JSON.parse(answer.body) as unknown) };
}

/** The service process of a daemon; null: there is none at the moment. */
export async function servicePid(daemonPid: number): Promise<number | null> {
  const children = await readFile(`/proc/${daemonPid}/task/${daemonPid}/children`, 'utf8').catch(() => '');
  for (const pid of children.split(' ').filter(Boolean)) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (command.includes('cli/main.js\0service\0')) return Number(pid);
  }
  return null;
}

/** How many descriptors a process has open. */
export async function descriptors(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}

export async function open(where: At): Promise<Socket> {
  const socket = connect('socketPath' in where ? { path: where.socketPath } : where);
  await once(socket, 'connect');
  return socket;
}

/** Sends bytes and returns all that comes back until the other side closes, or `ended` is found in it. */
export async function raw(where: At, bytes: string | Buffer, ended?: RegExp): Promise<string> {
  const socket = await open(where);
  let said = '';
  const over = new Promise<void>((done) => {
    socket.on('data', (part) => {
      said += part.toString('latin1');
      if (ended?.test(said)) done();
    });
    socket.on('error', () => done());
    socket.on('close', () => done());
  });
  socket.write(bytes);
  await over;
  socket.destroy();
  return said;
}

/** Resolves when it is so; rejects after a minute. */
export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 1200; tries++) {
    if (await isSo()) return;
    await sleep(50);
  }
  throw new Error(`not within a minute: ${what}`);
}
