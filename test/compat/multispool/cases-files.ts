// What lies where after each step, exactly; and that a directory with other files in it does not become a spool.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Spool } from '../../../src/spool/spool.js';
import { found, pathsOf, pathsOfEntries, type SpoolCase, spoolIn } from './directory.js';
import { numbered, type Order, orderText, type Queue, WIDGETS, type Widget, widgetText } from './widget.js';

async function creationFails(t: Test, directory: string): Promise<void> {
  const dir = spoolIn(directory);
  await mkdir(dir);
  await writeFile(join(dir, 'some_file'), '');
  await t.rejects(Spool.create(dir, WIDGETS), { code: 'SPOOL_NOT_EMPTY' });
  t.strictSame(await readdir(dir), ['some_file'], 'nothing was made');
}

/** Prefix, queue, text and order of entries; the names are made of the prefix. */
const SPROCKETS: readonly (readonly [prefix: string, Queue, text: string, Order])[] = [
  ['q1prefix1_', 'queue1', 'the first, "quoted" (q1prefix1_000000)', { serialNumber: 501, customer: 'North & Sons' }],
  ['q1prefix1_', 'queue1', 'the second', { serialNumber: 502, customer: 'North & Sons' }],
  ['q1prefix2_', 'queue1', 'another prefix', { serialNumber: 503, customer: 'East; Company' }],
  ['q2prefix1_', 'queue2', 'another queue', { serialNumber: 601, customer: 'Süd und Söhne' }],
  ['q2prefix2_', 'queue2', 'both', { serialNumber: 602, customer: 'W' }],
  ['q2prefix1_', 'queue2', 'one\nmore', { serialNumber: 603, customer: '' }],
];

async function fileBehavior(t: Test, directory: string): Promise<void> {
  const dir = spoolIn(directory);
  const spool = await Spool.create(dir, WIDGETS);
  const isThere = async (paths: string[], when: string) => t.strictSame(await found(directory), paths, when);
  const text = (...path: string[]) => readFile(join(dir, ...path), 'utf8');
  await isThere(pathsOf({}), 'made');

  const order = { serialNumber: 12, customer: 'First & Last' };
  const entry = await spool.enqueue('queue1', { cog: 1 }, order, { reserve: numbered('q1_co_test_') });
  const name = 'q1_co_test_000000';
  t.equal(entry.name, name);
  await isThere(pathsOfEntries({ queue1: [name] }), 'enqueued');
  t.strictSame(
    [await text('queue1', name), await text('.registry', name), await text('.data', name)],
    ['(Cog 1)', '', `${orderText(order)}\n`],
    'what is in the files',
  );
  const out = await spool.checkout(entry);
  await isThere(pathsOfEntries({ 'queue1/.checkout': [name] }), 'checked out');
  const checkouts = async (queue: Queue) => (await spool.listCheckoutsUnsafe(queue)).map((each) => each.name);
  t.strictSame([await checkouts('queue1'), await checkouts('queue2')], [[name], []], 'what is checked out');
  await out.remove();
  await isThere(pathsOf({}), 'removed');

  for (const [prefix, queue, sprocket, data] of SPROCKETS) {
    await spool.enqueue(queue, { sprocket }, data, { reserve: numbered(prefix) });
  }
  const first = ['q1prefix1_000000', 'q1prefix1_000001', 'q1prefix2_000000'];
  const second = ['q2prefix1_000000', 'q2prefix1_000001', 'q2prefix2_000000'];
  await isThere(pathsOfEntries({ queue1: first, queue2: second }), 'several are enqueued');
  t.strictSame([await spool.listNames('queue1'), await spool.listNames('queue2')], [first, second], 'names in order');
  t.strictSame(
    (await spool.list('queue2')).map((each) => [each.queue, each.name]),
    second.map((each) => ['queue2', each]),
  );

  await (await spool.checkout(spool.entry('queue1', 'q1prefix1_000000'))).save('queue2');
  const moved = ['q1prefix1_000000', ...second];
  await isThere(pathsOfEntries({ queue1: first.slice(1), queue2: moved }), 'moved to another queue');

  const reader = spool.reader('queue2');
  t.teardown(() => reader.close());
  const visit = async () => {
    const seen: [name: string, Widget, Order][] = [];
    await reader.iterAvailable(async (meta, dataFile, name) => {
      seen.push([name, meta, await dataFile.load()]);
      return { save: 'queue2', meta };
    });
    return seen;
  };
  const said = (row: number): [Widget, Order] => {
    const [, , sprocket = '', data = { serialNumber: 0, customer: '' }] = SPROCKETS[row] ?? [];
    return [{ sprocket }, data];
  };
  const visited: [string, Widget, Order][] = [
    ['q1prefix1_000000', ...said(0)],
    ['q2prefix1_000000', ...said(3)],
    ['q2prefix1_000001', ...said(5)],
    ['q2prefix2_000000', ...said(4)],
  ];
  t.strictSame(await visit(), visited, 'each once, in the order of names');
  await spool.withEntry(spool.entry('queue2', 'q2prefix1_000000'), async (meta) => {
    t.strictSame(meta, said(3)[0]);
    return { save: 'queue2', meta: { cog: 42 } };
  });
  visited[1] = ['q2prefix1_000000', { cog: 42 }, said(3)[1]];
  t.equal(await text('queue2', 'q2prefix1_000000'), widgetText({ cog: 42 }));
  t.strictSame(await visit(), visited, 'changed, with the same data, and not by being visited');
  await isThere(pathsOfEntries({ queue1: first.slice(1), queue2: moved }), 'nothing else is left');
}

export const FILE_CASES: readonly SpoolCase[] = [
  { name: 'Spool Creation Fails', run: creationFails },
  { name: 'File Behavior', run: fileBehavior },
];
