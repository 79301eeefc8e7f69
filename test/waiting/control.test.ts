// Waiting by control: replies, interrupts, deadlines, several at once, the scoped tree, and what reports and journal say of it.

import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import t from 'tap';
import { CONFINED, type ControlPlane, controlPlane, ROOT, user } from '../helpers/control-plane.js';
import { turns, until } from '../helpers/waiting-world.js';

const root = { caller: ROOT, scope: 1, directory: '/' };

interface Plane extends ControlPlane {
  box(...place: string[]): string[];
  /** The paths that wait. */
  waiting(): string[];
}

async function start(t: Test, allowOvertaking = false): Promise<Plane> {
  const directory = t.testdir();
  const requests = join(directory, 'requests');
  mkdirSync(requests);
  const plane = await controlPlane(directory, { requests, allowOvertaking });
  t.teardown(() => plane.line.stop());
  return {
    ...plane,
    box: (...place) => readdirSync(join(requests, ...place)).filter((name) => name !== '.checkout'),
    waiting: () => plane.line.list().map(({ path }) => path),
  };
}

/** Nothing of it is left in the spool, nor in the ledger. */
async function gone(t: Test, plane: Plane): Promise<void> {
  await plane.line.idle();
  for (const place of ['.registry', '.data', '.tmp', 'pending', '.claimed', 'granted', 'refused']) {
    await until(`${place} is empty`, () => plane.box(place).length === 0);
  }
  let { waiting } = await plane.ledger.load();
  for (let i = 0; i < 100 && waiting.length > 0; i++) {
    await turns(5);
    waiting = (await plane.ledger.load()).waiting;
  }
  t.strictSame(waiting, []);
}

t.test('who waits is answered when the bytes are there', async (t) => {
  const plane = await start(t);
  await plane.keeper.reserve('/full', 900, {}, root);
  const forms = [
    ['reserve /a 200 wait\n', '/a', null],
    ['reserve /b 1 wait=10m\n', '/b', 600_000],
    ['{"cmd":"reserve","path":"/c","bytes":1,"wait":1500,"owner":"7"}\n', '/c', 1500],
    ['reserve /d 1 --wait=1h --objects 5', '/d', 3_600_000],
  ] as const;
  const answers: string[] = [];
  const files = await Promise.all(forms.map(() => plane.control(ROOT)));
  const writes: Promise<void>[] = [];
  for (const [i, [text, path]] of forms.entries()) {
    const file = files[i];
    const write = text.endsWith('\n') ? file?.write(text) : file?.write(text).then(() => file.flush());
    writes.push(Promise.resolve(write).then((answer) => void answers.push(`${path} ${answer}`)));
    await until(`${path} waits`, () => plane.waiting().includes(path));
  }
  t.match(
    plane.line.list(),
    forms.map(([, path, waitMs], i) => ({
      path,
      position: i + 1,
      owner: '0',
      lot: 1,
      deadlineMs: waitMs === null ? null : plane.now.ms + waitMs,
    })),
  );
  t.match(plane.line.list()[0], { bytes: 200, missingBytes: 100 });
  t.match(plane.line.list()[1], { bytes: 1, missingBytes: null }, 'its turn is what it waits for');
  t.strictSame(answers, []);
  t.equal(plane.box('pending').length, 4, 'each is an entry of the spool');

  const other = await plane.control(user(5));
  t.equal(await other.write('reserve /e 1\n'), 'ENOSPC');
  t.match(await other.replies(), [
    {
      ok: false,
      cmd: 'reserve',
      code: 'OTHERS_WAIT',
      errno: 'ENOSPC',
      path: '/e',
      askedBytes: 1,
      count: 4,
      message: /^1 B asked for \/e, and 4 requests wait/,
    },
  ]);
  t.equal(await other.write('extend /full 1\n'), 'EACCES');
  t.match(await plane.keeper.extend('/full', 1, root), { policy: { dedicatedBytes: 901 } }, 'growth does not wait');
  t.equal(await other.write('{"cmd":"lot","name":"list"}\n'), 'ok');

  plane.now.ms += 1000;
  const freeing = await plane.control(ROOT);
  t.equal(await freeing.write('release /full\n'), 'ok');
  await Promise.all(writes);
  t.strictSame(
    answers,
    forms.map(([, path]) => `${path} ok`),
    'first come, first served',
  );
  for (const [i, [, path]] of forms.entries())
    t.match(await files[i]?.replies(), [{ ok: true, cmd: 'reserve', lot: { name: path, path } }]);
  t.match(plane.keeper.book.named('/c'), { owner: '7' });
  t.match(plane.keeper.book.named('/d')?.policy, { maxObjects: 5 });
  await gone(t, plane);
  const waited = await plane.lines('waiting');
  t.match(
    waited,
    forms.map(([, path, waitMs], i) => ({
      path,
      bytes: i === 0 ? 200 : 1,
      owner: '0',
      pid: 10,
      request: /^reserve_20260101T000000000_00/,
      ...(waitMs === null ? {} : { until: new Date(plane.now.ms - 1000 + waitMs).toISOString() }),
    })),
  );
  t.equal(waited[0] && 'until' in waited[0], false);
  const grants = (await plane.lines('grant')).filter(({ request }) => request !== undefined);
  t.match(
    grants,
    forms.map(([, path], i) => ({ path, request: waited[i]?.request, waitedMs: 1000 })),
  );
});

t.test('who need not wait does not, and other refusals come at once', async (t) => {
  const plane = await start(t);
  const control = await plane.control(user(7));
  const table: [string, string, object][] = [
    ['reserve /a 10 wait', 'ok', { ok: true, lot: { path: '/a', dedicatedBytes: 10 } }],
    ['reserve /a 20 wait', 'ok', { ok: true, lot: { dedicatedBytes: 20 } }],
    ['reserve /a 15 wait', 'ok', { ok: true, lot: { dedicatedBytes: 15 } }],
    ['reserve /z 1 wait=0s', 'ok', { ok: true, lot: { dedicatedBytes: 1 } }],
    ['reserve /b 1001 wait', 'ENOSPC', { code: 'NEVER_FITS', mostBytes: 1000, askedBytes: 1001, path: '/b' }],
    ['reserve /a/x 16 wait', 'ENOSPC', { code: 'NEVER_FITS', mostBytes: 15, message: /lot '\/a' can never hold more than 15 B/ }],
    ['reserve relative 1 wait', 'EINVAL', { code: 'BAD_PATH' }],
    ['reserve /b 1 wait=soon', 'EINVAL', { code: 'BAD_DURATION' }],
    ['reserve /b 1 wait --owner ""', 'EINVAL', { code: 'BAD_COMMAND' }],
  ];
  for (const [line, answer, reply] of table) {
    t.equal(await control.write(`${line}\n`), answer, line);
    t.match(await control.replies(), [reply], line);
  }
  const other = await plane.control(user(8));
  t.equal(await other.write('reserve /a 900 wait\n'), 'EACCES', 'not theirs');
  t.strictSame(await plane.lines('waiting'), []);
  const codes = (await plane.lines('refusal')).map(({ code }) => code);
  t.strictSame(codes, ['NEVER_FITS', 'NEVER_FITS', 'NOT_YOURS'], 'refusals are lines of the journal');
  await gone(t, plane);
  t.equal(existsSync('/b'), false);
});

t.test('a lot has a line of its own', async (t) => {
  const plane = await start(t);
  await plane.keeper.reserve('/full', 800, {}, root);
  await plane.keeper.reserve('/p', 100, {}, root);
  await plane.keeper.reserve('/p/held', 90, {}, root);
  const writes: Promise<string>[] = [];
  for (const [i, line] of ['reserve /a 200 wait\n', 'reserve /p/b 20 wait\n', 'reserve /p/c 5 wait\n'].entries()) {
    writes.push((await plane.control(ROOT)).write(line));
    await until('it waits', () => plane.waiting().length === i + 1);
  }
  const p = plane.keeper.book.named('/p')?.id;
  t.match(
    plane.line
      .list()
      .map(({ path, lot, position }) => [path, lot, position])
      .sort(),
    [
      ['/a', 1, 1],
      ['/p/b', p, 1],
      ['/p/c', p, 2],
    ],
  );
  await (await plane.control(ROOT)).write('release /p/held\n');
  await Promise.all([writes[1], writes[2]]);
  t.strictSame(plane.waiting(), ['/a'], 'nobody there waits for who waits here');
  const control = await plane.control(ROOT);
  t.equal(await control.write('reserve /p/d 5\n'), 'ok', 'and new ones do not, either');
  t.equal(await control.write('reserve /d 5\n'), 'ENOSPC');
  t.equal(await control.write('release /full\n'), 'ok');
  t.equal(await writes[0], 'ok');
  await gone(t, plane);
});

t.test('with overtaking who fits goes first', async (t) => {
  const plane = await start(t, true);
  await plane.keeper.reserve('/full', 900, {}, root);
  const big = (await plane.control(ROOT)).write('reserve /big 500 wait\n');
  await until('it waits', () => plane.waiting().length === 1);
  const control = await plane.control(ROOT);
  t.equal(await control.write('reserve /small 60 wait\n'), 'ok');
  t.equal(await control.write('reserve /smaller 40\n'), 'ok', 'without wait, too');
  t.equal(await control.write('reserve /other 1\n'), 'ENOSPC');
  t.match((await control.replies()).at(-1), { code: 'NO_SPACE' });
  t.equal(await control.write('release /full\n'), 'ok');
  t.equal(await big, 'ok');
});

t.test('an interrupt leaves the line', async (t) => {
  const plane = await start(t);
  await plane.keeper.reserve('/full', 1000, {}, root);
  const [first, second, before] = [new AbortController(), new AbortController(), new AbortController()];
  const file = await plane.control(ROOT);
  const write = file.write('reserve /a 10 wait\nreserve /not-reached 1\n', first.signal);
  await until('it waits', () => plane.waiting().length === 1);
  const behind = (await plane.control(ROOT)).write('reserve /b 5 wait\n', second.signal);
  await until('both wait', () => plane.waiting().length === 2);
  first.abort();
  t.equal(await write, 'ECANCELED');
  t.match(await file.replies(), [
    { ok: false, cmd: 'reserve', code: 'WITHDRAWN', errno: 'ECANCELED', message: 'the request was withdrawn' },
  ]);
  await until('one waits', () => plane.waiting().length === 1);
  t.match(plane.line.list(), [{ path: '/b', position: 1 }]);
  await until('its entry is gone', () => plane.box('.registry').length === 1);
  await turns(5);
  t.match(await plane.lines('withdrawal'), [{ path: '/a', request: /^reserve_/, owner: '0', pid: 10 }]);
  const at = (await plane.control(ROOT)).write('reserve /c 5 wait\n', before.signal);
  before.abort();
  t.equal(await at, 'ECANCELED', 'before it waits');
  second.abort();
  t.equal(await behind, 'ECANCELED');
  await until('nobody waits', () => plane.waiting().length === 0);
  await gone(t, plane);
  t.equal(plane.keeper.book.named('/not-reached'), undefined, 'what follows in the same write is dropped');
  t.equal(await file.write('release /full\nreserve /a 10 wait\n', new AbortController().signal), 'ok');
});

t.test('a deadline', async (t) => {
  const plane = await start(t);
  await plane.keeper.reserve('/full', 990, {}, root);
  const file = await plane.control(user(7));
  const write = file.write('reserve /a 50 wait=30s\n');
  await until('it waits', () => plane.line.list()[0]?.missingBytes === 40);
  const behind = (await plane.control(ROOT)).write('reserve /b 5 wait=1m\n');
  await until('both wait', () => plane.waiting().length === 2);
  plane.now.ms += 29_999;
  plane.line.look();
  await plane.line.idle();
  t.equal(plane.waiting().length, 2);
  plane.now.ms += 1;
  plane.line.look();
  t.equal(await write, 'ENOSPC');
  t.match(await file.replies(), [
    {
      ok: false,
      code: 'WAITED_FOR_NOTHING',
      errno: 'ENOSPC',
      path: '/a',
      askedBytes: 50,
      message: '50 B asked for /a, which waited 30 s for it: 40 B were missing',
    },
  ]);
  t.equal(await behind, 'ok', 'and the next has its turn');
  const waited = await plane.lines('waiting');
  t.match(await plane.lines('refusal'), [
    { code: 'WAITED_FOR_NOTHING', path: '/a', request: waited[0]?.request, owner: '7', askedBytes: 50 },
  ]);
  await gone(t, plane);
});

t.test('the end of the mount', async (t) => {
  const plane = await start(t);
  await plane.keeper.reserve('/full', 1000, {}, root);
  const file = await plane.control(ROOT);
  const write = file.write('reserve /a 10 wait\n');
  await until('it waits', () => plane.waiting().length === 1);
  await plane.line.stop();
  t.equal(await write, 'ESHUTDOWN');
  t.match(await file.replies(), [{ code: 'ENDING' }]);
  t.equal(await file.write('reserve /b 10 wait\n'), 'ESHUTDOWN');
  for (const place of ['.registry', '.data', '.tmp', 'pending', '.claimed', 'granted', 'refused'])
    t.strictSame(plane.box(place), [], place);
  t.strictSame((await plane.ledger.load()).waiting, []);
});

t.test('without a spool nothing waits', async (t) => {
  const plane = await controlPlane(t.testdir());
  const control = await plane.control(ROOT);
  t.equal(await control.write('reserve /a 1000 wait\n'), 'ok', 'what is there is given');
  t.equal(await control.write('reserve /b 1 wait\n'), 'EOPNOTSUPP');
  t.match((await control.replies()).at(-1), { code: 'NOT_SUPPORTED', message: /the mount has no spool/ });
});

t.test('many at once are served in the order of their coming', async (t) => {
  const plane = await start(t);
  await plane.keeper.reserve('/full', 1000, {}, root);
  const answers: number[] = [];
  const count = 100;
  for (let i = 0; i < count; i++) {
    const control = await plane.control(user(1000 + i));
    void control.write(`reserve /m${i} 10 wait\n`).then((answer) => answers.push(answer === 'ok' ? i : -1));
  }
  await until('all wait', () => plane.waiting().length === count);
  const order = plane.waiting().map((path) => Number(path.slice(2)));
  t.strictSame(
    plane.line.list().map(({ position }) => position),
    Array.from({ length: count }, (_, i) => i + 1),
  );
  t.equal(new Set(plane.line.list().map(({ name }) => name)).size, count);
  await plane.keeper.release('/full', root);
  plane.line.wake();
  await until('all are answered', () => answers.length === count, 20_000);
  t.strictSame(answers, order);
  t.equal(plane.engine.pool().headroomBytes, 0);
  await gone(t, plane);
});

t.test('reports', async (t) => {
  const plane = await start(t);
  t.notMatch(await plane.cat('report'), /WAITING/, 'nobody waits');
  t.strictSame(JSON.parse(await plane.cat('report.json')).waiting, []);
  await plane.keeper.reserve('/full', 700, {}, root);
  const job = await plane.keeper.reserve('/job', 200, {}, root);
  await plane.keeper.reserve('/job/held', 190, {}, root);
  const inside = await plane.control(CONFINED, job.id);
  const own = inside.write('reserve /part 50 wait=1h\n');
  await until('it waits', () => plane.line.list()[0]?.missingBytes === 40);
  const second = (await plane.control(CONFINED, job.id)).write('reserve /other 5 wait\n');
  await until('two wait', () => plane.waiting().length === 2);
  const outside = (await plane.control(user(4242))).write('reserve "/out\u001b[31m side" 500 wait=2m\n');
  await until('three wait', () => plane.waiting().length === 3);
  await until('it is tried', () => plane.line.list()[2]?.missingBytes === 400);
  plane.now.ms += 60_000;

  const report = await plane.cat('report');
  const table = report.slice(report.indexOf('WAITING'));
  t.strictSame(
    table.split('\n').map((line) => line.trim().split(/ {2,}/)),
    [
      ['WAITING', 'PATH', 'BYTES', 'FOR', 'OWNER', 'SINCE', 'LEFT'],
      ['1', '/job/part', '50 B', '40 B more in /job', 'root', '60 s', '59 min'],
      ['2', '/job/other', '5 B', 'its turn', 'root', '60 s', 'ever'],
      ['1', '/out\\u001b[31m side', '500 B', '400 B more', '4242', '60 s', '60 s'],
      [''],
    ],
  );
  const json = JSON.parse(await plane.cat('report.json'));
  t.strictSame(Object.keys(json), ['atMs', 'daemon', 'pool', 'pools', 'health', 'lots', 'waiting']);
  t.match(json.waiting, [
    {
      path: '/job/part',
      bytes: 50,
      owner: 'root',
      lot: '/job',
      position: 1,
      missingBytes: 40,
      askedAtMs: plane.now.ms - 60_000,
      deadlineMs: plane.now.ms + 3_540_000,
    },
    { path: '/job/other', bytes: 5, lot: '/job', position: 2, missingBytes: null, deadlineMs: null },
    { path: '/out\u001b[31m side', owner: '4242', lot: 'default', position: 1, missingBytes: 400 },
  ]);
  t.strictSame(Object.keys(json.waiting[0]).sort(), [
    'askedAtMs',
    'bytes',
    'deadlineMs',
    'lot',
    'missingBytes',
    'name',
    'owner',
    'path',
    'position',
  ]);
  t.match(
    (await plane.cat('report.json')).split('\n').filter((line) => line.includes('"askedAtMs"')).length,
    3,
    'a request a line',
  );
  const control = await plane.control(ROOT);
  await control.write('report\n');
  t.match(await control.replies(), [{ ok: true, cmd: 'report', waiting: [{ path: '/job/part' }, {}, {}] }]);

  // Seen from the lot itself: its own, by their paths in it.
  const scoped = JSON.parse(await plane.cat('report.json', job.id));
  t.match(scoped.waiting, [
    { path: '/part', lot: '/', position: 1 },
    { path: '/other', lot: '/', position: 2 },
  ]);
  t.equal(scoped.waiting.length, 2);
  const seen = await plane.cat('report', job.id);
  t.match(seen, /1 +\/part +50 B +40 B more in \/ +root/);
  for (const file of ['report', 'report.json']) t.notMatch(await plane.cat(file, job.id), /\/job|out|4242/, file);
  const held = await plane.keeper.reserve('/full/held', 10, {}, root);
  t.strictSame(JSON.parse(await plane.cat('report.json', held.id)).waiting, [], 'nothing of others');

  const metrics = await plane.cat('metrics');
  t.match(metrics, /^vreserve_waiting_requests 3$/m);
  t.notMatch(metrics, /job\/part/);
  t.match(await plane.cat('metrics', job.id), /^vreserve_waiting_requests 2$/m);
  t.equal(await plane.cat('health'), 'ok\n');
  t.match(await plane.cat('ledger').catch(() => ''), /EINVAL|waiting/);

  await (await plane.control(ROOT)).write('release /job/held\nrelease /full\n');
  t.strictSame(await Promise.all([own, second, outside]), ['ok', 'ok', 'ok']);
  t.match(await inside.replies(), [{ ok: true, lot: { path: '/part', name: '/part' } }]);
  t.match(plane.keeper.book.named('/job/part'), { parents: [job.id] });
  t.notMatch(await plane.cat('report'), /WAITING/);
});

t.test('who asked from a lot that has gone', async (t) => {
  const plane = await start(t);
  const job = await plane.keeper.reserve('/job', 200, {}, root);
  await plane.keeper.reserve('/job/held', 190, {}, root);
  const inside = await plane.control(CONFINED, job.id);
  const write = inside.write('reserve /part 50 wait\n');
  await until('it waits', () => plane.waiting().length === 1);
  await (await plane.control(ROOT)).write('release /job\n');
  t.equal(await write, 'ENOENT');
  t.match(await inside.replies(), [{ ok: false, code: 'NO_SUCH_LOT' }]);
  await gone(t, plane);
});
