// Commands: what is granted, refused and undone, who may, and that ledger and engine stay in step.

import t from 'tap';
import { VreserveError } from '../../src/core/errors.js';
import type { Caller } from '../../src/engine/engine.js';
import { AT_MS, CONFINED, type ControlPlane, controlPlane, ROOT, user } from '../helpers/control-plane.js';

const root = { caller: ROOT, scope: 1, directory: '/' };
const by = (uid: number) => ({ caller: user(uid), scope: 1, directory: '/' });
const confined = { caller: CONFINED, scope: 1, directory: '/' };

/** What the ledger has, and what the engine has: both must agree. */
async function inStep(plane: ControlPlane): Promise<Record<string, number>> {
  const { lots } = await plane.ledger.load();
  const ledger = Object.fromEntries(lots.map((lot) => [lot.name, lot.policy.dedicatedBytes]));
  const engine = Object.fromEntries([...plane.engine.lots.values()].map(({ spec }) => [spec.name, spec.dedicatedBytes]));
  if (JSON.stringify(ledger) !== JSON.stringify(engine)) throw new Error(`${JSON.stringify({ ledger, engine })}`);
  return ledger;
}

t.test('reserve, set anew, extend, release', async (t) => {
  const plane = await controlPlane(t.testdir());
  const { keeper, engine } = plane;
  const lot = await keeper.reserve('/job1', 500, {}, by(7));
  t.match(lot, {
    name: '/job1',
    owner: '7',
    parents: [],
    paths: [{ path: '/job1', recursive: true, exclude: false }],
    policy: { dedicatedBytes: 500, opportunisticBytes: 0, createdAtMs: AT_MS },
  });
  t.match(await plane.lines('grant'), [{ at: '2026-01-01T00:00:00.000Z', lot: '/job1', path: '/job1', bytes: 500, owner: '7' }]);

  await t.rejects(keeper.reserve('/job2', 501, {}, by(7)), {
    code: 'NO_SPACE',
    details: { askedBytes: 501, availableBytes: 500, heldBytes: 0 },
  });
  t.match(await plane.lines('refusal'), [
    { path: '/job2', code: 'NO_SPACE', errno: 'ENOSPC', askedBytes: 501, availableBytes: 500, owner: '7' },
  ]);
  t.strictSame(await inStep(plane), { default: 0, '/job1': 500 }, 'a refusal leaves no trace');

  await keeper.reserve('/job1', 600, {}, by(7));
  t.equal((await keeper.extend('/job1', 100, by(7))).policy.dedicatedBytes, 700);
  await t.rejects(keeper.extend('/job1', 301, by(7)), { code: 'NO_SPACE' });
  await t.rejects(keeper.extend('/job1', 2 ** 53 - 1, by(7)), { code: 'BAD_BYTES' });
  await t.rejects(keeper.extend('/nothing', 1, by(7)), { code: 'NO_SUCH_LOT', errno: 'ENOENT' });
  engine.write(lot.id, 300, 1);
  await t.rejects(keeper.reserve('/job1', 299, {}, by(7)), { code: 'BELOW_USE', details: { askedBytes: 299, heldBytes: 300 } });
  t.equal((await keeper.reserve('/job1', 300, {}, by(7))).policy.dedicatedBytes, 300);
  t.match(await plane.lines('extension'), [
    { bytes: 600, previousBytes: 500 },
    { bytes: 700, previousBytes: 600 },
    { bytes: 300, previousBytes: 700 },
  ]);

  await t.rejects(keeper.reserve('/job1/part', 50, {}, by(7)), { code: 'NO_SPACE' }, 'its files fill it');
  engine.write(lot.id, -50);
  const child = await keeper.reserve('/job1/part', 50, {}, by(7));
  t.strictSame(child.parents, [lot.id], "under another lot's path: its child");
  t.strictSame(await inStep(plane), { default: 0, '/job1': 300, '/job1/part': 50 });
  t.match(await keeper.release('/job1', by(7)), { id: lot.id });
  t.strictSame(keeper.book.get(child.id)?.parents, [], 'a child outlives its parent');
  t.equal(await keeper.release('/job1', by(7)), null, 'unknown paths are released with success');
  t.equal(await keeper.release('/never', by(8)), null);
  t.match(await plane.lines('release'), [{ lot: '/job1', bytes: 300, usedBytes: 250, objects: 1 }]);
  t.strictSame(await inStep(plane), { default: 0, '/job1/part': 50 });
  t.notSame((await keeper.reserve('/job1', 1, {}, by(7))).id, lot.id);
});

t.test('a path that holds more than is asked for is refused', async (t) => {
  const { keeper, engine } = await controlPlane(t.testdir());
  engine.heldBytes = 100;
  await t.rejects(keeper.reserve('/a', 99, {}, root), { code: 'BELOW_USE', details: { heldBytes: 100 } });
  await keeper.reserve('/a', 100, {}, root);
});

t.test('other refusals of the engine keep their meaning', async (t) => {
  const plane = await controlPlane(t.testdir());
  for (const [errno, code] of [
    ['EXDEV', 'SPLIT_NAMES'],
    ['EEXIST', 'REAL_VRESERVE'],
    ['ENOTDIR', 'SYSTEM'],
  ] as const) {
    plane.engine.refuseWith = errno;
    await t.rejects(plane.keeper.reserve('/a', 1, {}, root), { code, errno });
  }
  t.strictSame(await inStep(plane), { default: 0 });
});

t.test('bad input changes nothing', async (t) => {
  const plane = await controlPlane(t.testdir());
  const paths = ['', 'a', '/', '/..', '/a/../b', '/a//b', '/.vreserve', '/a/.vreserve', `/${'x'.repeat(5000)}`, '/a\0'];
  for (const path of paths) {
    await t.rejects(plane.keeper.reserve(path, 1, {}, root), { code: /BAD_PATH|PATH_TOO_LONG/ }, path.slice(0, 20));
    await t.rejects(plane.keeper.release(path, root), { code: /BAD_PATH|PATH_TOO_LONG/ });
  }
  for (const bytes of [-1, 1.5, 2 ** 53]) await t.rejects(plane.keeper.reserve('/a', bytes, {}, root), { code: 'BAD_BYTES' });
  t.strictSame(plane.engine.calls, []);
  t.strictSame(await inStep(plane), { default: 0 });
  const readOnly = await controlPlane(t.testdir({}), { readOnly: true });
  await t.rejects(readOnly.keeper.reserve('/a', 1, {}, root), { code: 'READ_ONLY', errno: 'EROFS' });
});

t.test('the order: set aside, commit, acknowledge; a release commits first', async (t) => {
  const plane = await controlPlane(t.testdir());
  const { keeper, engine, ledger } = plane;
  const fail = () => Promise.reject(new VreserveError('LEDGER_FULL'));
  const original = ledger.changeLots;

  ledger.changeLots = fail;
  await t.rejects(keeper.reserve('/a', 100, {}, root), { code: 'LEDGER_FULL', errno: 'ENOSPC' });
  t.strictSame(engine.calls, ['admit /a 100', 'release /a'], 'undone');
  ledger.changeLots = original;
  t.strictSame(await inStep(plane), { default: 0 });
  await keeper.reserve('/a', 100, {}, root);

  ledger.changeLots = fail;
  engine.calls.length = 0;
  await t.rejects(keeper.reserve('/a', 200, {}, root), { code: 'LEDGER_FULL' });
  t.strictSame(engine.calls, ['set /a 200', 'set /a 100'], 'growth is undone');
  engine.calls.length = 0;
  await t.rejects(keeper.reserve('/a', 50, {}, root), { code: 'LEDGER_FULL' });
  t.strictSame(engine.calls, [], 'a shrinking commits first');
  await t.rejects(keeper.release('/a', root), { code: 'LEDGER_FULL' });
  t.strictSame(engine.calls, [], 'a release commits first');
  ledger.changeLots = original;
  t.strictSame(await inStep(plane), { default: 0, '/a': 100 });
  t.match([...engine.lots.values()][1], { paths: ['/a'] }, 'still bound, once');

  // A writer is quicker than the shrinking.
  const id = (await keeper.reserve('/a', 100, {}, root)).id;
  ledger.changeLots = async (change, usage, events) => {
    await original.call(ledger, change, usage, events);
    if (change.put[0]?.policy.dedicatedBytes === 60) engine.write(id, 80);
  };
  await t.rejects(keeper.reserve('/a', 60, {}, root), { code: 'BELOW_USE', details: { heldBytes: 80 } });
  t.strictSame(await inStep(plane), { default: 0, '/a': 100 }, 'the ledger follows the engine');
  ledger.changeLots = original;

  await plane.heartbeat.beat();
  const { usage } = await ledger.load();
  engine.reshape = () => Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' }));
  await t.rejects(keeper.release('/a', root), { code: 'EIO' });
  t.strictSame(await inStep(plane), { default: 0, '/a': 100 }, 'a release that the engine could not make is taken back');
  t.strictSame((await ledger.load()).usage, usage, 'with what it held');
});

t.test('commands on one path wait for each other, others do not', async (t) => {
  const plane = await controlPlane(t.testdir());
  const { keeper, engine } = plane;
  let go = () => {};
  engine.onAdmit = () => new Promise((resolve) => (go = resolve));
  const first = keeper.reserve('/a', 10, {}, root);
  await new Promise((resolve) => setTimeout(resolve, 20));
  engine.onAdmit = async () => {};
  const order: string[] = [];
  const log = (name: string) => () => order.push(name);
  const waiting = [
    keeper.reserve('/a', 20, {}, root).then(log('same')),
    keeper.reserve('/a/b', 5, {}, root).then(log('below')),
    keeper.release('/a', root).then(log('release')),
    keeper.reserve('/ab', 5, {}, root).then(log('beside')),
  ];
  await waiting[3];
  t.strictSame(order, ['beside']);
  go();
  await Promise.all([first, ...waiting]);
  t.strictSame(order, ['beside', 'same', 'below', 'release'], 'first come, first served');
  t.strictSame(await inStep(plane), { default: 0, '/ab': 5, '/a/b': 5 });
  keeper.refuse();
  await t.rejects(keeper.reserve('/x', 1, {}, root), { code: 'ENDING' });
  await keeper.settled();
});

t.test('who may', async (t) => {
  const cases: [
    string,
    'writers' | 'owners' | 'root',
    Parameters<ControlPlane['keeper']['reserve']>[3],
    Partial<{ mayWrite: boolean; stickyOwner: number }>,
    boolean,
  ][] = [
    ['an administrator', 'root', root, { mayWrite: false }, true],
    ['a writer', 'writers', by(7), {}, true],
    ['no writer', 'writers', by(7), { mayWrite: false }, false],
    ['the owner of a sticky directory', 'writers', by(7), { stickyOwner: 7 }, true],
    ['another in a sticky directory', 'writers', by(7), { stickyOwner: 0 }, false],
    ['root in a container, as a writer', 'writers', confined, {}, true],
    ['root in a container is no administrator', 'root', confined, {}, false],
    ["the default lot's owner is host root", 'owners', confined, {}, false],
    ['a writer is no owner', 'owners', by(7), {}, false],
    ['a writer is not root', 'root', by(7), {}, false],
    ['the daemon user', 'root', by(33), {}, true],
    ['somebody unknown', 'writers', { caller: { ...ROOT, pid: 0 }, scope: 1, directory: '/' }, {}, false],
  ];
  for (const [name, reserveBy, who, access, may] of cases) {
    const plane = await controlPlane(t.testdir({}), { reserveBy, daemonUid: name === 'the daemon user' ? 33 : 0 });
    plane.engine.mayWrite = access.mayWrite ?? true;
    plane.engine.stickyOwner = access.stickyOwner ?? null;
    const asked = plane.keeper.reserve('/a', 1, {}, who);
    if (may) await t.resolves(asked, name);
    else {
      await t.rejects(asked, { code: 'NOT_YOURS', errno: 'EACCES' }, name);
      t.match(await plane.lines('refusal'), [{ code: 'NOT_YOURS' }]);
    }
    await plane.ledger.close();
  }

  const { keeper } = await controlPlane(t.testdir({}), { reserveBy: 'owners' });
  await keeper.reserve('/host', 10, {}, root);
  await keeper.reserve('/home', 10, {}, root);
  const seven = await controlPlane(t.testdir({}));
  await seven.keeper.reserve('/seven', 100, {}, by(7));
  await seven.keeper.reserve('/seven/eight', 10, {}, by(8));
  await t.rejects(seven.keeper.release('/seven', by(8)), { code: 'NOT_YOURS' });
  await t.rejects(seven.keeper.extend('/seven', 1, by(8)), { code: 'NOT_YOURS' });
  await t.resolves(seven.keeper.extend('/seven/eight', 1, by(7)), 'an owner above');
  await t.resolves(seven.keeper.release('/seven/eight', by(7)));
  await seven.keeper.reserve('/box', 10, {}, confined);
  await seven.keeper.reserve('/hosts', 10, {}, root);
  await t.rejects(seven.keeper.release('/hosts', confined), { code: 'NOT_YOURS' }, "root in a container, and host root's lot");
  await t.resolves(seven.keeper.release('/box', confined), 'root in a container, and its own');
  await t.resolves(seven.keeper.release('/seven', root), 'an administrator');
  await t.rejects(
    seven.keeper.check(false, by(7), () => {}),
    { code: 'NOT_YOURS' },
  );
});

t.test("through a lot's own .vreserve", async (t) => {
  const plane = await controlPlane(t.testdir());
  const { keeper, engine } = plane;
  const { id } = await keeper.reserve('/job1', 500, {}, root);
  await keeper.reserve('/job2', 100, {}, root);
  const inside = { caller: ROOT, scope: id, directory: '/job1' };
  t.match(await keeper.reserve('/sub', 50, {}, inside), { name: '/job1/sub', parents: [id] });
  for (const path of ['/']) await t.rejects(keeper.reserve(path, 900, {}, inside), { code: 'BAD_PATH' }, 'never the lot itself');
  engine.links.set('/job1/out', '/job2');
  engine.links.set('/job1/self', '/job1');
  await t.rejects(keeper.release('/out', inside), { code: 'BAD_PATH', message: /outside/ }, 'nor through a symlink');
  await t.rejects(keeper.release('/self', inside), { code: 'BAD_PATH' });
  await t.rejects(keeper.reserve('/../job2', 1, {}, inside), { code: 'BAD_PATH' });
  await t.rejects(keeper.reserve('/x', 1, {}, { caller: ROOT, scope: 99, directory: '/gone' }), { code: 'NO_SUCH_LOT' });
  t.equal(await keeper.release('/job2', inside), null, "'/job2' is /job1/job2 here");
  t.strictSame(await inStep(plane), { default: 0, '/job1': 500, '/job2': 100, '/job1/sub': 50 });
});

t.test('usage is saved, and charges become lines', async (t) => {
  const directory = t.testdir();
  const plane = await controlPlane(directory);
  const { keeper, engine, ledger, heartbeat, now } = plane;
  const { id } = await keeper.reserve('/a', 500, {}, root);
  await heartbeat.beat();
  t.strictSame(await plane.lines('charge'), [], 'nothing happened');
  engine.write(id, 300, 2);
  engine.write(id, -100);
  engine.write(1, 5, 1);
  now.ms += 1000;
  await heartbeat.beat();
  t.match(
    await plane.lines('charge'),
    [
      { at: '2026-01-01T00:00:01.000Z', lot: 'default', chargedBytes: 5, refundedBytes: 0, bytes: 5, objects: 1 },
      { lot: '/a', chargedBytes: 300, refundedBytes: 100, bytes: 200, objects: 2 },
    ]
      .reverse()
      .sort((a, b) => (a.lot === 'default' ? -1 : b.lot === 'default' ? 1 : 0)),
  );
  const saved = async () => (await ledger.load()).usage;
  t.strictSame(await saved(), [
    { id: 1, bytes: 5, objects: 1 },
    { id, bytes: 200, objects: 2 },
  ]);

  const save = ledger.saveUsage;
  ledger.saveUsage = () => Promise.reject(new VreserveError('LEDGER_FULL'));
  engine.write(id, 10);
  await heartbeat.beat();
  t.match(heartbeat.troubles(), [/disk is full/]);
  engine.write(id, 20);
  ledger.saveUsage = save;
  await heartbeat.beat();
  t.match((await plane.lines('charge')).at(-1), { lot: '/a', chargedBytes: 30, bytes: 230 }, 'a failed save is made up for');
  t.strictSame(heartbeat.troubles(), []);

  // A lot that is set aside, and not committed yet.
  engine.heldBytes = 40;
  const change = ledger.changeLots;
  ledger.changeLots = async (lots, usage, events) => {
    for (const { id: young } of lots.put) engine.write(young, 2, 1);
    await heartbeat.beat();
    await change.call(ledger, lots, usage, events);
  };
  const young = await keeper.reserve('/young', 100, {}, root);
  await heartbeat.beat();
  t.match(await saved(), [{}, {}, { id: young.id, bytes: 42, objects: 1 }], 'its changes wait');

  engine.shortBytes = 7;
  await heartbeat.beat();
  t.match(heartbeat.troubles(), [/short of 7 B/]);
  engine.shortBytes = 0;
  await heartbeat.beat();
  t.match(await plane.lines('shortage'), [{ shortBytes: 7 }, { shortBytes: 0 }]);
  await ledger.close();
});

t.test('check tells and corrects differences', async (t) => {
  const plane = await controlPlane(t.testdir());
  await plane.keeper.reserve('/a', 100, {}, root);
  t.match(await plane.keeper.check(false, root, () => {}), { differences: 0, lots: [{ name: 'default' }, { name: '/a' }] });
  plane.engine.counted = { bytes: 5, recordedBytes: 3 };
  t.match(await plane.keeper.check(false, root, () => {}), { differences: 2, lots: [{ repaired: false }, {}] });
  t.match(plane.heartbeat.troubles(), [/2 lots/]);
  t.match(await plane.keeper.check(true, root, () => {}), { differences: 2, lots: [{ repaired: true }, {}] });
  t.strictSame(plane.heartbeat.troubles(), []);
  t.match(await plane.lines('difference'), [
    { lot: 'default', countedBytes: 5, recordedBytes: 3, repaired: false },
    { lot: '/a' },
    { repaired: true },
    {},
  ]);
  plane.engine.counted = { bytes: 5, recordedBytes: 3, exact: false };
  t.match(await plane.keeper.check(true, root, () => {}), { differences: 0 }, 'where they could not be compared');
});

t.test('a restart knows the lots', async (t) => {
  const directory = t.testdir();
  const plane = await controlPlane(directory);
  const parent = await plane.keeper.reserve('/a', 100, {}, by(7));
  await plane.keeper.reserve('/a/b', 10, {}, by(7));
  plane.engine.write(parent.id, 30, 3);
  await plane.heartbeat.beat();
  await plane.ledger.close();
  const again = await controlPlane(directory);
  t.match(
    [...again.engine.lots.values()],
    [
      { spec: { id: 1, name: 'default', opportunisticBytes: -1, mayGrow: true } },
      { spec: { name: '/a', dedicatedBytes: 100, setsAside: true }, paths: ['/a'], bytes: 30, objects: 3 },
      { spec: { name: '/a/b', parents: [parent.id] }, paths: ['/a/b'] },
    ],
  );
  t.match(await again.keeper.release('/a/b', by(7)), { name: '/a/b' });
});

t.test("a reservation's options", async (t) => {
  const plane = await controlPlane(t.testdir());
  const { keeper } = plane;
  const hour = 3_600_000;
  const made = await keeper.reserve('/a', 100, { expiresInMs: hour, owner: '7', opportunisticBytes: 50, maxObjects: 3 }, root);
  const policy = { dedicatedBytes: 100, opportunisticBytes: 50, maxObjects: 3, createdAtMs: AT_MS, expiresAtMs: AT_MS + hour };
  t.match(made, { owner: '7', confinedOwner: false, selfParent: true, policy: { ...policy, deletesAtMs: null } });
  t.match([...plane.engine.lots.values()][1]?.spec, {
    dedicatedBytes: 100,
    opportunisticBytes: 50,
    maxObjects: 3,
    setsAside: true,
  });
  t.match(await plane.lines('grant'), [
    { lot: '/a', bytes: 100, opportunisticBytes: 50, maxObjects: 3, expiresAtMs: AT_MS + hour, owner: '0' },
  ]);
  plane.now.ms += 1000;
  t.match(
    await keeper.reserve('/a', 200, {}, by(7)),
    { owner: '7', policy: { ...policy, dedicatedBytes: 200 } },
    'the rest stays',
  );
  t.match(await keeper.extend('/a', 1, by(7)), { policy: { ...policy, dedicatedBytes: 201 } });
  t.match(await keeper.reserve('/a', 201, { expiresInMs: null, maxObjects: -1, opportunisticBytes: 0, owner: '8' }, by(7)), {
    owner: '8',
    policy: { dedicatedBytes: 201, opportunisticBytes: 0, maxObjects: -1, createdAtMs: AT_MS, expiresAtMs: null },
  });
  await t.rejects(keeper.extend('/a', 1, by(7)), { code: 'NOT_YOURS' }, 'it is given away');
  t.match(
    await keeper.reserve('/a', 201, { expiresInMs: hour }, by(8)),
    { policy: { expiresAtMs: AT_MS + 1000 + hour } },
    'from now',
  );
  t.match(await keeper.reserve('/box', 1, { owner: 'root' }, confined), { owner: '0', confinedOwner: true });
  t.match(await keeper.reserve('/later', 1, { owner: 'whoever-comes' }, root), {
    owner: 'whoever-comes',
    confinedOwner: false,
  });
});

t.test('times that come', async (t) => {
  const directory = t.testdir();
  const plane = await controlPlane(directory);
  const { keeper, engine, now } = plane;
  const parent = await keeper.reserve('/a', 100, { expiresInMs: 5000 }, root);
  const child = await keeper.reserve('/a/b', 50, {}, root);
  await keeper.reserve('/c', 50, { expiresInMs: 9000 }, root);
  const setsAside = () => [...engine.lots.values()].map(({ spec }) => spec.setsAside);
  now.ms += 4999;
  keeper.phases.pass();
  t.strictSame(setsAside(), [true, true, true, true]);
  now.ms += 1;
  keeper.phases.pass();
  t.strictSame(setsAside(), [true, false, false, true], 'a lot and what is below it');
  now.ms += 10_000;
  keeper.phases.pass();
  keeper.phases.pass();
  t.strictSame(setsAside(), [true, false, false, false]);
  await plane.heartbeat.beat();
  t.match(await plane.lines('expiration'), [
    { at: '2026-01-01T00:00:05.000Z', lot: '/a', bytes: 100 },
    { at: '2026-01-01T00:00:15.000Z', lot: '/c', bytes: 50 },
  ]);
  t.equal((await plane.lines('expiration')).length, 2, 'once');
  await keeper.reserve('/a', 100, { expiresInMs: 1000 }, root);
  t.strictSame(setsAside(), [true, true, true, false], 'a lot that lives again, and what is below it');
  t.strictSame(keeper.book.get(child.id)?.policy.expiresAtMs, null);
  now.ms += 1000;
  keeper.phases.pass();
  t.strictSame(setsAside(), [true, false, false, false]);
  await keeper.release('/a', root);
  t.strictSame(
    [...engine.lots.values()].map(({ spec }) => [spec.name, spec.setsAside]),
    [
      ['default', true],
      ['/a/b', true],
      ['/c', false],
    ],
    'a lot whose expired parent goes',
  );
  t.equal(engine.lots.has(parent.id), false);
  await plane.ledger.close();
  const setsAsideAfter = async (nowMs: number, laterMs: number) => {
    const again = await controlPlane(directory, { nowMs });
    const shown = () => [...again.engine.lots.values()].map(({ spec }) => spec.setsAside);
    const before = shown();
    again.now.ms += laterMs;
    again.keeper.phases.pass();
    await again.heartbeat.beat();
    const lines = (await again.lines('expiration')).length;
    await again.ledger.close();
    return [before, shown(), lines];
  };
  t.strictSame(
    await setsAsideAfter(now.ms + 1, 20_000),
    [[true, true, false], [true, true, false], 3],
    'told once, over a restart',
  );
  t.match(
    (await setsAsideAfter(AT_MS, 20_000)).slice(0, 2),
    [
      [true, true, true],
      [true, true, false],
    ],
    'a clock that was set back',
  );
});

t.test('a time that comes while a change is committed', async (t) => {
  const plane = await controlPlane(t.testdir());
  const { keeper, engine, ledger, now } = plane;
  const commit = ledger.changeLots;
  ledger.changeLots = async (change, usage, events) => {
    await commit.call(ledger, change, usage, events);
    now.ms += 200;
    keeper.phases.pass();
  };
  const { id } = await keeper.reserve('/a', 100, { expiresInMs: 100 }, root);
  ledger.changeLots = commit;
  now.ms += 250;
  keeper.phases.pass();
  t.equal(engine.lots.get(id)?.spec.setsAside, false, 'the data plane is told');
  await plane.heartbeat.beat();
  t.match(await plane.lines('expiration'), [{ lot: '/a' }], 'and the journal');
});

t.test('of many refusals of one user some are lines of the journal', async (t) => {
  const plane = await controlPlane(t.testdir(), { reserveBy: 'root' });
  const ask = (caller: Caller) =>
    t.rejects(plane.keeper.extend('/none', 1, { caller, scope: 1, directory: '/' }), { code: 'NO_SUCH_LOT' });
  for (let i = 0; i < 25; i++) await ask(user(8));
  t.equal((await plane.lines('refusal')).length, 20, 'so many in a second');
  await ask(user(9));
  t.equal((await plane.lines('refusal')).length, 21, "another user's");
  plane.now.ms += 1000;
  await ask(user(8));
  t.match((await plane.lines('refusal')).at(-1), { owner: '8', unsaid: 5 }, 'the next one tells how many there were');
  for (let i = 0; i < 25; i++) await ask(ROOT);
  t.equal((await plane.lines('refusal')).length, 47, 'all of an administrator');
});

t.test("what is about the whole mount is not asked through a lot's own .vreserve", async (t) => {
  const { keeper, engine } = await controlPlane(t.testdir());
  const { id } = await keeper.reserve('/a', 10, {}, root);
  const inside = { caller: ROOT, scope: id, directory: '/a' };
  await t.rejects(
    keeper.check(true, inside, () => {}),
    { code: 'NOT_YOURS' },
  );
  t.notOk(engine.calls.includes('count true'), 'nothing was counted');
});
