// Calls between two real processes: values, errors, aborts, many at once, and a side that goes.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { errnoOf, VreserveError } from '../../src/core/errors.js';
import { Calls } from '../../src/process/calls.js';
import { gone, isAlive } from '../helpers/mount.js';
import type { Home, Peer } from './peer.js';

interface Started {
  child: ChildProcess;
  calls: Calls<Peer>;
  heard: string[];
  /** Signals that the peer's calls have. */
  signals: AbortSignal[];
  until(text: string): Promise<void>;
}

const file = (name: string) => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

async function start(t: Test): Promise<Started> {
  const child = spawn(process.execPath, [file('peer')], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const exited = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  const calls = new Calls<Peer>(child, 'the peer');
  const heard: string[] = [];
  const signals: AbortSignal[] = [];
  let onHeard = () => {};
  const home: Home = {
    twice: async (n) => 2 * n,
    aborted: (signal) => {
      signals.push(signal);
      return new Promise((done) => signal.addEventListener('abort', () => done()));
    },
    heard: (text) => {
      heard.push(text);
      onHeard();
    },
  };
  calls.answer(home);
  const until = async (text: string) => {
    while (!heard.includes(text)) {
      await new Promise<void>((done) => {
        onHeard = done;
      });
    }
  };
  await until('ready');
  return { child, calls, heard, signals, until };
}

t.test('values both ways', async (t) => {
  const { calls } = await start(t);
  const { other } = calls;
  const values = [undefined, null, -0, 2n ** 60n, 'é\0', new Map([['/a', 1]]), { deep: [new Date(0), undefined] }];
  t.strictSame(await other.echo(...values), values);
  const [bytes] = await other.echo(Buffer.from([0, 255, 10]));
  t.ok(Buffer.isBuffer(bytes));
  t.strictSame(bytes, Buffer.from([0, 255, 10]));
  const large = Buffer.alloc(20_000_000, 'large ');
  const [back] = (await other.echo(large)) as [Buffer];
  t.ok(large.equals(back), 'large ones whole');
  t.equal(await other.askBack(20), 41, 'it asks while it is asked');
});

t.test('many at once, answered in whatever order', async (t) => {
  const { calls, heard } = await start(t);
  const { other } = calls;
  const order: number[] = [];
  const all = Array.from({ length: 500 }, (_, n) => other.wait(n).then((answer) => order.push(answer)));
  const wanted = Array.from({ length: 100 }, (_, n) => (n * 37) % 500);
  for (const n of wanted) await other.go(n);
  t.strictSame(order, wanted, 'the last called are not the last answered');
  await Promise.all(Array.from({ length: 500 }, (_, n) => other.go(n)));
  await Promise.all(all);
  t.strictSame(
    order.sort((a, b) => a - b),
    Array.from({ length: 500 }, (_, n) => n),
  );
  await other.tellMany(1000);
  t.strictSame(
    heard.slice(1),
    Array.from({ length: 1000 }, (_, n) => String(n)),
    'what is told comes in its order, before the answer',
  );
});

t.test('errors', async (t) => {
  const { calls } = await start(t);
  const { other } = calls;
  const refused = await other.refuse('/a', 5).catch((error: unknown) => error);
  t.ok(refused instanceof VreserveError);
  t.match(refused, { code: 'NO_SPACE', details: { path: '/a', availableBytes: 5 }, message: 'in other words', httpStatus: 507 });
  const system = await other.failOfSystem().catch((error: unknown) => error);
  t.match(system, { message: 'EACCES: not allowed' });
  t.equal(errnoOf(system), 'EACCES');
  const odd = await other.failOddly().catch((error: unknown) => error);
  t.match(odd, { message: 'this was not foreseen', stack: /peer\.[jt]s/ }, 'it says where it comes from');
  t.equal(errnoOf(odd), null);
  await t.rejects(other.throwText(), { message: 'only a text' });
  await t.rejects(other.giveFunction(), { message: /could not be cloned/ });
  await t.rejects(
    other.echo(() => {}),
    { message: /could not be cloned/ },
  );
  const stray = calls.other as unknown as { nothing(): Promise<void>; toString(): Promise<void> };
  await t.rejects(stray.nothing(), { message: 'nothing is not to be called here' });
  t.strictSame(await other.echo(1), [1], 'and it goes on');
});

t.test('signals', async (t) => {
  const { calls, until } = await start(t);
  const { other } = calls;
  t.equal(await other.untilAborted('without'), 'without: none');
  const stop = new AbortController();
  const answer = other.untilAborted('first', stop.signal);
  const second = new AbortController();
  const waits = other.untilAborted('second', second.signal);
  await until('first waits');
  await until('second waits');
  stop.abort();
  t.equal(await answer, 'first: aborted', 'the answer is the other side’s');
  t.equal(await other.untilAborted('late', stop.signal), 'late: aborted', 'one that is aborted already');
  second.abort();
  t.equal(await waits, 'second: aborted');
  const unused = new AbortController();
  t.equal(await other.atOnce(unused.signal), 'done');
  unused.abort();
  t.strictSame(await other.echo(2), [2], 'an abort after the answer is nothing');
});

t.test('a side that goes', async (t) => {
  const { child, calls, signals, until } = await start(t);
  const pending: Promise<unknown>[] = [calls.other.wait(1), calls.other.untilAborted('it', new AbortController().signal)];
  await until('it waits');
  const left = calls.other.leave().catch(() => {});
  for (const each of pending) {
    await t.rejects(each, { code: 'PROCESS_GONE', errno: 'EIO', message: 'the peer has died' });
  }
  await left;
  t.equal(signals[0]?.aborted, true, 'what it had asked for is aborted');
  t.equal(child.exitCode ?? (await once(child, 'exit'))[0], 7);
  await t.rejects(calls.other.echo(1), { code: 'PROCESS_GONE' });
  calls.tell('echo', 'nobody is there');
  const other = await start(t);
  const killed = other.calls.other.wait(1);
  other.child.kill('SIGKILL');
  await t.rejects(killed, { code: 'PROCESS_GONE' });
  const none = spawn('/nowhere/at/all', { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], serialization: 'advanced' });
  none.on('error', () => {});
  const never = new Calls<Peer>(none, 'the peer');
  await t.rejects(never.other.echo(1), { code: 'PROCESS_GONE' }, 'one that was never there');
});

t.test('a process that works for another outlives no daemon, and no signal ends it', async (t) => {
  const parent = spawn(process.execPath, [file('parent')], { detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(parent, 'exit');
  t.teardown(async () => {
    parent.kill('SIGKILL');
    await exited;
  });
  let said = '';
  parent.stdout.on('data', (part: Buffer) => {
    said += part.toString();
  });
  const says = async (what: RegExp) => {
    while (!what.test(said)) await once(parent.stdout, 'data');
  };
  await says(/^\d+\n/);
  const pid = Number.parseInt(said, 10);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // As the terminal does it: to all of the group.
    process.kill(-(parent.pid ?? 0), signal);
    await says(new RegExp(signal));
  }
  t.ok(await isAlive(pid));
  parent.kill('SIGKILL');
  await exited;
  await gone(pid);

  const orphan = spawn(process.execPath, [file('peer'), 'late'], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const over = once(orphan, 'exit');
  t.teardown(() => orphan.kill('SIGKILL'));
  orphan.disconnect();
  t.strictSame(await over, [0, null], 'nor one that goes before it has begun');
});
