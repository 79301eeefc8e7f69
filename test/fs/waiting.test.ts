// The waiting line of reservations through a real mount: put in as files, by the command line and by control; granted in order as soon
// as the bytes are there, refused, withdrawn; what the report, the journal and the spool show of it.
import { open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { bytesData, Spool, textMeta } from '../../src/spool/index.js';
import { ROOT_COLUMNS, whyNotRoot } from '../helpers/columns.js';
import { startSteps } from '../helpers/fsop.js';
import { whyNotWith } from '../helpers/limits.js';
import { report } from '../helpers/lots.js';
import { mount, testBackings } from '../helpers/mount.js';
import {
  ALICE,
  asUser,
  BOB,
  MB,
  QUEUES,
  RequestSpool,
  ROOM,
  type Running,
  until,
  type WaitingWorld,
  waitingWorld,
} from '../helpers/requests.js';
import { must, shell, vreserve } from '../helpers/run.js';

const entry = RequestSpool.entry;

/** Every way to put a request in, and what becomes of it. */
async function waysIn(t: Test, { m, s }: WaitingWorld): Promise<void> {
  await s.reserve('/full', ROOM);
  const ways: [path: string, start: () => Promise<Running | null>][] = [
    ['/u/shell', () => s.put('shell', { path: '/u/shell', bytes: '5MB', colour: 'blue' }, ALICE).then(() => null)],
    [
      '/u/enqueue',
      async () => {
        const words = [
          'spool',
          'enqueue',
          s.dir,
          'pending',
          '--name',
          'enqueue',
          '--meta',
          '{"path":"/u/enqueue","bytes":5000000}',
        ];
        await must(vreserve(words, { ...asUser(ALICE), input: 'the data' }));
        return null;
      },
    ],
    [
      '/library',
      async () => {
        const spool = await Spool.load(s.dir, { queues: QUEUES, meta: textMeta, data: bytesData });
        const text = '{"path":"/library","bytes":5000000}';
        await spool.enqueue('pending', text, new Uint8Array(), { reserve: (n) => `library_${n}` });
        return null;
      },
    ],
    ['/u/control', async () => s.control('reserve /u/control 5MB wait', BOB)],
    ['/u/json', async () => s.control('{"cmd":"reserve","path":"/u/json","bytes":5000000,"wait":null,"objects":7}', BOB)],
    ['/u/cli', async () => s.start(['reserve', join(m.mnt, 'u/cli'), '5MB', '--wait', '--json'], ALICE)],
    ['/u/shown', async () => s.start(['reserve', join(m.mnt, 'u/shown'), '5MB', '--wait=10m'], ALICE)],
  ];
  const running: Running[] = [];
  const order: string[] = [];
  for (const [path, start] of ways) {
    const under = await start();
    if (under !== null) running.push(under);
    order.push(path);
    t.same(await s.waitingFor(...order), order, `${path} stands in line`);
  }
  const waiting = await s.waiting();
  t.match(
    waiting,
    ways.map(([path], i) => ({ path, bytes: 5 * MB, position: i + 1, lot: 'default', deadlineMs: i === 6 ? Number : null })),
    'report.json has them in order',
  );
  t.same(
    waiting.map(({ owner }) => owner),
    ['3001', '3001', 'root', '3002', '3002', '3001', '3001'],
  );
  t.same(
    waiting.slice(0, 3).map(({ name }) => name),
    ['shell', 'enqueue', 'library_0'],
  );
  t.equal((await s.lacks('/u/shell', 5 * MB)).position, 1, 'the head says what it lacks');
  const text = await readFile(join(m.mnt, '.vreserve/report'), 'utf8');
  t.match(text, /\n\s*1 {2}\/u\/shell +5 MB +5 MB more +3001 +\S+ m?s +ever\n/, 'the report for people');
  t.match(text, /\n\s*2 {2}\/u\/enqueue +5 MB +its turn +3001 /);
  t.match(text, /\n\s*7 {2}\/u\/shown +5 MB +its turn +3001 .* (9 m|10 m).*\n/, 'with the time that is left');
  const told = await m.run(['report', m.mnt]);
  t.match(told.stdout, /\/u\/enqueue +5 MB +its turn/, '`vreserve report` has it too');
  t.match(JSON.parse((await m.run(['report', m.mnt, '--json'])).stdout), { waiting: waiting.map(({ name }) => ({ name })) });
  const byCommand = waiting.slice(3).map(({ name }) => name);
  t.same(
    await s.files(),
    entry('pending', 'shell', 'enqueue', 'library_0', ...byCommand),
    'each has an entry, and nothing else is there',
  );

  await until(
    'who waits is told of it',
    async () => running[3]?.said.includes('waiting for 5 MB for /u/shown: 6 before it, ') ?? false,
  );
  await s.release('/full');
  for (const each of running) t.match(await each.done, { code: 0, signal: null }, 'who waited by command is told');
  for (const name of ['shell', 'enqueue', 'library_0']) await s.end(name);
  t.same(await s.waiting(), []);
  await until('entries of commands are gone', async () => (await s.files()).length === 9);
  t.same(await s.files(), entry('granted', 'shell', 'enqueue', 'library_0'), 'who was told by command has no entry');
  t.same(await s.grants(), order, 'granted in order');
  t.match(JSON.parse((await running[2]?.done)?.stdout ?? ''), { ok: true, lot: { path: '/u/cli', dedicatedBytes: 5 * MB } });
  const shown = await running[3]?.done;
  t.match(shown?.stdout, /^reserved 5 MB for \/u\/shown, 0 B used\n$/);
  t.match(
    (await s.lots()).filter(({ path }) => path !== null && path !== '/' && !path.startsWith('/.')),
    [...order].sort().map((path) => ({ path, dedicatedBytes: 5 * MB })),
  );
  const end = await s.end('shell');
  t.match(end, { queue: 'granted', uid: 3001, gid: 3001, outcome: { decision: 'granted', lot: '/u/shell' } });
  t.match(JSON.parse(end.text), { path: '/u/shell', bytes: '5MB', colour: 'blue' }, 'what its asker wrote stays');
  t.match(end.outcome.at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ$/);
  t.equal((await s.lots()).find(({ path }) => path === '/u/shell')?.owner, '3001', "the reservation is the asker's");
  const lines = (await s.journal()).filter(({ request }) => request === 'shell');
  t.match(lines, [
    { event: 'waiting', path: '/u/shell', bytes: 5 * MB, owner: '3001' },
    { event: 'grant', path: '/u/shell', bytes: 5 * MB, waitedMs: Number, owner: '3001' },
  ]);

  // As that user, and nobody else: Bob cannot take what is Alice's.
  t.match(await vreserve(['spool', 'dequeue', s.dir, 'granted', '--no-wait', '--remove'], asUser(BOB)), { code: 1 });
  t.same(await s.files(), entry('granted', 'shell', 'enqueue', 'library_0'));
  const taken: string[] = [];
  for (let n = 0; n < 2; n++) {
    const got = await vreserve(['spool', 'dequeue', s.dir, 'granted', '--no-wait', '--remove', '--json'], asUser(ALICE));
    t.match(got, { code: 0, stderr: '' });
    taken.push((JSON.parse(got.stdout) as { name: string }).name);
  }
  t.same(taken, ['enqueue', 'shell']);
  t.same(await s.files(), entry('granted', 'library_0'));
  await must(m.run(['spool', 'dequeue', s.dir, 'granted', '--no-wait', '--remove']));
  t.same(await s.files(), [], 'and the spool is empty');
  await s.sound(t);
}

/** Whatever gives bytes back lets the next one in. */
async function givenBack(t: Test): Promise<void> {
  const { m, s } = await waitingWorld(t);
  const free = await s.lots().then(() => 0);
  t.equal(free, 0);
  let made = 0;
  const grantedAfter = async (what: string, fill: () => Promise<void>, back: () => Promise<void>) => {
    await fill();
    const name = `back${++made}`;
    await s.put(name, { path: `/u/${name}`, bytes: 10 * MB }, ALICE);
    await until('it was tried', async () => ((await s.waits(`/u/${name}`)).missingBytes ?? 0) > 0);
    await back();
    t.match(await s.end(name), { queue: 'granted' }, what);
    await s.release(`/u/${name}`);
  };
  const sparse = async (path: string, bytes: number) => {
    await writeFile(join(m.mnt, path), '');
    await truncate(join(m.mnt, path), bytes);
  };
  await grantedAfter(
    'files in no lot are deleted',
    () => sparse('big', 55 * MB),
    () => rm(join(m.mnt, 'big')),
  );
  await grantedAfter(
    'a file becomes shorter',
    () => sparse('big', 55 * MB),
    () => truncate(join(m.mnt, 'big'), 1),
  );
  await grantedAfter(
    'the last close of a file without a name',
    () => sparse('big', 55 * MB),
    async () => {
      const file = await open(join(m.mnt, 'big'));
      await rm(join(m.mnt, 'big'));
      await file.close();
    },
  );
  await grantedAfter(
    'a lot expires',
    () => s.reserve('/soon', 55 * MB, { expires: '1500ms' }),
    async () => {},
  );
  await grantedAfter(
    'a reservation gets less',
    () => s.reserve('/less', 55 * MB),
    () => s.reserve('/less', 1),
  );
  await s.release('/less');
  await grantedAfter(
    'a lot is removed by LotMan',
    () => s.reserve('/lot', 55 * MB),
    async () => void (await must(m.run(['lot', 'remove', '/lot', '--mount', m.mnt]))),
  );
  await grantedAfter(
    'an attribute is taken away',
    async () => void (await must(m.shell('mkdir attr; setfattr -n user.vreserve.reserve -v 55M attr'))),
    async () => void (await must(m.shell('setfattr -x user.vreserve.reserve attr'))),
  );
  await s.sound(t);
}

/** Space that somebody takes outside of the mount, and gives back. */
async function foreigners(t: Test): Promise<void> {
  const m = await mount(t, { on: 'tmpfs', tmpfsSize: '64m', args: ['--margin', '0', '--spool-grant', '1MB'] });
  const s = new RequestSpool(t, m);
  const foreign = join(dirname(m.data), 'foreign');
  await must(shell(`fallocate -l 50M '${foreign}'`));
  await until('it is seen', async () => (await report(m.mnt)).pool.headroomBytes < 20 * MB);
  await s.put('f', { path: '/f', bytes: 30 * MB });
  await until('it was tried', async () => ((await s.waits('/f')).missingBytes ?? 0) > 0);
  await rm(foreign);
  t.match(await s.end('f'), { queue: 'granted' }, 'granted when others on the disk gave theirs back');
  await s.sound(t);
}

/** First come, first served. */
async function order(t: Test, { s }: WaitingWorld): Promise<void> {
  // Each has another size; what is given back lets in exactly those whose turn it is.
  const sizes = Array.from({ length: 20 }, (_, i) => (((i * 7) % 20) + 1) * MB);
  const blocks = Array.from({ length: 6 }, (_, i) => `/block${i}`);
  for (const block of blocks) await s.reserve(block, ROOM / blocks.length);
  const paths = sizes.map((_, i) => `/u/w${String(i).padStart(2, '0')}`);
  for (const [i, bytes] of sizes.entries()) {
    await s.put(`w${String(i).padStart(2, '0')}`, { path: paths[i], bytes }, i % 2 === 0 ? ALICE : BOB);
    await s.waits(paths[i] ?? '');
  }
  t.same(await s.waitingFor(...paths), paths);
  let free = 0;
  let next = 0;
  const done: string[] = [];
  for (const block of [...blocks, ...paths]) {
    if (block.startsWith('/u/')) {
      if (!done.includes(block)) break;
      free += sizes[paths.indexOf(block)] ?? 0;
    } else free += ROOM / blocks.length;
    await s.release(block);
    for (; next < sizes.length && (sizes[next] ?? 0) <= free; next++) {
      free -= sizes[next] ?? 0;
      done.push(paths[next] ?? '');
    }
    t.same(await s.waitingFor(...paths.slice(next)), paths.slice(next), `after the release of ${block}`);
    t.same(await s.grants(), done);
    const head = (await s.waiting())[0];
    if (head !== undefined) await s.lacks(head.path, (sizes[next] ?? 0) - free);
  }
  t.same(await s.grants(), paths, 'all in order');
  t.same(
    await s.files(),
    entry('granted', ...paths.map((path) => path.slice(3))),
    'the spool has what was granted, and nothing else',
  );
  for (const path of await s.reserved()) await s.release(path);
  await s.sound(t);
}

/** A large request is not starved by small ones. */
async function starving(t: Test, { m, s }: WaitingWorld): Promise<void> {
  await s.reserve('/full', 50 * MB);
  await s.reserve('/tick', MB);
  await s.put('large', { path: '/u/large', bytes: 40 * MB }, ALICE);
  await s.lacks('/u/large', 31 * MB);
  const small = Array.from({ length: 10 }, (_, i) => `/u/s${i}`);
  for (const path of small) await s.put(path.slice(3), { path, bytes: 100_000 }, BOB);
  const waits = s.control('reserve /u/last 100000 wait', BOB);
  await s.waits('/u/last');
  // A pass is made, and the small ones, for which there is room, are left.
  await s.release('/tick');
  await s.lacks('/u/large', 30 * MB);
  t.same(
    await s.waitingFor('/u/large', ...small, '/u/last'),
    ['/u/large', ...small, '/u/last'],
    'nobody goes before the large one',
  );
  t.same(await s.reserved(), ['/full']);
  const refused = await m.run(['reserve', join(m.mnt, 'u/pushy'), '1000', '--json'], asUser(BOB));
  t.equal(refused.code, 1, 'who does not wait is not let in either');
  t.match(JSON.parse(refused.stdout || refused.stderr), { ok: false, code: 'OTHERS_WAIT', errno: 'ENOSPC', count: 12 });
  t.match(await m.run(['reserve', join(m.mnt, 'u/pushy'), '1000'], asUser(BOB)), { code: 1, stderr: /12 .*wait/ });
  await must(m.shell('mkdir u/own; chown 3002 u/own'));
  t.match(await m.shell('setfattr -n user.vreserve.reserve -v 1000 u/own', BOB), { code: 1, stderr: /No space left/ });
  await must(m.run(['extend', join(m.mnt, 'full'), '1000']));
  await s.reserve('/full', 50 * MB);
  t.same(await s.reserved(), ['/full'], 'but who has one may extend it');
  await s.release('/full');
  t.match(await waits.done, { code: 0 });
  t.same((await s.grants()).slice(-12), ['/u/large', ...small, '/u/last'], 'then all, the large one first');
  t.match(
    await m.run(['reserve', join(m.mnt, 'u/pushy'), '1000'], asUser(BOB)),
    { code: 0 },
    'and who does not wait is let in again',
  );
  for (const path of await s.reserved()) await s.release(path);
  for (const name of ['large', ...small.map((path) => path.slice(3))]) await s.end(name);
  await must(s.shell('rm -f granted/* .data/* .registry/*'));
  await s.sound(t);
}

async function overtaking(t: Test): Promise<void> {
  const { m, s } = await waitingWorld(t, ['--allow-overtaking']);
  await s.reserve('/full', 50 * MB);
  await s.put('large', { path: '/u/large', bytes: 40 * MB }, ALICE);
  await s.lacks('/u/large', 30 * MB);
  await s.put('small', { path: '/u/small', bytes: MB }, BOB);
  t.match(await s.end('small'), { queue: 'granted' }, 'by file');
  t.match(await s.control('reserve /u/control 1MB wait', BOB).done, { code: 0 }, 'by control');
  t.match(await m.run(['reserve', join(m.mnt, 'u/cli'), '1MB'], asUser(BOB)), { code: 0 }, 'without a wait');
  await s.put('middle', { path: '/u/middle', bytes: 20 * MB }, BOB);
  await s.waits('/u/middle');
  await s.put('second', { path: '/u/second', bytes: 2 * MB }, BOB);
  t.match(await s.end('second'), { queue: 'granted' }, 'past two that do not fit');
  t.same(await s.waitingFor('/u/large', '/u/middle'), ['/u/large', '/u/middle']);
  await s.release('/full');
  await s.end('large');
  t.equal((await s.grants()).at(-1), '/u/large', 'the first in line has the first word');
  await s.release('/u/large');
  t.match(await s.end('middle'), { queue: 'granted' });
  await s.sound(t);
}

/** Requests for paths in one lot wait in one line; lines of different lots do not wait for each other. */
async function lines(t: Test, { s }: WaitingWorld): Promise<void> {
  await must(s.m.shell('mkdir A B; chmod 777 B'));
  await s.reserve('/A', 20 * MB, { owner: '3001' });
  await s.reserve('/B', 20 * MB, { owner: '3001' });
  await s.reserve('/A/used', 15 * MB);
  await s.reserve('/B/used', 15 * MB);
  for (const [name, path, megabytes] of [
    ['a1', '/A/one', 10],
    ['top1', '/u/one', 30],
    ['b1', '/B/one', 10],
    ['a2', '/A/two', 1],
    ['top2', '/u/two', 1],
  ] as const) {
    await s.put(name, { path, bytes: megabytes * MB }, ALICE);
    await s.waits(path);
  }
  const standing = (await s.waiting()).map(({ path, lot, position }) => `${path} ${position} in ${lot}`);
  t.same(standing, ['/A/one 1 in /A', '/u/one 1 in default', '/B/one 1 in /B', '/A/two 2 in /A', '/u/two 2 in default']);
  t.match(await readFile(join(s.m.mnt, '.vreserve/report'), 'utf8'), /1 {2}\/A\/one +10 MB +5 MB more in \/A /);
  t.match(await readFile(join(s.m.mnt, '.vreserve/report'), 'utf8'), /1 {2}\/u\/one +30 MB +10 MB more +3001/);
  const own = JSON.parse(await readFile(join(s.m.mnt, 'A/.vreserve/report.json'), 'utf8')) as { waiting: { path: string }[] };
  t.same(
    own.waiting.map(({ path }) => path),
    ['/one', '/two'],
    "a lot's own report has its own line, with paths below it",
  );
  const text = await readFile(join(s.m.mnt, 'A/.vreserve/report'), 'utf8');
  t.match(text, /1 {2}\/one +10 MB/);
  t.notMatch(text, /\/u\/|\/B/, 'and nothing of others');
  await s.release('/B/used');
  t.match(await s.end('b1'), { queue: 'granted' }, 'the line of /B moves alone');
  t.same(await s.waitingFor('/A/one', '/u/one', '/A/two', '/u/two'), ['/A/one', '/u/one', '/A/two', '/u/two']);
  await s.release('/A/used');
  t.match(await s.end('a1'), { queue: 'granted' });
  t.match(await s.end('a2'), { queue: 'granted' });
  t.same(await s.waitingFor('/u/one', '/u/two'), ['/u/one', '/u/two']);

  // The lot goes: those in its line stand in the one around it, where they came.
  await s.put('b2', { path: '/B/two', bytes: 15 * MB }, ALICE);
  await s.waits('/B/two');
  await s.put('top3', { path: '/u/three', bytes: 1 }, ALICE);
  await s.waits('/u/three');
  await s.release('/B/one');
  t.match(await s.end('b2'), { queue: 'granted' });
  await s.put('b3', { path: '/B/three', bytes: 19 * MB }, ALICE);
  await s.lacks('/B/three', 14 * MB);
  await s.release('/B/two');
  t.match(await s.end('b3'), { queue: 'granted' });
  await s.release('/B/three');
  await s.reserve('/B/four', 20 * MB);
  await s.put('b5', { path: '/B/five', bytes: MB }, ALICE);
  await s.waits('/B/five');
  await s.put('top4', { path: '/u/four', bytes: 1 }, ALICE);
  await s.waits('/u/four');
  await s.release('/B');
  await until('the request stands in the other line', async () => (await s.waits('/B/five')).lot === 'default');
  t.same(
    (await s.waiting()).map(({ path, lot, position }) => `${path} ${position} in ${lot}`),
    ['/u/one', '/u/two', '/u/three', '/B/five', '/u/four'].map((path, i) => `${path} ${i + 1} in default`),
  );
  await s.release('/B/four');
  for (const name of ['top1', 'top2', 'top3', 'b5', 'top4']) t.match(await s.end(name), { queue: 'granted' });
  t.same((await s.grants()).slice(-5), ['/u/one', '/u/two', '/u/three', '/B/five', '/u/four']);
  await s.sound(t);
}

async function deadlines(t: Test, { m, s }: WaitingWorld): Promise<void> {
  await s.reserve('/full', 55 * MB);
  await s.put('late', { path: '/u/late', bytes: 40 * MB, wait: '700ms', expires: '2h' }, ALICE);
  const cli = s.start(['reserve', join(m.mnt, 'u/cli'), '10MB', '--wait=900ms', '--json'], ALICE);
  const control = s.control('reserve /u/control 10MB wait=900ms', BOB);
  await s.put('next', { path: '/u/next', bytes: 4 * MB }, BOB);
  const end = await s.end('late');
  t.match(end, { queue: 'refused', uid: 3001, gid: 3001 });
  t.match(end.outcome, {
    decision: 'refused',
    code: 'WAITED_FOR_NOTHING',
    errno: 'ENOSPC',
    message: /40 MB .*35 MB .*were missing/,
  });
  t.match(JSON.parse(end.text), { path: '/u/late', wait: '700ms', expires: '2h' });
  const told = await cli.done;
  t.equal(told.code, 1);
  t.match(JSON.parse(told.stdout || told.stderr), {
    ok: false,
    code: 'WAITED_FOR_NOTHING',
    errno: 'ENOSPC',
    askedBytes: 10 * MB,
  });
  t.match(await control.done, { code: 1, stderr: /No space left on device/ });
  t.match(await s.end('next'), { queue: 'granted' }, 'who is behind goes on');
  t.same(await s.files(), [...entry('refused', 'late'), ...entry('granted', 'next')].sort());
  const refusals = (await s.journal()).filter(({ event, code }) => event === 'refusal' && code === 'WAITED_FOR_NOTHING');
  t.equal(refusals.length, 3, 'each is in the journal, once');

  await t.test('no time at all', async (t) => {
    await s.put('now', { path: '/u/now', bytes: 1000, wait: '0s' }, ALICE);
    t.match(await s.end('now'), { queue: 'granted' }, 'what is there is granted');
    await s.put('never', { path: '/u/never', bytes: 40 * MB, wait: 0 }, ALICE);
    t.match(await s.end('never'), { queue: 'refused', outcome: { code: 'WAITED_FOR_NOTHING', message: /missing/ } });
  });
  t.same(await s.waiting(), []);
  await s.clear();
  await s.sound(t);
}

/** Metadata, and the code with which it is refused at once. */
const REFUSALS: readonly [metadata: string | object, code: string, message?: RegExp][] = [
  ['nonsense', 'BAD_COMMAND', /not JSON/],
  ['', 'BAD_COMMAND'],
  ['[]', 'BAD_COMMAND'],
  ['null', 'BAD_COMMAND'],
  ['"path"', 'BAD_COMMAND'],
  ['{"path":"/u/x","bytes":1}{}', 'BAD_COMMAND'],
  [{ bytes: 1 }, 'BAD_COMMAND', /path/],
  [{ path: '/u/x' }, 'BAD_COMMAND', /bytes/],
  [{ path: ['/u/x'], bytes: 1 }, 'BAD_COMMAND'],
  [{ path: '/u/x', bytes: null }, 'BAD_COMMAND'],
  [{ path: '/u/x', bytes: 'much' }, 'BAD_BYTES'],
  [{ path: '/u/x', bytes: -1 }, 'BAD_BYTES'],
  [{ path: '/u/x', bytes: 1.5 }, 'BAD_BYTES'],
  [{ path: '/u/x', bytes: 2 ** 60 }, 'BAD_BYTES'],
  [{ path: '/u/x', bytes: 1, wait: 'long' }, 'BAD_DURATION'],
  [{ path: '/u/x', bytes: 1, wait: -5 }, 'BAD_COMMAND'],
  [{ path: '/u/x', bytes: 1, expires: 'soon' }, 'BAD_DURATION'],
  [{ path: '/u/x', bytes: 1, objects: 'some' }, 'BAD_COMMAND'],
  [{ path: '/u/x', bytes: 1, owner: '' }, 'BAD_COMMAND'],
  [{ path: '/u/x', bytes: 1, owner: 'a b' }, 'BAD_OWNER'],
  [{ path: 'u/x', bytes: 1 }, 'BAD_PATH'],
  [{ path: '', bytes: 1 }, 'BAD_PATH'],
  [{ path: '/', bytes: 1 }, 'BAD_PATH'],
  [{ path: '/u/../x', bytes: 1 }, 'BAD_PATH'],
  [{ path: '/.vreserve/spool', bytes: 1 }, 'BAD_PATH'],
  [{ path: '/.vreserve/spool/requests', bytes: 1 }, 'SYSTEM'],
  [{ path: `/u/${'x'.repeat(300)}`, bytes: 1 }, 'PATH_TOO_LONG'],
  [{ path: '/u/x\u0000y', bytes: 1 }, 'BAD_PATH'],
  [{ path: '/closed/x', bytes: 1 }, 'NOT_YOURS'],
  [{ path: '/owned', bytes: 1 }, 'NOT_YOURS'],
  [{ path: '/u/x', bytes: '65MB' }, 'NEVER_FITS', /the pool can never hold/],
  [{ path: '/lot/x', bytes: '11MB' }, 'NEVER_FITS', /\/lot/],
  [`{"path":"/u/x","bytes":1,"filler":"${'x'.repeat(65_536)}"}`, 'BAD_COMMAND', /65536 bytes/],
];

async function refusals(t: Test, { m, s }: WaitingWorld): Promise<void> {
  await must(m.shell('mkdir closed lot owned; chmod 755 closed'));
  await s.reserve('/owned', 1000);
  await s.reserve('/lot', 10 * MB, { owner: '3001' });
  // A line that does not move: none of these stands in it.
  await s.reserve('/full', 40 * MB);
  await s.put('head', { path: '/u/head', bytes: 50 * MB }, BOB);
  await s.waits('/u/head');
  const before = await s.reserved();
  for (const [i, [metadata, code, message]] of REFUSALS.entries()) {
    const name = `r${i}`;
    const what = `${(typeof metadata === 'string' ? metadata : JSON.stringify(metadata)).slice(0, 70)}: ${code}`;
    await s.put(name, metadata, ALICE);
    const end = await s.end(name);
    t.match(
      end,
      { queue: 'refused', uid: 3001, gid: 3001, outcome: { decision: 'refused', code, message: message ?? /./, errno: /^E/ } },
      what,
    );
    t.same(await s.files(), [...entry('refused', name), ...entry('pending', 'head')].sort(), `${what}: the spool`);
    if (i === 0) await must(vreserve(['spool', 'dequeue', s.dir, 'refused', '--no-wait', '--remove'], asUser(ALICE)));
    else for (const file of entry('refused', name)) await rm(join(s.dir, file));
    t.same(await s.files(), entry('pending', 'head'), `${what}: it can be taken by who asked`);
  }
  t.same(await s.reserved(), before);
  t.same(
    (await s.waiting()).map(({ path }) => path),
    ['/u/head'],
  );
  t.notOk((await s.journal()).some(({ event, request }) => event === 'waiting' && /^r/.test(String(request))));
  await t.test('metadata that is kept', async (t) => {
    await s.put('text', 'nonsense', ALICE);
    t.match(JSON.parse((await s.end('text')).text), { request: 'nonsense', outcome: { decision: 'refused' } });
    await must(
      s.shell(
        String.raw`printf '\xff\xfe{}' > .tmp/bytes; : > .registry/bytes; : > .data/bytes; mv .tmp/bytes pending/bytes`,
        ALICE,
      ),
    );
    t.match(await s.end('bytes'), { queue: 'refused', outcome: { code: 'BAD_COMMAND', message: /UTF-8/ } });
  });
  await t.test('what is right is granted, with all it asks for', async (t) => {
    await rm(join(s.dir, 'pending/head'));
    t.same(await s.waitingFor(), []);
    const asked = {
      path: '/u/all',
      bytes: '1MiB',
      expires: '3h',
      owner: '3002',
      opportunistic: '2MB',
      objects: 9,
      wait: null,
      note: { a: [1] },
    };
    await s.put('all', asked, ALICE);
    const { outcome: _, ...kept } = JSON.parse((await s.end('all')).text) as { outcome: object };
    t.same(kept, asked);
    const lot = (await s.lots()).find(({ path }) => path === '/u/all');
    t.match(lot, { owner: '3002', dedicatedBytes: 1_048_576, opportunisticBytes: 2 * MB, maxObjects: 9, expiresAtMs: Number });
    await s.put('more', { path: '/lot', bytes: '12MB' }, ALICE);
    t.match(await s.end('more'), { queue: 'granted' }, 'and what it owns already gets more');
  });
  t.match(await m.run(['reserve', join(m.mnt, 'u/never'), '65MB', '--wait']), { code: 1, stderr: /can never hold more than/ });
  t.match(await s.control('reserve /u/never 65MB wait').done, { code: 1, stderr: /No space left/ });
  t.match(await s.control('reserve /closed/x 1 wait', BOB).done, { code: 1, stderr: /Permission denied/ });
  t.match(await s.control('reserve /u/x 1 wait=often', BOB).done, { code: 1, stderr: /Invalid argument/ });
  t.match(await m.run(['reserve', join(m.mnt, 'u/x'), '1', '--wait=often']), { code: 2 });
  await s.clear();
  await s.sound(t);
}

async function withdrawals(t: Test, { m, s }: WaitingWorld): Promise<void> {
  await s.reserve('/full', ROOM);
  const leaves = async (what: string, path: string, leave: () => Promise<unknown>, files: readonly string[]) => {
    await s.waits(path);
    await leave();
    t.same(await s.waitingFor('/u/behind'), ['/u/behind'], `${what}: it is out of the line`);
    await until(
      `${what}: its files`,
      async () => (await s.files()).join() === [...entry('pending', 'behind'), ...files].sort().join(),
    ).catch(() => {});
    t.same(await s.files(), [...entry('pending', 'behind'), ...files].sort(), `${what}: what is left in the spool`);
    t.match(
      (await s.journal()).filter((line) => line.path === path).at(-1),
      { event: 'withdrawal', path },
      `${what}: the journal`,
    );
  };
  const command = async (what: string, start: (path: string) => Running, signal: NodeJS.Signals) => {
    const path = `/u/${what.replaceAll(' ', '-')}`;
    const running = start(path);
    await leaves(what, path, async () => t.match(await running.kill(signal), { signal }, `${what} ends at once`), []);
  };
  await s.put('behind', { path: '/u/behind', bytes: MB }, BOB);
  await s.waits('/u/behind');
  const cli = (path: string) => s.start(['reserve', `${m.mnt}${path}`, '1MB', '--wait'], ALICE);
  const control = (path: string) => s.control(`reserve ${path} 1MB wait`, ALICE);
  const json = (path: string) => s.control(JSON.stringify({ cmd: 'reserve', path, bytes: MB, wait: true }), ALICE);
  await command('Ctrl-C', cli, 'SIGINT');
  await command('SIGKILL of the command', cli, 'SIGKILL');
  await command('SIGTERM of the command', cli, 'SIGTERM');
  await command('SIGKILL of a writer', control, 'SIGKILL');
  await command('SIGINT of a writer', json, 'SIGINT');

  await s.put('out', { path: '/u/out', bytes: MB }, ALICE);
  const checkout = () => must(vreserve(['spool', 'checkout', s.dir, 'pending', 'out'], asUser(ALICE)));
  await leaves('checked out', '/u/out', checkout, ['.data/out', '.registry/out', 'pending/.checkout/out']);
  await must(vreserve(['spool', 'remove', s.dir, 'pending', 'out'], asUser(ALICE)));
  t.same(await s.files(), entry('pending', 'behind'), 'and removed');
  await s.put('rm', { path: '/u/rm', bytes: MB }, ALICE);
  await leaves('rm', '/u/rm', () => must(s.shell('rm pending/rm', ALICE)), ['.data/rm', '.registry/rm']);
  await must(s.shell('rm .data/rm .registry/rm', ALICE));
  await s.put('forced', { path: '/u/forced', bytes: MB }, ALICE);
  await leaves(
    'spool remove',
    '/u/forced',
    () => must(vreserve(['spool', 'remove', s.dir, 'pending', 'forced', '--force'], asUser(ALICE))),
    [],
  );
  await s.put('late', { path: '/u/late', bytes: MB }, ALICE);
  await s.waits('/u/late');
  // It cannot be granted any more once it is gone, whoever is faster.
  await must(s.shell('rm .registry/late', ALICE));
  await s.release('/full');
  t.match(await s.end('behind'), { queue: 'granted' });
  t.same(await s.waitingFor(), [], 'an entry whose name is not registered is none');
  t.same(await s.reserved(), ['/u/behind']);
  await must(s.shell('rm .data/late pending/late', ALICE));

  await t.test('the head leaves, and the next has its turn', async (t) => {
    await s.reserve('/full', 50 * MB);
    const head = s.control('reserve /u/head 40MB wait', ALICE);
    await s.waits('/u/head');
    await s.put('next', { path: '/u/next', bytes: MB }, BOB);
    await s.waits('/u/next');
    await head.kill('SIGKILL');
    t.match(await s.end('next'), { queue: 'granted' });
  });
  await t.test('checked out is out, also for the next mount', async (t) => {
    await s.put('kept', { path: '/u/kept', bytes: 40 * MB }, ALICE);
    await s.waits('/u/kept');
    await must(s.shell('mv pending/kept pending/.checkout/kept', ALICE));
    t.same(await s.waitingFor(), []);
    await m.umount();
    await m.remount();
    await s.put('after', { path: '/u/after', bytes: 1 }, BOB);
    await s.end('after');
    t.same(await s.names('pending'), [], 'it is not put back');
    t.same(await s.waiting(), []);
    await must(s.shell('rm .data/kept .registry/kept pending/.checkout/kept', ALICE));
  });
  await s.clear();
  await s.sound(t);
}

/** Who waits in the spool for what is decided is woken. */
async function readers(t: Test, { s }: WaitingWorld): Promise<void> {
  await s.reserve('/full', ROOM);
  const steps = await startSteps(t, s.dir, ALICE);
  t.equal(await steps.do('watch w granted'), 0);
  const dequeue = (queue: string) => s.start(['spool', 'dequeue', s.dir, queue, '--timeout', '60s', '--remove', '--json'], ALICE);
  const [granted, refused] = [dequeue('granted'), dequeue('refused')];
  // Both wait in inotify by now or soon; whichever it is, they must find it.
  await s.put('yes', { path: '/u/yes', bytes: MB }, ALICE);
  await s.put('no', { path: '/nowhere/no', bytes: MB }, ALICE);
  const no = await refused.done;
  t.match(no, { code: 0 });
  t.match(JSON.parse(no.stdout), { name: 'no', state: 'removed' });
  await s.waits('/u/yes');
  await until('the reader waits', async () => (await shell(`ls -l /proc/${granted.pid}/fd`)).stdout.includes('inotify'));
  await s.release('/full');
  t.match(JSON.parse((await granted.done).stdout), { name: 'yes', state: 'removed' });
  t.ok(
    (JSON.parse(JSON.stringify(await steps.do('events w'))) as string[]).includes('to yes'),
    'the kernel told of the move into granted',
  );
  t.same(await s.files(), []);
  for (const path of await s.reserved()) await s.release(path);
  await s.sound(t);
}

t.test('waiting', { skip: whyNotRoot, timeout: 600_000 }, async (t) => {
  for (const column of ROOT_COLUMNS.filter(({ skip }) => skip === false)) {
    const skip = whyNotWith(column.engine, ['other-users']);
    await t.test(column.name, { skip }, async (t) => {
      const w = await waitingWorld(t, column.args, { on: column.on });
      await t.test('every way in, and out again', (t) => waysIn(t, w));
      await w.s.clear();
      await t.test('who waits for an outcome is woken', (t) => readers(t, w));
      await w.s.clear();
      await t.test('who leaves', (t) => withdrawals(t, w));
    });
  }
  await t.test('what gives bytes back', (t) => givenBack(t));
  if (testBackings().includes('tmpfs')) await t.test('others on the same disk', (t) => foreigners(t));
  await t.test('first come, first served', async (t) => order(t, await waitingWorld(t)));
  await t.test('a large request is not starved', async (t) => starving(t, await waitingWorld(t)));
  await t.test('--allow-overtaking', (t) => overtaking(t));
  await t.test('each lot has a line', async (t) => lines(t, await waitingWorld(t)));
  await t.test('deadlines', async (t) => deadlines(t, await waitingWorld(t)));
  await t.test('refusals', async (t) => refusals(t, await waitingWorld(t)));
});
