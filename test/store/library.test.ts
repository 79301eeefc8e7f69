// The library alone, in one process: names and their contents, states and logs, what failures leave behind, reopening, damage.
import { appendFile, cp, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import t from 'tap';
import { compareBytes } from '../../src/core/bytes.js';
import { sniffContentType } from '../../src/store/sniff.js';
import { SortedNames } from '../../src/store/sorted-names.js';
import { packTransitions, renderLog, rfc3339, unpackTransitions } from '../../src/store/status.js';
import { Store, type StoreOptions } from '../../src/store/store.js';
import { type Teardown, temporaryDirectory } from '../helpers/mount.js';
import { Random } from '../helpers/random.js';
import { codeOf, payloadFiles, pieces, recordsOf, Tap, Told, textOf } from './blobs.js';

const scratch = await temporaryDirectory(t);
const newDirectory = () => mkdtemp(join(scratch, 'of-'));

/** A store that is closed with the test; its time goes a second with each look. */
async function openStore(t: Teardown, dir: string, options: StoreOptions = {}): Promise<Store> {
  let nowMs = 1_700_000_000_000;
  const clock = () => {
    nowMs += 1000;
    return nowMs;
  };
  const store = await Store.open(dir, { clock, gcIntervalMs: null, ...options });
  t.teardown(() => store.close());
  return store;
}

t.test('a name: created, read, updated, removed', async (t) => {
  const dir = await newDirectory();
  const store = await openStore(t, dir);
  const created = await store.create('foo', pieces('hello ', 'world'));
  t.match(created, { name: 'foo', lot: '', sizeBytes: 11, contentType: 'text/plain; charset=utf-8' });
  t.equal(await textOf(store, 'foo'), 'hello world');
  t.equal(await codeOf(store.create('foo', pieces('x'))), 'STORE_EXISTS');
  t.equal(await textOf(store, 'foo'), 'hello world', 'a creation that is refused changes nothing');

  const before = await store.read('foo');
  const updated = await store.update('foo', pieces('<html >'), { contentType: 'x/y' });
  t.not(updated.id, created.id, 'another content has another id, and so another ETag');
  t.match(updated, { contentType: 'x/y', sizeBytes: 7 });
  t.equal(await textOf(store, 'foo'), '<html >');
  t.same(await payloadFiles(dir), [`data/${created.id}`, `data/${updated.id}`].sort(), 'the old file waits for the collection');
  t.equal(await store.collect(), 1);
  t.same(await payloadFiles(dir), [`data/${updated.id}`]);
  const parts: Buffer[] = [];
  for await (const piece of before?.bytes() ?? []) parts.push(piece);
  t.equal(Buffer.concat(parts).toString(), 'hello world', 'who reads the old content reads it to its end');

  t.equal(await store.remove('foo'), true);
  t.equal(await store.remove('foo'), false);
  t.equal(await store.read('foo'), null);
  t.equal(await codeOf(store.update('foo', pieces('x'))), 'STORE_NO_BLOB');
  t.equal(store.status('foo')?.state, 'Failure');
  await store.create('foo', pieces());
  t.match(store.stat('foo'), { sizeBytes: 0 }, 'a name that was removed is free at once, and empty contents are contents');
  await store.collect();
  t.equal((await payloadFiles(dir)).length, 1);
});

t.test('states and logs have the words of the original, newest first', async (t) => {
  const store = await openStore(t, await newDirectory());
  const log = (name: string) =>
    renderLog(store.transitions(name))
      .split('\n')
      .map((line) => line.replace(/^\S+ - /, ''))
      .filter(Boolean);
  const created = ['OK - Blob Data WR Complete!', 'Pending - Starting Data WR', 'OK - Blob Created & Saved!'];
  const updated = ['OK - Blob Data WR Complete!', 'Pending - Starting Data WR', 'OK - Blob Updated & Saved!'];
  t.equal(store.status('a'), null);
  t.same(log('a'), []);
  const tap = new Tap();
  const creation = store.create('a', tap.bytes());
  await tap.give('half');
  t.match(store.status('a'), { state: 'Pending', pendingUploads: 1, blob: null });
  t.same(log('a'), created.slice(1));
  t.equal(await store.read('a'), null, 'what is pending is not readable');
  t.equal(
    await codeOf(store.create('a', pieces('x'))),
    'STORE_EXISTS',
    'who comes second is refused, though nothing is there yet',
  );
  t.equal(await codeOf(store.update('a', pieces('x'))), 'STORE_NO_BLOB');
  t.equal(await store.remove('a'), false);
  await tap.give(null);
  await creation;
  t.match(store.status('a'), { state: 'OK', pendingUploads: 0 });
  t.same(log('a'), created);
  await store.update('a', pieces('2'));
  t.same(log('a'), updated, 'an update begins a log, as it has an id of its own');

  await t.rejects(store.update('a', pieces('3', new Error('cut\noff'))), { code: 'STORE_BROKEN_OFF' });
  t.match(store.status('a'), { state: 'OK', hasFailed: true });
  t.equal(await textOf(store, 'a'), '2', 'where an update fails the old content stays');
  t.same(log('a'), [
    'Failure - the upload of blob a broke off: cut off',
    'Pending - Starting Data WR',
    'OK - Blob Updated & Saved!',
    ...updated,
  ]);
  await t.rejects(store.create('b', pieces('3', new Error('cut off'))), { code: 'STORE_BROKEN_OFF' });
  t.match(store.status('b'), { state: 'Failure', blob: null });
  t.match(
    store.list().entries.map(({ name, state }) => `${name} ${state}`),
    ['a OK', 'b Failure'],
  );
  await store.collect();
  t.equal(store.status('b'), null, 'a failure is known until it is collected');
  t.same(log('a'), updated);
  await store.remove('a');
  t.same(log('a'), ['Failure - Deleted!', ...updated]);

  const many = Array.from({ length: 20 }, (_, i) => ({ state: 'OK' as const, message: `at "${i}"`, atMs: i }));
  t.same(unpackTransitions(packTransitions(many)), many.slice(-16), 'sixteen are kept');
  t.match(rfc3339(0), /^(1970-01-01|1969-12-31)T\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/);
});

t.test('what fails leaves no file and holds no name', async (t) => {
  const dir = await newDirectory();
  const store = await openStore(t, dir);
  const stop = new AbortController();
  const tap = new Tap();
  const stopped = store.create('stopped', tap.bytes(), { signal: stop.signal });
  await tap.give('x'.repeat(300_000));
  stop.abort(new Error('the client is gone'));
  await t.rejects(stopped, { code: 'STORE_BROKEN_OFF', message: /the client is gone/ });
  t.same(await payloadFiles(dir), []);
  await store.create('stopped', pieces('again'));

  const expect = () => {
    throw new Error('not this one');
  };
  await t.rejects(store.create('refused', pieces('x'), { expect }), /not this one/);
  let looks = 0;
  const late = () => {
    looks += 1;
    if (looks > 1) throw new Error('not any more');
  };
  await t.rejects(store.update('stopped', pieces('x'), { expect: late }), /not any more/);
  t.equal(await textOf(store, 'stopped'), 'again');
  t.equal((await payloadFiles(dir)).length, 1, 'also where it is refused at its last step');
  t.equal(await codeOf(store.create('lot', pieces('x'), { lot: 'elsewhere' })), 'NO_SUCH_LOT');
  await t.rejects(store.create('big', pieces('x'), { announcedBytes: 2 ** 52 }), { code: 'STORE_FULL', errno: 'ENOSPC' });
  for (const name of ['', '.', '..', 'a/b', 'a\0b', 'x'.repeat(256), '\ud800']) {
    t.equal(await codeOf(store.create(name, pieces('x'))), 'STORE_BAD_NAME', JSON.stringify(name).slice(0, 20));
  }
  for (const name of ['x'.repeat(255), 'é'.repeat(127), '%2F', ' ', '\n', 'con.log', '-', '…😀']) {
    await store.create(name, pieces(name));
    t.equal(await textOf(store, name), name);
  }
});

t.test('two at once', async (t) => {
  const store = await openStore(t, await newDirectory());
  const creations = await Promise.all(Array.from({ length: 20 }, (_, i) => codeOf(store.create('one', pieces(`c${i}`)))));
  t.equal(creations.filter((code) => code === null).length, 1, 'one creation wins');
  t.equal(creations.filter((code) => code === 'STORE_EXISTS').length, 19);

  const [slow, fast] = [new Tap(), new Tap()];
  const slowUpdate = store.update('one', slow.bytes());
  const fastUpdate = store.update('one', fast.bytes());
  await slow.give('slow');
  await fast.give('fast');
  await fast.give(null);
  await fastUpdate;
  t.equal(await textOf(store, 'one'), 'fast');
  await slow.give(null);
  await slowUpdate;
  t.equal(await textOf(store, 'one'), 'slow', 'the last that completes wins');

  const late = new Tap();
  const lateUpdate = store.update('one', late.bytes());
  await late.give('late');
  await store.remove('one');
  await late.give(null);
  t.equal(await codeOf(lateUpdate), 'STORE_NO_BLOB', 'what was removed meanwhile does not come back');
  t.equal(await store.read('one'), null);

  const creation = new Tap();
  const created = store.create('two', creation.bytes());
  await creation.give('created');
  const replacement = await store.begin('two', 'replace');
  await replacement.write(Buffer.from('repl'));
  await replacement.write(Buffer.from('aced'));
  await replacement.commit();
  await creation.give(null);
  t.equal(await codeOf(created), 'STORE_EXISTS');
  t.equal(await textOf(store, 'two'), 'replaced');
});

t.test('the type is told from the first bytes, in whatever pieces they come', async (t) => {
  const store = await openStore(t, await newDirectory());
  const long = 'x'.repeat(600);
  t.match(await store.create('poured', pieces('%P', 'D', 'F-1.7', long, long)), {
    contentType: 'application/pdf',
    sizeBytes: 1208,
  });
  t.match(await store.create('late', pieces(long, '%PDF-1.7')), { contentType: 'text/plain; charset=utf-8' });
  const upload = await store.begin('written', 'create');
  for (const part of ['%P', '', 'DF-', '1.7', long]) await upload.write(Buffer.from(part));
  t.match(await upload.commit(), { contentType: 'application/pdf', sizeBytes: 608 });
});

t.test('who writes the file by another way', async (t) => {
  const store = await openStore(t, await newDirectory());
  const upload = await store.begin('file', 'replace');
  await writeFile(upload.path, '%PDF-1.7 and more');
  const blob = await upload.commit();
  t.match(blob, { sizeBytes: 17, contentType: 'application/pdf' });
  t.equal(await readFile(store.pathOf(blob), 'utf8'), '%PDF-1.7 and more');
  const other = await store.begin('file', 'replace');
  await other.fail(new Error('EIO'));
  await other.fail(new Error('twice does nothing'));
  t.equal(await codeOf(other.commit()), 'STORE_CLOSED');
  t.equal(await textOf(store, 'file'), '%PDF-1.7 and more');
});

t.test('lots have directories of their own, and an update stays where the blob is', async (t) => {
  const dir = await newDirectory();
  const prepared: string[] = [];
  const prepareLot = async (lot: string, directory: string) => {
    t.ok((await stat(directory)).isDirectory());
    prepared.push(`${lot} ${directory.slice(dir.length)}`);
  };
  const store = await openStore(t, dir, { prepareLot });
  await store.create('a', pieces('a'), { lot: 'ops' });
  await store.create('b', pieces('b'), { lot: 'ops' });
  await store.create('c', pieces('c'), { lot: '/job/1' });
  t.same(prepared, ['ops /lots/ops', '/job/1 /lots/%2Fjob%2F1']);
  t.equal((await store.update('a', pieces('aa'))).lot, 'ops');
  t.equal((await store.update('b', pieces('bb'), { lot: '' })).lot, '');
  await store.collect();
  t.same(
    (await payloadFiles(dir)).map((path) => path.replace(/\d+$/, '')),
    ['data/', 'lots/%2Fjob%2F1/', 'lots/ops/'],
  );
  await store.close();
  const again = await openStore(t, dir);
  t.same(
    again.list().entries.map(({ name, blob }) => `${name} ${blob?.lot}`),
    ['a ops', 'b ', 'c /job/1'],
  );
  t.equal(await textOf(again, 'c'), 'c');
});

t.test('ids: 64 bits, the next one where one is taken, and round', async (t) => {
  const dir = await newDirectory();
  const wanted = [7n, 7n, 2n ** 64n - 1n, 2n ** 64n - 1n];
  const store = await openStore(t, dir, { ids: () => wanted.shift() ?? 7n });
  const ids: string[] = [];
  for (const name of ['a', 'b', 'c', 'd', 'e']) ids.push((await store.create(name, pieces(name))).id);
  t.same(ids, ['7', '8', '18446744073709551615', '0', '9']);
  await store.close();
  const again = await openStore(t, dir, { ids: () => 7n });
  t.equal((await again.create('f', pieces('f'))).id, '10', 'those of before are taken after a start too');
});

t.test('listing: bytewise, paged, while names come and go', async (t) => {
  const store = await openStore(t, await newDirectory());
  const names = ['b', 'a', 'ab', 'B', 'é', '\uffee', '😀', 'z'];
  for (const name of names) await store.create(name, pieces(name));
  const sorted = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  t.same(
    store.list().entries.map(({ name }) => name),
    sorted,
  );
  const first = store.list({ limit: 3 });
  t.same([first.entries.map(({ name }) => name), first.next], [sorted.slice(0, 3), sorted[2]]);
  await store.remove(sorted[2] ?? '');
  await store.collect();
  const second = store.list({ limit: 5, after: first.next });
  t.same(
    [second.entries.map(({ name }) => name), second.next],
    [sorted.slice(3), null],
    'it goes on though the last name is gone',
  );

  const list = new SortedNames();
  const model = new Set<string>();
  const random = new Random(5);
  for (let i = 0; i < 20_000; i++) {
    const name = `n${random.below(5000)}`;
    if (random.chance(0.6)) {
      if (list.add(name) === model.has(name)) t.fail(`adding ${name}`);
      model.add(name);
    } else {
      list.remove(name);
      model.delete(name);
    }
  }
  const all = [...model].sort(compareBytes);
  t.same([...list.after(null)], all);
  t.same(
    [...list.after('n25')],
    all.filter((name) => name > 'n25'),
  );
  t.same([...list.after('zz')], []);
  t.equal(list.count, all.length);
});

t.test('it is all there after a start, and records are written anew when most count no more', async (t) => {
  const dir = await newDirectory();
  const store = await openStore(t, dir);
  for (let i = 0; i < 50; i++) await store.create(`n${i}`, pieces(`content ${i}`), { contentType: i % 2 === 0 ? 'x/y' : null });
  for (let i = 0; i < 50; i += 5) await store.remove(`n${i}`);
  const before = store.list();
  t.equal(await codeOf(Store.open(dir)), 'STORE_IN_USE', 'nobody else opens it meanwhile');
  await store.close();
  t.equal(await codeOf(store.create('late', pieces('x'))), 'STORE_CLOSED');
  const again = await openStore(t, dir);
  t.same(
    again.list().entries.map(({ blob }) => blob),
    before.entries.filter(({ blob }) => blob !== null).map(({ blob }) => blob),
  );
  t.equal(await textOf(again, 'n49'), 'content 49');
  t.match(again.stats, { blobs: 40, uploads: 0, garbage: 0 });

  await Promise.all(Array.from({ length: 1300 }, () => again.update('n1', pieces('1'))));
  const records = await recordsOf(dir);
  t.ok(records.length < 1200, `${records.length} records of 40 blobs`);
  await again.close();
  const last = await openStore(t, dir);
  t.equal(last.stats.blobs, 40);
  t.equal(await textOf(last, 'n1'), '1');
  t.equal((await payloadFiles(dir)).length, 40);
});

t.test('wherever the end of the records is cut off, each name has one of its contents', async (t) => {
  const dir = await newDirectory();
  const store = await openStore(t, dir);
  const states: Record<string, string | null>[] = [{}];
  const ends: number[] = [(await stat(join(dir, 'records'))).size];
  const step = async (job: Promise<unknown>, change: Record<string, string | null>) => {
    await job;
    states.push({ ...states.at(-1), ...change });
    ends.push((await stat(join(dir, 'records'))).size);
  };
  await step(store.create('a', pieces('a1')), { a: 'a1' });
  await step(store.create('b', pieces('b1')), { b: 'b1' });
  await step(store.update('a', pieces('a2')), { a: 'a2' });
  await step(store.remove('b'), { b: null });
  await step(store.create('b', pieces('b2')), { b: 'b2' });
  const image = await newDirectory();
  await cp(dir, image, { recursive: true });
  await store.close();
  const whole = await readFile(join(image, 'records'));
  const cuts = new Set([...ends, ...ends.map((end) => end - 1).slice(1)]);
  for (let cut = ends[0] ?? 0; cut < whole.length; cut += 7) cuts.add(cut);
  for (const cut of cuts) {
    const copy = await newDirectory();
    await cp(image, copy, { recursive: true });
    await truncate(join(copy, 'records'), cut);
    // What a power cut may leave in place of what was not written.
    if (cut % 2 === 0) await appendFile(join(copy, 'records'), Buffer.alloc(100));
    const opened = await Store.open(copy, { gcIntervalMs: null });
    const expected = states[ends.findLastIndex((end) => end <= cut)] ?? {};
    for (const name of ['a', 'b']) {
      const found = await textOf(opened, name);
      if (found !== (expected[name] ?? null)) t.fail(`cut at ${cut}: ${name} is ${found}`);
    }
    const files = (await payloadFiles(copy)).length;
    if (files !== opened.stats.blobs) t.fail(`cut at ${cut}: ${files} files for ${opened.stats.blobs} blobs`);
    await opened.create('c', pieces('c'));
    await opened.close();
    const again = await Store.open(copy, { gcIntervalMs: null });
    if ((await textOf(again, 'c')) !== 'c') t.fail(`cut at ${cut}: what was written then is there`);
    await again.close();
    await rm(copy, { recursive: true });
  }
});

t.test('what a process that was killed has left is removed, and damage is told', async (t) => {
  const dir = await newDirectory();
  const store = await openStore(t, dir);
  const a = await store.create('a', pieces('a1'));
  const b = await store.create('b', pieces('b'));
  await store.create('c', pieces('c'));
  await store.close();
  await writeFile(join(dir, 'data', '123.tmp'), 'half');
  await writeFile(join(dir, 'data', '124'), 'whole, and not recorded');
  await writeFile(join(dir, 'data', 'README'), 'of somebody else');
  await writeFile(join(dir, 'records.new'), 'half');
  const told = new Told();
  const second = await openStore(t, dir, { log: told });
  t.same(told.lines.sort(), [
    'warn Found in Pending state during Restore - Deleting!',
    'warn data of the store that no record names is removed',
  ]);
  t.same((await readdir(dir)).sort(), ['data', 'lots', 'records']);
  t.equal((await readdir(join(dir, 'data'))).length, 4, 'what is nobody’s is left alone');

  await rm(join(dir, 'data', b.id));
  t.equal(await second.read('b'), null, 'data that somebody has taken away is no blob');
  t.match(second.transitions('b')[0], { state: 'Failure', message: 'The data is gone!' });
  await truncate(second.pathOf(a), 1);
  t.equal(await codeOf(second.read('a')), 'STORE_PAYLOAD_DAMAGED');
  await second.close();

  const third = new Told();
  const path = join(dir, 'records');
  const lines = (await readFile(path, 'latin1')).split('\n');
  lines[2] = lines[2]?.replace('"put"', '"pot"') ?? '';
  await writeFile(path, lines.join('\n'), 'latin1');
  await writeFile(join(dir, 'data', '125'), 'of the record that is damaged, for all that is known');
  await openStore(t, dir, { log: third }).then((opened) => opened.close());
  t.match(third.lines, ['error records of the store are damaged: data that no record names is kept']);
  t.ok(await stat(join(dir, 'data', '125')));

  for (const [content, code] of [
    ['', 'STORE_FOREIGN'],
    ['something else\n', 'STORE_FOREIGN'],
    [`${crc32('{"vreserveStore":2}').toString(16).padStart(8, '0')} {"vreserveStore":2}\n`, 'STORE_NEWER'],
  ] as const) {
    await writeFile(path, content);
    t.equal(await codeOf(Store.open(dir)), code, JSON.stringify(content));
    t.equal(await readFile(path, 'utf8'), content, 'it was left as it is');
  }
  await rm(path);
  t.equal(await codeOf(Store.open(dir)), 'STORE_FOREIGN', 'data without records is not taken for leftovers');
  t.equal(await codeOf(Store.open(join(dir, 'nothing'))), 'ENOENT');
});

t.test('closing breaks off what is under way, and lets go of everything', async (t) => {
  const dir = await newDirectory();
  const store = await openStore(t, dir);
  await store.create('there', pieces('x'));
  const tap = new Tap();
  const upload = store.create('a', tap.bytes());
  await tap.give('half');
  const idle = await store.begin('b', 'create');
  const commits = Array.from({ length: 10 }, (_, i) => codeOf(store.create(`n${i}`, pieces('n'))));
  const closing = store.close();
  t.equal(await codeOf(upload), 'STORE_CLOSED');
  await closing;
  t.equal(await codeOf(idle.commit()), 'STORE_CLOSED');
  const acknowledged = (await Promise.all(commits)).filter((code) => code === null).length;
  const open_ = (await readdir('/proc/self/fd')).length;
  const again = await openStore(t, dir);
  t.equal(again.stats.blobs, 1 + acknowledged);
  t.equal((await payloadFiles(dir)).length, 1 + acknowledged);
  await again.close();
  t.equal((await readdir('/proc/self/fd')).length, open_, 'no descriptor is left');
});

t.test('large contents pass in pieces', async (t) => {
  const store = await openStore(t, await newDirectory());
  const piece = Buffer.alloc(1_000_003, 'abc');
  const source = async function* () {
    for (let i = 0; i < 60; i++) yield piece;
  };
  const blob = await store.create('big', source());
  t.equal(blob.sizeBytes, 60 * piece.length);
  const reading = await store.read('big');
  let bytes = 0;
  for await (const part of reading?.bytes({ start: 1_000_000, end: 59_000_000 }) ?? []) bytes += part.length;
  t.equal(bytes, 58_000_000);
});

t.test('what bytes look like', async (t) => {
  const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
  const table: [bytes: string | Buffer, type: string][] = [
    ['', 'text/plain; charset=utf-8'],
    ['11111', 'text/plain; charset=utf-8'],
    ['{"a":1}', 'text/plain; charset=utf-8'],
    ['é\t\r\n\x1b[1m', 'text/plain; charset=utf-8'],
    ['a\0b', 'application/octet-stream'],
    ['  <!doctype HTML>', 'text/html; charset=utf-8'],
    ['<p>', 'text/html; charset=utf-8'],
    ['<pre>', 'text/plain; charset=utf-8'],
    ['<!-- x', 'text/html; charset=utf-8'],
    ['\n<?xml version', 'text/xml; charset=utf-8'],
    ['%PDF-1.4', 'application/pdf'],
    [hex('89504e470d0a1a0a00'), 'image/png'],
    [hex('ffd8ffe0'), 'image/jpeg'],
    ['GIF89a', 'image/gif'],
    [hex('52494646 00000000 57454250 5650'), 'image/webp'],
    [hex('1f8b0800'), 'application/x-gzip'],
    ['PK\x03\x04', 'application/zip'],
    [hex('0061736d'), 'application/wasm'],
    [hex('0000001466747970 69736f6d 00000000 6d703432'), 'video/mp4'],
    [hex('efbbbf41'), 'text/plain; charset=utf-8'],
  ];
  for (const [bytes, type] of table) t.equal(sniffContentType(Buffer.from(bytes as string)), type, String(bytes));
});
