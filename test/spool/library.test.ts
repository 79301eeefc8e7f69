// The library vreserve/spool alone, in one process: directories, files of entries, what failures leave behind, readers that wait.

import { execFileSync } from 'node:child_process';
import { existsSync, renameSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { VreserveError } from '../../src/core/errors.js';
import { saveAtomically } from '../../src/spool/atomic.js';
import { DirectorySync } from '../../src/spool/directory-sync.js';
import {
  bytesData,
  type DataCodec,
  jobsAtMost,
  type MetaCodec,
  Spool,
  type SpoolKind,
  type Throttle,
  textMeta,
  type UniqueName,
} from '../../src/spool/index.js';
import { checkEntryName, checkQueueNames } from '../../src/spool/names.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { ROOT, run } from '../helpers/run.js';

type Q = 'q1' | 'q2';
type Payload = Uint8Array | AsyncIterable<Uint8Array>;
type Kind = SpoolKind<string, Payload, Q>;
type TestSpool = Spool<string, Payload, Q>;

const QUEUES: readonly Q[] = ['q1', 'q2'];
const KIND: Kind = { queues: QUEUES, meta: textMeta, data: bytesData };
const DIRECTORIES = ['.data', '.registry', '.tmp', 'q1', 'q1/.checkout', 'q2', 'q2/.checkout'];
const isRoot = process.getuid?.() === 0;

const bytes = (text: string) => Buffer.from(text);
const named = (name: string) => ({ reserve: (attempt: number) => `${name}_${attempt}` });

/** All of this file lies in one directory, removed at its end. */
const scratch = await temporaryDirectory(t);

function newDirectory(): Promise<string> {
  return mkdtemp(join(scratch, 'of-'));
}

async function newSpool(more: Partial<Kind> = {}): Promise<TestSpool> {
  return Spool.create(join(await newDirectory(), 'spool'), { ...KIND, ...more });
}

/** Everything below, sorted. */
async function tree(dir: string): Promise<string[]> {
  return (await readdir(dir, { recursive: true })).sort();
}

/** The files below, sorted. */
async function files(dir: string): Promise<string[]> {
  return (await tree(dir)).filter((path) => !DIRECTORIES.includes(path));
}

/** The promise's outcome; a failure of the test where it takes too long. */
async function soon<T>(what: string, promise: Promise<T>, deadlineMs = 20_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${deadlineMs} ms`)), deadlineMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Something that a test waits for. */
function event(): { come: Promise<void>; happen: () => void } {
  let happen = () => {};
  const come = new Promise<void>((resolve) => {
    happen = resolve;
  });
  return { come, happen: () => happen() };
}

const readers: { close(): void }[] = [];

// One that waits still, because its test has failed, would keep the process alive.
t.afterEach(() => {
  for (const reader of readers.splice(0)) reader.close();
});

/** A reader that is closed with its test. */
function readerOf(spool: TestSpool, queue: Q = 'q1') {
  const reader = spool.reader(queue);
  readers.push(reader);
  return reader;
}

/** A reader of an empty queue that waits: its second listing, the one under the watch, is done, and found nothing. */
async function waitingReader(dir: string, queue: Q, signal?: AbortSignal) {
  const listed = event();
  let jobs = 0;
  const throttle: Throttle = async (job) => {
    jobs += 1;
    const mine = jobs;
    const result = await job();
    if (mine === 2) listed.happen();
    return result;
  };
  const reader = readerOf(Spool.loadUnsafe(dir, { ...KIND, throttle }), queue);
  const outcome = reader.dequeue(signal === undefined ? {} : { signal }).then(nameOf, (error: unknown) => error);
  await soon('a reader waits', listed.come);
  await turn();
  return { reader, outcome };
}

function nameOf(entry: { name: string } | 'stopped' | null): string | null {
  return entry === null || entry === 'stopped' ? entry : entry.name;
}

t.test('a spool is looked at', async (t) => {
  const top = await newDirectory();
  await writeFile(join(top, 'file'), '');
  await mkdir(join(top, 'empty'));
  const lacking = async (path: string) => {
    const dir = join(top, `without-${path.replaceAll('/', '-')}`);
    await Spool.create(dir, KIND);
    await rm(join(dir, path), { recursive: true });
    return { dir, missing: join(dir, path) };
  };
  const table: { dir: string; missing: string; errno: string }[] = [
    { dir: join(top, 'none'), missing: join(top, 'none'), errno: 'ENOENT' },
    { dir: join(top, 'file'), missing: join(top, 'file'), errno: 'ENOTDIR' },
    { dir: join(top, 'file/below'), missing: join(top, 'file/below'), errno: 'ENOENT' },
    { dir: join(top, 'empty'), missing: join(top, 'empty/.registry'), errno: 'ENOENT' },
  ];
  for (const path of ['.registry', '.tmp', 'q1', 'q2', 'q2/.checkout']) table.push({ ...(await lacking(path)), errno: 'ENOENT' });
  for (const { dir, missing, errno } of table) {
    const message = `${missing} does not exist or is not a directory`;
    await t.rejects(Spool.load(dir, KIND), { code: 'SPOOL_NOT_A_DIRECTORY', errno, message, exitCode: 1 }, missing);
    t.equal(Spool.loadUnsafe(dir, KIND).dir, dir, 'unsafe: nothing is looked at');
  }
  t.same(await readdir(join(top, 'empty')), [], 'load makes nothing');
  const { dir } = await lacking('.data');
  t.equal((await Spool.load(dir, KIND)).dir, dir, '.data is not looked at');
});

t.test('a spool is made', async (t) => {
  const top = await newDirectory();
  const dir = join(top, 'spool');
  const spool = await Spool.load(dir, KIND, { createIfMissing: true });
  t.same(await tree(dir), DIRECTORIES);
  const entry = await spool.enqueue('q1', 'meta', bytes('data'), named('a'));
  const more = await Spool.create(dir, { ...KIND, queues: ['q1', 'q3'] });
  t.same(
    (await tree(dir)).filter((path) => path.startsWith('q3')),
    ['q3', 'q3/.checkout'],
    'one that is there gets the queues it lacks',
  );
  t.equal(await entry.direct.contents(), 'meta', 'and is left as it is');
  t.same(await more.listNames('q1'), ['a_0']);

  await mkdir(join(top, 'full'));
  await writeFile(join(top, 'full/x'), '');
  const message = `dir is not empty while creating new spool (dir ${join(top, 'full')})`;
  await t.rejects(Spool.create(join(top, 'full'), KIND), { code: 'SPOOL_NOT_EMPTY', errno: 'ENOTEMPTY', message });
  t.same(await readdir(join(top, 'full')), ['x']);
  await mkdir(join(top, 'full/.registry'));
  await t.rejects(Spool.create(join(top, 'full'), KIND), { code: 'SPOOL_NOT_EMPTY' });
  await t.rejects(Spool.create(join(top, 'no/parent'), KIND), { code: 'ENOENT' });
  await t.rejects(Spool.create(join(top, 'full/x'), KIND), { code: 'SPOOL_NOT_A_DIRECTORY', errno: 'ENOTDIR' });
  await mkdir(join(top, 'empty'));
  await Spool.create(join(top, 'empty'), KIND);
  t.same(await tree(join(top, 'empty')), DIRECTORIES);
  await mkdir(join(top, 'begun/.registry'), { recursive: true });
  await Spool.create(join(top, 'begun'), KIND);
  t.same(await tree(join(top, 'begun')), DIRECTORIES, 'one that was not finished is finished');

  const many = join(top, 'many');
  await Promise.all(Array.from({ length: 20 }, () => Spool.create(many, KIND)));
  t.same(await tree(many), DIRECTORIES, 'made by many at once');
});

t.test('a spool that is not ours', { skip: isRoot ? false : 'only root can be another user' }, async (t) => {
  const top = await newDirectory();
  for (const each of [scratch, top]) await chmod(each, 0o755);
  const dir = join(top, 'spool');
  await Spool.create(dir, KIND);
  const uid = 65534;
  const program = `
    const { Spool, textMeta, bytesData } = await import(${JSON.stringify(`${ROOT}/build/src/spool/index.js`)});
    const kind = { queues: ['q1', 'q2'], meta: textMeta, data: bytesData };
    for (const how of ['load', 'create']) await Spool[how](${JSON.stringify(dir)}, kind).catch((e) => console.log(e.code, e.errno, e.message));`;
  const may = await run(process.execPath, ['-e', `require('fs').readdirSync(${JSON.stringify(ROOT)})`], { uid, cwd: '/' });
  if (may.code !== 0) {
    t.pass('another user', { skip: 'an ordinary user may not read this project' });
    return;
  }
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', program], { uid, gid: uid, cwd: '/' });
  const line = `SPOOL_NOT_ACCESSIBLE EACCES ${dir} is not writable, readable, and executable by running user\n`;
  t.equal(stdout, line + line, stderr);
});

t.test('names', async (t) => {
  const long = 'x'.repeat(256);
  const bad = ['', '.', '..', 'a/b', '/', 'a\0', long, 'é'.repeat(128), '\ud800'];
  for (const name of [...bad, '.checkout']) {
    t.throws(() => checkEntryName(name), { code: 'SPOOL_BAD_NAME', errno: 'EINVAL', exitCode: 2 }, JSON.stringify(name));
  }
  for (const name of ['a', '.a', '...', 'a b', "a'b\n-", long.slice(1), 'é'.repeat(127), '.checkout2']) checkEntryName(name);
  for (const queues of [...bad, '.tmp', '.a'].map((name) => [name])) {
    t.throws(() => checkQueueNames(queues), { code: 'SPOOL_BAD_QUEUE', exitCode: 2 }, JSON.stringify(queues));
  }
  t.throws(() => checkQueueNames(['a', 'b', 'a']), { code: 'SPOOL_BAD_QUEUE', message: /twice/ });
  checkQueueNames(['queue1', 'a b', 'a.b']);

  const spool = await newSpool();
  await t.rejects(Spool.create(spool.dir, { ...KIND, queues: ['../up' as Q] }), { code: 'SPOOL_BAD_QUEUE' });
  const stranger = 'q3' as Q;
  t.throws(() => spool.entry(stranger, 'a'), { code: 'SPOOL_BAD_QUEUE' });
  t.throws(() => spool.reader(stranger), { code: 'SPOOL_BAD_QUEUE' });
  t.throws(() => spool.entry('q1', '../a'), { code: 'SPOOL_BAD_NAME' });
  await t.rejects(spool.list(stranger), { code: 'SPOOL_BAD_QUEUE' });
  await t.rejects(spool.enqueue(stranger, '', bytes(''), named('a')), { code: 'SPOOL_BAD_QUEUE' });
  await t.rejects(spool.enqueue('q1', '', bytes(''), { reserve: () => 'a/b' }), { code: 'SPOOL_BAD_NAME' });
  await t.rejects(spool.enqueue('q1', '', bytes(''), { use: '..' as UniqueName }), { code: 'SPOOL_BAD_NAME' });
  t.same(await files(spool.dir), []);

  // Names of every kind make the whole way, and temporary names that would be too long are cut.
  for (const name of ['é-1', "it's\nfine -", long.slice(1), 'é'.repeat(127), '\ufeffbom']) {
    const entry = await spool.enqueue('q1', 'm', bytes('d'), { reserve: () => name });
    t.same(await spool.listNames('q1'), [name]);
    await spool.withEntry(entry, async () => ({ save: 'q2', meta: 'n' }));
    await spool.withEntry(spool.entry('q2', name), async () => ({ remove: true }));
    t.same(await files(spool.dir), []);
  }

  // Bytewise is not JavaScript's order, and bytes that are no UTF-8 are no entry of ours.
  await Promise.all(['b', 'a', '\u{10000}', '\uffff', 'B', '10', '9'].map((name) => writeFile(join(spool.dir, 'q1', name), '')));
  await writeFile(Buffer.concat([bytes(`${spool.dir}/q1/`), Buffer.from([0x61, 0xff])]), '');
  t.same(await spool.listNames('q1'), ['10', '9', 'B', 'a', 'b', '\uffff', '\u{10000}']);
  t.same((await spool.list('q1')).map(({ name, queue }) => `${queue}/${name}`).slice(0, 2), ['q1/10', 'q1/9']);
});

t.test('unique names', async (t) => {
  const spool = await newSpool();
  const asked: number[] = [];
  const generator = (attempt: number) => {
    asked.push(attempt);
    return `n_${attempt}`;
  };
  t.same([await spool.reserveName(generator), await spool.reserveName(generator)], ['n_0', 'n_1']);
  t.same(asked, [0, 0, 1]);
  t.same(await files(spool.dir), ['.registry/n_0', '.registry/n_1']);
  const all = await Promise.all(Array.from({ length: 50 }, () => spool.reserveName((attempt) => `m_${attempt}`)));
  t.equal(new Set(all).size, 50, 'each once');
  await t.rejects(
    spool.reserveName(() => 'n_0'),
    { code: 'SPOOL_NAME_TAKEN', errno: 'EEXIST', message: /'n_0'/ },
  );
  const name = await spool.reserveName(() => 'chosen');
  const entry = await spool.enqueue('q1', 'm', bytes('d'), { use: name });
  t.equal(entry.name, 'chosen');
  t.equal(await entry.direct.contents(), 'm');
});

t.test('the life of an entry, in files', async (t) => {
  let nowMs = 1_700_000_000_123;
  const spool = await newSpool({ clock: () => nowMs });
  const read = async (path: string) => `${path}: ${await readFile(join(spool.dir, path), 'utf8')}`;
  const state = async () => Promise.all((await files(spool.dir)).map(read));
  const mtimes = async (...paths: string[]) =>
    Promise.all(paths.map(async (path) => (await stat(join(spool.dir, path))).mtimeMs));

  const entry = await spool.enqueue('q1', 'one', bytes('data'), named('my-item'));
  t.same(await state(), ['.data/my-item_0: data', '.registry/my-item_0: ', 'q1/my-item_0: one']);
  t.equal((await stat(join(spool.dir, '.registry/my-item_0'))).mode & 0o7777, 0o644 & ~process.umask());
  t.equal((await stat(join(spool.dir, 'q1/my-item_0'))).mode & 0o7777, 0o666 & ~process.umask());
  t.equal((await stat(join(spool.dir, '.data/my-item_0'))).mode & 0o7777, 0o666 & ~process.umask());
  t.same([entry.queue, entry.name, entry.spool === spool], ['q1', 'my-item_0', true]);

  const taken = await spool.checkout(entry);
  t.same(await state(), ['.data/my-item_0: data', '.registry/my-item_0: ', 'q1/.checkout/my-item_0: one']);
  t.same(await mtimes('.registry/my-item_0', 'q1/.checkout/my-item_0'), [nowMs, nowMs], 'both are touched');
  t.equal((await entry.stat()).mtimeMs, nowMs);
  t.same([taken.name, taken.queue, taken.contents], ['my-item_0', 'q1', 'one']);
  await t.rejects(spool.checkout(entry), {
    code: 'SPOOL_ENTRY_DISAPPEARED',
    errno: 'ENOENT',
    message: /^Entry disappeared before checkout/,
  });
  t.equal(await spool.checkoutIfFound(entry), null);
  await t.rejects(entry.direct.contents(), { code: 'ENOENT' });

  t.same(Buffer.from((await taken.dataFile.load()) as Uint8Array).toString(), 'data');
  await taken.dataFile.save(bytes('more data'));
  t.equal((await taken.dataFile.stat()).size, 9);
  t.equal(taken.dataFile.path, join(spool.dir, '.data/my-item_0'));
  taken.update('two');
  t.equal(taken.contents, 'two');
  t.same(await state(), ['.data/my-item_0: more data', '.registry/my-item_0: ', 'q1/.checkout/my-item_0: one'], 'in memory');
  nowMs += 5000;
  await taken.save('q2');
  t.same(await state(), ['.data/my-item_0: more data', '.registry/my-item_0: ', 'q2/my-item_0: two']);
  t.same(await mtimes('.registry/my-item_0', 'q2/my-item_0'), [nowMs, nowMs]);
  await t.rejects(taken.save('q1'), { code: 'SPOOL_NO_ENTRY' }, 'once');
  await t.rejects(taken.remove(), { code: 'SPOOL_NO_ENTRY' }, 'once');
  t.same(await files(spool.dir), ['.data/my-item_0', '.registry/my-item_0', 'q2/my-item_0']);

  const [again] = await spool.list('q2');
  if (again === undefined) throw new Error('not listed');
  await again.direct.save('three');
  await again.direct.dataFile.save(bytes('end'));
  t.same(await state(), ['.data/my-item_0: end', '.registry/my-item_0: ', 'q2/my-item_0: three']);
  await again.direct.remove();
  t.same(await files(spool.dir), []);
  await t.rejects(again.stat(), { code: 'SPOOL_NO_ENTRY', message: /^No such entry/ });
  await t.rejects(again.direct.remove(), { code: 'ENOENT' });
});

t.test('withEntry', async (t) => {
  const spool = await newSpool();
  const entry = await spool.enqueue('q1', 'm', bytes('d'), named('a'));
  await spool.withEntry(entry, async (meta, dataFile) => {
    t.same(await files(spool.dir), ['.data/a_0', '.registry/a_0', 'q1/.checkout/a_0']);
    return { save: 'q1', meta: `${meta}${Buffer.from((await dataFile.load()) as Uint8Array)}` };
  });
  t.equal(await entry.direct.contents(), 'md');
  const boom = new Error('boom');
  await t.rejects(
    spool.withEntry(entry, () => Promise.reject(boom)),
    boom,
  );
  t.same(await files(spool.dir), ['.data/a_0', '.registry/a_0', 'q1/.checkout/a_0'], 'it stays checked out');
  const never = () => Promise.reject(new Error('called'));
  t.equal(await spool.withEntryIfFound(entry, never), false);
  await t.rejects(spool.withEntry(entry, never), { code: 'SPOOL_ENTRY_DISAPPEARED' });

  const [held, ...others] = await spool.listCheckoutsUnsafe('q1');
  t.same([held?.name, held?.contents, others.length], ['a_0', 'md', 0]);
  await held?.save('q1');
  t.equal(await spool.withEntryIfFound(entry, async () => ({ remove: true })), true);
  t.same(await files(spool.dir), []);

  // One that lacks a file.
  for (const [lacking, found] of [
    ['.registry/b_0', false],
    ['q1/b_0', false],
    ['q1/.checkout', false],
    ['.data/b_0', true],
  ] as const) {
    let nowMs = 1_600_000_000_000;
    const spool = await newSpool({ clock: () => nowMs });
    const entry = await spool.enqueue('q1', 'm', bytes('d'), named('b'));
    await rm(join(spool.dir, lacking), { recursive: true });
    t.equal((await spool.checkoutIfFound(entry)) !== null, found, lacking);
    if (!found) continue;
    const [held] = await spool.listCheckoutsUnsafe('q1');
    nowMs += 1000;
    await t.rejects(held?.remove() ?? Promise.resolve(), { code: 'ENOENT' });
    t.same(await files(spool.dir), ['.registry/b_0', 'q1/.checkout/b_0'], 'removing stops where a file is missing');
    t.equal((await entry.stat()).mtimeMs, nowMs, 'and touches the registry first');
  }
});

t.test('metadata', async (t) => {
  const numbers: MetaCodec<number> = {
    encode: String,
    decode: (text) => {
      if (!/^[0-9]+$/.test(text)) throw new Error(`'${text}' is no number`);
      return Number(text);
    },
  };
  const dir = join(await newDirectory(), 'spool');
  const spool = await Spool.create(dir, { ...KIND, meta: numbers });
  const entry = await spool.enqueue('q1', 7, bytes('d'), named('n'));
  for (const [content, code, message] of [
    [bytes('x\ny'), 'SPOOL_BAD_META', "the metadata of 'n_0' in q1/.checkout is not understood: 'x%0Ay' is no number"],
    [Buffer.from([0x37, 0xff]), 'SPOOL_NOT_UTF8', "the metadata of 'n_0' in q1/.checkout is not valid UTF-8"],
    [Buffer.from([0xed, 0xa0, 0x80]), 'SPOOL_NOT_UTF8', "the metadata of 'n_0' in q1/.checkout is not valid UTF-8"],
  ] as const) {
    await writeFile(join(dir, 'q1/n_0'), content);
    await t.rejects(entry.direct.contents(), { code });
    await t.rejects(spool.checkoutIfFound(entry), { code, message });
    t.same(await files(dir), ['.data/n_0', '.registry/n_0', 'q1/.checkout/n_0'], 'it stays checked out');
    await t.rejects(spool.listCheckoutsUnsafe('q1'), { code });
    await rename(join(dir, 'q1/.checkout/n_0'), join(dir, 'q1/n_0'));
  }
  const texts = await newSpool();
  for (const text of ['', '\ufeffbom', 'é\u{1f600}\n', 'x'.repeat(3_000_000)]) {
    const entry = await texts.enqueue('q1', text, bytes(''), named('t'));
    t.ok((await texts.checkout(entry)).contents === text, 'as it was');
  }
  const before = await files(texts.dir);
  await t.rejects(texts.enqueue('q1', 'a\ud800', bytes(''), named('lone')), { code: 'SPOOL_NOT_UTF8', errno: 'EILSEQ' });
  t.same(await files(texts.dir), before);
});

t.test('what fails leaves nothing behind', async (t) => {
  // The throttle makes each operation of the disk fail once, in place of it.
  for (const use of [false, true]) {
    for (let failing = 1; ; failing++) {
      let count = Number.NEGATIVE_INFINITY;
      const throttle: Throttle = (job) => (++count === failing ? Promise.reject(new Error(`no ${failing}`)) : job());
      const spool = await newSpool({ throttle });
      const name = use ? { use: await spool.reserveName(() => 'a') } : named('a');
      count = 0;
      const outcome = await spool.enqueue('q1', 'm', bytes('d'), name).catch((error: unknown) => error);
      if (!(outcome instanceof Error)) {
        t.equal(failing, use ? 7 : 8, 'registry, metadata, payload, 2 directories, rename, directory');
        break;
      }
      t.equal(outcome.message, `no ${failing}`);
      t.same(await files(spool.dir), [], `operation ${failing}`);
    }
  }

  // The last operation fails, and by then somebody has the entry.
  let count = 0;
  const other = { dir: '' };
  const throttle: Throttle = async (job) => {
    if (++count < 7) return job();
    if (count > 7) return job();
    await rename(join(other.dir, 'q1/a_0'), join(other.dir, 'q1/.checkout/a_0'));
    throw new Error('no sync');
  };
  const made = await newSpool();
  other.dir = made.dir;
  const entry = await Spool.loadUnsafe(made.dir, { ...KIND, throttle }).enqueue('q1', 'm', bytes('d'), named('a'));
  t.equal(entry.name, 'a_0');
  t.same(await files(made.dir), ['.data/a_0', '.registry/a_0', 'q1/.checkout/a_0'], 'it is theirs');

  // What users' functions throw.
  const boom = new Error('boom');
  const fails = () => {
    throw boom;
  };
  const half: DataCodec<Payload> = {
    ...bytesData,
    save: async (path) => {
      await writeFile(path, 'x');
      fails();
    },
  };
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield bytes('first');
    throw boom;
  }
  const table: [string, Partial<Kind>, Payload][] = [
    ['metadata that cannot be written', { meta: { ...textMeta, encode: fails } }, bytes('d')],
    ['a payload that is half written', { data: half }, bytes('d')],
    ['a stream that breaks', {}, broken()],
  ];
  for (const [what, more, data] of table) {
    const spool = await newSpool(more);
    await t.rejects(spool.enqueue('q1', 'm', data, named('a')), boom, what);
    t.same(await files(spool.dir), [], what);
  }
  const spool = await newSpool();
  await rm(join(spool.dir, 'q1'), { recursive: true });
  await t.rejects(spool.enqueue('q1', 'm', bytes('d'), named('a')), { code: 'ENOENT' });
  t.same(await files(spool.dir), [], 'a queue that is not there');
});

t.test('a full disk leaves nothing behind', { skip: isRoot ? false : 'only root can mount a small disk' }, async (t) => {
  const disk = await newDirectory();
  const { code, stderr } = await run('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'vreserve-test', disk]);
  t.equal(code, 0, stderr);
  try {
    const spool = await Spool.create(join(disk, 'spool'), KIND);
    const small = await spool.enqueue('q1', 'm', bytes('d'), named('small'));
    const before = await files(spool.dir);
    await t.rejects(spool.enqueue('q1', 'm', Buffer.alloc(1 << 20), named('big')), { code: 'ENOSPC' });
    t.same(await files(spool.dir), before);
    await t.rejects(spool.enqueue('q1', 'x'.repeat(1 << 20), bytes(''), named('big')), { code: 'ENOSPC' });
    t.same(await files(spool.dir), before);
    const taken = await spool.checkout(small);
    await t.rejects(taken.dataFile.save(Buffer.alloc(1 << 20)), { code: 'ENOSPC' });
    t.same(Buffer.from((await taken.dataFile.load()) as Uint8Array).toString(), 'd', 'what was there stays');
    taken.update('x'.repeat(1 << 20));
    await t.rejects(taken.save('q2'), { code: 'ENOSPC' });
    taken.update('small');
    await taken.save('q2');
    t.same(await files(spool.dir), ['.data/small_0', '.registry/small_0', 'q2/small_0'], 'and can be saved still');
  } finally {
    await run('umount', [disk]);
  }
});

t.test('atomic files', async (t) => {
  const dir = await newDirectory();
  const path = join(dir, 'a-b');
  async function* stream(): AsyncGenerator<Uint8Array> {
    t.match(await readdir(dir), [/^a_b\.tmp\.[0-9a-f]{6}$/], 'the temporary name');
    yield bytes('one ');
    yield bytes('two');
  }
  await saveAtomically(path, stream());
  t.equal(await readFile(path, 'utf8'), 'one two');
  await chmod(path, 0o4751);
  const owner = isRoot ? 12345 : (process.getuid?.() ?? 0);
  if (isRoot) await chown(path, owner, owner);
  await chmod(path, 0o4751);
  const { ino } = await stat(path);
  await saveAtomically(path, 'three');
  const now = await stat(path);
  t.not(now.ino, ino, 'a new file');
  t.same([now.mode & 0o7777, now.uid], [0o4751, owner], 'permissions and owner are kept');
  await mkdir(join(dir, 'other'));
  await mkdir(join(dir, 'directory'));
  await t.rejects(saveAtomically(join(dir, 'directory'), 'x', join(dir, 'other/t')), { code: /EISDIR|ENOTEMPTY|EEXIST/ });
  t.same(await readdir(join(dir, 'other')), [], 'the temporary file is gone');
  await t.rejects(saveAtomically(join(dir, 'none/x'), 'x'), { code: 'ENOENT' });

  // Chance that gives a taken name twice, then another one.
  const given = ['abcdef', 'abcdef', '012345'];
  const mocked = await t.mockImport<typeof import('../../src/spool/atomic.js')>(`${ROOT}/build/src/spool/atomic.js`, {
    'node:crypto': { randomBytes: () => Buffer.from(given.shift() ?? '', 'hex') },
  });
  await writeFile(join(dir, 'c.tmp.abcdef'), 'not ours');
  await mocked.saveAtomically(join(dir, 'c'), 'whole');
  t.same([await readFile(join(dir, 'c'), 'utf8'), given.length], ['whole', 0]);
  t.equal(await readFile(join(dir, 'c.tmp.abcdef'), 'utf8'), 'not ours');
});

t.test('the throttle', async (t) => {
  let running = 0;
  let most = 0;
  const limit = jobsAtMost(3);
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 10 }, (_, i) =>
      limit(async () => {
        order.push(i);
        most = Math.max(most, ++running);
        await turn();
        running -= 1;
        if (i === 4) throw new Error('four');
      }).catch((error: Error) => t.equal(error.message, 'four')),
    ),
  );
  t.same([most, order], [3, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]);
  t.throws(() => jobsAtMost(0), RangeError);

  // One at a time is enough for everything: no operation waits for another inside it.
  const spool = await newSpool({ throttle: jobsAtMost(1) });
  const reader = spool.reader('q1');
  const entries = Array.from({ length: 20 }, (_, i) => spool.enqueue('q1', 'm', bytes('d'), named(`a${i}`)));
  await soon('one at a time', Promise.all(entries));
  await soon(
    'one at a time',
    reader.iterAvailable(async () => ({ save: 'q2', meta: 'n' })),
  );
  for (const entry of await spool.list('q2')) await entry.direct.remove();
  t.same(await files(spool.dir), []);

  // Nothing touches the disk outside of it.
  const gate: { open: boolean } = { open: true };
  const shut: Throttle = (job) => (gate.open ? job() : Promise.reject(new Error('shut')));
  const gated = await newSpool({ throttle: shut });
  const entry = await gated.enqueue('q1', 'm', bytes('d'), named('a'));
  const taken = await gated.checkout(entry);
  await gated.enqueue('q1', 'm', bytes('d'), named('b'));
  const other = gated.entry('q1', 'b_0');
  const before = await Promise.all(
    (await tree(gated.dir)).map(async (path) => [path, (await stat(join(gated.dir, path))).ctimeMs]),
  );
  gate.open = false;
  const operations: [string, () => Promise<unknown>][] = [
    ['load', () => Spool.load(gated.dir, gated.kind)],
    ['create', () => Spool.create(join(gated.dir, 'x'), gated.kind)],
    ['list', () => gated.list('q1')],
    ['enqueue', () => gated.enqueue('q1', 'm', bytes('d'), named('c'))],
    ['checkout', () => gated.checkout(other)],
    ['listCheckoutsUnsafe', () => gated.listCheckoutsUnsafe('q1')],
    ['entry.stat', () => other.stat()],
    ['direct.contents', () => other.direct.contents()],
    ['direct.save', () => other.direct.save('n')],
    ['direct.remove', () => other.direct.remove()],
    ['dataFile.load', () => taken.dataFile.load()],
    ['dataFile.save', () => taken.dataFile.save(bytes('e'))],
    ['dataFile.stat', () => taken.dataFile.stat()],
    ['save', () => taken.save('q2')],
    ['remove', () => taken.remove()],
    ['dequeue', () => gated.reader('q1').dequeue()],
    ['dequeueAvailable', () => gated.reader('q1').dequeueAvailable()],
  ];
  for (const [what, operation] of operations) await t.rejects(operation(), { message: 'shut' }, what);
  const after = await Promise.all(
    (await tree(gated.dir)).map(async (path) => [path, (await stat(join(gated.dir, path))).ctimeMs]),
  );
  t.same(after, before);
});

t.test('directories are synced together', async (t) => {
  const dir = await newDirectory();
  const jobs: (() => void)[] = [];
  const syncs = new DirectorySync((job) => new Promise((resolve) => jobs.push(() => resolve(job()))));
  const done: string[] = [];
  const ask = (name: string) => syncs.sync(dir).then(() => void done.push(name));
  const first = ask('a');
  await turn();
  const second = ask('b');
  await turn();
  t.equal(jobs.length, 1, 'who asks before it begins shares it');
  jobs.shift()?.();
  const third = ask('c');
  const fourth = ask('d');
  await Promise.all([first, second]);
  t.same(done, ['a', 'b']);
  await turn();
  t.equal(jobs.length, 1, 'who asks while it runs shares the next');
  jobs.shift()?.();
  await Promise.all([third, fourth]);
  t.same(done, ['a', 'b', 'c', 'd']);
  const gone = new DirectorySync((job) => job());
  await t.rejects(gone.sync(join(dir, 'none')), { code: 'ENOENT' });
  await mkdir(join(dir, 'none'));
  await gone.sync(join(dir, 'none'));
  let calls = 0;
  const once = new DirectorySync((job) => (++calls === 1 ? Promise.reject(new Error('full')) : job()));
  await t.rejects(once.sync(dir), { message: 'full' }, 'a job that the throttle never ran');
  await once.sync(dir);
  t.equal(calls, 2);
});

t.test('readers take what is there', async (t) => {
  const spool = await newSpool();
  const reader = readerOf(spool);
  t.equal(await reader.dequeueAvailable(), null);
  const count = 300;
  const numbers = Array.from({ length: count }, (_, i) => String(i).padStart(4, '0'));
  await Promise.all(numbers.toReversed().map((i) => spool.enqueue('q1', i, bytes(i), { reserve: () => i })));
  const names: string[] = [];
  await reader.iterAvailable(async (meta, dataFile, name) => {
    t.ok(meta === name && Buffer.from((await dataFile.load()) as Uint8Array).toString() === name);
    names.push(name);
    // What comes meanwhile is not of this listing.
    if (names.length === 1) await spool.enqueue('q1', '5000', bytes('5000'), { reserve: () => '5000' });
    return Number(name) % 2 === 0 ? { save: 'q2', meta } : { remove: true };
  });
  t.same(names, numbers, 'in order');
  t.same(await spool.listNames('q1'), ['5000']);
  t.equal((await spool.listNames('q2')).length, count / 2);
  t.equal(nameOf(await reader.dequeueAvailable()), '5000');
  t.equal(await reader.dequeueAvailable(), null);

  // Several at once: each entry once.
  const q2 = spool.reader('q2');
  const others = [q2, spool.reader('q2'), Spool.loadUnsafe(spool.dir, KIND).reader('q2')];
  const taken = await Promise.all(Array.from({ length: count / 2 }, (_, i) => others[i % 3]?.dequeueAvailable()));
  t.equal(new Set(taken.map((entry) => nameOf(entry ?? null))).size, count / 2);
  t.equal(await q2.dequeueAvailable(), null);

  const failing = await newSpool();
  for (const name of ['a', 'b', 'c']) await failing.enqueue('q1', name, bytes(name), { reserve: () => name });
  const f = async (meta: string) => {
    if (meta === 'b') throw new Error('no b');
    return { remove: true as const };
  };
  await t.rejects(failing.reader('q1').iterAvailable(f), { message: 'no b' });
  t.same(await files(failing.dir), ['.data/b', '.data/c', '.registry/b', '.registry/c', 'q1/.checkout/b', 'q1/c']);
});

t.test('readers wait, and miss nothing', async (t) => {
  // The entry comes just before or after an operation of a reader whose queue is empty: 1 lists, 2 lists once watched. Afterwards
  // nothing else happens, so that an event that was thrown away would never come again.
  for (const [when, at] of [
    ['before', 1],
    ['after', 1],
    ['before', 2],
    ['after', 2],
  ] as const) {
    const plain = await newSpool();
    let count = 0;
    const put = async () => {
      await plain.enqueue('q1', 'm', bytes('d'), { reserve: () => 'late' });
      // The event is delivered by now.
      for (let i = 0; i < 5; i++) await turn();
    };
    const throttle: Throttle = async (job) => {
      count += 1;
      const now = count === at;
      if (now && when === 'before') await put();
      const result = await job();
      if (now && when === 'after') await put();
      return result;
    };
    const reader = readerOf(Spool.loadUnsafe(plain.dir, { ...KIND, throttle }));
    t.equal(nameOf(await soon(`${when} ${at}`, reader.dequeue())), 'late', `${when} operation ${at}`);
  }

  // From the first wait on: entries come one by one, before, during and after the listings that they cause.
  const plain = await newSpool();
  const { reader, outcome } = await waitingReader(plain.dir, 'q1');
  const got = [outcome, ...Array.from({ length: 29 }, () => reader.dequeue().then(nameOf))];
  const names = Array.from({ length: 30 }, (_, i) => `e${String(i).padStart(2, '0')}`);
  for (const name of names) await plain.enqueue('q1', name, bytes(name), { reserve: () => name });
  t.same(await soon('all of them', Promise.all(got)), names, 'calls at once are served in their order');
});

t.test('readers stop', async (t) => {
  const spool = await newSpool();
  const aborted = AbortSignal.abort();
  await spool.enqueue('q1', 'm', bytes('d'), { reserve: () => 'a' });
  const reader = readerOf(spool);
  t.equal(await reader.dequeue({ signal: aborted }), 'stopped', 'before it begins');
  await reader.iter(() => Promise.reject(new Error('called')), { signal: aborted });
  t.same(await spool.listNames('q1'), ['a']);
  t.equal(nameOf(await reader.dequeue()), 'a');

  // While it waits, alone and behind another one.
  const one = new AbortController();
  const two = new AbortController();
  const first = reader.dequeue({ signal: one.signal });
  const second = reader.dequeue({ signal: two.signal });
  const third = reader.dequeue();
  two.abort();
  t.equal(await soon('the second', second), 'stopped');
  one.abort();
  t.equal(await soon('the first', first), 'stopped');
  await spool.enqueue('q1', 'm', bytes('d'), { reserve: () => 'b' });
  t.equal(nameOf(await soon('the third', third)), 'b', 'the others go on');

  // Between entries, and while an entry is being taken: it is not lost.
  const stop = new AbortController();
  for (const name of ['c', 'd']) await spool.enqueue('q1', 'm', bytes('d'), { reserve: () => name });
  const worked: string[] = [];
  await reader.iter(
    async (_meta, _file, name) => {
      worked.push(name);
      stop.abort();
      return { remove: true };
    },
    { signal: stop.signal },
  );
  t.same([worked, await spool.listNames('q1')], [['c'], ['d']]);
  for (let at = 1; at <= 5; at++) {
    const stop = new AbortController();
    const fresh = await newSpool();
    await fresh.enqueue('q1', 'm', bytes('d'), { reserve: () => 'a' });
    let count = 0;
    const throttle: Throttle = (job) => {
      if (++count === at) stop.abort();
      return job();
    };
    const outcome = await Spool.loadUnsafe(fresh.dir, { ...KIND, throttle })
      .reader('q1')
      .dequeue({ signal: stop.signal });
    const left = (await fresh.listNames('q1')).length + (await fresh.listCheckoutsUnsafe('q1')).length;
    t.equal(left, 1);
    t.equal((await fresh.listCheckoutsUnsafe('q1')).length === 1, outcome !== 'stopped', `operation ${at}: who has it is told`);
  }
  // Between names that others took.
  const names = await newSpool();
  await names.enqueue('q1', 'm', bytes('d'), { reserve: () => 'b' });
  await writeFile(join(names.dir, 'q1/a'), 'gone');
  const between = new AbortController();
  let jobs = 0;
  const throttle: Throttle = (job) => {
    if (++jobs === 2) between.abort();
    return job();
  };
  const last = readerOf(Spool.loadUnsafe(names.dir, { ...KIND, throttle }));
  t.equal(await last.dequeue({ signal: between.signal }), 'stopped');
  t.same(await names.listNames('q1'), ['a', 'b']);
});

t.test('watches end', async (t) => {
  const spool = await newSpool();
  const closed = await waitingReader(spool.dir, 'q1');
  closed.reader.close();
  closed.reader.close();
  t.match(await soon('closed', closed.outcome), { code: 'SPOOL_WATCH_CLOSED', errno: 'EIO' });
  await t.rejects(closed.reader.dequeue(), { code: 'SPOOL_WATCH_CLOSED' });
  t.equal(await closed.reader.dequeueAvailable(), null, 'what does not wait goes on');

  // In one turn: a reader that looks in between finds nothing, and says so.
  const replace = () => {
    renameSync(join(spool.dir, 'q1'), join(scratch, `old-${Math.random()}`));
    renameSync(join(spool.dir, 'q2'), join(spool.dir, 'q1'));
  };
  const replaced = await waitingReader(spool.dir, 'q1');
  replace();
  await mkdir(join(spool.dir, 'q2/.checkout'), { recursive: true });
  await spool.enqueue('q1', 'm', bytes('d'), named('new'));
  t.equal(await soon('replaced', replaced.outcome), 'new_0', 'a queue that is replaced is watched anew');
  await spool.enqueue('q2', 'm', bytes('d'), named('next'));
  replace();
  await mkdir(join(spool.dir, 'q2/.checkout'), { recursive: true });
  t.equal(nameOf(await replaced.reader.dequeue()), 'next_0', 'replaced while nobody waits');
  const last = replaced.reader.dequeue();
  for (let i = 0; i < 20; i++) await turn();
  await spool.enqueue('q1', 'm', bytes('d'), named('last'));
  t.equal(nameOf(await soon('replaced', last)), 'last_0');

  const removed = await waitingReader(spool.dir, 'q1');
  await rm(join(spool.dir, 'q1'), { recursive: true });
  t.match(await soon('removed', removed.outcome), { code: 'ENOENT' });
  await t.rejects(spool.reader('q1').dequeue(), { code: 'ENOENT' });

  for (const [errno, limit] of [
    ['ENOSPC', 'the sysctl fs.inotify.max_user_watches'],
    ['EMFILE', 'the sysctl fs.inotify.max_user_instances, or the limit of open files (ulimit -n),'],
  ] as const) {
    const { QueueWatch } = await t.mockImport<typeof import('../../src/spool/queue-watch.js')>(
      `${ROOT}/build/src/spool/queue-watch.js`,
      {
        'node:fs': {
          watch: () => {
            throw Object.assign(new Error('refused'), { code: errno });
          },
        },
      },
    );
    t.throws(() => new QueueWatch('/q'), {
      code: 'SPOOL_WATCH_LIMIT',
      errno,
      message: `'/q' cannot be watched: ${limit} is reached`,
    });
  }
});

t.test('an entry that cannot be checked out keeps no reader busy', async (t) => {
  const spool = await newSpool();
  await writeFile(join(spool.dir, 'q1/orphan'), 'm');
  let jobs = 0;
  const waiting = event();
  const throttle: Throttle = async (job) => {
    jobs += 1;
    if (jobs === 4) waiting.happen();
    if (jobs > 100) throw new Error('busy');
    return job();
  };
  const reader = readerOf(Spool.loadUnsafe(spool.dir, { ...KIND, throttle }));
  const got = reader.dequeue();
  await soon('two listings', waiting.come);
  for (let i = 0; i < 200; i++) await turn();
  t.equal(jobs, 4, 'list, try, list, try, then it waits');
  await utimes(join(spool.dir, 'q1/orphan'), 1, 1);
  for (let i = 0; i < 200; i++) await turn();
  t.equal(jobs, 4, 'touched, it does not wake anybody');
  await spool.enqueue('q1', 'm', bytes('d'), { reserve: () => 'whole' });
  t.equal(nameOf(await soon('whole', got)), 'whole');
});

t.test('a flood of events that hides others', async (t) => {
  const spool = await newSpool();
  const most = Number(await readFile('/proc/sys/fs/inotify/max_queued_events', 'utf8').catch(() => '0'));
  if (most > 200_000 || most < 5000) {
    t.pass('a flood', { skip: `fs.inotify.max_queued_events is ${most}` });
    return;
  }
  const stop = new AbortController();
  const flooded = await waitingReader(spool.dir, 'q1', stop.signal);
  const quiet = await waitingReader(spool.dir, 'q2');
  // While this process reads no events: more than the kernel keeps, then the one that counts.
  const program = `
    const fs = require('fs');
    for (let i = 0; i < ${most}; i++) { fs.closeSync(fs.openSync('q1/.flood' + i % 2, 'w')); fs.unlinkSync('q1/.flood' + i % 2); }
    fs.writeFileSync('.registry/hidden', ''); fs.writeFileSync('.data/hidden', ''); fs.writeFileSync('.tmp/hidden', 'm');
    fs.renameSync('.tmp/hidden', 'q2/hidden');`;
  execFileSync(process.execPath, ['-e', program], { cwd: spool.dir });
  t.equal(await soon('the one that counts', quiet.outcome), 'hidden');
  stop.abort();
  t.equal(await flooded.outcome, 'stopped');
});

t.test('a reader keeps its process alive while it waits, and no longer', async (t) => {
  const spool = await newSpool();
  const start = `
    const { Spool, textMeta, bytesData } = await import(${JSON.stringify(`${ROOT}/build/src/spool/index.js`)});
    const spool = Spool.loadUnsafe(${JSON.stringify(spool.dir)}, { queues: ['q1', 'q2'], meta: textMeta, data: bytesData });
    const reader = spool.reader('q1');`;
  const node = (program: string) => run(process.execPath, ['--input-type=module', '-e', start + program], { timeoutMs: 30_000 });
  // It waits for what it says it waits for: the entry comes when its output file is there.
  const sign = join(spool.dir, '..', 'waits');
  const waits = node(`
    const { writeFileSync } = await import('node:fs');
    setImmediate(() => writeFileSync(${JSON.stringify(sign)}, ''));
    console.log((await reader.dequeue()).name);`);
  const deadline = Date.now() + 20_000;
  while (!existsSync(sign) && Date.now() < deadline) await turn();
  await spool.enqueue('q1', 'm', bytes('d'), { reserve: () => 'a' });
  t.match(await waits, { code: 0, stdout: 'a\n' }, 'nothing else kept it alive, and no close was needed');
  const stops = await node(`
    const stop = new AbortController();
    setImmediate(() => setImmediate(() => stop.abort()));
    console.log(await reader.dequeue({ signal: stop.signal }));`);
  t.match(stops, { code: 0, stdout: 'stopped\n' });
  // The entry comes when the queue is watched, and before anybody waits.
  const meets = await node(`
    let jobs = 0;
    const put = () => spool.enqueue('q1', 'm', Buffer.from(''), { reserve: () => 'b' });
    const throttle = async (job) => (++jobs === 2 ? (await put(), job()) : job());
    const other = Spool.loadUnsafe(spool.dir, { ...spool.kind, throttle });
    console.log((await other.reader('q1').dequeue()).name);`);
  t.match(meets, { code: 0, stdout: 'b\n' });
});

t.test('errors of the room', async (t) => {
  const error = new VreserveError('SPOOL_NAME_TAKEN', { name: 'a' });
  t.same([error.errno, error.httpStatus, error.exitCode], ['EEXIST', 409, 1]);
});
