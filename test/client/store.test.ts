// Blobs by the client, on `vreserve store serve`: the same table over TCP and a Unix socket; what breaks off; sizes of every kind.
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import t, { type Test } from 'tap';
import type { BlobStore } from '../../src/client/store.js';
import type { BlobEntry } from '../../src/client/transport.js';
import { clientOf, codeOf, reach, serveStore } from '../helpers/client.js';
import { until } from '../helpers/http.js';
import { mount, temporaryDirectory } from '../helpers/mount.js';
import { must, ROOT, run } from '../helpers/run.js';

const PLACES = ['alone, by TCP', 'alone, by a socket', 'in a mount, by HTTP', 'in a mount, as files'] as const;
type Place = (typeof PLACES)[number];

async function served(t: Test, place: Place = 'alone, by TCP'): Promise<{ store: BlobStore; top: string; target: string }> {
  const top = await temporaryDirectory(t);
  if (place.startsWith('in a mount')) {
    const { target } = await reach(t, place.endsWith('HTTP') ? 'tcp' : 'mount', ['--capacity', '500MB', '--margin', '0'], {
      store: true,
    });
    return { store: clientOf(t, target).store, top, target };
  }
  const { target } = await serveStore(
    t,
    join(top, 'blobs'),
    place.endsWith('TCP') ? '127.0.0.1:0' : `unix:${join(top, 'socket')}`,
  );
  return { store: clientOf(t, target).store, top, target };
}

async function all(entries: AsyncIterable<BlobEntry>): Promise<BlobEntry[]> {
  const found: BlobEntry[] = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

const text = async (found: Promise<Buffer>) => String(await found);

interface Case {
  name: string;
  call: (store: BlobStore) => Promise<unknown>;
  gives?: unknown;
  throws?: object;
  /** What files give in place of it. */
  files?: { gives?: unknown; throws?: object };
}

const NOT_FILES = { throws: { code: 'NOT_SUPPORTED', errno: 'EOPNOTSUPP', message: /over HTTP/ } };

const PIECES = [Buffer.from('one'), 'two', new Uint8Array([0x33])];
async function* pieces(): AsyncGenerator<Uint8Array | string> {
  yield* PIECES;
}

const CASES: Case[] = [
  { name: 'nothing is there', call: (s) => all(s.list()), gives: [] },
  {
    name: 'create',
    call: (s) => s.create('a', 'one'),
    gives: { name: 'a', id: /^\d+$/, sizeBytes: 3 },
    files: { gives: { name: 'a', id: null, sizeBytes: 3 } },
  },
  {
    name: 'create again',
    call: (s) => s.create('a', 'two'),
    throws: { code: 'STORE_EXISTS', errno: 'EEXIST', message: /Blob a already exists/ },
  },
  { name: 'a large one again', call: (s) => s.create('a', Buffer.alloc(200_000)), throws: { code: 'STORE_EXISTS' } },
  { name: 'a stream again', call: (s) => s.create('a', pieces()), throws: { code: 'STORE_EXISTS' } },
  { name: 'read', call: (s) => text(s.read('a')), gives: 'one' },
  { name: 'update', call: (s) => s.update('a', Buffer.from('three')), gives: { sizeBytes: 5 } },
  { name: 'updated', call: (s) => text(s.read('a')), gives: 'three' },
  {
    name: 'update what is not there',
    call: (s) => s.update('b', 'x'),
    throws: { code: 'STORE_NO_BLOB', errno: 'ENOENT', message: "there is no blob 'b'" },
  },
  { name: 'put what is not there', call: (s) => s.put('b', pieces()), gives: { sizeBytes: 7 } },
  { name: 'put what is there', call: (s) => s.put('b', Readable.from(['x', 'y'])), gives: { sizeBytes: 2 } },
  { name: 'put', call: (s) => text(s.read('b')), gives: 'xy' },
  { name: 'a web stream', call: (s) => s.put('b', new Blob(['from the web']).stream()), gives: { sizeBytes: 12 } },
  { name: 'an array', call: (s) => s.put('b', PIECES), gives: { sizeBytes: 7 } },
  { name: 'nothing in it', call: (s) => s.create('empty', ''), gives: { sizeBytes: 0 } },
  { name: 'nothing in a stream', call: (s) => s.update('empty', Readable.from([])), gives: { sizeBytes: 0 } },
  { name: 'read nothing', call: (s) => text(s.read('empty')), gives: '' },
  {
    name: 'a type is kept',
    call: (s) => s.create('typed', '{}', { contentType: 'application/x-mine; a=b' }),
    files: NOT_FILES,
    gives: { sizeBytes: 2 },
  },
  {
    name: 'stat',
    call: (s) => s.stat('typed'),
    gives: { name: 'typed', sizeBytes: 2, contentType: 'application/x-mine; a=b', id: String, modifiedAtMs: Number },
    files: { gives: null },
  },
  {
    name: 'a type is told from the bytes',
    call: (s) => s.stat('b'),
    gives: { contentType: 'text/plain; charset=utf-8' },
    files: { gives: { name: 'b', id: null, contentType: null, sizeBytes: 7, modifiedAtMs: Number } },
  },
  { name: 'stat of nothing', call: (s) => s.stat('none'), gives: null },
  { name: 'read of nothing', call: (s) => s.read('none'), throws: { code: 'STORE_NO_BLOB' } },
  { name: 'a part', call: (s) => text(s.read('a', { start: 1, end: 3 })), gives: 'hr' },
  { name: 'from on', call: (s) => text(s.read('a', { start: 3 })), gives: 'ee' },
  { name: 'up to', call: (s) => text(s.read('a', { end: 2 })), gives: 'th' },
  { name: 'beyond the end', call: (s) => text(s.read('a', { start: 3, end: 1000 })), gives: 'ee' },
  {
    name: 'behind the end',
    call: (s) => s.read('a', { start: 5 }),
    throws: { code: 'STORE_BAD_RANGE', errno: 'ERANGE', details: { name: 'a', start: 5, sizeBytes: 5 } },
  },
  { name: 'of nothing', call: (s) => s.read('empty', { end: 5 }), throws: { code: 'STORE_BAD_RANGE' } },
  { name: 'an empty part', call: (s) => s.read('a', { start: 2, end: 2 }), throws: { code: 'USAGE' } },
  { name: 'half a byte', call: (s) => s.read('a', { start: 0.5 }), throws: { code: 'USAGE' } },
  {
    name: 'if it is what it was',
    call: async (s) => text(s.read('a', { ifMatch: (await s.stat('a'))?.id ?? '' })),
    files: NOT_FILES,
    gives: 'three',
  },
  {
    name: 'if it is another',
    call: (s) => s.read('a', { ifMatch: '5' }),
    throws: { code: 'STORE_CHANGED', errno: 'ESTALE' },
    files: NOT_FILES,
  },
  {
    name: 'update if it is another',
    call: (s) => s.update('a', 'x', { ifMatch: '5' }),
    throws: { code: 'STORE_CHANGED' },
    files: NOT_FILES,
  },
  {
    name: 'put if it is another',
    call: (s) => s.put('a', 'x', { ifMatch: '5' }),
    throws: { code: 'STORE_CHANGED' },
    files: NOT_FILES,
  },
  {
    name: 'put if it is what it was, which is nothing',
    call: (s) => s.put('none', 'x', { ifMatch: '5' }),
    files: NOT_FILES,
    throws: { code: 'STORE_CHANGED' },
  },
  {
    name: 'remove if it is another',
    call: (s) => s.remove('a', { ifMatch: '5' }),
    throws: { code: 'STORE_CHANGED' },
    files: NOT_FILES,
  },
  {
    name: 'swap',
    call: async (s) => {
      const { id } = await s.put('a', 'four');
      const swapped = await s.update('a', 'five', { ifMatch: id ?? '' });
      await s.update('a', 'six', { ifMatch: id ?? '' }).catch(() => {});
      return [await text(s.read('a', { ifMatch: swapped.id ?? '' })), swapped.id !== id];
    },
    gives: ['five', true],
    files: NOT_FILES,
  },
  { name: "the store's own lot", call: (s) => s.put('b', 'x', { lot: 'store' }), gives: { sizeBytes: 1 }, files: NOT_FILES },
  {
    name: 'another lot',
    call: (s) => s.put('b', 'x', { lot: 'none' }),
    throws: { code: 'NO_SUCH_LOT', errno: 'ENOENT' },
    files: NOT_FILES,
  },
  { name: 'one to remove', call: (s) => s.create('gone', 'x'), gives: { sizeBytes: 1 } },
  { name: 'remove', call: (s) => s.remove('gone'), gives: true },
  { name: 'remove again', call: (s) => s.remove('gone'), gives: false },
  {
    name: 'list',
    call: async (s) => (await all(s.list())).map(({ name, state, blob }) => `${name} ${state} ${blob?.sizeBytes}`),
    gives: ['a OK 4', 'b OK 1', 'empty OK 0', 'gone Failure undefined', 'typed OK 2'],
    files: { gives: ['a OK 4', 'b OK 7', 'empty OK 0'] },
  },
  {
    name: 'list behind',
    call: async (s) => (await all(s.list({ after: 'b' }))).map(({ name }) => name),
    gives: ['empty', 'gone', 'typed'],
    files: { gives: ['empty'] },
  },
  {
    name: 'page by page',
    call: async (s) => (await all(s.list({ pageSize: 1 }))).map(({ name }) => name),
    gives: ['a', 'b', 'empty', 'gone', 'typed'],
    files: { gives: ['a', 'b', 'empty'] },
  },
  { name: 'pages that are too large', call: (s) => all(s.list({ pageSize: 10_001 })), throws: { code: 'USAGE' } },
  {
    name: 'an entry',
    call: async (s) => (await all(s.list()))[0],
    gives: {
      name: 'a',
      state: 'OK',

      blob: { name: 'a', id: String, lot: 'store', modifiedAtMs: Number, contentType: String },
    },
    files: { gives: { name: 'a', state: 'OK', blob: { name: 'a', id: null, lot: null, sizeBytes: 4, modifiedAtMs: Number } } },
  },
  ...['', '.', '..', 'a/b', 'a\0b', '\ud800', 'x'.repeat(256), 'é'.repeat(128)].map((name) => ({
    name: `a name that is none: '${name.slice(0, 10)}'`,
    call: (s: BlobStore) => s.put(name, 'x'),
    throws: { code: 'STORE_BAD_NAME' },
  })),
  ...['...', 'a b', 'a%2Fb', '?', '#', '&a=b', '名前', 'a+b', "it's", '"', '\n', 'é'.repeat(127)].map((name) => ({
    name: `a name that is one: '${name.slice(0, 10)}'`,
    call: async (s: BlobStore) => {
      await s.create(name, name);
      const found = [
        await text(s.read(name)),
        (await s.stat(name))?.sizeBytes,
        (await all(s.list())).some((each) => each.name === name),
      ];
      return [...found, await s.remove(name)];
    },
    gives: [name, Buffer.byteLength(name), true, true],
  })),
  { name: 'a content that is none', call: (s) => s.put('b', 5 as unknown as string), throws: { code: 'USAGE' } },
  { name: 'a piece that is none', call: (s) => s.put('b', [5] as unknown as string[]), throws: { code: 'USAGE' } },
  {
    name: 'more than was announced',
    call: (s) => s.put('b', pieces(), { lengthBytes: 6 }),
    throws: { code: 'USAGE', message: /more than the 6 bytes/ },
  },
  {
    name: 'fewer than was announced',
    call: (s) => s.put('b', pieces(), { lengthBytes: 100_000 }),
    throws: { code: 'USAGE', message: /fewer than the 100000/ },
  },
  { name: 'a length that is none', call: (s) => s.put('b', pieces(), { lengthBytes: -1 }), throws: { code: 'USAGE' } },
  { name: 'as much as was announced', call: (s) => s.put('b', pieces(), { lengthBytes: 7 }), gives: { sizeBytes: 7 } },
  { name: 'what failed changed nothing', call: (s) => text(s.read('b')), gives: 'onetwo3' },
];

for (const place of PLACES) {
  t.test(`calls: ${place}`, async (t) => {
    const { store } = await served(t, place);
    for (const { name, call, files, ...rest } of CASES) {
      const { gives, throws } = place.endsWith('files') ? (files ?? rest) : rest;
      const outcome = await call(store).then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      );
      t.match(outcome, throws === undefined ? { value: gives } : { error: { name: 'VreserveError', ...throws } }, name);
    }
  });
}

const MIB = 1024 * 1024;

/** Bytes that are never the same twice in a row. */
async function* noise(sizeBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < sizeBytes; at += MIB) yield Buffer.alloc(Math.min(MIB, sizeBytes - at), `${at}-`);
}

async function digest(of: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of of) hash.update(piece);
  return hash.digest('hex');
}

for (const place of ['alone, by TCP', 'in a mount, as files'] as const) {
  t.test(`streams: ${place}`, async (t) => {
    const { store, top } = await served(t, place);
    for (const sizeBytes of [1, 65_535, 65_536, 65_537, 5 * MIB + 3]) {
      await store.put('big', noise(sizeBytes));
      const stream = await store.stream('big');
      t.match(stream.blob, { name: 'big', sizeBytes });
      t.equal(await digest(stream), await digest(noise(sizeBytes)), `${sizeBytes} bytes`);
    }
    const file = join(top, 'file');
    await pipeline(await store.stream('big'), createWriteStream(file));
    await store.put('copy', createReadStream(file), { lengthBytes: 5 * MIB + 3 });
    t.equal(await digest(await store.stream('copy')), await digest(createReadStream(file)), 'from file to file');
    await store.put('copy2', await store.stream('copy', { start: 1, end: 3 * MIB }));
    t.equal((await store.stat('copy2'))?.sizeBytes, 3 * MIB - 1, 'from a blob to a blob');
    const parts = await Promise.all([0, 1, 2, 3, 4, 5].map((i) => store.read('big', { start: i * MIB, end: (i + 1) * MIB })));
    t.ok(Buffer.concat(parts).equals(await store.read('big')), 'in parts');

    await t.test('what is replaced and removed is read to its end', async (t) => {
      const stream = await store.stream('big');
      await store.put('big', 'another');
      await store.remove('big');
      t.equal(await digest(stream), await digest(noise(5 * MIB + 3)));
    });
    await t.test('many streams that nobody reads hold up nobody who lets go of them', async () => {
      const streams = await Promise.all(Array.from({ length: 100 }, () => store.stream('copy')));
      for (const stream of streams) stream.destroy();
      for (let i = 0; i < 200; i++) (await store.stream('copy')).destroy();
      for (let i = 0; i < 200; i++) for await (const _ of await store.stream('copy', { end: 100_000 })) break;
    });
  });

  t.test(`what breaks off: ${place}`, async (t) => {
    const { store } = await served(t, place);
    await store.create('kept', 'old');
    const states = async () => Object.fromEntries((await all(store.list())).map(({ name, state }) => [name, state]));
    await t.test('a source that fails', async (t) => {
      const failing = async function* () {
        yield Buffer.alloc(MIB);
        throw new RangeError('mine');
      };
      await t.rejects(store.create('failed', failing()), { name: 'RangeError', message: 'mine' });
      await t.rejects(store.update('kept', failing()), { name: 'RangeError' });
      await until(async () => (await states()).failed !== 'Pending', 'it is no longer on its way');
      t.equal(await store.stat('failed'), null);
      t.equal(await text(store.read('kept')), 'old');
    });
    await t.test('an upload that is aborted', async (t) => {
      const controller = new AbortController();
      let isBegun = false;
      let isEnded = false;
      const endless = (async function* () {
        isBegun = true;
        try {
          yield Buffer.alloc(MIB);
          for (;;) {
            await new Promise((done) => setImmediate(done));
            yield Buffer.alloc(1000);
          }
        } finally {
          isEnded = true;
        }
      })();
      const outcome = codeOf(store.create('aborted', endless, { signal: controller.signal }));
      await until(async () => isBegun && (await states()).aborted === 'Pending', 'it is on its way');
      controller.abort();
      t.equal(await outcome, 'AbortError');
      await until(() => isEnded, 'the source is ended');
      await until(async () => (await states()).aborted !== 'Pending', 'it is no longer on its way');
      t.equal(await codeOf(store.read('aborted')), 'STORE_NO_BLOB');
      await store.create('aborted', 'and the name is free');
    });
    await t.test('a source that gives nothing is aborted too', async (t) => {
      const controller = new AbortController();
      // Who waits for such a source alone does not keep its process alive.
      const alive = setInterval(() => {}, 1000);
      t.teardown(() => clearInterval(alive));
      const never = new Readable({ read() {} });
      const outcome = codeOf(store.create('never', never, { signal: controller.signal }));
      await until(async () => (await states()).never === 'Pending', 'it is on its way');
      controller.abort();
      t.equal(await outcome, 'AbortError');
      t.ok(never.destroyed, 'the source is destroyed');
      const unasked = new Readable({ read() {} });
      t.equal(await codeOf(store.create('kept', unasked)), 'STORE_EXISTS');
      t.equal(await codeOf(store.create('a/b', unasked)), 'STORE_BAD_NAME');
      t.ok(unasked.destroyed, 'one that is not even asked, too');
      let isCancelled = false;
      const cancel = () => {
        isCancelled = true;
      };
      const web = new ReadableStream<Uint8Array>({ cancel });
      t.equal(await codeOf(store.create('web', web, { signal: AbortSignal.timeout(50) })), 'TimeoutError');
      await until(() => isCancelled, 'the web stream is cancelled');
    });
    await t.test('of two creations one wins', async (t) => {
      const outcomes = await Promise.all([codeOf(store.create('race', noise(MIB))), codeOf(store.create('race', noise(MIB)))]);
      t.strictSame(outcomes.sort(), ['STORE_EXISTS', 'no error']);
    });
    await store.put('big', noise(32 * MIB));
    await t.test('a stream that is aborted', async (t) => {
      const controller = new AbortController();
      const stream = await store.stream('big', { signal: controller.signal });
      const outcome = codeOf(digest(stream));
      controller.abort();
      t.equal(await outcome, 'AbortError');
      const unread = await store.stream('big', { signal: controller.signal }).catch((error: unknown) => error);
      t.match(unread, { name: 'AbortError' });
    });
    await t.test('a stream that nobody reads is aborted', async (t) => {
      const controller = new AbortController();
      const stream = await store.stream('big', { signal: controller.signal });
      controller.abort();
      t.equal(await codeOf(digest(stream)), 'AbortError');
    });
  });
}

t.test('a server that is killed in the middle', async (t) => {
  const top = await temporaryDirectory(t);
  const other = await serveStore(t, join(top, 'blobs'));
  const client = clientOf(t, other.target);
  await client.store.create('big', noise(32 * MIB));
  const stream = await client.store.stream('big');
  const upload = codeOf(
    client.store.create(
      'up',
      (async function* () {
        yield Buffer.alloc(MIB);
        await new Promise(() => {});
      })(),
    ),
  );
  await until(async () => (await all(client.store.list())).some(({ name }) => name === 'up'), 'it is on its way');
  other.child.kill('SIGKILL');
  t.equal(await upload, 'BROKEN_OFF');
  t.equal(await codeOf(digest(stream)), 'BROKEN_OFF', 'what is not whole is not taken for it');
  t.equal(await codeOf(client.store.stat('big')), 'UNREACHABLE');
});

t.test('a mount without a store, and none at all', async (t) => {
  const top = await temporaryDirectory(t);
  const { m, client } = await reach(t, 'tcp');
  const calls: ((store: BlobStore) => Promise<unknown>)[] = [
    (s) => s.create('a', 'x'),
    (s) => s.update('a', 'x'),
    (s) => s.put('a', 'x'),
    (s) => s.read('a'),
    (s) => s.stat('a'),
    (s) => s.stat('a.log'),
    (s) => s.remove('a'),
    (s) => all(s.list()),
  ];
  for (const [i, call] of calls.entries()) {
    t.equal(await codeOf(call(client.store)), 'NO_STORE', `${i} by HTTP`);
    t.equal(await codeOf(call(clientOf(t, m.mnt).store)), 'NO_STORE', `${i} as files`);
    t.equal(await codeOf(call(clientOf(t, top).store)), 'UNREACHABLE', `${i} in a directory`);
    t.equal(await codeOf(call(clientOf(t, join(top, 'none')).store)), 'UNREACHABLE', `${i} nowhere`);
  }
  await m.kill();
  for (const [i, call] of calls.entries())
    t.match(await codeOf(call(clientOf(t, m.mnt).store)), /^(UNREACHABLE|BROKEN_OFF)$/, `${i} after a kill`);
});

t.test('as files and over HTTP it is one store', async (t) => {
  const { m, client } = await reach(t, 'tcp', [], { store: true });
  const files = clientOf(t, m.mnt).store;
  const { store } = client;
  await files.create('a', noise(MIB));
  await store.create('b', 'by HTTP', { contentType: 'text/x-mine' });
  t.ok((await store.read('a')).equals(await files.read('a')));
  t.equal(await text(files.read('b')), 'by HTTP');
  const names = async (of: BlobStore) =>
    (await all(of.list())).map(({ name, state, blob }) => `${name} ${state} ${blob?.sizeBytes}`);
  t.strictSame(await names(files), ['a OK 1048576', 'b OK 7']);
  t.strictSame(await names(store), await names(files));
  t.equal((await files.stat('b'))?.modifiedAtMs, (await all(store.list()))[1]?.blob?.modifiedAtMs);
  t.equal(await files.stat('a.log'), null, 'what became of it is no blob');
  t.equal(await codeOf(files.read('a.log')), 'STORE_NO_BLOB');
  t.equal(await files.remove('a.log'), false);
  await store.create('a.log', 'mine');
  t.equal(await text(files.read('a.log')), 'mine');
  t.equal(await files.remove('a.log'), true);
  t.equal(await files.stat('a.log'), null);
  await files.put('a', 'short');
  t.equal(await text(store.read('a')), 'short');
  await t.test('a grant that is full', async (t) => {
    const { lot_name } = await client.lots.show('store');
    await client.lots.update({ lot_name, management_policy_attrs: { dedicated_GB: 0.001, opportunistic_GB: 0 } });
    const full = { code: 'STORE_FULL', errno: 'ENOSPC' };
    await t.rejects(files.create('big', noise(4 * MIB)), full);
    await t.rejects(files.put('a', Buffer.alloc(2_000_000)), full);
    t.equal(await text(files.read('a')), 'short');
    t.equal(await files.stat('big'), null);
    await until(
      async () => (await codeOf(files.put('fits', Buffer.alloc(900_000)))) === 'no error',
      'what was replaced is collected',
    );
    await client.lots.update({ lot_name, management_policy_attrs: { opportunistic_GB: 0.1 } });
  });
  await t.test('the daemon is killed in the middle', async (t) => {
    let isBegun = false;
    const endless = (async function* () {
      for (;;) {
        isBegun = true;
        yield Buffer.alloc(1);
        await new Promise((done) => setImmediate(done));
      }
    })();
    const upload = codeOf(files.put('a', endless));
    await until(() => isBegun, 'it has begun');
    await m.kill();
    t.match(await upload, /^(BROKEN_OFF|UNREACHABLE)$/);
    await m.remount();
    t.equal(await text(files.read('a')), 'short');
  });
});

t.test('a store below a reservation, which is full', async (t) => {
  const m = await mount(t, { args: ['--capacity', '50MB', '--margin', '0'] });
  await mkdir(join(m.mnt, 'blobs'), { mode: 0o700 });
  await must(m.run(['reserve', join(m.mnt, 'blobs'), '3MB']));
  const { target } = await serveStore(t, join(m.mnt, 'blobs'));
  const { store } = clientOf(t, target);
  await store.create('a', Buffer.alloc(1_000_000));
  const full = { code: 'STORE_FULL', errno: 'ENOSPC', httpStatus: 507, message: /no room for blob b/ };
  let given = 0;
  const counted = (async function* () {
    for await (const piece of noise(64 * MIB)) {
      given++;
      yield piece;
    }
  })();
  await t.rejects(store.create('b', counted), full);
  t.ok(given < 64, `it is told before all is sent: ${given} MiB`);
  given = 0;
  await t.rejects(store.create('b', counted, { lengthBytes: 64 * MIB }), full);
  t.equal(given, 0, 'where the length is known before anything is sent');
  await t.rejects(store.create('b', Buffer.alloc(2_500_000)), full);
  await store.create('b', Buffer.alloc(1_900_000));
  await t.rejects(store.update('a', Buffer.alloc(1_500_000)), { ...full, message: /for blob a/ });
  t.equal((await store.read('a')).length, 1_000_000);
});

for (const place of PLACES) {
  t.test(`64 at once: ${place}`, async (t) => {
    const { store } = await served(t, place);
    const warnings: Error[] = [];
    const warn = (warning: Error) => warnings.push(warning);
    process.on('warning', warn);
    t.teardown(() => process.off('warning', warn));
    const signal = new AbortController().signal;
    const one = async (i: number) => {
      const name = `blob ${i}`;
      const body = Buffer.alloc(1000 + i * 997, name);
      await store.create(name, i % 2 === 0 ? body : Readable.from([body]), { signal });
      if (!(await store.read(name, { signal })).equals(body)) throw new Error(`${name} is another`);
      await store.put(name, `${i}`, { signal });
      if ((await text(store.read(name, { signal }))) !== String(i)) throw new Error(`${name} is another`);
      if (i % 4 === 0) await store.remove(name, { signal });
    };
    for (let round = 0; round < 3; round++) await Promise.all(Array.from({ length: 64 }, (_, i) => one(round * 64 + i)));
    t.equal((await all(store.list({ pageSize: 7 }))).filter(({ state }) => state === 'OK').length, 144);
    await Promise.all(Array.from({ length: 1000 }, () => store.stat('blob 1')));
    t.strictSame(warnings, []);
  });
}

t.test('large contents pass through little memory', async (t) => {
  const { target, top } = await served(t);
  const script = join(top, 'script.mjs');
  await writeFile(
    script,
    `import { readFileSync } from 'node:fs';
    import { VreserveClient } from '${ROOT}/build/src/client/index.js';
    const { store } = new VreserveClient(process.argv[2]);
    const peak = () => Number(/VmHWM:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024;
    const piece = Buffer.alloc(65536);
    async function* source(n) { for (let i = 0; i < n; i++) yield piece; }
    const pass = async (n) => {
      await store.put('big', source(n));
      let bytes = 0;
      for await (const each of await store.stream('big')) bytes += each.length;
      if (bytes !== n * 65536) throw new Error(String(bytes));
    };
    await pass(320);
    const before = peak();
    await pass(6400);
    console.log(Math.round(peak() - before));`,
  );
  const { stdout } = await must(run(process.execPath, [script, target], { timeoutMs: 240_000 }));
  t.ok(Number(stdout) < 60, `400 MiB there and back took ${stdout.trim()} MiB more than 20 MiB did`);
});
