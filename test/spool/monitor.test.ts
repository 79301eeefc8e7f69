// The monitor of a spool: every problem, its order and text, and the daemon's events, without waiting for time.
import { lstat, mkdir, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import {
  bytesData,
  DEFAULT_LIMITS,
  Monitor,
  type MonitorEvent,
  type MonitorLimits,
  type MonitorOptions,
  type Problem,
  problemText,
  Spool,
  textMeta,
} from '../../src/spool/index.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { ROOT } from '../helpers/run.js';

type Q = 'q1' | 'q2';
const QUEUES: readonly Q[] = ['q1', 'q2'];
const NOW_MS = 1_700_000_000_000;
const MINUTE_MS = 60_000;

const top = await temporaryDirectory(t);
let count = 0;

/** A spool in which the files are, each that long ago, in ms; and what a monitor finds. */
async function spoolWith(files: Record<string, number>): Promise<string> {
  const dir = join(top, String(count++));
  await Spool.create(dir, { queues: QUEUES, meta: textMeta, data: bytesData });
  for (const [path, ageMs] of Object.entries(files)) {
    await writeFile(join(dir, path), '');
    // Half a microsecond more, or cutting the fraction off makes it one less.
    const seconds = (NOW_MS - ageMs + 0.0005) / 1000;
    await utimes(join(dir, path), seconds, seconds);
  }
  return dir;
}

async function problems(files: Record<string, number>, limits: Partial<MonitorLimits<Q>> = {}): Promise<Problem[]> {
  const monitor = new Monitor(await spoolWith(files), QUEUES, { clock: () => NOW_MS });
  return monitor.runOnce(limits);
}

t.test('problems', async (t) => {
  const ten = 10 * MINUTE_MS;
  const table: [string, Record<string, number>, Partial<MonitorLimits<Q>>, string[]][] = [
    ['an empty spool', {}, {}, []],
    ['queued, for ever', { '.registry/a': 0, '.data/a': 0, 'q1/a': 1e10 }, {}, []],
    ['checked out', { '.registry/a': 0, '.data/a': 0, 'q1/.checkout/a': ten }, {}, []],
    ['being written', { '.registry/a': 0, '.tmp/a': ten, 'q1/a': 0 }, {}, []],
    ['a name without an entry', { '.registry/a': 0 }, {}, ['Orphaned: .registry/a (no entry)']],
    ['a payload is no entry', { '.registry/a': 0, '.data/a': 0, '.tmp/a': 0 }, {}, ['Orphaned: .registry/a (no entry)']],
    ['in two queues', { '.registry/a': 0, 'q2/a': 0, 'q1/a': 0 }, {}, ['Duplicated: a (in q1, q2)']],
    [
      'queued and checked out',
      { '.registry/a': 0, 'q1/.checkout/a': 0, 'q1/a': 0, 'q2/a': 0 },
      {},
      ['Duplicated: a (in q1, q2, q1/.checkout)'],
    ],
    ['no registry file, .tmp', { '.tmp/a': 0 }, {}, ['Orphaned: .tmp/a (no registry file)']],
    ['no registry file, .data', { '.data/a': 0 }, {}, ['Orphaned: .data/a (no registry file)']],
    ['no registry file, queue', { 'q2/a': 0 }, {}, ['Orphaned: q2/a (no registry file)']],
    ['no registry file, checkout', { 'q2/.checkout/a': 0 }, {}, ['Orphaned: q2/.checkout/a (no registry file)']],
    [
      'checked out too long',
      { '.registry/a': 0, 'q1/.checkout/a': ten + 1 },
      {},
      ['Too_old: q1/.checkout/a (10 min, at most 10 min)'],
    ],
    ['in .tmp too long', { '.registry/a': 0, 'q1/a': 0, '.tmp/a': 720_000 }, {}, ['Too_old: .tmp/a (12 min, at most 10 min)']],
    [
      'other limits',
      { '.registry/a': 0, '.tmp/a': 60_001, 'q1/.checkout/a': 60_000 },
      { maxTmpFileAgeMs: MINUTE_MS, maxCheckedOutAgeMs: MINUTE_MS },
      ['Too_old: .tmp/a (60 s, at most 60 s)'],
    ],
    [
      'queued too long, in a queue with a limit',
      { '.registry/a': 0, '.registry/b': 0, 'q1/a': 5001, 'q2/b': 5001 },
      { maxQueueAgesMs: { q2: 5000 } },
      ['Too_old: q2/b (5 s, at most 5 s)'],
    ],
    ['exactly as old as it may be', { '.registry/a': 0, 'q1/a': 5000 }, { maxQueueAgesMs: { q1: 5000 } }, []],
    [
      'all of them, in order',
      {
        'q2/z': 9e5,
        'q1/y': 9e5,
        'q1/.checkout/x': 9e5,
        'q2/.checkout/w': 9e5,
        '.tmp/v': 9e5,
        '.tmp/u': 0,
        '.data/t': 9e5,
        '.registry/s': 9e5,
        '.registry/r': 0,
        'q1/r': 0,
        'q2/r': 0,
        '.registry/q': 0,
      },
      { maxQueueAgesMs: { q2: 1, q1: 1 } },
      [
        'Too_old: .tmp/v (15 min, at most 10 min)',
        'Too_old: q1/.checkout/x (15 min, at most 10 min)',
        'Too_old: q2/.checkout/w (15 min, at most 10 min)',
        'Too_old: q1/y (15 min, at most 0 s)',
        'Too_old: q2/z (15 min, at most 0 s)',
        'Orphaned: .tmp/u (no registry file)',
        'Orphaned: .tmp/v (no registry file)',
        'Orphaned: .data/t (no registry file)',
        'Orphaned: q1/y (no registry file)',
        'Orphaned: q2/z (no registry file)',
        'Orphaned: q1/.checkout/x (no registry file)',
        'Orphaned: q2/.checkout/w (no registry file)',
        'Orphaned: .registry/q (no entry)',
        'Orphaned: .registry/s (no entry)',
        'Duplicated: r (in q1, q2)',
      ],
    ],
  ];
  for (const [what, files, limits, texts] of table) t.same((await problems(files, limits)).map(problemText), texts, what);
  t.same(DEFAULT_LIMITS, { maxCheckedOutAgeMs: ten, maxTmpFileAgeMs: ten, maxQueueAgesMs: {} });

  t.same(await problems({ '.registry/a': 5, '.registry/b': 7, 'q1/b': 0, 'q2/b': 0, '.tmp/b': ten + 1 }), [
    { kind: 'too-old', file: 'b', dir: '.tmp', mtimeMs: NOW_MS - ten - 1, ageMs: ten + 1, limitMs: ten },
    { kind: 'orphaned', file: 'a', dir: '.registry', mtimeMs: NOW_MS - 5 },
    { kind: 'duplicated', file: 'b', dirs: ['q1', 'q2'], mtimeMs: NOW_MS - 7 },
  ]);
});

t.test('names that are not UTF-8, or not of one line', async (t) => {
  const dir = await spoolWith({ 'q1/a\nb': 0 });
  const raw = (path: string, ...more: number[]) => Buffer.concat([Buffer.from(`${dir}/${path}`), Buffer.from(more)]);
  await writeFile(raw('q1/x%', 0xff), '');
  await writeFile(raw('q1/y', 0xfe), '');
  await writeFile(raw('.registry/y', 0xfe), '');
  const found = await new Monitor(dir, QUEUES, { clock: () => NOW_MS }).runOnce();
  t.same(found.map(problemText), ['Orphaned: q1/a%0Ab (no registry file)', 'Orphaned: q1/x%25%FF (no registry file)']);
});

t.test('a monitor makes and changes nothing', async (t) => {
  const none = join(top, 'none');
  await t.rejects(Monitor.load(none, QUEUES), { code: 'SPOOL_NOT_A_DIRECTORY' });
  await t.rejects(new Monitor(none, QUEUES).runOnce(), { code: 'ENOENT' });
  t.throws(() => new Monitor(none, ['.tmp']), { code: 'SPOOL_BAD_QUEUE' });
  const dir = await spoolWith({ 'q1/a': 1e9, '.tmp/b': 1e9 });
  const before = await readdir(dir, { recursive: true });
  const monitor = await Monitor.load(dir, QUEUES);
  t.equal((await monitor.runOnce()).length, 3);
  t.same(await readdir(dir, { recursive: true }), before);
});

/** One check after the other: `steps` are done between them, and the events of each check are listed. */
async function cycles(dir: string, steps: (() => Promise<unknown>)[], options: MonitorOptions<Q> = {}): Promise<string[][]> {
  const stop = new AbortController();
  const seen: string[][] = [[]];
  const left = [...steps];
  const pause = async (durationMs: number) => {
    t.equal(durationMs, options.checkEveryMs ?? 15_000);
    const step = left.shift();
    if (step === undefined) stop.abort();
    else {
      await step();
      seen.push([]);
    }
  };
  const monitor = new Monitor(dir, QUEUES, { clock: () => NOW_MS, pause });
  await monitor.start({ ...options, signal: stop.signal }, async ({ event, problem }: MonitorEvent) => {
    await null;
    seen.at(-1)?.push(`${event} ${problemText(problem)}`);
  });
  return seen;
}

const nothing = async () => {};

t.test('the daemon', async (t) => {
  const start = 'start Orphaned: q1/a (no registry file)';
  const end = 'end Orphaned: q1/a (no registry file)';
  const remove = (dir: string) => () => rm(join(dir, 'q1/a'));

  const one = await spoolWith({ 'q1/a': 0 });
  t.same(
    await cycles(one, [nothing, nothing, nothing, remove(one), nothing]),
    [[], [], [start], [], [end], []],
    'the third sighting',
  );
  const quick = await spoolWith({ 'q1/a': 0 });
  t.same(await cycles(quick, [nothing, remove(quick), nothing]), [[], [], [], []], 'gone before it was told of');
  const at = { alertAfterCycles: 0, checkEveryMs: 7 };
  const eager = await spoolWith({ 'q1/a': 0 });
  t.same(await cycles(eager, [nothing, remove(eager)], at), [[start], [], [end]], 'told of at once');

  // Touched, as every step of an entry does, it is another problem; what has begun ends before others start.
  const moved = await spoolWith({ 'q1/a': 0, '.registry/b': 0 });
  const touch = () => utimes(join(moved, 'q1/a'), NOW_MS / 1000 - 1, NOW_MS / 1000 - 1);
  const other = 'start Orphaned: .registry/b (no entry)';
  t.same(await cycles(moved, [touch], { alertAfterCycles: 0 }), [
    [start, other],
    [end, start],
  ]);
  const again = await spoolWith({ 'q1/a': 0 });
  const touchAgain = (n: number) => () => utimes(join(again, 'q1/a'), NOW_MS / 1000 - n, NOW_MS / 1000 - n);
  t.same(await cycles(again, [touchAgain(1), touchAgain(2), touchAgain(3)]), [[], [], [], []], 'moved each time');
  const away = await spoolWith({ 'q1/a': 0 });
  const hide = () => rename(join(away, 'q1/a'), join(away, '..', 'hidden'));
  const show = () => rename(join(away, '..', 'hidden'), join(away, 'q1/a'));
  t.same(await cycles(away, [nothing, hide, show, nothing, nothing]), [[], [], [], [], [], [start]], 'counted anew');

  // It ages while it is watched, and stays the same problem.
  let nowMs = NOW_MS;
  const old = await spoolWith({ '.registry/a': 0, 'q1/a': 5000 });
  const stop = new AbortController();
  const ages: string[] = [];
  const pause = async () => {
    nowMs += 1000;
    if (nowMs > NOW_MS + 5000) stop.abort();
  };
  const monitor = new Monitor(old, QUEUES, { clock: () => nowMs, pause });
  await monitor.start({ limits: { maxQueueAgesMs: { q1: 5500 } }, signal: stop.signal }, ({ event, problem }) => {
    ages.push(`${event} ${problemText(problem)}`);
  });
  t.same(ages, ['start Too_old: q1/a (8 s, at most 6 s)']);

  // Errors end it.
  const broken = await spoolWith({});
  await t.rejects(cycles(broken, [() => rm(join(broken, '.data'), { recursive: true }), nothing]), { code: 'ENOENT' });
  const refused = new Monitor(await spoolWith({ 'q1/a': 0 }), QUEUES, { pause: nothing });
  const full = new Error('nobody listens');
  await t.rejects(
    refused.start({ alertAfterCycles: 0 }, () => Promise.reject(full)),
    full,
  );

  // The real pause ends with the signal, at once.
  const abort = new AbortController();
  const real = new Monitor(await spoolWith({ 'q1/a': 0 }), QUEUES);
  const run = real.start({ alertAfterCycles: 0, checkEveryMs: 3_600_000, signal: abort.signal }, () => abort.abort());
  await run;
  await real.start({ signal: abort.signal }, () => Promise.reject(new Error('called')));
});

t.test('directories in place of files are seen too', async (t) => {
  const dir = await spoolWith({});
  await mkdir(join(dir, '.data/tree'));
  t.same((await new Monitor(dir, QUEUES).runOnce()).map(problemText), ['Orphaned: .data/tree (no registry file)']);
});

t.test('what vanishes during a check is left out', async (t) => {
  const { scanSpool } = await t.mockImport<typeof import('../../src/spool/scan.js')>(`${ROOT}/build/src/spool/scan.js`, {
    'node:fs/promises': { lstat, readdir: async () => [Buffer.from('ghost')] },
  });
  const scan = await scanSpool(await spoolWith({}), QUEUES);
  t.same(
    [scan.registry, ...scan.queues].map(({ dir, files }) => [dir, files.length]),
    [
      ['.registry', 0],
      ['q1', 0],
      ['q2', 0],
    ],
  );
});
