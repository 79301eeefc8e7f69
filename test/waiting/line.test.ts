// The waiting line where things come together: withdrawals and ends in the middle of a decision, a ledger that fails, requests that
// something is wrong with, lots and pools that change under who waits.

import { renameSync, rmSync } from 'node:fs';
import type { Test } from 'tap';
import t from 'tap';
import { VreserveError } from '../../src/core/errors.js';
import { Monitor } from '../../src/spool/index.js';
import type { Wait } from '../../src/views/host.js';
import { user } from '../helpers/control-plane.js';
import { BY_ROOT, byUser, QUEUES, turns, until, WaitingWorld, type WorldOptions } from '../helpers/waiting-world.js';

async function make(t: Test, options: WorldOptions = {}): Promise<WaitingWorld> {
  const world = await WaitingWorld.make({ capacityBytes: 100, ...options });
  t.teardown(() => world.remove());
  return world;
}

function waiting(waitMs: number | null = null, signal = new AbortController().signal): Wait {
  return { waitMs, signal };
}

/** Everything is decided, fetched or gone. */
async function clean(t: Test, world: WaitingWorld): Promise<void> {
  await world.settle();
  t.strictSame((await world.life.ledger.load()).waiting, [], 'the table');
  for (const place of [['pending'], ['pending', '.checkout'], ['.claimed'], ['.tmp']])
    t.strictSame(world.names(...place), [], place.join('/'));
  t.strictSame(await (await Monitor.load(world.spoolDirectory, QUEUES)).runOnce(), [], 'the spool');
  t.strictSame(world.line.troubles, []);
}

/** Stops the next admission of that lot until `go` is called. */
function holdAdmission(world: WaitingWorld, path: string): { go: () => void; held: Promise<void> } {
  const { engine } = world.life;
  const reshape = engine.reshape.bind(engine);
  let go = () => {};
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const held = new Promise<void>((resolve) => {
    engine.reshape = async (change) => {
      if (change.lots[0]?.name !== path) return reshape(change);
      engine.reshape = reshape;
      resolve();
      await gate;
      return reshape(change);
    };
  });
  return { go, held };
}

t.test('an entry that is taken out in the middle of its admission', async (t) => {
  for (const fits of [false, true]) {
    const world = await make(t);
    await world.commands.reserve('/full', 90, {}, BY_ROOT, null);
    await world.ask('head', { path: '/a', bytes: 50 });
    await world.ask('next', { path: '/b', bytes: 5 });
    t.strictSame(world.waiting(), ['/a', '/b']);
    const { go, held } = holdAdmission(world, '/a');
    if (fits) await world.keeper.release('/full', BY_ROOT);
    else await world.keeper.reserve('/full', 89, {}, BY_ROOT);
    world.line.wake();
    await held;
    await world.spool.withEntry(world.spool.entry('pending', 'head'), async () => ({ remove: true }));
    world.life.hear(['head']);
    await turns(20);
    go();
    await world.settle();
    t.equal(world.keeper.book.named('/a'), undefined, 'nothing is granted to who has gone');
    t.match(world.decision('next'), { queue: 'granted' }, 'and it is in nobody’s way');
    t.match(await world.journal('withdrawal'), [{ request: 'head', path: '/a' }]);
    t.strictSame(world.life.engine.pool().headroomBytes, fits ? 95 : 6);
    await clean(t, world);
  }
});

t.test('a command that is interrupted in the middle of its admission', async (t) => {
  for (const fits of [false, true]) {
    const world = await make(t);
    await world.commands.reserve('/full', 90, {}, BY_ROOT, null);
    const controller = new AbortController();
    const answer = world.commands.reserve('/a', 50, {}, BY_ROOT, waiting(null, controller.signal));
    answer.catch(() => {});
    await until('it waits', () => world.waiting().length === 1);
    await world.settle();
    const { go, held } = holdAdmission(world, '/a');
    await world.keeper.reserve('/full', fits ? 50 : 89, {}, BY_ROOT).catch(() => {});
    world.line.wake();
    await held;
    controller.abort();
    await turns(5);
    go();
    await world.settle();
    if (fits) t.match(await answer, { name: '/a' }, 'what is being decided is decided');
    else await t.rejects(answer, { code: 'WITHDRAWN' });
    t.equal(world.keeper.book.named('/a') !== undefined, fits);
    t.strictSame(world.waiting(), []);
    await clean(t, world);
  }
});

t.test('the end comes while a command is on its way into the line', async (t) => {
  for (const place of ['joinLine', 'put'] as const) {
    const world = await make(t);
    await world.commands.reserve('/full', 100, {}, BY_ROOT, null);
    const { ledger, box, line } = world.life;
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    let reached = false;
    const at = () => {
      reached = true;
      return gate;
    };
    if (place === 'joinLine') {
      const join = ledger.joinLine.bind(ledger);
      ledger.joinLine = (...words) => at().then(() => join(...words));
    } else {
      const put = box.put.bind(box);
      box.put = (...words) => at().then(() => put(...words));
    }
    const answer = world.commands.reserve('/a', 5, {}, BY_ROOT, waiting());
    answer.catch(() => {});
    await until(place, () => reached);
    const stopped = line.stop();
    await turns(5);
    go();
    await stopped;
    await t.rejects(answer, { code: 'ENDING' }, place);
    t.strictSame((await ledger.load()).waiting, []);
    for (const where of ['pending', '.registry', '.data', '.claimed']) t.strictSame(world.names(where), [], where);
  }
});

t.test('the ledger fails', async (t) => {
  const world = await make(t);
  const { ledger } = world.life;
  const { joinLine, changeLots, leaveLine, settle } = ledger;
  const fail = () => Promise.reject(new VreserveError('LEDGER_FULL'));
  const restore = () => Object.assign(ledger, { joinLine, changeLots, leaveLine, settle });
  await world.commands.reserve('/full', 90, {}, BY_ROOT, null);

  ledger.joinLine = fail;
  await t.rejects(world.commands.reserve('/c', 50, {}, BY_ROOT, waiting()), { code: 'LEDGER_FULL' });
  t.strictSame([world.waiting(), world.names('.registry'), world.names('pending')], [[], [], []], 'nothing is left of it');
  await world.put('a', JSON.stringify({ path: '/a', bytes: 50 }));
  await world.put('b', JSON.stringify({ path: '/b', bytes: 5 }));
  world.life.hear(['a', 'b']);
  await world.settle();
  t.match(world.line.troubles, [/the ledger cannot be written/]);
  t.strictSame([world.waiting(), world.names('pending')], [[], ['a', 'b']], 'what lies in the spool is not lost');
  restore();
  for (let i = 0; i < 25; i++) world.line.look();
  await world.settle();
  t.strictSame([world.waiting(), world.line.troubles], [['/a', '/b'], []], 'and it is taken in when the ledger can be written');

  ledger.changeLots = fail;
  const release = world.life.engine.lots.get(world.keeper.book.named('/full')?.id ?? 0);
  if (release !== undefined) world.life.engine.capacityBytes = 190;
  world.line.look();
  await world.settle();
  t.match(world.line.troubles, [/the ledger cannot be written/]);
  t.strictSame(
    [world.waiting(), world.names('pending'), world.names('.claimed')],
    [['/a', '/b'], ['a', 'b'], []],
    'what was claimed is put back',
  );
  t.equal(world.life.engine.pool().headroomBytes, 100, 'and nothing is set aside');
  restore();

  ledger.leaveLine = fail;
  world.line.look();
  await world.settle();
  t.strictSame([world.waiting(), world.names('granted')], [[], ['a', 'b']], 'what is decided is decided');
  t.strictSame((await ledger.load()).waiting.length, 2);
  restore();
  world.line.look();
  await world.settle();
  for (const path of ['/a', '/b']) t.equal((await world.journal('grant')).filter((line) => line.path === path).length, 1, 'once');

  await world.ask('late', { path: '/late', bytes: 50, wait: 10 });
  world.now.ms += 10;
  ledger.settle = fail;
  world.line.look();
  await world.settle();
  t.strictSame([world.waiting(), world.names('pending'), world.names('refused')], [['/late'], ['late'], []]);
  restore();
  world.line.look();
  await world.settle();
  t.match(world.decision('late'), { queue: 'refused', outcome: { code: 'WAITED_FOR_NOTHING' } });
  await clean(t, world);
});

t.test('the process that uses the mount dies while a request that was claimed is put back', async (t) => {
  const world = await make(t);
  const { ledger, box } = world.life;
  const { changeLots, settle } = ledger;
  const putBack = box.putBack.bind(box);
  const broken = () => {
    ledger.changeLots = ledger.settle = () => Promise.reject(new VreserveError('LEDGER_FULL'));
    box.putBack = () => Promise.reject(new VreserveError('PROCESS_GONE', { what: 'it' }));
  };
  const mended = () => {
    Object.assign(ledger, { changeLots, settle });
    box.putBack = putBack;
  };
  await world.commands.reserve('/full', 90, {}, BY_ROOT, null);
  await world.ask('a', { path: '/a', bytes: 50 });
  broken();
  await world.commands.release('/full', BY_ROOT).catch(() => {});
  world.life.engine.capacityBytes = 190;
  world.line.look();
  await world.settle();
  t.strictSame([world.waiting(), world.names('.claimed')], [['/a'], ['a']], 'it waits, claimed');
  mended();
  world.line.look();
  await world.settle();
  t.match(world.decision('a'), { queue: 'granted' }, 'and is granted when it was put back');

  await world.ask('late', { path: '/late', bytes: 170, wait: 10 });
  world.now.ms += 10;
  broken();
  world.line.look();
  await world.settle();
  t.strictSame([world.waiting(), world.names('.claimed')], [['/late'], ['late']], 'the same of one that is overdue');
  mended();
  world.line.look();
  await world.settle();
  t.match(world.decision('late'), { queue: 'refused', outcome: { code: 'WAITED_FOR_NOTHING' } });
  await clean(t, world);
});

t.test('what is wrong with one request holds up nobody', async (t) => {
  const world = await make(t);
  await world.commands.reserve('/full', 95, {}, BY_ROOT, null);
  const { engine, box } = world.life;
  const access = engine.access.bind(engine);
  engine.access = (directory, path, caller) =>
    path === '/sick' ? Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' })) : access(directory, path, caller);
  for (const name of ['sick', 'a', 'b']) await world.put(name, JSON.stringify({ path: `/${name}`, bytes: 10 }));
  world.life.hear(['sick', 'a', 'b']);
  await world.settle();
  t.strictSame(world.waiting(), ['/a', '/b'], 'those that come after it are taken in');
  const claim = box.claim.bind(box);
  box.claim = (name) => (name === 'a' ? Promise.reject(Object.assign(new Error('EPERM'), { code: 'EPERM' })) : claim(name));
  await world.commands.release('/full', BY_ROOT);
  await world.settle();
  t.match([world.decision('a'), world.decision('b')], [null, { queue: 'granted' }], 'and served');
  t.equal(world.line.troubles.length > 0, true);
  box.claim = claim;
  engine.access = access;
  for (let i = 0; i < 25; i++) world.line.look();
  await world.settle();
  t.match([world.decision('a'), world.decision('sick')], [{ queue: 'granted' }, { queue: 'granted' }]);
  await clean(t, world);
});

t.test('a power cut that lost the claim, and not the record', async (t) => {
  for (const place of ['.claimed', 'pending', 'granted', 'nowhere']) {
    const world = await make(t);
    await world.commands.reserve('/full', 100, {}, BY_ROOT, null);
    await world.ask('a', { path: '/a', bytes: 50 });
    // Killed when the grant is recorded and the entry claimed.
    world.life.box.finish = () => new Promise(() => {});
    await world.keeper.release('/full', BY_ROOT);
    world.line.wake();
    await until('granted', () => world.keeper.book.named('/a') !== undefined && world.names('.claimed').length === 1);
    await turns(10);
    await world.kill();
    if (place === 'nowhere') for (const where of ['.claimed', '.data', '.registry']) rmSync(world.path(where, 'a'));
    else if (place !== '.claimed') renameSync(world.path('.claimed', 'a'), world.path(place, 'a'));
    await world.start();
    await world.settle();
    t.equal((await world.journal('grant')).filter(({ request }) => request === 'a').length, 1, `${place}: granted once`);
    t.strictSame(await world.journal('extension'), []);
    if (place !== 'granted' && place !== 'nowhere')
      t.match(world.decision('a'), { queue: 'granted', outcome: { decision: 'granted' } }, place);
    await clean(t, world);
  }
});

t.test('what can never fit any more', async (t) => {
  const world = await make(t);
  await world.commands.reserve('/full', 50, {}, BY_ROOT, null);
  await world.ask('big', { path: '/big', bytes: 90 });
  await world.ask('below', { path: '/p/below', bytes: 20 });
  await world.ask('small', { path: '/small', bytes: 20 });
  await world.end();
  world.capacityBytes = 80;
  await world.start();
  await world.settle();
  t.match(world.decision('big'), {
    queue: 'refused',
    outcome: { code: 'NEVER_FITS', message: /the pool can never hold more than 80 B/ },
  });
  t.match(world.decision('below'), { queue: 'granted' });
  t.strictSame(world.waiting(), ['/small']);
  await world.ask('inside', { path: '/q/inside', bytes: 30 });
  t.strictSame(world.waiting(), ['/small', '/q/inside']);
  await world.keeper.reserve('/q', 5, {}, BY_ROOT);
  await world.settle();
  t.match(world.decision('inside'), {
    queue: 'refused',
    outcome: { code: 'NEVER_FITS', message: /lot '\/q' can never hold more than 5 B/ },
  });
  t.strictSame(world.waiting(), ['/small']);
  await world.keeper.release('/full', BY_ROOT);
  await clean(t, world);
});

t.test('a lot that is made around the path of who waits', async (t) => {
  const world = await make(t);
  await world.commands.reserve('/full', 80, {}, BY_ROOT, null);
  await world.ask('head', { path: '/a', bytes: 50 });
  await world.ask('inside', { path: '/p/b', bytes: 10 });
  await world.ask('deeper', { path: '/p/b/c', bytes: 10 });
  t.strictSame(
    world.line.list().map(({ position }) => position),
    [1, 2, 3],
  );
  await world.keeper.reserve('/p', 15, {}, BY_ROOT);
  await world.settle();
  t.match(world.decision('inside'), { queue: 'granted' }, 'waits for nobody in another lot');
  const p = world.keeper.book.named('/p/b')?.id;
  t.match(
    world.line.list(),
    [
      { path: '/a', lot: 1, position: 1 },
      { path: '/p/b/c', lot: p, position: 1 },
    ].slice(0, world.waiting().length),
  );
  await world.keeper.release('/p/b', BY_ROOT);
  await world.keeper.release('/p', BY_ROOT);
  await world.settle();
  t.strictSame(world.waiting().includes('/a'), true);
  await world.keeper.release('/full', BY_ROOT);
  await world.settle();
  await clean(t, world);
});

t.test('overtaking', async (t) => {
  const world = await make(t, { allowOvertaking: true });
  world.line.look();
  await world.commands.reserve('/a', 60, {}, BY_ROOT, null);
  await world.commands.reserve('/b', 20, {}, BY_ROOT, null);
  await world.ask('head', { path: '/c', bytes: 50 });
  await world.ask('fits', { path: '/d', bytes: 5 });
  t.match(world.decision('fits'), { queue: 'granted' }, 'who comes later and fits');
  await world.put('grow', JSON.stringify({ path: '/d', bytes: 18 }));
  world.life.hear(['grow']);
  await world.settle();
  t.match(world.decision('grow'), { queue: 'granted' }, 'growth needs only the difference');
  await world.ask('none', { path: '/e', bytes: 3 });
  t.equal(world.decision('none'), null);
  await world.commands.reserve('/b', 15, {}, BY_ROOT, null);
  await world.settle();
  t.match(world.decision('none'), { queue: 'granted' });
  await world.ask('shrinks', { path: '/d', bytes: 1 });
  t.match(world.decision('shrinks'), { queue: 'granted' });
  await world.ask('gives', { path: '/e', bytes: 0 });
  await world.commands.release('/a', BY_ROOT);
  await world.settle();
  t.match(world.decision('head'), { queue: 'granted' });
  await clean(t, world);
});

t.test('a waiting request that gives back, and a writer who is quicker', async (t) => {
  const world = await make(t);
  const lot = await world.commands.reserve('/a', 60, {}, byUser({ ...user(0), uid: 0, gid: 0 }), null);
  await world.ask('head', { path: '/b', bytes: 50 });
  await world.ask('less', { path: '/a', bytes: 40 });
  t.strictSame(world.waiting(), ['/b', '/a']);
  const { ledger, engine } = world.life;
  const { changeLots } = ledger;
  const outcomes: unknown[] = [];
  ledger.changeLots = async (change, ...more) => {
    outcomes.push(more[2]?.outcome);
    await changeLots.call(ledger, change, ...more);
    if (change.put[0]?.policy.dedicatedBytes === 40) engine.write(lot.id, 55);
  };
  await world.spool.withEntry(world.spool.entry('pending', 'head'), async () => ({ remove: true }));
  world.life.hear(['head']);
  await world.settle();
  ledger.changeLots = changeLots;
  t.match(world.decision('less'), { queue: 'refused', outcome: { code: 'BELOW_USE' } });
  t.equal(world.keeper.book.named('/a')?.policy.dedicatedBytes, 60);
  t.match((await ledger.load()).lots[1], { policy: { dedicatedBytes: 60 } }, 'the ledger follows the engine');
  t.match(outcomes, [/granted/, null], 'and what was granted for a moment is not decided');
  await clean(t, world);
});

t.test('the watch fails', async (t) => {
  const world = await make(t);
  const { box, line } = world.life;
  await world.end();
  let isBroken = true;
  await world.start((life) => {
    const watch = life.box.watch.bind(life.box);
    life.box.watch = (...words) => {
      if (isBroken) throw Object.assign(new Error('ENOSPC: no watches left'), { code: 'ENOSPC' });
      watch(...words);
    };
  });
  t.match(world.line.troubles, [/requests in the spool .*no watches left/]);
  await world.put('a', JSON.stringify({ path: '/a', bytes: 5 }));
  world.line.look();
  await world.settle();
  t.match(world.decision('a'), { queue: 'granted' }, 'looked for all the same');
  isBroken = false;
  world.line.look();
  await world.settle();
  t.strictSame(world.line.troubles, []);
  await world.ask('b', { path: '/b', bytes: 5 });
  t.match(world.decision('b'), { queue: 'granted' });
  await clean(t, world);
  t.not(box, world.life.box);
  t.not(line, world.line);
});

t.test('an entry that its asker checks out, and puts back', async (t) => {
  const world = await make(t);
  await world.commands.reserve('/full', 100, {}, BY_ROOT, null);
  await world.ask('a', { path: '/a', bytes: 5 });
  await world.ask('b', { path: '/b', bytes: 5 });
  const taken = await world.spool.checkout(world.spool.entry('pending', 'a'));
  world.life.hear(['a']);
  await world.settle();
  t.strictSame(world.waiting(), ['/b'], 'it left the line');
  await world.end();
  await world.start();
  t.strictSame(world.names('pending', '.checkout'), ['a'], 'and is still its own after a restart');
  taken.update(JSON.stringify({ path: '/a2', bytes: 6 }));
  await taken.save('pending');
  world.life.hear(['a']);
  await world.settle();
  t.strictSame(world.waiting(), ['/b', '/a2'], 'at the end of it again, as it is now');
  await world.commands.release('/full', BY_ROOT);
  await world.settle();
  t.match([world.decision('a'), world.decision('b')], [{ outcome: { lot: '/a2' } }, { outcome: { lot: '/b' } }]);
  await clean(t, world);
});

t.test('after a restart they are served in their order, whoever came while nobody served', async (t) => {
  const world = await make(t);
  await world.commands.reserve('/full', 100, {}, BY_ROOT, null);
  for (const name of ['z1', 'y2']) await world.ask(name, { path: `/${name}`, bytes: 5 });
  await world.end();
  for (const name of ['x3', 'w4', 'v5']) {
    await world.put(name, JSON.stringify({ path: `/${name}`, bytes: 5, wait: '1h' }));
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
  world.now.ms += 5;
  await world.start();
  t.strictSame(world.waiting(), ['/z1', '/y2', '/x3', '/w4', '/v5']);
  t.match(world.line.list()[4], { deadlineMs: world.now.ms + 3_600_000 }, 'a wait begins when it is taken in');
  await world.kill();
  await world.start();
  t.strictSame(world.waiting(), ['/z1', '/y2', '/x3', '/w4', '/v5']);
  await world.commands.release('/full', BY_ROOT);
  await world.settle();
  t.strictSame(
    (await world.journal('grant')).slice(1).map(({ request }) => request),
    ['z1', 'y2', 'x3', 'w4', 'v5'],
  );
  await clean(t, world);
});

t.test('"wait": 0 is now or never', async (t) => {
  const world = await make(t);
  await world.ask('now', { path: '/a', bytes: 60, wait: 0 });
  await world.ask('never', { path: '/b', bytes: 60, wait: 0 });
  t.match(world.decision('now'), { queue: 'granted' });
  t.match(world.decision('never'), { queue: 'refused', outcome: { code: 'WAITED_FOR_NOTHING', errno: 'ENOSPC' } });
  await clean(t, world);
});

process.on('unhandledRejection', (error) => t.fail(`nobody handled: ${String(error)}`));
