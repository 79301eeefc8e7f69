// Bad input, byte by byte: nothing of it stays, no descriptor and no file, and the next client is served.
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { until } from '../../helpers/http.js';
import { payloadFiles, textOf } from '../../store/blobs.js';
import { type Service, serve } from './service.js';

/** A client that says bytes, and hears what comes. */
class Client {
  readonly socket: Socket;
  heard = '';
  readonly closed: Promise<void>;

  constructor({ where }: Service) {
    this.socket = connect({ path: where.socketPath, allowHalfOpen: true });
    this.socket.on('error', () => {});
    this.socket.on('data', (part) => {
      this.heard += part.toString('latin1');
    });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', () => resolve());
      this.socket.on('end', () => this.socket.end());
    });
  }

  say(...parts: string[]): void {
    this.socket.write(parts.join(''), 'latin1');
  }

  hears(what: RegExp): Promise<void> {
    return until(() => what.test(this.heard), `${what} in ${JSON.stringify(this.heard)}`);
  }
}

/** Each on a line of its own. */
const lines = (...all: string[]) => all.map((line) => `${line}\r\n`).join('');

const post = (name: string, ...headers: string[]) => lines(`POST /store/${name} HTTP/1.1`, 'Host: h', ...headers, '');

const get = (path: string) => lines(`GET ${path} HTTP/1.1`, 'Host: h', '');

async function isFailed({ store }: Service, name: string): Promise<void> {
  await until(() => store.status(name)?.state !== 'Pending', `${name} is not pending`);
}

const openFiles = async () => (await readdir('/proc/self/fd')).length;

t.test('bodies that break off', async (t) => {
  const service = await serve(t);
  const { store, dir } = service;
  const endings: [name: string, begin: string, end: (client: Client) => void][] = [
    ['cut', post('cut', 'Content-Length: 10000000000') + 'x'.repeat(1000), ({ socket }) => void socket.destroy()],
    ['half closed', `${post('half%20closed', 'Content-Length: 100')}x`, ({ socket }) => void socket.end()],
    ['chunks', post('chunks', 'Transfer-Encoding: chunked') + lines('5', 'hello'), ({ socket }) => void socket.destroy()],
    [
      'bad chunk',
      post('bad%20chunk', 'Transfer-Encoding: chunked') + lines('5', 'hello'),
      (client) => client.say(lines('zz', 'no')),
    ],
    ['nothing', post('nothing', 'Content-Length: 5'), ({ socket }) => void socket.destroy()],
  ];
  for (const [name, begin, end] of endings) {
    const client = new Client(service);
    await once(client.socket, 'connect');
    client.say(begin);
    await until(() => store.status(name)?.state === 'Pending', `${name} is pending`);
    t.equal(await store.read(name), null, `${name}: not readable`);
    end(client);
    await isFailed(service, name);
    t.equal(store.status(name)?.state, 'Failure', name);
    if (!client.socket.destroyed) await client.closed;
    t.same(await payloadFiles(dir), [], `${name}: no file is left`);
    t.equal(
      (await service.ask(`/store/${encodeURIComponent(name)}`, { method: 'POST', body: 'again' })).status,
      204,
      `${name}: the name is free`,
    );
    await store.remove(name);
    await store.collect();
  }

  await service.ask('/store/kept', { method: 'POST', body: 'old' });
  const client = new Client(service);
  client.say(lines('PUT /store/kept HTTP/1.1', 'Host: h', 'Content-Length: 100', ''), 'new');
  await until(() => (store.status('kept')?.pendingUploads ?? 0) > 0, 'the update is pending');
  t.equal(await textOf(store, 'kept'), 'old');
  client.socket.destroy();
  await until(() => store.status('kept')?.hasFailed === true, 'the update has failed');
  t.equal(await textOf(store, 'kept'), 'old');
});

t.test('clients that stand still, and clients that are slow', async (t) => {
  const service = await serve(t, { bodyIdleMs: 300 });
  const still = new Client(service);
  still.say(post('still', 'Content-Length: 10'), 'half');
  await still.closed;
  t.match(
    still.heard,
    /^HTTP\/1\.1 408 [\s\S]*connection: close[\s\S]*"code":408,"text":"nothing of the body came for 0\.3 seconds"/i,
  );
  t.equal(service.store.status('still')?.state, 'Failure');

  const patient = await serve(t);
  const slow = new Client(patient);
  slow.say(post('slow', 'Content-Length: 26'));
  for (const letter of 'abcdefghijklmnopqrstuvwxyz') {
    slow.say(letter);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await slow.hears(/^HTTP\/1\.1 204/);
  t.equal(await textOf(patient.store, 'slow'), 'abcdefghijklmnopqrstuvwxyz');
  slow.socket.destroy();
});

t.test('Expect: 100-continue is answered when the body is wanted, and only then', async (t) => {
  const service = await serve(t);
  const wanted = new Client(service);
  wanted.say(post('n', 'Content-Length: 5', 'Expect: 100-continue'));
  await wanted.hears(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  wanted.say('hello');
  await wanted.hears(/HTTP\/1\.1 204/);
  wanted.say(get('/store/n'));
  await wanted.hears(/\r\n\r\nhello$/);
  wanted.socket.destroy();
  const refused = new Client(service);
  refused.say(post('n', 'Content-Length: 5', 'Expect: 100-continue'));
  await refused.closed;
  t.match(refused.heard, /^HTTP\/1\.1 500 [\s\S]*connection: close[\s\S]*already exists/i);
  t.notMatch(refused.heard, /100 Continue/);
  const other = new Client(service);
  other.say(
    lines('POST /other HTTP/1.1', 'Host: h', 'Content-Type: text/plain', 'Content-Length: 1', 'Expect: 100-continue', ''),
  );
  await other.hears(/^HTTP\/1\.1 100 Continue/);
  other.say('x');
  await other.hears(/taken/);
  other.socket.destroy();
});

t.test('refused in the middle of a large body: the answer arrives, and the connection ends', async (t) => {
  const service = await serve(t);
  await service.ask('/store/n', { method: 'POST', body: 'x' });
  const client = new Client(service);
  const bytes = 30_000_000;
  client.say(post('n', `Content-Length: ${bytes}`));
  client.socket.write(Buffer.alloc(bytes));
  await client.closed;
  t.match(client.heard, /^HTTP\/1\.1 500 [\s\S]*already exists/);
  const small = new Client(service);
  small.say(post('n', 'Content-Length: 5'), 'hello');
  small.say(post('m', 'Content-Length: 5'), 'hello');
  await small.hears(/500 [\s\S]*HTTP\/1\.1 204/);
  small.socket.destroy();
});

t.test('what is no request, and names of all kinds', async (t) => {
  const service = await serve(t);
  await service.ask('/store/n', { method: 'POST', body: 'there' });
  const before = await openFiles();
  const table: [said: string[], answer: RegExp][] = [
    [['nonsense', '', ''], /^HTTP\/1\.1 400/],
    [['GET /store/n HTTP/9.9', '', ''], /^HTTP\/1\.1 400/],
    [['BREW /store/n HTTP/1.1', 'Host: h', '', ''], /^HTTP\/1\.1 400/],
    [[`GET /store/${'x'.repeat(100_000)} HTTP/1.1`, 'Host: h', '', ''], /^HTTP\/1\.1 431/],
    [['GET /store/../store/n HTTP/1.1', 'Host: h', 'Connection: close', '', ''], /^HTTP\/1\.1 404/],
    [['GET /store/\xff HTTP/1.1', 'Host: h', 'Connection: close', '', ''], /^HTTP\/1\.1 40[04]/],
    [['GET /store/%ff HTTP/1.1', 'Host: h', 'Connection: close', '', ''], /^HTTP\/1\.1 400/],
    [['GET http://elsewhere/store/n HTTP/1.1', 'Host: h', 'Connection: close', '', ''], /^HTTP\/1\.1 200[\s\S]*there$/],
    [['POST /store/m HTTP/1.1', 'Host: h', 'Content-Length: 1', 'Content-Length: 2', '', 'xx'], /^HTTP\/1\.1 400/],
    [['POST /store/m HTTP/1.1', 'Host: h', 'Content-Length: -1', '', ''], /^HTTP\/1\.1 400/],
    [
      ['POST /store/m HTTP/1.1', 'Host: h', 'Content-Length: 5', 'Transfer-Encoding: chunked', '', '0', '', ''],
      /^HTTP\/1\.1 400/,
    ],
    [['POST /store/m HTTP/1.1', 'Host: h', 'Content-Length: 1', 'Expect: something', '', 'x'], /^HTTP\/1\.1 417/],
    [['DELETE /store/n/ HTTP/1.1', 'Host: h', 'Connection: close', '', ''], /^HTTP\/1\.1 301/],
  ];
  for (const [said, answer] of table) {
    const client = new Client(service);
    client.say(said.join('\r\n'));
    await client.hears(answer);
    client.socket.destroy();
    t.pass(said[0]?.slice(0, 50) ?? '');
  }
  t.equal(service.store.status('m'), null);
  const gone = new Client(service);
  gone.say(get('/store/n'));
  gone.socket.destroy();
  t.equal((await service.ask('/store/n')).body, 'there');
  await until(async () => (await openFiles()) <= before, 'no descriptor is left');
});

t.test('a client that reads nothing holds nobody up, and leaves nothing when it goes', async (t) => {
  const service = await serve(t);
  await service.ask('/store/big', { method: 'POST', body: Buffer.alloc(20_000_000, 'x') });
  const before = await openFiles();
  const client = new Client(service);
  client.socket.pause();
  client.say(get('/store/big'));
  t.equal((await service.ask('/store/big')).body.length, 20_000_000);
  t.equal((await service.ask('/store/big', { method: 'DELETE' })).status, 200);
  await service.store.collect();
  t.same(await payloadFiles(service.dir), [], 'the name is gone from the disk, the reader reads on');
  client.socket.resume();
  await until(() => client.heard.length > 20_000_000, 'all was read');
  client.socket.destroy();
  const other = new Client(service);
  await service.ask('/store/big', { method: 'POST', body: Buffer.alloc(20_000_000, 'x') });
  other.say(get('/store/big'));
  await other.hears(/^HTTP\/1\.1 200/);
  other.socket.destroy();
  await until(async () => (await openFiles()) <= before, 'no descriptor is left');
});

t.test('every byte arrives where it belongs, also at who asks twice at once and reads late', async (t) => {
  const service = await serve(t);
  // No two pieces of it are alike, wherever they begin.
  const body = Buffer.alloc(3_000_000);
  for (let at = 0; at + 4 <= body.length; at += 4) body.writeUInt32BE(at, at);
  await service.ask('/store/numbered', { method: 'POST', body });
  const client = new Client(service);
  client.socket.pause();
  client.say(get('/store/numbered'), get('/store/numbered'));
  await service.ask('/store/numbered');
  client.socket.resume();
  await until(() => client.heard.length > 2 * body.length, 'both were read');
  const expected = body.toString('latin1');
  const first = client.heard.indexOf(expected);
  t.ok(first > 0, 'the first is whole');
  t.ok(client.heard.indexOf(expected, first + 1) > 0, 'the second is whole');
  client.socket.destroy();
});
