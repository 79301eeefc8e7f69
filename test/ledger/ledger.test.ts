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
import type { JournalEvent } from '../../src/core/events.js';
import { reservation } from '../../src/core/lot.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/sqlite.js';

const owner = { owner: '1000', confinedOwner: false };

function open(directory: string, readOnly = false): Ledger {
  return openLedger({ directory, readOnly, owner: '0', nowMs: 1 });
}

function event(atMs: number, lotId: number | null = null, text = 'x'): JournalEvent {
  return { atMs, event: 'charge', lotId, fields: { text } };
}

async function add(ledger: Ledger, path: string, bytes: number, parents: number[] = []): Promise<number> {
  const id = await ledger.newLotId();
  await ledger.addLot(reservation(id, path, bytes, owner, parents, 5), { id, bytes: 3, objects: 1 }, event(5, id, path));
  return id;
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
  await ledger.removeLot(gone, event(6));
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
      paths: ['/a'],
      policy: { dedicatedBytes: 100, opportunisticBytes: 0, maxObjects: -1, createdAtMs: 5, expiresAtMs: null },
    },
    { id: b, name: '/a/b ü', parents: [a], paths: ['/a/b ü'] },
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
  await ledger.removeLot(b, event(1));
  const parents = async (id: number) => (await ledger.load()).lots.find((lot) => lot.id === id)?.parents;
  t.strictSame(await parents(c), [a]);
  await ledger.removeLot(a, event(1));
  t.strictSame(await parents(c), []);
  await ledger.close();
});

t.test('what comes in one turn shares a commit, and fails alone', async (t) => {
  const directory = t.testdir();
  const ledger = open(directory);
  const before = (await ledger.journalRange()).endBytes;
  const ids = await Promise.all([1, 2, 3].map(() => ledger.newLotId()));
  const results = await Promise.allSettled(
    ids.map((id, i) =>
      ledger.addLot(
        reservation(id, `/${i}`, 1, owner, i === 1 ? [999] : [], 1),
        { id, bytes: 0, objects: 0 },
        event(1, id, String(id)),
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
  await ledger.removeLot(a, event(1));
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
