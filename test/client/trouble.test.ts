// What goes wrong between a client and who serves: nobody there, silence, nonsense, an end in the middle; and what the caller ends.
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { VreserveClient } from '../../src/client/client.js';
import type { CallOptions } from '../../src/client/stop.js';
import { clientOf, codeOf, raw, reach, serveStore, told, WAYS } from '../helpers/client.js';
import { until } from '../helpers/http.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { run } from '../helpers/run.js';

type Call = (client: VreserveClient, options: CallOptions) => Promise<unknown>;

const OF_A_MOUNT = ['ping', 'reserve', 'release', 'report', 'reservations', 'lots.list'] as const;
const OF_A_STORE = ['store.create', 'store.put', 'store.read', 'store.stat', 'store.remove', 'store.list'] as const;
type Name = (typeof OF_A_MOUNT | typeof OF_A_STORE)[number];

/** One of every kind. */
const CALLS: Record<Name, Call> = {
  ping: (c, options) => c.ping(options),
  reserve: (c, options) => c.reserve('/a', 5, options),
  release: (c, options) => c.release('/a', options),
  report: (c, options) => c.report(options),
  reservations: (c, options) => c.reservations('/', options),
  'lots.list': (c, options) => c.lots.list(options),
  'store.create': (c, options) => c.store.create('a', 'text', options),
  'store.put': (c, options) => c.store.put('a', Readable.from(['pieces']), options),
  'store.read': (c, options) => c.store.read('a', options),
  'store.stat': (c, options) => c.store.stat('a', options),
  'store.remove': (c, options) => c.store.remove('a', options),
  'store.list': async (c, options) => {
    for await (const _ of c.store.list(options));
  },
};

async function fails(t: Test, call: Promise<unknown>, expected: object, name: string): Promise<void> {
  const error = await call.then(
    () => 'no error',
    (thrown: unknown) => thrown,
  );
  t.match(error, expected, name);
}

async function eachCall(t: Test, client: VreserveClient, expected: object, options = {}): Promise<void> {
  for (const [name, call] of Object.entries(CALLS)) await fails(t, call(client, options), expected, name);
}

t.test('targets', async (t) => {
  for (const target of ['ftp://x', 'http://', 'http://a:b@c', 'http://a/?b', '', 'a\0b', 'unix:', `unix:/${'x'.repeat(200)}`]) {
    t.throws(() => new VreserveClient(target), { code: 'USAGE' }, target);
  }
  for (const timeoutMs of [0, -1, Number.NaN, '5' as unknown as number]) {
    t.throws(() => new VreserveClient('http://x', { timeoutMs }), { code: 'USAGE' }, String(timeoutMs));
    t.equal(await codeOf(new VreserveClient('http://x').ping({ timeoutMs })), 'USAGE');
  }
  t.throws(() => new VreserveClient('http://x', { token: 'a\nb' }), { code: 'USAGE' });
  const found: string[] = [];
  const target = await told(t, (request, response) => {
    found.push(`${request.headers.host} ${request.url} ${request.headers.authorization}`);
    response.end('{"Succeeded":true}');
  });
  await clientOf(t, `${target}/behind/a proxy/`, { token: 'secret' }).ping();
  await clientOf(t, new URL(target).href).ping();
  const host = new URL(target).host;
  t.strictSame(found, [`${host} /behind/a%20proxy/ping/ Bearer secret`, `${host} /ping/ undefined`]);
});

t.test('nobody is there: nothing was done', async (t) => {
  const top = await temporaryDirectory(t);
  await eachCall(t, clientOf(t, 'http://127.0.0.1:1'), {
    code: 'UNREACHABLE',
    errno: 'ECONNREFUSED',
    message: /^http:\/\/127.0.0.1:1 cannot/,
  });
  await eachCall(t, clientOf(t, `unix:${join(top, 'none')}`), { code: 'UNREACHABLE', errno: 'ENOENT' });
  await eachCall(t, clientOf(t, 'http://vreserve.invalid'), { code: 'UNREACHABLE' });
  for (const dir of [top, join(top, 'none')]) {
    for (const name of OF_A_MOUNT) {
      await t.rejects(CALLS[name](clientOf(t, dir), {}), { code: 'UNREACHABLE', errno: 'ENOENT' }, name);
    }
  }
});

t.test('silence', async (t) => {
  const late = { code: 'NO_ANSWER', errno: 'ETIMEDOUT', details: { timeoutMs: 30 } };
  const silent = await raw(t, (socket) => socket.resume());
  await t.test('no answer', (t) => eachCall(t, clientOf(t, silent.target), late, { timeoutMs: 30 }));
  await t.test('the client has a time for all', (t) => eachCall(t, clientOf(t, silent.target, { timeoutMs: 30 }), late));
  await until(() => silent.sockets.every((socket) => socket.destroyed), 'all connections are ended');
  const half = await raw(t, (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"Suc'));
  await t.test('half an answer', async (t) => {
    for (const name of ['ping', 'reserve', 'report'] as const) {
      await t.rejects(CALLS[name](clientOf(t, half.target), { timeoutMs: 30 }), late, name);
    }
  });
  const deaf = await raw(t, (socket) => socket.pause());
  await t.test('a body that nobody takes', async (t) => {
    let given = 0;
    let isEnded = false;
    const source = (async function* () {
      try {
        for (;;) {
          given++;
          yield Buffer.alloc(1024 * 1024);
        }
      } finally {
        isEnded = true;
      }
    })();
    await t.rejects(clientOf(t, deaf.target).store.create('a', source, { timeoutMs: 2000 }), { code: 'NO_ANSWER' });
    t.ok(given > 0 && given < 30, `it is given at the speed at which it goes: ${given}`);
    t.ok(isEnded, 'and ended');
  });
  await t.test('a slow source, and a slow reader, are not the other side', async (t) => {
    const target = await told(t, async (request, response) => {
      for await (const _ of request);
      response.writeHead(204, { etag: '"1"' }).end();
    });
    const slow = (async function* () {
      for (let i = 0; i < 3; i++) {
        await new Promise((done) => setTimeout(done, 200));
        yield Buffer.alloc(10);
      }
    })();
    t.match(await clientOf(t, target, { timeoutMs: 100 }).store.create('a', slow), { sizeBytes: 30 });
  });
});

t.test('many calls make few connections, and wait for them without losing time', async (t) => {
  const silent = await raw(t, (socket) => socket.resume());
  const client = clientOf(t, silent.target);
  const controller = new AbortController();
  const held = Array.from({ length: 128 }, () => codeOf(client.ping({ signal: controller.signal })));
  const queued = Array.from({ length: 72 }, () => codeOf(client.ping({ timeoutMs: 20, signal: controller.signal })));
  await until(() => silent.sockets.length === 128, 'all connections are there');
  await new Promise((done) => setTimeout(done, 100));
  t.equal(silent.sockets.length, 128);
  controller.abort();
  t.strictSame([...new Set(await Promise.all([...held, ...queued]))], ['AbortError']);
});

t.test('an end in the middle', async (t) => {
  const broken = { code: 'BROKEN_OFF', errno: 'ECONNRESET', message: /may have been done/ };
  const atOnce = await raw(t, (socket) => socket.once('data', () => socket.destroy()));
  await eachCall(t, clientOf(t, atOnce.target), broken);
  const half = await raw(t, (socket) =>
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"Suc')),
  );
  for (const name of ['ping', 'reserve', 'report', 'reservations'] as const) {
    await t.rejects(CALLS[name](clientOf(t, half.target), {}), broken, name);
  }
});

t.test('nonsense', async (t) => {
  const noise = await raw(t, (socket) => socket.once('data', () => socket.end('SSH-2.0-OpenSSH_9.2\r\n')));
  await eachCall(t, clientOf(t, noise.target), { code: 'BAD_ANSWER', message: /is no HTTP/ });
  interface Row {
    status?: number;
    headers?: Record<string, string>;
    body?: string;
    call: Name;
    code: string;
    message?: RegExp;
  }
  const rows: Row[] = [
    { call: 'ping', body: 'pong', code: 'BAD_ANSWER', message: /'pong' is no JSON object/ },
    { call: 'ping', body: '[]', code: 'BAD_ANSWER' },
    { call: 'ping', body: '{}', code: 'BAD_ANSWER', message: /no answer to a ping/ },
    { call: 'ping', status: 404, body: 'no', code: 'BAD_ANSWER', message: /HTTP 404: 'no'/ },
    { call: 'ping', status: 502, body: '<html>\nBad  gateway', code: 'BAD_ANSWER', message: /HTTP 502: '<html> Bad gateway'/ },
    { call: 'ping', status: 301, headers: { location: '/x' }, code: 'BAD_ANSWER', message: /HTTP 301/ },
    { call: 'reserve', body: '', code: 'BAD_ANSWER' },
    { call: 'reserve', body: 'null', code: 'BAD_ANSWER' },
    { call: 'reserve', body: '{"ok":true}', code: 'BAD_ANSWER', message: /tells of no lot/ },
    { call: 'reserve', body: '{"ok":true,"lot":5}', code: 'BAD_ANSWER' },
    { call: 'reserve', body: '{"lot":null}', code: 'BAD_ANSWER', message: /no reply to a command/ },
    { call: 'reserve', status: 507, body: '{"code":"NO_SPACE","message":"full","availableBytes":7}', code: 'NO_SPACE' },
    { call: 'reserve', status: 418, body: '{"code":"TEAPOT","errno":"ETEA","message":"short and stout"}', code: 'SYSTEM' },
    { call: 'reserve', status: 401, body: '', code: 'NO_TOKEN' },
    { call: 'report', body: '{}', code: 'BAD_ANSWER', message: /is no report/ },
    { call: 'report', body: '{"daemon":{},"pool":{},"lots":[1],"waiting":[]}', code: 'BAD_ANSWER' },
    { call: 'reservations', body: '{"Succeeded":true,"Data":null}', code: 'BAD_ANSWER', message: /no reservations/ },
    { call: 'reservations', body: '{"Succeeded":true,"Data":{"/a":"5"}}', code: 'BAD_ANSWER' },
    { call: 'lots.list', body: '{"ok":true,"result":{}}', code: 'BAD_ANSWER', message: /'lot list'/ },
    { call: 'lots.list', body: '{"ok":true,"result":[5]}', code: 'BAD_ANSWER' },
    { call: 'store.create', status: 204, code: 'BAD_ANSWER', message: /no ETag/ },
    { call: 'store.create', status: 200, headers: { etag: '"1"' }, code: 'BAD_ANSWER' },
    {
      call: 'store.create',
      status: 507,
      body: '{"code":507,"text":"full"}',
      headers: { 'vreserve-code': 'STORE_FULL' },
      code: 'STORE_FULL',
    },
    { call: 'store.read', body: 'x', code: 'BAD_ANSWER', message: /none of a blob/ },
    {
      call: 'store.read',
      status: 404,
      headers: { 'content-type': 'text/plain' },
      body: 'no',
      code: 'NO_STORE',
      message: /has no store/,
    },
    { call: 'store.read', status: 404, code: 'STORE_NO_BLOB' },
    { call: 'store.stat', headers: { etag: '"1"' }, code: 'BAD_ANSWER' },
    { call: 'store.remove', status: 500, body: 'x', code: 'BAD_ANSWER' },
    { call: 'store.list', body: '{"blobs":{},"next":null}', code: 'BAD_ANSWER', message: /no list of blobs/ },
    { call: 'store.list', body: '{"blobs":[{"name":"a","state":"odd"}],"next":null}', code: 'BAD_ANSWER' },
    { call: 'store.list', body: '{"blobs":[],"next":5}', code: 'BAD_ANSWER' },
  ];
  let row: Row | undefined;
  const target = await told(t, (request, response) => {
    request.resume();
    request.on('end', () =>
      response.writeHead(row?.status ?? 200, row?.headers).end(row?.status === 204 ? undefined : row?.body),
    );
  });
  const client = clientOf(t, target);
  for (row of rows) {
    const { call, code, message = /./ } = row;
    const name = `${call}: ${row.status ?? 200} ${row.body ?? ''}`;
    await t.rejects(CALLS[call](client, {}), { name: 'VreserveError', code, message }, name);
  }
});

t.test('what the caller ends', async (t) => {
  let asked = 0;
  const held: ServerResponse[] = [];
  const target = await told(t, (_request, response) => {
    asked++;
    held.push(response);
  });
  const client = clientOf(t, target);
  const aborted = { name: 'AbortError', code: DOMException.ABORT_ERR };
  await t.test('before', async (t) => {
    await eachCall(t, client, aborted, { signal: AbortSignal.abort() });
    const reason = new Error('mine');
    await eachCall(t, client, reason, { signal: AbortSignal.abort(reason) });
    const dead = clientOf(t, target, { signal: AbortSignal.abort() });
    await eachCall(t, dead, aborted);
    t.equal(asked, 0, 'nothing was asked');
  });
  await t.test('meanwhile', async (t) => {
    for (const [name, call] of Object.entries(CALLS)) {
      const controller = new AbortController();
      const outcome = fails(t, call(client, { signal: controller.signal }), aborted, name);
      await until(() => held.length > 0, 'it is asked');
      const response = held.pop() as ServerResponse;
      const closed = once(response, 'close');
      controller.abort();
      await outcome;
      await closed;
    }
    await t.rejects(client.ping({ signal: AbortSignal.timeout(20) }), { name: 'TimeoutError' });
  });
  await t.test('by the signal of the client', async (t) => {
    const controller = new AbortController();
    const own = clientOf(t, target, { signal: controller.signal });
    const calls = Object.values(CALLS).map((call) => codeOf(call(own, {})));
    controller.abort();
    t.strictSame([...new Set(await Promise.all(calls))], ['AbortError']);
  });
  await t.test('close', async (t) => {
    const own = new VreserveClient(target);
    const calls = Object.values(CALLS).map((call) => codeOf(call(own, {})));
    await own.close();
    t.strictSame([...new Set(await Promise.all(calls))], ['CLIENT_CLOSED']);
    await eachCall(t, own, { code: 'CLIENT_CLOSED' });
    await own.close();
    await using disposed = new VreserveClient(target);
    t.ok(disposed);
  });
});

for (const way of WAYS) {
  t.test(`the daemon by ${way}`, async (t) => {
    const { m, client } = await reach(t, way);
    await client.reserve('/a', 5);
    const { pid } = m.ready;
    process.kill(pid, 'SIGSTOP');
    // One that stands still cannot be unmounted.
    t.teardown(() => {
      try {
        process.kill(pid, 'SIGCONT');
      } catch {
        // It is gone.
      }
    });
    await t.test('that does not move', async (t) => {
      const calls = [client.reserve('/b', 5, { timeoutMs: 50 }), client.lots.list({ timeoutMs: 50 })];
      for (const call of calls) t.equal(await codeOf(call), 'NO_ANSWER');
      const controller = new AbortController();
      const call = t.rejects(client.reserve('/c', 5, { signal: controller.signal }), { name: 'AbortError' });
      controller.abort();
      await call;
    });
    await t.test('that is killed meanwhile', async (t) => {
      const calls = [codeOf(client.reserve('/d', 5)), codeOf(client.lots.list())];
      // They are on their way; what had come no further is not there either.
      await new Promise((done) => setTimeout(done, 100));
      await m.kill();
      for (const code of await Promise.all(calls)) t.match(code, /^(BROKEN_OFF|UNREACHABLE)$/);
    });
    await t.test('that is gone', async (t) => {
      // The process of its service ends a moment later.
      await until(async () => (await codeOf(client.ping())) === 'UNREACHABLE', 'nobody is there');
      for (const name of OF_A_MOUNT) {
        await t.rejects(CALLS[name](client, {}), { code: 'UNREACHABLE' }, name);
      }
    });
    await t.test('that is there again', async (t) => {
      const http = way === 'socket' ? (m.ready.http ?? '') : `127.0.0.1:${new URL(m.ready.http ?? '').port}`;
      await m.remount(['--http', http]);
      t.match(await client.reservations(), new Map([['/a', 5]]));
      t.match(await client.reserve('/e', 5), { path: '/e' });
    });
  });
}

t.test('a service that asks for a token', async (t) => {
  const top = await temporaryDirectory(t);
  const token = 'abcdefghijklmnop';
  await run('/bin/sh', ['-c', 'printf "%s\\n" "$0" > "$1"', token, join(top, 'token')]);
  const { m } = await reach(t, 'tcp', ['--http-token-file', join(top, 'token')]);
  const store = await serveStore(t, join(top, 'blobs'), `unix:${join(top, 's')}`, '--token-file', join(top, 'token'));
  const { http } = m.ready;
  for (const wrong of [{}, { token: 'another' }]) {
    const mount = clientOf(t, http ?? '', wrong);
    await mount.ping();
    for (const name of OF_A_MOUNT.slice(1)) {
      await t.rejects(CALLS[name](mount, {}), { code: 'NO_TOKEN', errno: 'EACCES' }, name);
    }
    const alone = clientOf(t, store.target, wrong);
    await alone.ping();
    for (const name of OF_A_STORE) {
      await t.rejects(CALLS[name](alone, {}), { code: 'NO_TOKEN' }, name);
    }
  }
  const mount = clientOf(t, http ?? '', { token });
  await mount.reserve('/a', 5);
  t.equal((await mount.report()).lots.length, 2);
  const alone = clientOf(t, store.target, { token });
  await alone.store.create('a', 'x');
  t.equal(String(await alone.store.read('a')), 'x');
});
