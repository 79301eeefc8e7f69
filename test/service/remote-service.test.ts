// The service process and who keeps it, without a mount: it is started again, waited for, told on, and never waited for in vain.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { forkService } from '../../src/cli/service.js';
import { VreserveError } from '../../src/core/errors.js';
import { formatAddress, type HttpAddress } from '../../src/core/http-address.js';
import { logTo } from '../../src/log.js';
import type { DaemonMethods } from '../../src/service/methods.js';
import { RemoteService } from '../../src/service/remote-service.js';
import { type At, ask, at, until } from '../helpers/http.js';
import { gone } from '../helpers/mount.js';

const ANY: HttpAddress = { host: '127.0.0.1', port: 0 };

type Host = Omit<DaemonMethods, 'log'>;

interface Line {
  pid: number;
  msg: string;
  pauseMs?: number;
}

interface World {
  children: ChildProcess[];
  lines: Line[];
  host: Host;
  start(address?: HttpAddress): Promise<RemoteService>;
  /** The process that was started last. */
  pid(): number;
}

/** `fork`: what is started in place of the n-th process; null: the service process. */
function world(t: Test, change: Partial<Host> = {}, fork: (n: number) => ChildProcess | null = () => null): World {
  const unused = async () => {
    throw new VreserveError('NOT_SUPPORTED', { reason: 'not here' });
  };
  const lots = { command: unused, lot: unused, showLot: unused, listLots: unused, room: unused };
  const bytes = { reserve: async () => {}, release: unused, reservations: unused };
  const journal = { journalRange: unused, readJournal: unused };
  const volumes = { free: unused, lotOf: unused, boundIn: unused };
  const store = { keptLot: unused, lotNames: unused, prepareStoreLot: unused, importProgress: () => {} };
  const namespaces = {
    makeNamespaceLot: unused,
    namespaceLot: unused,
    dropNamespaceLot: unused,
    namespacesWithLots: unused,
  };
  const rest = { report: async () => '{}', metrics: unused };
  const host: Host = { ...lots, ...bytes, ...journal, ...volumes, ...store, ...namespaces, ...rest, ...change };
  const children: ChildProcess[] = [];
  const lines: Line[] = [];
  const write = (text: string) => {
    for (const line of text.trim().split('\n')) lines.push(JSON.parse(line) as Line);
  };
  const service: RemoteService[] = [];
  t.teardown(async () => {
    for (const each of service) await each.finish(0);
    for (const child of children) child.kill('SIGKILL');
  });
  return {
    children,
    lines,
    host,
    async start(address = ANY) {
      const started = await RemoteService.start({
        fork: () => {
          const child = fork(children.length) ?? forkService('/nowhere', 'info');
          children.push(child);
          return child;
        },
        host,
        sockets: { http: { address, socketMode: 0o600, token: null }, volumePlugin: null, zdb: null },
        log: logTo({ write }, 'info'),
        clock: Date.now,
      });
      service.push(started);
      return started;
    },
    pid: () => children.at(-1)?.pid ?? 0,
  };
}

const where = ({ address }: RemoteService): At => at(address === null ? 'nowhere' : formatAddress(address));

/** A mount without a store. */
const SERVING = { readOnly: true, store: null, namespaces: false };

/** Whether it answers by now. */
const answers = (to: At, path = '/api/v1.0/report') =>
  ask(to, path).then(
    ({ status }) => status === 200,
    () => false,
  );

t.test('it answers with what the host says, and logs where the daemon does', async (t) => {
  const w = world(t, {
    reserve: async (path, bytes) => {
      if (bytes > 5) throw new VreserveError('NO_SPACE', { path, askedText: '6 B', availableText: '5 B', availableBytes: 5 });
    },
    metrics: async () => {
      throw new TypeError('nobody foresaw this');
    },
    readJournal: async (offsetBytes, lengthBytes) => Buffer.from('{"é":1}\n').subarray(offsetBytes, offsetBytes + lengthBytes),
    journalRange: async () => ({ startBytes: 0, endBytes: 9 }),
  });
  const service = await w.start();
  const to = where(service);
  t.match(await ask(to, '/api/v1.0/report'), { status: 503, body: /"STARTING"/ });
  service.serve(SERVING);
  await until(() => answers(to), 'it serves');
  t.match(await ask(to, '/reserve/?path=/a&bytes=5'), { status: 200 });
  t.match(await ask(to, '/reserve/?path=/a&bytes=6'), { status: 500, body: /requested 6 bytes on volume, but only 5 are/ });
  t.match(await ask(to, '/metrics'), { status: 500, body: /"internal error: nobody foresaw this"/ });
  t.match(await ask(to, '/api/v1.0/lots'), { status: 501, body: /"NOT_SUPPORTED".*"not here"/ });
  t.match(await ask(to, '/api/v1.0/ledger'), { status: 200, body: '{"next":9,"end":9,"events":[{"é":1}]}' });
  await until(() => w.lines.some(({ msg }) => msg === 'a request over HTTP failed'), 'the line is there');
  t.match(
    w.lines.filter(({ pid }) => pid === w.pid()),
    [{ msg: 'Reserved 5 bytes for /a' }, { msg: /^Could not reserve 6/ }, { err: { stack: /remote-service\.test/ } }],
  );
  await service.finish(0);
  await gone(w.pid());
  await t.rejects(ask(to, '/ping/'));
});

t.test('killed again and again, it is started again, after longer and longer pauses', async (t) => {
  const dying = () =>
    spawn(process.execPath, ['-e', 'process.exit(3)'], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      serialization: 'advanced',
    });
  const missing = () => spawn('/nowhere/at/all', { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], serialization: 'advanced' });
  const w = world(t, {}, (n) => (n === 1 || n === 2 || n === 4 ? dying() : n === 3 ? missing() : null));
  const service = await w.start();
  service.serve(SERVING);
  const to = where(service);
  await until(() => answers(to), 'it serves');
  t.strictSame(service.troubles, []);
  process.kill(w.pid(), 'SIGKILL');
  await until(() => service.troubles.length > 0, 'that is trouble');
  t.match(service.troubles, [/^the service process does not answer: (its process|the service process) has died/]);
  await until(() => answers(to), 'it serves again, at the same address');
  await until(() => service.troubles.length === 0, 'all is well');
  t.equal(w.children.length, 6);
  t.strictSame(
    w.lines.flatMap(({ pauseMs }) => pauseMs ?? []),
    [50, 100, 200, 400, 800],
  );
  t.match(w.lines.at(-1), { msg: 'the service process serves again' });
});

t.test('what cannot begin leaves no process', async (t) => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.teardown(() => other.close());
  const w = world(t);
  const taken = { host: '127.0.0.1', port: (other.address() as { port: number }).port };
  await t.rejects(w.start(taken), { code: 'HTTP_FAILED', errno: 'EADDRINUSE', message: /the address is in use/ });
  await gone(w.pid());
  const missing = world(t, {}, () =>
    spawn('/nowhere/at/all', { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], serialization: 'advanced' }),
  );
  await t.rejects(missing.start(), { code: 'PROCESS_GONE', message: 'the service process has died' });
});

t.test('who is about to leave the address is waited for', async (t) => {
  const socketPath = join(tmpdir(), `vreserve-remote-service-${process.pid}`);
  t.teardown(() => rm(socketPath, { force: true }));
  let looks = 0;
  const other = createServer((socket) => {
    socket.destroy();
    looks += 1;
    // By the second look it has found the address taken.
    if (looks === 2) other.close();
  }).listen(socketPath);
  await once(other, 'listening');
  const w = world(t);
  const service = await w.start({ socketPath });
  t.equal(looks, 2);
  t.match(await ask(where(service), '/ping/'), { status: 200 });
});

t.test('the end waits for what is under way, so long and no longer', async (t) => {
  const asked: (() => void)[] = [];
  const w = world(t, { report: () => new Promise((done) => asked.push(() => done('{"whole":true}'))) });
  for (const [isDone, withinMs] of [
    [true, 60_000],
    [false, 1],
  ] as const) {
    const service = await w.start();
    service.serve(SERVING);
    const to = where(service);
    asked.length = 0;
    const answer = ask(to, '/api/v1.0/report').catch(() => 'broken off');
    await until(() => asked.length > 0, 'it is asked for');
    const finished = service.finish(withinMs);
    t.equal(service.finish(0), finished, 'the first says how long');
    await until(
      () =>
        ask(to, '/ping/').then(
          () => false,
          () => true,
        ),
      'nobody else is let in',
    );
    if (isDone) asked[0]?.();
    await finished;
    t.match(await answer, isDone ? { status: 200, body: '{"whole":true}' } : 'broken off');
    await gone(w.pid());
  }
});

t.test('a process that hangs is killed', async (t) => {
  const w = world(t);
  const service = await w.start();
  process.kill(w.pid(), 'SIGSTOP');
  await service.finish(0);
  await gone(w.pid());
  t.strictSame(service.troubles, []);
});

t.test('one that has died needs no end', async (t) => {
  const w = world(t);
  const service = await w.start();
  process.kill(w.pid(), 'SIGKILL');
  await until(() => service.troubles.length > 0, 'it is noticed');
  await service.finish(60_000);
  for (const { pid } of w.children) await gone(pid ?? 0);
  const starts = w.children.length;
  await service.finish(0);
  t.ok(starts <= 2 && w.children.length === starts, 'and is not started any more');
});
