// The service process of a live mount: killed, its daemon killed, its address taken; and every way to end a mount at which it is busy.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { connect, createServer, type NetConnectOpts } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { mountAt } from '../../src/cli/mountinfo.js';
import { Load, plainEnvironment } from '../crash/load.js';
import { type At, ask, at, descriptors, servicePid, until } from '../helpers/http.js';
import { report } from '../helpers/lots.js';
import { gone, isAlive, type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { MAIN, must, run, vreserve } from '../helpers/run.js';

const ARGS = ['--capacity', '100MB', '--margin', '0', '--http', '127.0.0.1:0'];

const health = async (m: Mounted) => (await readFile(join(m.mnt, '.vreserve/health'), 'utf8')).trim();

const isAnswering = (where: At) =>
  ask(where, '/api/v1.0/lots').then(
    ({ status }) => status === 200,
    () => false,
  );

/** Reserves and releases until they are stopped; what became of an answer that does not come is not known to them. */
class Askers {
  readonly #where: At;
  #isOver = false;
  #all: Promise<void>[] = [];
  answered = 0;
  lost = 0;
  /** Answers that are neither a success nor one of an end. */
  readonly odd: string[] = [];

  constructor(where: At, count: number) {
    this.#where = where;
    this.#all = Array.from({ length: count }, (_, n) => this.#ask(`/asker${n}`));
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#all);
  }

  async #ask(path: string): Promise<void> {
    while (!this.#isOver) {
      for (const call of [`/reserve/?path=${path}&bytes=1000`, `/release/?path=${path}`]) {
        try {
          const { status, body } = await ask(this.#where, call);
          if (status === 200) this.answered += 1;
          else if (status !== 503) this.odd.push(body);
        } catch {
          this.lost += 1;
          // Whoever is refused at once would ask nothing else.
          await new Promise((later) => setTimeout(later, 10));
        }
      }
    }
  }
}

async function writing(t: Test, m: Mounted): Promise<Load> {
  const load = new Load();
  t.teardown(() => load.stop());
  await mkdir(join(m.mnt, 'written'), { recursive: true });
  await load.write([1, 2], [join(m.mnt, 'written')]);
  return load;
}

/** What is promised is what the lots say, and what is recorded is what is there. */
async function isSound(t: Test, m: Mounted): Promise<void> {
  const { pool, lots } = await report(m.mnt);
  t.equal(
    pool.setAsideBytes,
    lots.reduce((sum, { dedicatedBytes }) => sum + dedicatedBytes, 0),
    'what is set aside is what is reserved',
  );
  t.match(await m.run(['check', m.mnt]), { code: 0 });
}

t.test('killed under requests, it answers again, and files are not disturbed', async (t) => {
  const m = await mount(t, { args: ARGS });
  const where = at(m.ready.http);
  const load = await writing(t, m);
  const askers = new Askers(where, 16);
  const first = await servicePid(m.ready.pid);
  await until(() => askers.answered > 100, 'they are answered');
  const before = await descriptors(m.ready.pid);
  for (let n = 0; n < 3; n++) {
    const pid = await servicePid(m.ready.pid);
    process.kill(pid ?? 0, 'SIGKILL');
    await gone(pid ?? 0);
    const { answered } = askers;
    await until(() => askers.answered > answered + 100, 'they are answered again');
    t.not(await servicePid(m.ready.pid), pid);
  }
  await until(async () => (await health(m)) === 'ok', 'health is good again');
  await askers.stop();
  await load.stop();
  t.strictSame([askers.odd, load.failures], [[], []]);
  t.ok(askers.lost > 0, `${askers.lost} lost of ${askers.answered + askers.lost}`);
  t.not(first, null);
  await until(async () => (await descriptors(m.ready.pid)) < before + 20, 'no descriptor is left');
  for (let n = 0; n < 16; n++) t.match(await ask(where, `/release/?path=/asker${n}`), { status: 200 });
  t.equal((await report(m.mnt)).pool.setAsideBytes, 0);
  await isSound(t, m);
  t.match(
    await readFile(join(m.data, '.vreserve/daemon.log'), 'utf8'),
    /the service process is started again.*the service process serves again/s,
  );
});

t.test('an address that somebody else has taken meanwhile', async (t) => {
  const m = await mount(t, { args: ARGS });
  const where = at(m.ready.http) as { host: string; port: number };
  const pid = await servicePid(m.ready.pid);
  const other = createServer((socket) => socket.destroy());
  t.teardown(() => other.close());
  // The daemon is held, lest it be faster.
  process.kill(m.ready.pid, 'SIGSTOP');
  process.kill(pid ?? 0, 'SIGKILL');
  const listens = () => {
    other.listen({ ...where, exclusive: true });
    return once(other, 'listening').then(
      () => true,
      () => false,
    );
  };
  // A thread of the process may hold it for a moment longer.
  await until(listens, 'the address is taken');
  process.kill(m.ready.pid, 'SIGCONT');
  await until(async () => /does not answer: .*the address is in use/.test(await health(m)), 'health says why');
  t.match(await m.shell('echo fine > check; cat check'), { code: 0, stdout: 'fine\n' }, 'the mount serves');
  other.close();
  await until(() => isAnswering(where), 'it answers when the address is free');
  await until(async () => (await health(m)) === 'ok', 'health is good again');
});

t.test('the daemon is killed: the process is gone, and the address is free', async (t) => {
  const m = await mount(t, { args: ARGS });
  const { port } = at(m.ready.http) as { port: number };
  const socket = join(m.data, '..', '..', 'socket');
  for (const address of [`127.0.0.1:${port}`, `127.0.0.1:${port}`, `unix:${socket}`, `unix:${socket}`]) {
    const pid = (await servicePid(m.ready.pid)) ?? 0;
    const askers = new Askers(at(m.ready.http), 8);
    await until(() => askers.answered > 20, 'they are answered');
    await m.kill();
    await m.remount([...ARGS.slice(0, -1), address]);
    await gone(pid);
    await askers.stop();
    t.match(await ask(at(m.ready.http), '/api/v1.0/report'), { status: 200 }, address);
    await isSound(t, m);
  }
});

/** A connection on which something has been sent; nobody waits for more. */
function hold(where: At, bytes: string): { isClosed: () => boolean } {
  const socket = connect(where as NetConnectOpts, () => socket.write(bytes));
  socket.on('error', () => {}).resume();
  return { isClosed: () => socket.closed };
}

const HEAD = 'HTTP/1.1\r\nHost: 127.0.0.1\r\n';

t.test('a mount ends while it is asked', async (t) => {
  const m = await mount(t, { args: ARGS });
  const ends: Record<string, () => Promise<unknown>> = {
    'vreserve umount': () => m.umount(),
    'umount(8)': () => must(run('umount', [m.mnt])),
    SIGTERM: async () => process.kill(m.ready.pid, 'SIGTERM'),
  };
  for (const [name, end] of Object.entries(ends)) {
    const where = at(m.ready.http);
    const { pid } = m.ready;
    const service = (await servicePid(pid)) ?? 0;
    const askers = new Askers(where, 16);
    const held = [
      hold(where, ''),
      hold(where, 'GET /pi'),
      hold(where, `GET /ping/ ${HEAD}\r\n`),
      hold(where, `GET /api/v1.0/ledger?follow=true ${HEAD}\r\n`),
      hold(where, `POST /reserve/ ${HEAD}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\npath=`),
    ];
    await until(() => askers.answered > 100, 'they are answered');
    await end();
    if (name === 'SIGTERM') {
      await until(() => mountAt(m.mnt) === undefined, 'it is detached');
      t.notOk(await isAlive(service), 'nothing that may use the mount is there by then');
    }
    await gone(pid);
    await until(() => held.every(({ isClosed }) => isClosed()), 'every connection is closed');
    await askers.stop();
    t.notOk(await isAlive(service), `${name}: no process is left`);
    t.equal(mountAt(m.mnt), undefined);
    t.strictSame(askers.odd, []);
    await m.remount();
    t.equal(m.ready.counted, false, 'a clean end');
    await isSound(t, m);
  }
});

t.test('Ctrl-C in the foreground goes to all of them', async (t) => {
  const top = await temporaryDirectory(t);
  const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
  await Promise.all([mkdir(data), mkdir(mnt)]);
  const words = [MAIN, 'mount', data, mnt, '-f', '--json', ...ARGS];
  // The leader of a group, as a shell starts it.
  const child = spawn(process.execPath, words, {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: plainEnvironment(),
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout, 'data');
  const ready = JSON.parse(String(line)) as Mounted['ready'];
  const service = (await servicePid(ready.pid)) ?? 0;
  t.match(await ask(at(ready.http), '/reserve/?path=/a&bytes=1000'), { status: 200 });
  const askers = new Askers(at(ready.http), 8);
  await until(() => askers.answered > 20, 'they are answered');
  const exited = once(child, 'exit');
  process.kill(-(child.pid ?? 0), 'SIGINT');
  t.strictSame(await exited, [0, null]);
  await askers.stop();
  for (const pid of [ready.pid, service]) t.notOk(await isAlive(pid));
  t.throws(() => process.kill(-(child.pid ?? 0), 0), { code: 'ESRCH' }, 'nobody of the group is left');
  t.equal(mountAt(mnt), undefined);
  t.match(await vreserve(['check', data]), { code: 0 }, 'usage was saved');
});
