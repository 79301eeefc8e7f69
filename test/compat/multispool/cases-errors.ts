// What is refused, with which text, and what is then left: bad names, bad directories, files that are gone or not what they must be.
import { mkdir, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { UniqueName } from '../../../src/spool/names.js';
import { Spool } from '../../../src/spool/spool.js';
import { found, pathsOf, pathsOfEntries, type SpoolCase, spoolIn } from './directory.js';
import { numbered, type QUEUES, WIDGETS, type Widget } from './widget.js';

const ORDER = { serialNumber: 1, customer: 'One' };
const NAME = 'x_000000';
const X = { reserve: numbered('x_') };

/** Something asked, and how it must be refused; `message` is the whole text. */
type Row = readonly [what: string, ask: () => Promise<unknown>, expected: { code: string; message?: string }];

async function refusals(t: Test, rows: readonly Row[]): Promise<void> {
  for (const [what, ask, expected] of rows) {
    const error = await ask().then(
      () => ({ code: 'nothing was refused', message: '' }),
      (thrown: { code: string; message: string }) => thrown,
    );
    t.equal(error.code, expected.code, `${what}: its code`);
    if (expected.message !== undefined) t.equal(error.message, expected.message, `${what}: its text`);
  }
}

/** A call that throws at once is refused as one that rejects. */
const later = async (call: () => unknown): Promise<unknown> => call();

async function notASpool(t: Test, directory: string): Promise<void> {
  const dir = spoolIn(directory);
  const missing = (path: string) => ({ code: 'SPOOL_NOT_A_DIRECTORY', message: `${path} does not exist or is not a directory` });
  const load = () => Spool.load(dir, WIDGETS);
  await refusals(t, [['there is nothing', load, missing(dir)]]);
  await writeFile(dir, '');
  await refusals(t, [
    ['a file', load, missing(dir)],
    ['a spool in place of a file', () => Spool.create(dir, WIDGETS), missing(dir)],
    ['below a file', () => Spool.load(join(dir, 'spool'), WIDGETS), missing(join(dir, 'spool'))],
  ]);
  await unlink(dir);
  await refusals(t, [['no parent', () => Spool.create(join(dir, 'spool'), WIDGETS), { code: 'ENOENT' }]]);
  await mkdir(dir);
  await refusals(t, [['an empty directory', load, missing(join(dir, '.registry'))]]);
  t.strictSame(await found(directory), ['spool'], 'loading makes nothing');

  await Spool.create(dir, { ...WIDGETS, queues: ['queue1'] });
  await refusals(t, [['a queue is missing', load, missing(join(dir, 'queue2'))]]);
  await Spool.load(dir, WIDGETS, { createIfMissing: true });
  t.strictSame(await found(directory), pathsOf({}), 'and is made where that is asked for');
  await rm(join(dir, '.data'), { recursive: true });
  await Spool.load(dir, WIDGETS);
  t.pass('.data is not looked at');
  await rm(join(dir, '.tmp'), { recursive: true });
  await refusals(t, [
    ['without .tmp', load, missing(join(dir, '.tmp'))],
    [
      'a spool that is none any more',
      () => Spool.create(dir, WIDGETS),
      { code: 'SPOOL_NOT_EMPTY', message: `dir is not empty while creating new spool (dir ${dir})` },
    ],
  ]);
}

async function badNames(t: Test, directory: string): Promise<void> {
  const dir = spoolIn(directory);
  const kind = (queue: string) => ({ ...WIDGETS, queues: [queue] });
  const long = 'ä'.repeat(128);
  for (const queue of ['', '.', '..', 'a/b', '/a', 'a\0b', '.data', '.checkout', long, '\ud800']) {
    await refusals(t, [[`a queue ${JSON.stringify(queue)}`, () => Spool.create(dir, kind(queue)), { code: 'SPOOL_BAD_QUEUE' }]]);
  }
  const twice = { ...WIDGETS, queues: ['queue1', 'queue1'] as const };
  await refusals(t, [['a queue twice', () => Spool.create(dir, twice), { code: 'SPOOL_BAD_QUEUE' }]]);
  await t.rejects(stat(dir), { code: 'ENOENT' }, 'of all these nothing was made');

  const spool = await Spool.create(dir, WIDGETS);
  const bad = { code: 'SPOOL_BAD_NAME' };
  for (const name of ['', '.', '..', 'a/b', '/etc/passwd', '../x', 'a\0b', '.checkout', long, '\ud800']) {
    const said = JSON.stringify(name);
    await refusals(t, [
      [`an entry ${said}`, () => later(() => spool.entry('queue1', name)), bad],
      [`reserved ${said}`, () => spool.reserveName(() => name), bad],
      [`enqueued ${said}`, () => spool.enqueue('queue1', { cog: 1 }, ORDER, { reserve: () => name }), bad],
      [`used ${said}`, () => spool.enqueue('queue1', { cog: 1 }, ORDER, { use: name as UniqueName }), bad],
    ]);
  }
  const other = 'queue4' as (typeof QUEUES)[number];
  const unknown = { code: 'SPOOL_BAD_QUEUE' };
  await refusals(t, [
    ['list', () => spool.list(other), unknown],
    ['enqueue', () => spool.enqueue(other, { cog: 1 }, ORDER, X), unknown],
    ['reader', () => later(() => spool.reader(other)), unknown],
    ['entry', () => later(() => spool.entry(other, NAME)), unknown],
    ['checkouts', () => spool.listCheckoutsUnsafe(other), unknown],
  ]);
  t.strictSame(await found(directory), pathsOf({}), 'nothing was made');

  const good = ['a b', "it's -\n", '-', '..x', '.hidden', 'ü', 'x'.repeat(255), 'ä'.repeat(127), '%2F', '*'];
  for (const [i, name] of good.entries()) {
    const entry = await spool.enqueue('queue1', { cog: i }, ORDER, { reserve: () => name });
    const out = await spool.checkout(entry);
    out.update({ cog: i + 1 });
    await out.save('queue2');
  }
  const bytewise = [...good].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  t.strictSame(await spool.listNames('queue2'), bytewise, 'other names are fine, and sorted bytewise');
  for (const entry of await spool.list('queue2')) await (await spool.checkout(entry)).remove();
  t.strictSame(await found(directory), pathsOf({}));
  await spool.reserveName(() => 'always');
  await refusals(t, [
    [
      'a generator without another name',
      () => spool.reserveName(() => 'always'),
      { code: 'SPOOL_NAME_TAKEN', message: "'always' is the name of another entry" },
    ],
  ]);
}

async function gone(t: Test, directory: string): Promise<void> {
  const dir = spoolIn(directory);
  const spool = await Spool.create(dir, WIDGETS);
  const disappeared = {
    code: 'SPOOL_ENTRY_DISAPPEARED',
    message: `Entry disappeared before checkout: '${NAME}' in queue 'queue1'`,
  };
  const isGone = async (what: string) => {
    const entry = spool.entry('queue1', NAME);
    await refusals(t, [
      [what, () => spool.checkout(entry), disappeared],
      [what, () => spool.withEntry(entry, async () => t.fail('called') as never), disappeared],
    ]);
    t.equal(await spool.checkoutIfFound(entry), null, what);
    t.equal(await spool.withEntryIfFound(entry, async () => t.fail('called') as never), false, what);
  };
  await isGone('never there');
  await refusals(t, [
    ['stat', () => spool.entry('queue1', NAME).stat(), { code: 'SPOOL_NO_ENTRY', message: `No such entry: '${NAME}'` }],
    ['contents', () => spool.entry('queue1', NAME).direct.contents(), { code: 'ENOENT' }],
  ]);
  const entry = await spool.enqueue('queue1', { cog: 1 }, ORDER, X);
  t.equal((await entry.stat()).size, 0, 'stat is of the registry file');
  const out = await spool.checkout(entry);
  await isGone('somebody has it');
  await out.save('queue2');
  await refusals(t, [
    ['saved twice', () => out.save('queue3'), { code: 'SPOOL_NO_ENTRY' }],
    ['removed when it was saved', () => out.remove(), { code: 'SPOOL_NO_ENTRY' }],
  ]);
  await isGone('in another queue');
  const again = await spool.checkout(spool.entry('queue2', NAME));
  await again.save('queue1');
  await unlink(join(dir, '.registry', NAME));
  await isGone('its registry file is gone');
  t.equal(await spool.reader('queue1').dequeueAvailable(), null, 'a reader passes over it');
  t.strictSame(await found(directory), pathsOf({ '.data': [NAME], queue1: [NAME] }));

  // It can be made anew, over what was left of it.
  await spool.enqueue('queue1', { cog: 2 }, { ...ORDER, customer: 'Two' }, X);
  const second = await spool.checkout(spool.entry('queue1', NAME));
  t.strictSame([second.contents, (await second.dataFile.load()).customer], [{ cog: 2 }, 'Two']);
  await unlink(second.dataFile.path);
  await refusals(t, [
    ['data that is gone', () => second.dataFile.load(), { code: 'ENOENT' }],
    ['and is to be removed', () => second.remove(), { code: 'ENOENT' }],
  ]);
  t.strictSame(await found(directory), pathsOf({ '.registry': [NAME], 'queue1/.checkout': [NAME] }), 'what comes after stays');
  await second.dataFile.save(ORDER);
  await second.remove();
  t.strictSame(await found(directory), pathsOf({}));
}

async function badMetadata(t: Test, directory: string): Promise<void> {
  const dir = spoolIn(directory);
  const spool = await Spool.create(dir, WIDGETS);
  const rows: readonly (readonly [bytes: Buffer, code: string, message: string])[] = [
    [Buffer.from([0x28, 0xff, 0x29]), 'SPOOL_NOT_UTF8', 'is not valid UTF-8'],
    [Buffer.from('(Bolt 1)'), 'SPOOL_BAD_META', 'is not understood: not a widget: (Bolt 1)'],
  ];
  for (const [bytes, code, text] of rows) {
    const entry = await spool.enqueue('queue1', { cog: 1 }, ORDER, X);
    await writeFile(join(dir, 'queue1', NAME), bytes);
    const message = (where: string) => `the metadata of '${NAME}' in ${where} ${text}`;
    await refusals(t, [
      ['read as it lies', () => entry.direct.contents(), { code, message: message('queue1') }],
      ['checked out', () => spool.checkout(entry), { code, message: message('queue1/.checkout') }],
    ]);
    t.strictSame(await found(directory), pathsOfEntries({ 'queue1/.checkout': [NAME] }), 'it stays checked out');
    await refusals(t, [['listed', () => spool.listCheckoutsUnsafe('queue1'), { code }]]);
    t.same(await readFile(join(dir, 'queue1/.checkout', NAME)), bytes, 'as it is');
    await writeFile(join(dir, 'queue1/.checkout', NAME), '(Cog 7)');
    await rename(join(dir, 'queue1/.checkout', NAME), join(dir, 'queue1', NAME));
    await (await spool.checkout(entry)).remove();
  }
  const odd: Widget = { sprocket: '' };
  const broken = Spool.loadUnsafe(dir, { ...WIDGETS, meta: { ...WIDGETS.meta, encode: () => 'half \ud83d' } });
  await refusals(t, [['not UTF-8 of our own', () => broken.enqueue('queue1', odd, ORDER, X), { code: 'SPOOL_NOT_UTF8' }]]);
  t.strictSame(await found(directory), pathsOf({}), 'nothing is left');
}

async function failures(t: Test, directory: string): Promise<void> {
  const dir = spoolIn(directory);
  const spool = await Spool.create(dir, WIDGETS);
  const failing = Spool.loadUnsafe(dir, {
    ...WIDGETS,
    data: {
      ...WIDGETS.data,
      save: async (path) => {
        await writeFile(path, 'half of it');
        throw new Error('no more paper');
      },
    },
  });
  await t.rejects(failing.enqueue('queue1', { cog: 1 }, ORDER, X), { message: 'no more paper' });
  t.strictSame(await found(directory), pathsOf({}), 'an enqueue that fails leaves nothing');
  const reserved = await failing.reserveName(numbered('x_'));
  t.strictSame(await found(directory), pathsOf({ '.registry': [NAME] }), 'a name is taken before there is an entry');
  await t.rejects(failing.enqueue('queue1', { cog: 1 }, ORDER, { use: reserved }), { message: 'no more paper' });
  t.strictSame(await found(directory), pathsOf({}), 'nor one with a name that was reserved before');
  await mkdir(join(dir, 'queue1', NAME));
  await t.rejects(spool.enqueue('queue1', { cog: 1 }, ORDER, X), { code: 'EISDIR' });
  t.strictSame(await found(directory), pathsOf({ queue1: [NAME] }), 'nor one that fails at its last step');
  await rm(join(dir, 'queue1', NAME), { recursive: true });

  const entry = await spool.enqueue('queue1', { cog: 1 }, ORDER, X);
  const fails = async () => {
    throw new Error('not today');
  };
  await t.rejects(spool.withEntry(entry, fails), { message: 'not today' });
  t.strictSame(await found(directory), pathsOfEntries({ 'queue1/.checkout': [NAME] }), 'whose handler fails stays checked out');
  for (const out of await spool.listCheckoutsUnsafe('queue1')) await out.save('queue1');
  t.strictSame(await found(directory), pathsOfEntries({ queue1: [NAME] }), 'and is given back by who knows that nobody has it');

  // There is no look at what is in the queue already: the last one stays.
  await writeFile(join(dir, 'queue2', NAME), '(Cog 99)');
  await spool.withEntry(entry, async () => ({ save: 'queue2', meta: { cog: 2 } }));
  t.strictSame(await spool.entry('queue2', NAME).direct.contents(), { cog: 2 });
  t.strictSame(await found(directory), pathsOfEntries({ queue2: [NAME] }));
  const kept = spool.entry('queue2', NAME);
  await kept.direct.save({ cog: 3 });
  t.strictSame([await kept.direct.contents(), await kept.direct.dataFile.load()], [{ cog: 3 }, ORDER], 'without checking out');
  await kept.direct.remove();
  t.strictSame(await found(directory), pathsOf({}));
}

export const ERROR_CASES: readonly SpoolCase[] = [
  { name: 'a directory that is no spool', run: notASpool },
  { name: 'names of queues and entries', run: badNames },
  { name: 'entries and data that are gone', run: gone },
  { name: 'metadata that is not what it must be', run: badMetadata },
  { name: 'what fails half way', run: failures },
];
