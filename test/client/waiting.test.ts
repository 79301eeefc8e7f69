// Reservations that wait by the client: granted, refused, given up; and what becomes of the line when the program ends.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { VreserveClient } from '../../src/client/client.js';
import { clientOf, codeOf, reach } from '../helpers/client.js';
import { until } from '../helpers/http.js';
import { ROOT, run } from '../helpers/run.js';

const ARGS = ['--capacity', '50MB', '--margin', '0'];

async function full(t: Test): Promise<{ client: VreserveClient; mnt: string; top: string; http: string }> {
  const { m, client } = await reach(t, 'mount', ARGS, { spool: true });
  await client.reserve('/full', '45MB');
  return { client, mnt: m.mnt, top: join(m.data, '..', '..'), http: m.ready.http ?? '' };
}

const waiting = async (client: VreserveClient) => (await client.report()).waiting.map(({ path }) => path);

async function waits(client: VreserveClient, ...paths: string[]): Promise<void> {
  await until(async () => (await waiting(client)).join() === paths.join(), `those who wait are ${paths}`);
}

/** Processes that wait for this one. */
async function waiters(): Promise<number> {
  let found = 0;
  for (const name of await readdir('/proc')) {
    const line = /^\d+$/.test(name) ? await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '') : '';
    if (!line.includes(`${ROOT}/build/src/client/wait-process.js`)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    if (new RegExp(`^\\d+ \\(.*\\) [^Z] ${process.pid} `).test(stat)) found++;
  }
  return found;
}

t.test('waiting', async (t) => {
  const { client, mnt, http } = await full(t);
  await t.test('until it is there', async (t) => {
    const first = client.reserve('/a', '20MB', { waitMs: null, expiresInMs: 3_600_000 });
    await waits(client, '/a');
    const second = client.reserve(join(mnt, 'b'), '20MB', { waitMs: 600_000 });
    await waits(client, '/a', '/b');
    await t.rejects(client.reserve('/c', 1000), { code: 'OTHERS_WAIT', errno: 'ENOSPC' });
    await client.reserve('/full', '28MB');
    t.match(await first, { path: '/a', dedicatedBytes: 20_000_000, expiresAtMs: Number });
    await client.release('/full');
    t.match(await second, { path: '/b' });
    t.match(await client.reserve('/c', 1000, { waitMs: 1 }), { path: '/c' }, 'what is there is given at once');
    for (const path of ['/a', '/b', '/c']) await client.release(path);
    await client.reserve('/full', '45MB');
  });
  await t.test('in vain', async (t) => {
    await t.rejects(client.reserve('/a', '20MB', { waitMs: 50 }), {
      code: 'WAITED_FOR_NOTHING',
      errno: 'ENOSPC',
      message: /which waited/,
    });
    await t.rejects(client.reserve('/a', '60MB', { waitMs: null }), { code: 'NEVER_FITS' });
    await t.rejects(client.reserve('/../a', 5, { waitMs: null }), { code: 'BAD_PATH' });
    await t.rejects(client.reserve('/a', 5, { waitMs: -5 }), { code: 'BAD_COMMAND' });
    await t.rejects(client.reserve('/a', 0, { waitMs: null }), { code: 'BAD_BYTES' });
    await t.rejects(clientOf(t, '/none').reserve('/a', 5, { waitMs: null }), { code: 'UNREACHABLE' });
    t.strictSame(await waiting(client), []);
  });
  await t.test('given up', async (t) => {
    const controller = new AbortController();
    const calls = ['/a', '/b', '/c'].map((path) =>
      codeOf(client.reserve(path, '20MB', { waitMs: null, signal: controller.signal })),
    );
    await until(async () => (await waiting(client)).length === 3, 'three wait');
    controller.abort();
    t.strictSame(await Promise.all(calls), ['AbortError', 'AbortError', 'AbortError']);
    await waits(client);
    const signal = AbortSignal.abort();
    await t.rejects(client.reserve('/a', '20MB', { waitMs: null, signal }), { name: 'AbortError' });
    t.equal(await codeOf(client.reserve('/a', '20MB', { waitMs: null, timeoutMs: 300 })), 'NO_ANSWER');
    await waits(client);
    const other = clientOf(t, mnt);
    const closed = codeOf(other.reserve('/a', '20MB', { waitMs: null }));
    await waits(client, '/a');
    await other.close();
    t.equal(await closed, 'CLIENT_CLOSED');
    await waits(client);
  });
  await t.test('a dozen wait, and files are used as ever', async (t) => {
    const controller = new AbortController();
    const calls = Array.from({ length: 12 }, (_, i) =>
      codeOf(client.reserve(`/w${i}`, '20MB', { waitMs: null, signal: controller.signal })),
    );
    await until(async () => (await waiting(client)).length === 12, 'twelve wait');
    await writeFile(join(mnt, 'file'), 'x');
    t.equal(String(await readFile(join(mnt, 'file'))), 'x');
    await client.ping();
    controller.abort();
    t.equal(new Set(await Promise.all(calls)).size, 1);
    await waits(client);
  });
  await t.test('not over HTTP', async (t) => {
    const overHttp = clientOf(t, http);
    await t.rejects(overHttp.reserve('/a', 5, { waitMs: null }), {
      code: 'NOT_SUPPORTED',
      errno: 'EOPNOTSUPP',
      message: /use the mount/,
    });
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ cmd: 'reserve', path: '/a', bytes: 5, wait: true });
    const answer = await fetch(`${http}/api/v1.0/command`, { method: 'POST', headers, body });
    t.match({ status: answer.status, json: await answer.json() }, { status: 501, json: { ok: false, code: 'NOT_SUPPORTED' } });
  });
  await until(async () => (await waiters()) === 0, 'no process is left');
});

t.test('the program ends while it waits', async (t) => {
  const { client, mnt, top } = await full(t);
  const script = join(top, 'script.mjs');
  await writeFile(
    script,
    `import { VreserveClient } from '${ROOT}/build/src/client/index.js';
    process.on('SIGTERM', () => process.exit(3));
    await new VreserveClient('${mnt}').reserve('/a', '20MB', { waitMs: null });`,
  );
  for (const signal of ['SIGKILL', 'SIGINT', 'SIGTERM'] as const) {
    const child = spawn(process.execPath, [script], { stdio: 'inherit', env: {} });
    await waits(client, '/a');
    const closed = once(child, 'close');
    child.kill(signal);
    await closed;
    await waits(client);
  }
});

t.test("what the terminal sends is the program's to act on", async (t) => {
  const { client, mnt, top } = await full(t);
  const script = join(top, 'script.mjs');
  await writeFile(
    script,
    `import { VreserveClient } from '${ROOT}/build/src/client/index.js';
    process.on('SIGINT', () => console.log('heard'));
    const { path } = await new VreserveClient('${mnt}').reserve('/a', '20MB', { waitMs: null });
    console.log(path);`,
  );
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'], env: {}, detached: true });
  let said = '';
  child.stdout.on('data', (part: Buffer) => {
    said += part.toString();
  });
  const closed = once(child, 'close');
  await waits(client, '/a');
  // To its group, as a terminal does.
  process.kill(-(child.pid ?? 0), 'SIGINT');
  await until(() => said === 'heard\n', 'it has heard of it');
  await client.release('/full');
  await closed;
  t.equal(said, 'heard\n/a\n');
});

t.test('the daemon ends meanwhile', async (t) => {
  const { m, client } = await reach(t, 'mount', ARGS, { spool: true });
  await client.reserve('/full', '45MB');
  const killed = codeOf(client.reserve('/a', '20MB', { waitMs: null }));
  await waits(client, '/a');
  await m.kill();
  t.equal(await killed, 'BROKEN_OFF');
  await m.remount();
  await waits(client, '/a');
  await client.release('/full');
  await until(async () => (await client.reservations()).has('/a'), 'it is decided after the next mount');
  await client.reserve('/full', '25MB');
  const ended = codeOf(client.reserve('/b', '20MB', { waitMs: null }));
  await waits(client, '/b');
  process.kill(m.ready.pid, 'SIGTERM');
  t.equal(await ended, 'ENDING');
});

t.test('what is done keeps no process alive', async (t) => {
  const { m, target } = await reach(t, 'tcp', ARGS, { spool: true });
  const script = join(m.data, '..', '..', 'script.mjs');
  await writeFile(
    script,
    `import { VreserveClient } from '${ROOT}/build/src/client/index.js';
    import { writeFileSync } from 'node:fs';
    for (const target of process.argv.slice(2)) {
      const client = new VreserveClient(target);
      await Promise.all([client.ping(), client.reserve('/a', 5), client.report(), client.lots.list()]);
      await client.reserve('/a', 5, { signal: new AbortController().signal, timeoutMs: 1e6 });
      if (!target.startsWith('http')) await client.reserve('/b', 5, { waitMs: null });
    }
    setImmediate(() => setImmediate(() => writeFileSync(1, process.getActiveResourcesInfo().join())));`,
  );
  const found = await run(process.execPath, [script, target, m.mnt], { env: {} });
  // Where the output of a process is a pipe, Node.js counts that too.
  t.match(found, { code: 0, stdout: /^(PipeWrap,?)*$/, stderr: '' });
});
