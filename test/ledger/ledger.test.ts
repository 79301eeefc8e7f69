// The ledger: what is acknowledged is on disk, a foreign file is left alone, the journal is readable at any offset.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import t from 'tap';
import { LotBook } from '../../src/core/book.js';
import { releaseLot } from '../../src/core/change.js';
import type { JournalEvent } from '../../src/core/events.js';
import { type Lot, NO_POLICY, recursivePath, UNLIMITED } from '../../src/core/lot.js';
import type { Ledger, SavedUsage } from '../../src/ledger/ledger.js';
import { APPLICATION_ID, MIGRATIONS } from '../../src/ledger/schema.js';
import { openLedger } from '../../src/ledger/sqlite.js';

function reservation(id: number, path: string, bytes: number, parents: number[] = [], createdAtMs = 5): Lot {
  return {
    id,
    name: path,
    owner: '1000',
    confinedOwner: false,
    selfParent: true,
    parents,
    paths: [recursivePath(path)],
    policy: { ...NO_POLICY, dedicatedBytes: bytes, createdAtMs },
  };
}

function open(directory: string, readOnly = false): Ledger {
  return openLedger({ directory, readOnly, owner: '0', nowMs: 1 });
}

function event(atMs: number, lotId: number | null = null, text = 'x'): JournalEvent {
  return { atMs, event: 'charge', lotId, fields: { text } };
}

async function add(ledger: Ledger, path: string, bytes: number, parents: number[] = []): Promise<number> {
  const id = await ledger.newLotId();
  await put(ledger, [reservation(id, path, bytes, parents)], [{ id, bytes: 3, objects: 1 }], [event(5, id, path)]);
  return id;
}

function put(ledger: Ledger, lots: Lot[], usage: SavedUsage[] = [], events: JournalEvent[] = [event(5)]): Promise<void> {
  return ledger.changeLots({ put: lots, remove: [] }, usage, events);
}

/** Removes the lot as a release does: what is below it comes to lie below its parents. */
async function remove(ledger: Ledger, id: number, at: JournalEvent): Promise<void> {
  const book = new LotBook();
  book.apply({ put: (await ledger.load()).lots, remove: [] });
  await ledger.changeLots(releaseLot(book, book.must(id)), [], [at]);
}

async function names(ledger: Ledger): Promise<string[]> {
  return (await ledger.load()).lots.map(({ name }) => name);
}

t.test('lots and usage are there after a crash', async (t) => {
  const directory = t.testdir();
  const ledger = open(directory);
  t.equal(ledger.endedCleanly, null, 'new');
  await ledger.beginServing([{ id: 1, bytes: 7, objects: 2 }], [event(1)]);
  const a = await add(ledger, '/a', 100);
  const b = await add(ledger, '/a/b ü', 10, [a]);
  const gone = await add(ledger, '/gone', 2 ** 53 - 1);
  await remove(ledger, gone, event(6));
  await ledger.saveUsage(
    [
      { id: a, bytes: 50, objects: 4 },
      { id: gone, bytes: 1, objects: 1 },
    ],
    [event(7)],
  );

  // No close: what a killed daemon leaves behind.
  const again = open(directory);
  t.equal(again.endedCleanly, false);
  const { lots, usage } = await again.load();
  t.match(lots, [
    { id: 1, name: 'default', owner: '0', paths: [], parents: [], policy: { dedicatedBytes: 0, opportunisticBytes: -1 } },
    {
      id: a,
      name: '/a',
      owner: '1000',
      confinedOwner: false,
      selfParent: true,
      paths: [{ path: '/a', recursive: true, exclude: false }],
      policy: { dedicatedBytes: 100, opportunisticBytes: 0, maxObjects: -1, createdAtMs: 5, expiresAtMs: null },
    },
    { id: b, name: '/a/b ü', parents: [a], paths: [{ path: '/a/b ü', recursive: true, exclude: false }] },
  ]);
  t.strictSame(usage, [
    { id: 1, bytes: 7, objects: 2 },
    { id: a, bytes: 50, objects: 4 },
    { id: b, bytes: 3, objects: 1 },
  ]);
  t.ok((await again.newLotId()) > gone, 'numbers are not used twice');
  await again.endServing([{ id: 1, bytes: 8, objects: 2 }], [event(9)]);
  await again.close();
  await ledger.close();

  const clean = open(directory);
  t.equal(clean.endedCleanly, true);
  await clean.beginServing([], []);
  await clean.close();
  const unclean = open(directory);
  t.equal(unclean.endedCleanly, false, 'cleared before serving');
  await unclean.close();
});

t.test('a removed lot leaves its children to its parents', async (t) => {
  const directory = t.testdir();
  const ledger = open(directory);
  const a = await add(ledger, '/a', 100);
  const b = await add(ledger, '/a/b', 50, [a]);
  const c = await add(ledger, '/a/b/c', 5, [b]);
  await remove(ledger, b, event(1));
  const parents = async (id: number) => (await ledger.load()).lots.find((lot) => lot.id === id)?.parents;
  t.strictSame(await parents(c), [a]);
  await remove(ledger, a, event(1));
  t.strictSame(await parents(c), []);
  await ledger.close();
});

t.test('a change is made whole or not at all', async (t) => {
  const directory = t.testdir();
  const ledger = open(directory);
  const a = await add(ledger, '/a', 100);
  const b = await add(ledger, '/b', 100, [a]);
  const before = await ledger.load();
  const { endBytes } = await ledger.journalRange();
  const id = await ledger.newLotId();
  const taken = { ...reservation(id, '/c', 1), paths: [recursivePath('/c'), recursivePath('/b')] };
  const resized = reservation(a, '/a', 5, [], 5);
  await t.rejects(put(ledger, [resized, taken]), 'a path has one lot');
  await t.rejects(ledger.changeLots({ put: [resized], remove: [99] }, [], [event(5)]), 'a lot that is not there');
  await t.rejects(ledger.changeLots({ put: [resized], remove: [a] }, [], [event(Number.NaN)]), 'a line that cannot be written');
  t.strictSame(await ledger.load(), before);
  t.equal((await ledger.journalRange()).endBytes, endBytes);
  t.throws(() => ledger.changeLots({ put: [], remove: [1] }, [], []), /default lot/);

  // What goes makes room for what comes: a path, a name, and the lots below.
  const heir = { ...reservation(id, '/a', 7), paths: [recursivePath('/a'), recursivePath('/b')] };
  await ledger.changeLots({ put: [heir], remove: [a, b] }, [{ id, bytes: 9, objects: 2 }], [event(6, id)]);
  const { lots, usage } = await ledger.load();
  t.strictSame(lots.slice(1), [heir]);
  t.strictSame(usage.slice(1), [{ id, bytes: 9, objects: 2 }]);
  // A lot that is put without usage keeps its own; a new one without has none.
  const other = reservation(await ledger.newLotId(), '/new', 1, [id]);
  await put(ledger, [{ ...heir, owner: '2000' }, other]);
  t.strictSame((await ledger.load()).usage.slice(1), [
    { id, bytes: 9, objects: 2 },
    { id: other.id, bytes: 0, objects: 0 },
  ]);
  await ledger.close();
});

t.test('all of a lot comes back as it was', async (t) => {
  const directory = t.testdir();
  const ledger = open(directory);
  const p = reservation(await ledger.newLotId(), '/p', 9);
  const q = reservation(await ledger.newLotId(), '/q', 9);
  const r = reservation(await ledger.newLotId(), '/r', 9);
  const lot: Lot = {
    id: await ledger.newLotId(),
    name: 'ATLAS "raw"',
    owner: 'nobody-yet',
    confinedOwner: true,
    selfParent: false,
    parents: [r.id, p.id, q.id],
    paths: [
      { path: '/a', recursive: true, exclude: false },
      { path: '/a/tmp', recursive: true, exclude: true },
      { path: '/b ü', recursive: false, exclude: false },
      { path: 'root://host//x', recursive: false, exclude: true },
    ],
    policy: {
      dedicatedBytes: 2 ** 53 - 1,
      opportunisticBytes: UNLIMITED,
      maxObjects: 0,
      createdAtMs: 1,
      expiresAtMs: 2,
      deletesAtMs: 2 ** 53 - 1,
    },
  };
  await put(ledger, [p, q, r, lot]);
  // A parent may be younger than its child.
  const top = reservation(await ledger.newLotId(), '/top', 1);
  const young = { ...p, parents: [top.id], selfParent: false };
  await put(ledger, [young, top]);
  const read = async (from: Ledger) => (await from.load()).lots;
  const ids = (lots: Lot[]) => lots.map(({ id }) => id);
  const lots = await read(ledger);
  t.strictSame(ids(lots).slice(0, 1), [1], 'the default lot first');
  t.ok(ids(lots).indexOf(top.id) < ids(lots).indexOf(p.id), 'parents before their children');
  for (const wanted of [young, q, r, lot, top])
    t.strictSame(
      lots.find(({ id }) => id === wanted.id),
      wanted,
      wanted.name,
    );

  const turned: Lot = {
    ...lot,
    selfParent: true,
    parents: [q.id, r.id],
    paths: [{ path: '/a', recursive: false, exclude: true }],
  };
  await put(ledger, [turned]);
  await ledger.close();
  const again = open(directory);
  t.strictSame(
    (await read(again)).find(({ id }) => id === lot.id),
    turned,
    'changed, and after a restart',
  );
  await again.close();
});

t.test('what was reported is kept', async (t) => {
  const directory = t.testdir();
  const ledger = open(directory);
  const a = await add(ledger, '/a', 1);
  const b = await add(ledger, '/b', 1);
  const usage = (bytes: number) => ({ bytes, objects: 2, pendingBytes: 3, pendingObjects: 4 });
  t.strictSame((await ledger.load()).reported, []);
  await ledger.saveReported(
    [
      { id: a, usage: usage(5) },
      { id: b, usage: usage(2 ** 53 - 1) },
    ],
    [event(6, a)],
  );
  await ledger.saveReported([{ id: a, usage: usage(7) }], [event(7, a)]);
  await t.rejects(
    ledger.saveReported(
      [
        { id: b, usage: usage(1) },
        { id: 99, usage: usage(1) },
      ],
      [event(8)],
    ),
    'no such lot',
  );
  await put(ledger, [reservation(a, '/a', 2)]);
  await ledger.close();
  const again = open(directory);
  t.strictSame((await again.load()).reported, [
    { id: a, usage: usage(7) },
    { id: b, usage: usage(2 ** 53 - 1) },
  ]);
  t.match((await again.load()).usage, [{}, { id: a, bytes: 3 }, { id: b, bytes: 3 }], 'apart from what is measured');
  await remove(again, a, event(9));
  t.strictSame(
    (await again.load()).reported.map(({ id }) => id),
    [b],
    'it goes with its lot',
  );
  const { endBytes } = await again.journalRange();
  t.equal((await again.readJournal(0, endBytes)).toString().split('\n').length - 1, 6, 'nothing of what failed');
  await again.close();
});

/** A ledger as the first release made it, not served cleanly to its end. */
function makeFormat1(directory: string): void {
  const db = new Sqlite(join(directory, 'ledger.db'));
  db.pragma(`application_id = ${APPLICATION_ID}`);
  db.exec(MIGRATIONS[0] ?? '');
  db.pragma('user_version = 1');
  const lot = db.prepare('INSERT INTO lots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  lot.run(1, 'default', '0', 0, 0, -1, -1, 1, null, null);
  lot.run(2, '/a', '1000', 0, 100, 0, -1, 5, null, null);
  lot.run(3, '/gone', '1000', 0, 100, 0, -1, 5, null, null);
  lot.run(4, '/a/b ü', '0', 1, 10, 0, 7, 6, 8, 9);
  lot.run(9, '/last', '0', 0, 1, 0, -1, 6, null, null);
  db.exec('DELETE FROM lots WHERE id IN (3, 9)');
  db.exec('INSERT INTO parents VALUES (4, 2), (4, 1)');
  const path = db.prepare('INSERT INTO paths VALUES (?, ?)');
  for (const [name, id] of [
    ['/a', 2],
    ['/a/b ü', 4],
  ])
    path.run(name, id);
  db.exec('INSERT INTO usage VALUES (1, 11, 1), (2, 22, 2), (4, 44, 4)');
  db.exec(`INSERT INTO journal VALUES (0, 3, 1, NULL, '{}' || char(10)), (3, 3, 2, 4, '[]' || char(10))`);
  db.exec("INSERT INTO state VALUES ('clean', '0')");
  db.close();
}

t.test('a ledger of format 1 becomes one of now', async (t) => {
  const directory = t.testdir();
  makeFormat1(directory);
  const before = directoryHash(directory);
  const expected = {
    lots: [
      {
        id: 1,
        name: 'default',
        owner: '0',
        confinedOwner: false,
        selfParent: true,
        parents: [],
        paths: [],
        policy: { ...NO_POLICY, opportunisticBytes: -1, createdAtMs: 1 },
      },
      { ...reservation(2, '/a', 100), owner: '1000' },
      {
        id: 4,
        name: '/a/b ü',
        owner: '0',
        confinedOwner: true,
        selfParent: true,
        parents: [1, 2],
        paths: [{ path: '/a/b ü', recursive: true, exclude: false }],
        policy: { dedicatedBytes: 10, opportunisticBytes: 0, maxObjects: 7, createdAtMs: 6, expiresAtMs: 8, deletesAtMs: 9 },
      },
    ],
    usage: [
      { id: 1, bytes: 11, objects: 1 },
      { id: 2, bytes: 22, objects: 2 },
      { id: 4, bytes: 44, objects: 4 },
    ],
    reported: [],
    waiting: [],
    lastLineAtMs: 2,
  };
  const copy = open(directory, true);
  t.strictSame(await copy.load(), expected, 'read-only, from a copy');
  await copy.close();
  t.equal(directoryHash(directory), before, 'and the file is as it was');

  const ledger = open(directory);
  t.strictSame(await ledger.load(), expected);
  t.equal(ledger.endedCleanly, false);
  t.strictSame(await ledger.journalRange(), { startBytes: 0, endBytes: 6 });
  t.equal((await ledger.readJournal(0, 6)).toString(), '{}\n[]\n');
  t.strictSame(await ledger.findLines(new Set([4]), 0), [{ offsetBytes: 3, lengthBytes: 3 }]);
  const id = await ledger.newLotId();
  t.equal(id, 10, 'numbers are not used twice');
  const lot: Lot = {
    ...reservation(id, 'new', 5, [4, 2], 7),
    selfParent: false,
    paths: [{ path: '/a/b ü/c', recursive: false, exclude: true }],
  };
  await put(ledger, [lot], [{ id, bytes: 1, objects: 1 }]);
  await ledger.saveReported([{ id, usage: { bytes: 1, objects: 2, pendingBytes: 3, pendingObjects: 4 } }], []);
  await remove(ledger, 4, event(8));
  await ledger.close();
  const db = new Sqlite(join(directory, 'ledger.db'), { readonly: true });
  t.equal(db.pragma('user_version', { simple: true }), MIGRATIONS.length);
  t.strictSame([db.pragma('foreign_key_check'), db.pragma('integrity_check', { simple: true })], [[], 'ok']);
  db.close();
  const again = open(directory);
  t.strictSame((await again.load()).lots.slice(2), [{ ...lot, parents: [1, 2] }], 'and is one from then on');
  t.match(await again.load(), { usage: [{}, {}, { id }], reported: [{ id }] });
  await again.close();
});

t.test('what comes in one turn shares a commit, and fails alone', async (t) => {
  const directory = t.testdir();
  const ledger = open(directory);
  const before = (await ledger.journalRange()).endBytes;
  const ids = await Promise.all([1, 2, 3].map(() => ledger.newLotId()));
  const results = await Promise.allSettled(
    ids.map((id, i) =>
      put(
        ledger,
        [reservation(id, `/${i}`, 1, i === 1 ? [999] : [], 1)],
        [{ id, bytes: 0, objects: 0 }],
        [event(1, id, String(id))],
      ),
    ),
  );
  t.strictSame(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  t.strictSame(await names(ledger), ['default', '/0', '/2']);
  const text = (await ledger.readJournal(before, 10_000)).toString();
  t.equal(text.split('\n').length - 1, 2, 'the journal has no line of what failed');
  t.strictSame(
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line).text),
    [String(ids[0]), String(ids[2])],
  );
  await ledger.close();
});

t.test('a journal line that fails in the middle leaves no gap', async (t) => {
  const ledger = open(t.testdir());
  const good = ledger.saveUsage([], [event(1)]);
  const bad = ledger.saveUsage([], [event(2), event(Number.NaN)]);
  const after = ledger.saveUsage([], [event(3)]);
  await good;
  await t.rejects(bad);
  await after;
  const { endBytes } = await ledger.journalRange();
  const lines = (await ledger.readJournal(0, endBytes)).toString().split('\n');
  t.strictSame(
    lines.filter((line) => line !== '').map((line) => JSON.parse(line).at),
    ['1970-01-01T00:00:00.001Z', '1970-01-01T00:00:00.003Z'],
  );
  t.equal(lines.length, 3, 'no blanks between');
  await ledger.close();
  await t.rejects(ledger.saveUsage([], [event(4)]), { code: 'LEDGER_FAILED' }, 'a closed ledger refuses');
});

t.test('many commands that come together cost few commits', async (t) => {
  const ledger = open(t.testdir());
  const started = performance.now();
  await Promise.all(Array.from({ length: 2000 }, (_, i) => ledger.saveUsage([{ id: 1, bytes: i, objects: 1 }], [event(i)])));
  t.ok(performance.now() - started < 2000, `${performance.now() - started} ms`);
  t.match((await ledger.load()).usage, [{ bytes: 1999 }], 'in order');
  await ledger.close();
});

t.test('the journal reads the same at any offset, and trimming moves nothing', async (t) => {
  const ledger = open(t.testdir());
  const events = Array.from({ length: 300 }, (_, i) => event(i, i % 3, 'é'.repeat(i % 7)));
  await ledger.saveUsage([], events);
  const { endBytes } = await ledger.journalRange();
  const whole = await ledger.readJournal(0, endBytes + 100);
  t.equal(whole.length, endBytes);
  t.equal(whole.toString().split('\n').length, 301);
  for (const [offset, length] of [
    [0, 1],
    [1, 1],
    [77, 500],
    [endBytes - 1, 10],
    [endBytes, 10],
    [endBytes + 5, 10],
    [1234, 0],
  ] as const) {
    t.strictSame(await ledger.readJournal(offset, length), whole.subarray(offset, offset + length), `${offset}+${length}`);
  }
  const pieces = await ledger.findLines(new Set([1, 2]), 0);
  t.equal(pieces.length, 200);
  for (const { offsetBytes, lengthBytes } of pieces) {
    t.match(whole.toString('utf8', offsetBytes, offsetBytes + lengthBytes), /^\{.*\}\n$/);
  }

  t.equal(await ledger.trim({ beforeMs: 0, keepBytes: endBytes }), false);
  t.strictSame(await ledger.journalRange(), { startBytes: 0, endBytes });
  await ledger.trim({ beforeMs: 100, keepBytes: 2 ** 50 });
  const { startBytes } = await ledger.journalRange();
  t.equal(whole.toString('utf8', 0, startBytes).split('\n').length - 1, 100, 'by age');
  const kept = await ledger.readJournal(startBytes - 20, 520);
  t.strictSame(kept.subarray(20), whole.subarray(startBytes, startBytes + 500));
  t.equal(kept.toString('latin1', 0, 20), '\n'.repeat(20), 'what was trimmed reads as newlines');
  await ledger.trim({ beforeMs: 0, keepBytes: 1000 });
  const range = await ledger.journalRange();
  t.ok(range.endBytes - range.startBytes <= 1000 && range.endBytes - range.startBytes > 900, 'by bytes');
  await ledger.trim({ beforeMs: 1e9, keepBytes: 0 });
  await ledger.saveUsage([], [event(1)]);
  t.ok(
    (await ledger.journalRange()).startBytes < endBytes && (await ledger.journalRange()).endBytes > endBytes,
    'the newest line keeps the count',
  );

  await ledger.saveUsage(
    [],
    Array.from({ length: 5000 }, (_, i) => event(i)),
  );
  let batches = 0;
  while (await ledger.trim({ beforeMs: 1e9, keepBytes: 0 })) batches += 1;
  t.ok(batches >= 2, 'a batch at a time');
  await ledger.close();
});

t.test('a damaged or foreign file is refused and left as it is', async (t) => {
  const sound = t.testdir({ one: {}, two: {} });
  const ledger = open(join(sound, 'one'));
  for (let i = 0; i < 30; i++) await add(ledger, `/lot${i}`, 1);
  await ledger.close();
  const good = readFileSync(join(sound, 'one', 'ledger.db'));
  const foreign = join(sound, 'foreign.db');
  const other = new Sqlite(foreign);
  other.exec('CREATE TABLE x (y)');
  other.close();
  const newer = Buffer.from(good);
  newer.writeUInt32BE(99, 60);
  const holed = Buffer.from(good);
  for (let page = 2; page < good.length / 4096; page++) holed.fill(0xff, page * 4096 + 10, page * 4096 + 200);
  const table: [string, Buffer, string][] = [
    ['empty', Buffer.alloc(0), 'LEDGER_DAMAGED'],
    ['text', Buffer.from('my precious notes\n'.repeat(100)), 'LEDGER_FOREIGN'],
    ['short', good.subarray(0, 50), 'LEDGER_FOREIGN'],
    ['cut', good.subarray(0, good.length - 8192), 'LEDGER_DAMAGED'],
    ['holed', holed, 'LEDGER_DAMAGED'],
    ['newer', newer, 'LEDGER_NEWER'],
    ['other program', readFileSync(foreign), 'LEDGER_FOREIGN'],
  ];
  for (const [name, content, code] of table) {
    const directory = join(sound, name);
    mkdirSync(directory);
    writeFileSync(join(directory, 'ledger.db'), content);
    t.throws(() => open(directory), { code, exitCode: 1 }, name);
    t.strictSame(hash(readFileSync(join(directory, 'ledger.db'))), hash(content), `${name} is as it was`);
  }
  mkdirSync(join(sound, 'directory', 'ledger.db'), { recursive: true });
  t.throws(() => open(join(sound, 'directory')), { code: /EISDIR|LEDGER/ });
});

t.test('a half-made ledger is made anew', async (t) => {
  const directory = t.testdir({ 'ledger.db.new': 'half', 'ledger.db-wal': 'of another time' });
  const ledger = open(directory);
  t.strictSame(await names(ledger), ['default']);
  await ledger.close();
  t.notOk(existsSync(join(directory, 'ledger.db.new')));
});

t.test('read-only changes nothing', async (t) => {
  const directory = t.testdir();
  const empty = open(directory, true);
  t.strictSame(await names(empty), ['default']);
  await empty.beginServing([], [event(1)]);
  await empty.close();
  t.strictSame(readdirSync(directory), []);

  const ledger = open(directory);
  await add(ledger, '/a', 1);
  const before = directoryHash(directory);
  const copy = open(directory, true);
  t.strictSame(await names(copy), ['default', '/a'], 'what is in the WAL too');
  await copy.endServing([], [event(1)]);
  await copy.close();
  t.equal(directoryHash(directory), before);
  await ledger.close();
});

t.test('a full disk gives up the ballast, and releasing works', async (t) => {
  const mounted = mountSmall(t);
  if (mounted === null) {
    t.pass('a full disk', { skip: 'needs root to mount a small tmpfs' });
    return;
  }
  const ledger = open(mounted);
  const a = await add(ledger, '/a', 1);
  t.ok(existsSync(join(mounted, 'ballast')) && !ledger.outOfSpace);
  fillUp(mounted);
  for (let i = 0; i < 40; i++) await ledger.saveUsage([], [event(i, null, 'y'.repeat(2000))]).catch(() => {});
  t.ok(ledger.outOfSpace, 'the ballast is gone');
  t.notOk(existsSync(join(mounted, 'ballast')));
  await remove(ledger, a, event(1));
  t.strictSame(await names(ledger), ['default']);
  fillUp(mounted);
  let refused: unknown = null;
  for (let i = 0; i < 1000 && refused === null; i++) {
    await ledger.saveUsage([{ id: 1, bytes: i, objects: i }], [event(i, null, 'z'.repeat(9000))]).catch((error: unknown) => {
      refused = error;
    });
  }
  t.match(refused, { errno: /ENOSPC|EIO/ });
  const { endBytes } = await ledger.journalRange();
  t.equal(
    (await ledger.readJournal(0, endBytes))
      .toString()
      .split('\n')
      .filter((line) => line !== '' && !line.endsWith('}')).length,
    0,
  );
  ledger.recoverSpace();
  t.ok(ledger.outOfSpace, 'not yet');
  rmSync(join(mounted, 'filler'));
  ledger.recoverSpace();
  t.ok(existsSync(join(mounted, 'ballast')) && !ledger.outOfSpace, 'made anew');
  await ledger.saveUsage([], [event(3)]);
  await ledger.close();
});

function mountSmall(t: { teardown(undo: () => void): void }): string | null {
  const disk = mkdtempSync(join(tmpdir(), 'vreserve-test-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'vreserve-test', disk]).status === 0;
  t.teardown(() => {
    if (mounted) spawnSync('umount', ['-l', disk]);
    rmdirSync(disk);
  });
  return mounted ? disk : null;
}

function fillUp(directory: string): void {
  const fd = openSync(join(directory, 'filler'), 'a');
  try {
    for (let pieceBytes = 65_536; pieceBytes >= 1; ) {
      const { bavail } = statfsSync(directory);
      if (bavail === 0) break;
      try {
        writeSync(fd, Buffer.alloc(pieceBytes));
      } catch {
        pieceBytes = Math.floor(pieceBytes / 2);
      }
    }
  } finally {
    closeSync(fd);
  }
}

function hash(content: Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

function directoryHash(directory: string): string {
  const files = readdirSync(directory)
    .filter((name) => !name.endsWith('-shm'))
    .sort();
  return files.map((name) => `${name} ${hash(readFileSync(join(directory, name)))}`).join('\n');
}

/** A ledger as the second release made it. */
function makeFormat2(directory: string): void {
  makeFormat1(directory);
  const db = new Sqlite(join(directory, 'ledger.db'));
  db.exec(MIGRATIONS[1] ?? '');
  db.pragma('user_version = 2');
  db.exec('UPDATE lots SET self_parent = 0 WHERE id = 4; UPDATE parents SET position = 1 WHERE parent_id = 1');
  db.exec('INSERT INTO reported_usage VALUES (2, 1, 2, 3, 4)');
  db.close();
}

function request(name: string, deadlineMs: number | null = null) {
  return { name, askedAtMs: 5, deadlineMs, asked: `{"of":"${name}"}`, asker: '{"by":"ü"}' };
}

t.test('a ledger of format 2 gets a line', async (t) => {
  const directory = t.testdir();
  makeFormat2(directory);
  const before = directoryHash(directory);
  const copy = open(directory, true);
  t.match(await copy.load(), { lots: [{}, {}, { parents: [2, 1], selfParent: false }], waiting: [] }, 'read-only, from a copy');
  await copy.close();
  t.equal(directoryHash(directory), before);
  const ledger = open(directory);
  t.match(await ledger.load(), {
    lots: [{ id: 1 }, { id: 2, name: '/a' }, { id: 4, parents: [2, 1], policy: { maxObjects: 7, expiresAtMs: 8 } }],
    usage: [{ bytes: 11 }, { bytes: 22 }, { bytes: 44 }],
    reported: [{ id: 2, usage: { bytes: 1, pendingBytes: 3 } }],
    waiting: [],
    lastLineAtMs: 2,
  });
  t.equal((await ledger.readJournal(0, 6)).toString(), '{}\n[]\n');
  const seq = await ledger.joinLine(request('a'), [event(7)]);
  await ledger.close();
  const again = open(directory);
  t.strictSame((await again.load()).waiting, [{ seq, ...request('a'), outcome: null }]);
  await again.close();
  const db = new Sqlite(join(directory, 'ledger.db'), { readonly: true });
  t.equal(db.pragma('user_version', { simple: true }), MIGRATIONS.length);
  t.equal(db.pragma('integrity_check', { simple: true }), 'ok');
  db.close();
});

t.test('those who wait, in their order', async (t) => {
  const directory = t.testdir();
  const ledger = open(directory);
  const lines = async (of: Ledger) => {
    const { endBytes } = await of.journalRange();
    return (await of.readJournal(0, endBytes)).toString().split('\n').length - 1;
  };
  const seqs = await Promise.all(
    ['c', 'a', 'b'].map((name, i) => ledger.joinLine(request(name, i === 0 ? 2 ** 53 - 1 : null), [event(1)])),
  );
  t.strictSame(
    seqs,
    [...seqs].sort((x, y) => x - y),
    'numbers grow with their coming',
  );
  await t.rejects(ledger.joinLine(request('a'), [event(1)]), 'one entry, one request');
  t.equal(await lines(ledger), 3);
  const [first = 0, second = 0, third = 0] = seqs;

  // The grant and the decision are one.
  const id = await ledger.newLotId();
  const change = { put: [reservation(id, '/a', 5)], remove: [] };
  await ledger.changeLots(change, [{ id, bytes: 0, objects: 0 }], [event(2, id)], {
    seq: second,
    outcome: '{"decision":"granted"}',
  });
  t.match(await ledger.load(), {
    lots: [{}, { id }],
    waiting: [{ seq: first, deadlineMs: 2 ** 53 - 1 }, { outcome: '{"decision":"granted"}' }, { outcome: null }],
  });
  const other = await ledger.newLotId();
  const refused = { put: [reservation(other, '/b', 5)], remove: [] };
  await t.rejects(
    ledger.changeLots(refused, [{ id: other, bytes: 0, objects: 0 }], [event(3, other)], { seq: 99, outcome: 'x' }),
    /no waiting request 99/,
    'a grant for a request that does not wait is none',
  );
  await t.rejects(
    ledger.changeLots({ put: [reservation(other, '/a', 5)], remove: [] }, [], [event(3)], { seq: third, outcome: 'x' }),
    'no name twice',
  );
  t.match(
    await ledger.load(),
    { lots: [{}, { id }], waiting: [{}, {}, { seq: third, outcome: null }] },
    'nothing of either is there',
  );
  t.equal((await ledger.load()).lots.length, 2);
  t.equal(await lines(ledger), 4);
  await ledger.changeLots({ put: [], remove: [] }, [], [], { seq: second, outcome: null });
  t.equal((await ledger.load()).waiting[1]?.outcome, null, 'not decided after all');

  // Decided without a grant, forgotten, forgotten again.
  await ledger.settle({ seq: first, outcome: '{"decision":"refused"}' }, [event(4)]);
  await t.rejects(ledger.settle({ seq: 99, outcome: 'x' }, [event(4)]), /no waiting request 99/);
  await ledger.leaveLine(first, [event(5)]);
  await ledger.leaveLine(first, []);
  await ledger.close();
  const again = open(directory);
  t.strictSame(
    (await again.load()).waiting.map(({ name }) => name),
    ['a', 'b'],
  );
  t.equal(await lines(again), 6);
  for (const { seq } of (await again.load()).waiting) await again.leaveLine(seq, []);
  const next = await again.joinLine(request('c'), []);
  t.ok(next > third, 'a number is not used twice');
  await again.close();
  await t.rejects(again.joinLine(request('d'), []), { code: 'LEDGER_FAILED' });
});

t.test('a commit that fails leaves nothing of the line', async (t) => {
  const directory = t.testdir();
  const ledger = open(directory);
  const seq = await ledger.joinLine(request('a'), []);
  const db = new Sqlite(join(directory, 'ledger.db'));
  // Somebody else holds the file: no commit of ours succeeds.
  db.exec('BEGIN IMMEDIATE');
  const id = await ledger.newLotId().catch(() => 50);
  const results = await Promise.allSettled([
    ledger.changeLots({ put: [reservation(id, '/a', 5)], remove: [] }, [{ id, bytes: 0, objects: 0 }], [event(2)], {
      seq,
      outcome: 'x',
    }),
    ledger.joinLine(request('b'), [event(2)]),
    ledger.leaveLine(seq, [event(2)]),
  ]);
  db.exec('ROLLBACK');
  db.close();
  t.strictSame(
    results.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected'],
  );
  for (const result of results) t.match(result, { reason: { code: 'LEDGER_FAILED' } });
  t.match(await ledger.load(), { waiting: [{ seq, outcome: null }] });
  t.equal((await ledger.load()).lots.length, 1);
  t.strictSame(await ledger.journalRange(), { startBytes: 0, endBytes: 0 });
  await ledger.changeLots({ put: [reservation(id, '/a', 5)], remove: [] }, [{ id, bytes: 0, objects: 0 }], [event(2)], {
    seq,
    outcome: 'x',
  });
  t.match(await ledger.load(), { lots: [{}, { id }], waiting: [{ seq, outcome: 'x' }] });
  await ledger.close();
});
