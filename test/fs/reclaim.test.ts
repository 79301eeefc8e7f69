// Reclaiming through a real mount: what is planned, that just this is deleted, what is left alone, who may, and that it happens by itself.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Lots } from '../../src/client/lots.js';
import type { ReclaimedFile, ReclaimReport } from '../../src/views/host.js';
import { type Column, file, NOBODY, type Row, soon } from '../helpers/columns.js';
import { whyNotWith } from '../helpers/limits.js';
import {
  addJson,
  CAPACITY,
  LOT_COLUMNS,
  type LotCase,
  type LotPlace,
  lotMount,
  MOST,
  onEachLotMount,
  type T,
  type Terms,
} from '../helpers/lot-mount.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { MAIN, must, type Outcome, run, vreserve } from '../helpers/run.js';

const MB = 1_000_000;

/** A file of so many bytes (a hole), last read `age` seconds before a day in 2020. */
const aged = (path: string, bytes: number, age: number): Row[] => [
  [`open f ${path} CREAT|WRONLY`, 0],
  [`ftruncate f ${bytes}`, 0],
  ['close f', 0],
  [`utimens ${path} ${1_580_000_000 - age}.0 omit`, 0],
];

const HOUR_MS = 3_600_000;
const GONE: Terms = { expiresAtMs: 1, deletesAtMs: 1 };
const EXPIRED: Terms = { expiresAtMs: 1 };

async function reclaim(p: LotPlace, ...words: string[]): Promise<ReclaimReport> {
  const { stdout } = await must(p.m.run(['reclaim', p.m.mnt, '--json', ...words]));
  return JSON.parse(stdout) as ReclaimReport;
}

/** `stage lot path` of each file, paths below the case's directory. */
function short(p: LotPlace, list: readonly ReclaimedFile[]): string[] {
  return list.map(({ past, lot, path }) => `${past} ${lot} ${path.slice(p.top.length + 1)}`);
}

/** The lines of the journal for what was reclaimed below the case's directory, the same way. */
async function journalled(p: LotPlace): Promise<string[]> {
  const lines = (await p.journal('reclaim')) as unknown as ReclaimedFile[];
  return short(
    p,
    lines.filter(({ path }) => path.startsWith(`${p.top}/`)),
  );
}

/** What of the paths is there. */
async function present(p: LotPlace, paths: readonly string[]): Promise<string[]> {
  const found = await Promise.all(paths.map((path) => p.ops.do(`lstat ${path}`)));
  return paths.filter((_, i) => found[i] !== 'ENOENT');
}

/** Of all these files just `left` are there; at once, where the engine can tell the kernel so. */
async function stays(t: T, p: LotPlace, all: readonly string[], left: readonly string[]): Promise<void> {
  const isSoon = whyNotWith(p.m.ready.engine, ['reclaim-seen']) !== false;
  const ask = () => present(p, all);
  t.same(await (isSoon ? soon(ask, ({ length }) => length <= left.length) : ask()), left);
}

/** Lots in every state, and files of which the name says the order within a stage. */
async function stages(t: T, p: LotPlace): Promise<void> {
  const directories = ['gone', 'expired', 'over', 'many', 'more', 'kept', 'kept/kid', 'free', 'flat', 'flat/sub', 'gone/not'];
  await p.table(
    t,
    directories.map((name) => [`mkdir ${name}`, 0]),
  );
  const lots: Record<string, Terms> = {
    gone: { opportunistic: MOST, paths: ['gone', { path: 'gone/not', recursive: true, exclude: true }] },
    expired: { dedicated: 9 * MB, paths: ['expired'] },
    over: { dedicated: MB, opportunistic: MOST, paths: ['over'] },
    many: { dedicated: 500, opportunistic: MOST, paths: ['many'] },
    more: { dedicated: MB, opportunistic: MOST, paths: ['more'] },
    kept: { dedicated: 5 * MB, paths: ['kept'] },
    kid: { opportunistic: MOST, parents: ['kept'], paths: ['kept/kid'] },
    flat: { opportunistic: MOST, paths: [{ path: 'flat', recursive: false }] },
  };
  for (const [name, terms] of Object.entries(lots)) await p.add(name, terms);
  await p.table(t, [
    // Past deletion: all of it goes, whatever it is; the oldest first.
    ...aged('gone/2', MB, 40),
    ...aged('gone/1', MB, 50),
    ...aged('gone/3', 0, 30),
    ['link gone/3 gone/4', 0],
    ['mknod gone/5 fifo 0600', 0],
    ['utimens gone/5 1.0 omit', 0],
    ['symlink x gone/6', 0],
    ['utimens gone/6 2.0 omit nofollow', 0],
    ...aged('gone/not/1', MB, 9000),
    ...aged('expired/1', 2 * MB, 8),
    ...aged('expired/2', 2 * MB, 7),
    // 4 MB where 2 may be, of which 1 is dedicated.
    ...aged('over/4', MB, 1000),
    ...aged('over/1', MB, 4000),
    ...aged('over/3', MB, 2000),
    ...aged('over/2', MB, 3000),
    // Four objects where two may be.
    ...aged('many/1', 100, 5),
    ...aged('many/2', 100, 4),
    ...aged('many/3', 1000, 3),
    ...aged('many/4', 1000, 2),
    // Past what is dedicated by 2.5 MB: of the oldest, what leaves it 1 MB.
    ...aged('more/1', MB / 2, 600),
    ...aged('more/2', 2 * MB, 500),
    ...aged('more/3', MB, 400),
    // Within what is dedicated, to a lot or to the one above it.
    ...aged('kept/1', 2 * MB, 99_999),
    ...aged('kept/kid/1', MB, 99_999),
    // Nobody's.
    ...aged('free/1', MB, 550),
    ...aged('free/2', MB, 450),
    ['link free/2 free/3', 0],
    ...aged('free/4', 0, 700),
    ...aged('flat/1', MB, 5500),
    ...aged('flat/sub/1', MB, 5600),
  ]);
  await p.update('gone', GONE);
  await p.update('expired', EXPIRED);
  await p.update('over', { opportunistic: MB });
  await p.update('many', { objects: 2 });
}

/** All that may go of those, in its order. Of hard links neither; of nobody's directories, those of this case alone. */
const ORDER = [
  'del gone gone/5',
  'del gone gone/6',
  'del gone gone/1',
  'del gone gone/2',
  'exp expired expired/1',
  'exp expired expired/2',
  'opp over over/1',
  'opp over over/2',
  'obj many many/1',
  'obj many many/2',
  'ded default gone/not/1',
  'ded default flat/sub/1',
  'ded flat flat/1',
  'ded over over/3',
  'ded more more/1',
  'ded default free/1',
  'ded more more/2',
  'ded many many/3',
];

const RECLAIM: LotCase[] = [
  [
    'what goes, and in which order; a plan deletes nothing',
    async (t, p) => {
      await stages(t, p);
      const before = await p.state();
      const plan = await reclaim(p, '--plan', '--low-watermark', '0%');
      t.same(short(p, plan.list), ORDER);
      t.match(plan, { applied: false, low: 0, files: ORDER.length, ok: true });
      t.ok(plan.list.every(({ deleted }) => !deleted));
      const bytes = plan.list.reduce((sum, each) => sum + each.bytes, 0);
      t.equal(plan.bytes, bytes);
      t.equal(plan.fillBefore.toFixed(6), ((await p.seenReport()).pool.usedBytes / CAPACITY).toFixed(6));
      t.equal(plan.fillAfter.toFixed(6), (plan.fillBefore - bytes / CAPACITY).toFixed(6));
      const accessed = plan.list.find(({ path }) => path.endsWith('/gone/1'))?.accessedAtMs;
      t.equal(accessed, (1_580_000_000 - 50) * 1000);
      const text = await must(p.m.run(['reclaim', p.m.mnt, '--plan', '--low-watermark', '0']));
      t.match(text.stdout, /^deletion +0 B +1970-01-01 00:00 +gone +\/case0\/gone\/5$/m);
      t.match(text.stdout, /^dedicated +1 MB +2020-01-2[56] \d\d:\d\d +flat +\/case0\/flat\/1$/m);
      t.match(text.stdout, /^would delete 18 files, .*; low watermark 0\.0%$/m);
      t.same(await p.state(), before, 'nothing is changed');
      t.same(await journalled(p), []);
    },
  ],
  [
    'a plan stops at the low watermark, and just what it said is deleted',
    async (t, p) => {
      await stages(t, p);
      const { usedBytes } = (await p.seenReport()).pool;
      const paths = ORDER.map((line) => line.split(' ')[2] ?? '');
      // Up to the second of `over`: 2 + 4 + 2 MB; a byte more takes one file more.
      for (const [wanted, upTo] of [
        [1, 'gone/1'],
        [2 * MB, 'gone/2'],
        [2 * MB + 1000, 'expired/1'],
        [8 * MB, 'over/2'],
      ] as const) {
        const low = `${(((usedBytes - wanted) / CAPACITY) * 100).toFixed(6)}%`;
        const plan = await reclaim(p, '--plan', '--low-watermark', low);
        const last = paths.indexOf(upTo);
        const list = short(p, plan.list);
        // The watermark has six digits: a plan for a whole number of files may need one more.
        t.same(list, ORDER.slice(0, list.length));
        t.ok(list.length === last + 1 || (wanted % MB === 0 && list.length === last + 2), `${wanted} bytes: up to ${upTo}`);
      }
      const low = `${(((usedBytes - 7.5 * MB) / CAPACITY) * 100).toFixed(6)}%`;
      const plan = await reclaim(p, '--plan', '--low-watermark', low);
      t.same(short(p, plan.list), ORDER.slice(0, 8));
      const done = await reclaim(p, '--apply', '--low-watermark', low);
      t.match(done, { applied: true, files: 8, bytes: 8 * MB });
      t.same(
        done.list.map(({ deleted, ...each }) => (deleted ? each : deleted)),
        plan.list.map(({ deleted, ...each }) => (deleted ? deleted : each)),
        'what was planned',
      );
      t.equal(done.fillAfter.toFixed(6), ((usedBytes - 8 * MB) / CAPACITY).toFixed(6));
      t.same(await journalled(p), ORDER.slice(0, 8), 'a line of the journal for each');
      t.match((await p.journal('reclaim')).at(-1), { lot: 'over', bytes: MB, past: 'opp', accessedAtMs: 1_579_997_000_000 });
      const left = [
        ...paths.slice(8),
        'gone/3',
        'gone/4',
        'over/4',
        'more/3',
        'kept/1',
        'kept/kid/1',
        'free/2',
        'free/3',
        'free/4',
      ];
      await stays(t, p, [...paths, ...left], [...paths.slice(8), ...left]);
      t.equal((await p.seenReport()).pool.usedBytes, usedBytes - 8 * MB);
      await p.usageEqualsCount(t);
      t.match(await reclaim(p, '--apply', '--low-watermark', low), { files: 0, bytes: 0, list: [] }, 'there is nothing to do');
      const all = await reclaim(p, '--apply', '--low-watermark', '0%');
      t.same(short(p, all.list), ORDER.slice(8));
      t.same(await journalled(p), ORDER, 'and each once');
      const kept = left.filter((path) => !paths.includes(path));
      await stays(t, p, [...paths, ...left], kept);
      t.same((await p.seen()).length, 9, 'lots stay');
    },
  ],
  [
    'files that are in use are left, and said so',
    async (t, p, { io }) => {
      // In passthrough the kernel maps the backing file itself, and its descriptor is all that the mount knows of.
      const mapped = io === 'cached' ? ['d/4'] : [];
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/sub', 0],
      ]);
      await p.add('d', { opportunistic: MOST, paths: ['d'] });
      const reader = await p.another(t);
      await p.table(t, [
        ...aged('d/1', MB, 50),
        ...aged('d/2', MB, 40),
        ...aged('d/sub/3', MB, 30),
        ...aged('d/4', MB, 20),
        ...aged('d/5', MB, 10),
        ['open r d/2 RDONLY', 0],
        ['open w d/sub/3 RDWR', 0],
        ['open m d/4 RDWR', 0],
        ['mmap m 4096 shared rw', 0],
        ['close m', 0],
        ['utimens d/2 5.0 omit', 0],
        ['utimens d/4 7.0 omit', 0],
        ['utimens d/sub/3 6.0 omit', 0],
      ]);
      t.equal(await reader.do('chdir d'), 0);
      await p.update('d', GONE);
      const text = await must(p.m.run(['reclaim', p.m.mnt, '--apply', '--low-watermark', '0%']));
      t.match(text.stdout, new RegExp(`^deletion .* ${p.top}/d/2 +in use, left$`, 'm'));
      t.match(text.stdout, new RegExp(`^deletion .* ${p.top}/d/1$`, 'm'));
      t.match(text.stdout, new RegExp(`^deleted ${3 - mapped.length} files, ${3 - mapped.length} MB: `, 'm'));
      const used = ['d/2', 'd/sub/3', ...mapped];
      t.same(await present(p, ['d/1', 'd/2', 'd/sub/3', 'd/4', 'd/5']), used);
      t.same((await journalled(p)).slice(-2), ['del d d/1', 'del d d/5']);
      const again = await reclaim(p, '--apply', '--low-watermark', '0%');
      t.match(again, { files: 0, list: used.map((path) => ({ path: `${p.top}/${path}`, deleted: false })) });
      await p.table(t, [
        ['fill w 100 0', 100],
        ['poke 0 still', 0],
        ['msync', 0],
        ['munmap', 0],
        ['close r', 0],
        ['close w', 0],
        ['used d', used.length * MB],
      ]);
      // The release of a file is asynchronous: sooner or later all go.
      const left = await soon(
        async () => (await reclaim(p, '--apply', '--low-watermark', '0%')).list.filter(({ deleted }) => !deleted).length,
        (files) => files === 0,
      );
      t.equal(left, 0);
      t.same(await present(p, ['d/2', 'd/sub/3', 'd/4', 'd/sub']), ['d/sub']);
      t.same((await journalled(p)).length, 5);
      await p.table(t, [['used d', 0]]);
      await reader.end();
    },
    ['reclaim-seen'],
  ],
  [
    'names that other processes have looked up vanish',
    async (t, p) => {
      await p.table(t, [['mkdir d', 0], ...aged('d/1', MB, 50), ...aged('d/2', MB, 40), ...file('free', 10)]);
      await p.add('d', { opportunistic: MOST, paths: ['d'] });
      const other = await p.another(t);
      t.same(await other.all(['chdir d', 'access 1 F', 'open p 1 PATH', 'access 2 F']), [0, 0, 0, 0]);
      t.same(await other.do('list .'), ['1 file', '2 file']);
      await p.update('d', { deletesAtMs: 1 });
      t.match(await reclaim(p, '--apply', '--low-watermark', '0%'), {
        list: [{ path: `${p.top}/d/1` }, { path: `${p.top}/d/2` }],
      });
      t.same(await other.do('list .'), []);
      t.same(await other.all(['access 1 F', 'stat 2', 'open q 1 RDONLY', 'open q 2 RDWR']), [
        'ENOENT',
        'ENOENT',
        'ENOENT',
        'ENOENT',
      ]);
      t.match(await other.do('reopen q p RDONLY'), /^E(NOENT|STALE)$/, 'nor by a descriptor that is no open file');
      t.equal(await other.do('close p'), 0);
      await p.update('d', { deletesAtMs: MOST });
      t.same(await other.all(['open q 1 CREAT|EXCL|RDWR', 'fill q 100 0', 'close q']), [0, 100, 0], 'the name is free');
      await p.table(t, [
        ['used d', 100],
        ['objects d', 1],
      ]);
      await other.end();
    },
    ['reclaim-seen'],
  ],
  [
    'alive dedicated bytes are never touched, and of the rest only what is too much',
    async (t, p) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/a', 0],
        ['mkdir d/b', 0],
      ]);
      await p.add('top', { dedicated: 4 * MB, paths: ['d'] });
      await p.add('a', { dedicated: MB, opportunistic: MOST, parents: ['top'], paths: ['d/a'] });
      await p.add('b', { opportunistic: MOST, parents: ['top'], paths: ['d/b'] });
      await p.table(t, [...aged('d/a/1', MB, 50), ...aged('d/b/1', MB, 40), ...aged('d/1', 2 * MB, 30)]);
      t.match(await reclaim(p, '--apply', '--low-watermark', '0%'), { files: 0, list: [] }, 'all is promised');
      // A byte more than is dedicated above: what is past it goes, where four are left.
      await p.update('top', { opportunistic: MOST });
      await p.table(t, [...aged('d/b/2', MB, 60)]);
      t.same(short(p, (await reclaim(p, '--apply', '--low-watermark', '0%')).list), ['ded b d/b/2']);
      await p.update('top', { dedicated: 2 * MB });
      t.same(short(p, (await reclaim(p, '--plan', '--low-watermark', '0%')).list), ['ded b d/b/1']);
      // The deletion of the lot above is that of those below, and there the promise ends.
      await p.update('top', { deletesAtMs: Date.now() + HOUR_MS, expiresAtMs: 1 });
      t.same(short(p, (await reclaim(p, '--plan', '--low-watermark', '0%')).list), ['exp a d/a/1', 'exp b d/b/1', 'exp top d/1']);
      await p.update('top', { deletesAtMs: 1 });
      t.same(short(p, (await reclaim(p, '--apply', '--low-watermark', '0%')).list), [
        'del a d/a/1',
        'del b d/b/1',
        'del top d/1',
      ]);
    },
  ],
  [
    'only administrators may',
    async (t, p) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir e', 0],
        ...aged('d/1', MB, 50),
        ...aged('e/1', MB, 60),
        ['chown d 65534 65534', 0],
      ]);
      await p.add('d', { ...GONE, opportunistic: MOST, owner: String(NOBODY), paths: ['e'] });
      const user = await p.another(t, { uid: NOBODY, gid: NOBODY });
      for (const apply of [true, false]) {
        const answer = await p.control(JSON.stringify({ cmd: 'reclaim', apply, low: '0%' }), user);
        t.match(answer, { errno: 'EACCES', reply: { ok: false, code: 'NOT_YOURS', message: /administrator/ } });
      }
      t.match(await p.control('reclaim --apply --low-watermark 0%', user), { errno: 'EACCES' });
      await user.end();
      t.same(await present(p, ['d/1', 'e/1']), ['d/1', 'e/1']);
      t.same(await journalled(p), []);
    },
    ['other-users'],
  ],
  [
    "through a lot's own .vreserve nothing outside of it goes",
    async (t, p) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/in', 0],
        ['mkdir e', 0],
      ]);
      await p.add('d', { opportunistic: MOST, paths: ['d'] });
      await p.table(t, [...aged('d/1', MB, 50), ...aged('e/1', MB, 60)]);
      await p.ops.do(`control d/.vreserve/control {"cmd":"reclaim","apply":true,"low":"0%"}`);
      t.same(await present(p, ['e/1']), ['e/1']);
    },
  ],
];

t.test('reclaim', { timeout: 250_000 }, (t) => onEachLotMount(t, RECLAIM));

/** How full a pool is must follow what is written to the byte; a disk's filesystem preallocates, and frees later. */
function whyNotBySelf({ skip, on, engine }: Column): string | false {
  if (engine === 'fuse-native') return whyNotWith('fuse-native', ['reclaim-seen']);
  return skip || (on === 'tmpfs' ? false : 'how full a pool is follows its files at once on a tmpfs only');
}

for (const column of LOT_COLUMNS) {
  t.test(`by itself: ${column.name}`, { skip: whyNotBySelf(column) }, async (t) => {
    const watermarks = ['--high-watermark', '60%', '--low-watermark', '40%'];
    const { m, p, ops } = await lotMount(t, column, watermarks, '32m');
    const at = (path: string) => join(m.mnt, path);
    await p.ops.all(['old', 'kept'].map((name) => `mkdir ${at(name)}`));
    const lots = new Lots(m.mnt);
    await lots.add(addJson('old', { opportunistic: MOST, paths: ['old'] }));
    await lots.add(addJson('kept', { dedicated: 4 * MB, paths: ['kept'] }));
    const names = Array.from({ length: 12 }, (_, i) => `old/${String(i).padStart(2, '0')}`);
    await p.table(t, [...file(at('kept/f'), 4 * MB)]);
    for (const [i, name] of names.entries()) {
      await p.table(t, [...file(at(name), MB), [`utimens ${at(name)} ${1000 + i}.0 omit`, 0]]);
    }
    await lots.update({ lot_name: 'old', management_policy_attrs: { expiration_time: 1 } });
    const fill = async () => {
      const { capacityBytes, freeBytes } = (await p.report()).pool;
      return 1 - freeBytes / capacityBytes;
    };
    t.ok((await fill()) < 0.6, `${await fill()}: not yet`);
    t.same(await p.journal('reclaim'), [], 'nothing has gone');
    // Nobody's file takes it beyond the high watermark, and is itself the last that would go.
    await p.table(t, [...file(at('free'), 5 * MB)]);
    const after = await soon(fill, (is) => is <= 0.4);
    t.ok(after <= 0.4, `filled to ${after}`);
    const journal = await soon(
      () => p.journal('reclaim'),
      (lines) => lines.length >= 8,
    );
    const gone = names.slice(0, journal.length).map((name) => `/${name}`);
    t.same(
      journal.map(({ path, past, lot }) => [path, past, lot]),
      gone.map((path) => [path, 'exp', 'old']),
      'the oldest first',
    );
    const left = await Promise.all(names.map((name) => ops.do(`access ${at(name)} F`)));
    t.same(left, [...gone.map(() => 'ENOENT'), ...names.slice(gone.length).map(() => 0)], 'and no other');
    const { capacityBytes } = (await p.report()).pool;
    t.ok(after + MB / capacityBytes > 0.4, 'it stopped at the low watermark');
    await p.table(t, [
      ['used kept', 4 * MB],
      [`access ${at('free')} F`, 0],
    ]);
    await p.usageEqualsCount(t);
    t.equal((await p.report()).health, 'ok');
    // Where nothing may go the pool stays full, and that is no trouble.
    await p.table(t, [[`unlink ${at('free')}`, 0]]);
    await lots.removeRecursive('old');
    await p.table(
      t,
      names.slice(gone.length).map((name) => [`unlink ${at(name)}`, 0]),
    );
    await lots.update({ lot_name: 'kept', management_policy_attrs: { dedicated_GB: 0.024 } });
    await p.table(t, [...file(at('kept/g'), 18 * MB)]);
    const log = await soon(
      () => m.shell(`grep -c '"msg":"reclaimed"' '${m.data}/.vreserve/daemon.log'`).then(({ stdout }) => Number(stdout)),
      (count) => count >= 2,
    );
    t.ok(log >= 2, 'it looked again');
    t.equal((await stat(at('kept/g'))).size, 18 * MB);
    await p.usageEqualsCount(t);
    t.equal((await p.report()).health, 'ok');
  });
}

/** Words of the command line that are refused, and what is said. */
const USAGE: readonly [words: string, stderr: RegExp][] = [
  ['reclaim', /say --plan to list, or --apply to delete/],
  ['reclaim --plan --apply', /say --plan to list, or --apply to delete/],
  ['reclaim --plan --low-watermark 101%', /'101%' is not a percentage/],
  ['reclaim --plan --low-watermark=-1', /'-1' is not a percentage/],
  ['reclaim --apply --low-watermark half', /'half' is not a percentage/],
  ['reclaim --apply --low-watermark 40.1234567', /is not a percentage/],
  ['reclaim a b --plan', /b/],
  ['mount a b --high-watermark 40% --low-watermark 60%', /--low-watermark must not be above --high-watermark/],
  ['mount a b --high-watermark 80%', /--low-watermark must not be above --high-watermark/],
  ['mount a b --high-watermark 100.1%', /'100\.1%' is not a percentage/],
  ['mount a b --low-watermark 5GB', /'5GB' is not a percentage/],
];

t.test('bad watermarks are usage errors', async (t) => {
  const cwd = await temporaryDirectory(t);
  const outcomes: [words: string, stderr: RegExp, outcome: Promise<Outcome>][] = [];
  for (const [words, stderr] of USAGE) {
    outcomes.push([words, stderr, vreserve(words.split(' '), { cwd })]);
    if (outcomes.length % 3 === 0) await outcomes.at(-1)?.[2];
  }
  for (const [words, stderr, outcome] of outcomes) t.match(await outcome, { code: 2, stdout: '', stderr }, words);
});

t.test('a mount that is not there', async (t) => {
  const cwd = await temporaryDirectory(t);
  t.match(await vreserve(['reclaim', cwd, '--plan']), { code: 1, stderr: /./ });
});

for (const column of LOT_COLUMNS.slice(0, 1)) {
  t.test('what is in use does not keep the rest from going by itself', { skip: whyNotBySelf(column) }, async (t) => {
    const { m, p } = await lotMount(t, column, ['--high-watermark', '60%', '--low-watermark', '40%'], '32m');
    const at = (path: string) => join(m.mnt, path);
    await p.ops.do(`mkdir ${at('old')}`);
    await p.lots.add(addJson('old', { opportunistic: MOST, paths: ['old'] }));
    await p.table(t, [
      [`open h ${at('old/0')} CREAT|RDWR`, 0],
      [`fill h ${9 * MB} 0`, 9 * MB],
      [`utimens ${at('old/0')} 1.0 omit`, 0],
      ...[1, 2, 3, 4].flatMap((n): Row[] => [...file(at(`old/${n}`), MB), [`utimens ${at(`old/${n}`)} ${n + 1}.0 omit`, 0]]),
    ]);
    await p.lots.update({ lot_name: 'old', management_policy_attrs: { expiration_time: 1 } });
    // The file that is open would be enough by itself.
    await p.table(t, [...file(at('free'), 8 * MB)]);
    t.equal(
      (
        await soon(
          () => p.lot('old'),
          ({ usedBytes }) => usedBytes === 9 * MB,
        )
      ).usedBytes,
      9 * MB,
    );
    await p.table(t, [
      ['close h', 0],
      [`access ${at('old/0')} F`, 0],
    ]);
    await p.usageEqualsCount(t);
  });

  t.test('a daemon in another pid namespace leaves the backing of this one in sight', { skip: column.skip }, async (t) => {
    const { m, p } = await lotMount(t, column, ['--capacity', String(CAPACITY)]);
    await p.table(t, aged(`${m.mnt}/f`, MB, 50));
    const top = await temporaryDirectory(t);
    const script = 'mkdir data mnt; "$0" "$1" mount data mnt; "$0" "$1" umount mnt';
    const within = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
    await must(run('/bin/sh', ['-ec', script, process.execPath, MAIN], { cwd: top, within }));
    t.match(await reclaim(p, '--apply', '--low-watermark', '0%'), { files: 1, list: [{ path: '/f', deleted: true }] });
    await p.usageEqualsCount(t);
  });

  t.test('a mount that is read-only deletes nothing', { skip: column.skip }, async (t) => {
    const { m, p } = await lotMount(t, column, ['--capacity', String(CAPACITY)]);
    await p.table(t, aged(`${m.mnt}/f`, MB, 50));
    await m.umount();
    await m.remount([...(column.args ?? []), '--capacity', String(CAPACITY), '--read-only']);
    t.match(await m.run(['reclaim', m.mnt, '--apply', '--low-watermark', '0%']), { code: 1, stderr: /read-only|EROFS/ });
    t.equal((await stat(join(m.mnt, 'f'))).size, MB);
  });
}
