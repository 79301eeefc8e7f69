// `vreserve store import`: what the original has left, taken over by the command as users run it.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { formatBytes } from '../../../src/core/bytes.js';
import { Store } from '../../../src/store/store.js';
import { temporaryDirectory } from '../../helpers/mount.js';
import { vreserve } from '../../helpers/run.js';
import { pieces, textOf } from '../../store/blobs.js';
import { FAILURE, makeOriginal, OK, WHOLE } from './original.js';

const BIG = Buffer.alloc(700_000, '0123456789');

async function fill(dir: string): Promise<void> {
  await makeOriginal(dir, { id: 1090, location: 'foo', data: 'hello', log: WHOLE });
  await makeOriginal(dir, { id: 13342, location: 'a b/../%2F', data: 'x', log: WHOLE });
  await makeOriginal(dir, { id: 2, location: 'no log', data: '<html>', log: [] });
  await makeOriginal(dir, { id: 3, location: 'big', data: BIG, log: WHOLE });
  await makeOriginal(dir, { id: 4, location: 'twice', data: 'old', log: WHOLE });
  await makeOriginal(dir, { id: 40, location: 'twice', data: 'new', log: WHOLE });
  const ring = Array.from({ length: 16 }, (_, i): [number, string] => [i === 4 ? FAILURE : OK, `slot ${i}`]);
  await makeOriginal(dir, { id: 5, location: 'ring', data: 'failed', log: ring, index: 5 });
  await makeOriginal(dir, { id: 6, location: 'ring that is whole', data: 'ok', log: ring, index: 9 });
  await makeOriginal(dir, { id: 7, location: 'pending', data: 'hal', log: WHOLE.slice(0, 2) });
  await makeOriginal(dir, { id: 8, location: 'deleted', data: 'gone', log: [...WHOLE, [FAILURE, 'Deleted!']] });
  await makeOriginal(dir, { id: 9, location: 'no data', data: null, log: WHOLE });
  await makeOriginal(dir, { id: 10, location: 'x'.repeat(300), data: 'x', log: WHOLE });
  await makeOriginal(dir, { id: 11, location: 'x', data: 'x', log: WHOLE, state: 'nonsense' });
  await makeOriginal(dir, { id: 12, location: 'x', data: 'x', log: WHOLE, state: 'BLOB_BASE64_dev:bm8=\n' });
  await mkdir(join(dir, '13'));
  await mkdir(join(dir, '65536'));
  await writeFile(join(dir, 'notes'), '');
}

const SKIPPED = [
  '10 x…: it is longer than 255 bytes',
  '11: its state',
  '12: no JSON',
  '13: ENOENT',
  '13342: slash',
  '4: directory 40 has the same name',
  '5: Failure: slot 4',
  '65536: no number of a blob',
  '7: Pending: Starting Data WR',
  '8: Failure: Deleted!',
  '9: ENOENT',
  'notes: no number of a blob',
];

t.test('into a store', async (t) => {
  const top = await temporaryDirectory(t);
  const [dir, into] = [join(top, 'data'), join(top, 'store')];
  await mkdir(dir);
  await fill(dir);
  const { code, stdout, stderr } = await vreserve(['store', 'import', dir, '--into', into]);
  t.equal(code, 0, stderr);
  t.equal(stdout, `5 imported, ${formatBytes(BIG.length + 'hello<html>newok'.length)}; 12 skipped\n`);
  const lines = stderr.trim().split('\n');
  t.equal(lines.length, SKIPPED.length, stderr);
  for (const expected of SKIPPED) {
    const [directory, reason = ''] = expected.split(/(?: x…)?: (.*)/);
    const line =
      lines.find((text) => text.startsWith(`vreserve: ${directory}`) && !/\d/.test(text.charAt(10 + (directory?.length ?? 0)))) ??
      '';
    t.ok(line.includes(reason) || reason === 'its state', `${expected} in: ${line}`);
  }

  const store = await Store.open(into, { gcIntervalMs: null });
  t.same(
    store.list().entries.map(({ name }) => name),
    ['big', 'foo', 'no log', 'ring that is whole', 'twice'],
  );
  t.equal(await textOf(store, 'foo'), 'hello');
  t.equal(await textOf(store, 'twice'), 'new', 'as the original has it after its next start');
  t.equal(await textOf(store, 'big'), BIG.toString());
  t.match(store.stat('no log'), { contentType: 'text/html; charset=utf-8' });
  t.equal(store.stat('foo')?.modifiedAtMs, Date.parse('2017-02-20T10:00:02.123Z'));
  t.same(
    store.transitions('foo').map(({ state, message, atMs }) => `${new Date(atMs).toISOString()} ${state} ${message}`),
    [
      '2017-02-20T10:00:02.123Z OK Blob Data WR Complete!',
      '2017-02-20T10:00:01.123Z Pending Starting Data WR',
      '2017-02-20T10:00:00.123Z OK Blob Created & Saved!',
    ],
    'with its log',
  );
  t.same(
    store
      .transitions('ring that is whole')
      .map(({ message }) => message)
      .slice(0, 2),
    ['slot 8', 'slot 7'],
  );
  await store.update('foo', pieces('changed'));
  await store.remove('no log');
  const busy = await vreserve(['store', 'import', dir, '--into', into]);
  t.equal(busy.code, 1);
  t.match(busy.stderr, /is in use by another process/);
  await store.close();

  const again = await vreserve(['store', 'import', dir, '--into', into, '--json']);
  t.match(JSON.parse(again.stdout), { ok: true, imported: 1, unchanged: 3, importedBytes: 6 });
  t.match(
    JSON.parse(again.stdout).skipped,
    [...Array(1)].map(() => ({ directory: '10' })),
  );
  t.match(again.stdout, /"name":"foo","reason":"the store has another blob of that name"/);
  t.equal(await readFile(join(dir, '1090', 'data.raw'), 'utf8'), 'hello', 'the original is left as it is');
});

t.test('usage', async (t) => {
  const top = await temporaryDirectory(t);
  await mkdir(join(top, 'empty'));
  await mkdir(join(top, 'other'));
  await writeFile(join(top, 'other', 'file'), '');
  const table: [words: string[], code: number, said: RegExp][] = [
    [
      ['import', join(top, 'absent'), '--into', join(top, 's')],
      1,
      /is not a data directory of go-storage-server: it does not exist/,
    ],
    [['import', join(top, 'other'), '--into', join(top, 's')], 1, /no directory in it has the name of a blob/],
    [['import', join(top, 'other', 'file'), '--into', join(top, 's')], 1, /it is not a directory/],
    [['import', join(top, 'empty'), '--into', join(top, 'other')], 1, /is not a store of vreserve/],
    [['import', join(top, 'empty'), '--into', join(top, 'no', 'parent')], 1, /ENOENT/],
    [['import', join(top, 'empty')], 2, /--into is missing/],
    [['import', join(top, 'empty'), '--into', ''], 2, /the name of the store's directory is empty/],
    [['import', '', '--into', join(top, 's')], 2, /DIR is empty/],
    [['export', top], 2, /store has no 'export'/],
    [['import'], 2, /something is missing/],
  ];
  for (const [words, code, said] of table) {
    const found = await vreserve(['store', ...words]);
    t.equal(found.code, code, `${words.slice(0, 2).join(' ')}: ${found.stderr}`);
    t.match(found.stderr, said);
  }
  const empty = await vreserve(['store', 'import', join(top, 'empty'), '--into', join(top, 's')]);
  t.same([empty.code, empty.stdout], [0, `0 imported, ${formatBytes(0)}\n`]);
});
