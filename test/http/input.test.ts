// Who may ask, and what comes in badly: the service answers or closes, the mount goes on, and no byte is charged for nothing.
import { once } from 'node:events';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type NetConnectOpts, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Load } from '../crash/load.js';
import { type At, ask, askJson, at, descriptors, open, raw, servicePid, until } from '../helpers/http.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { Random } from '../helpers/random.js';
import { must, run, vreserve } from '../helpers/run.js';

const ARGS = ['--capacity', '50MB', '--margin', '0'];
const PING = 'GET /ping/ HTTP/1.1\r\nHost: 127.0.0.1\r\n';
const TOKEN = 'a-token.of~enough_letters+/=';

async function isServing(t: Test, m: Mounted, where: At): Promise<void> {
  t.match(await ask(where, '/ping/'), { status: 200 }, 'the service answers');
  t.match(
    await m.shell('echo fine > check; cat check; rm check', { timeoutMs: 20_000 }),
    { code: 0, stdout: 'fine\n' },
    'the mount serves',
  );
}

interface State {
  pool: { setAsideBytes: number; usedBytes: number };
  lots: { name: string; dedicatedBytes: number }[];
}

const stateOf = async (m: Mounted) => JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as State;

t.test('a token', async (t) => {
  const top = await temporaryDirectory(t);
  const file = join(top, 'token');
  await writeFile(file, `${TOKEN}\n`);
  const m = await mount(t, { args: [...ARGS, '--http', '127.0.0.1:0', '--http-token-file', file] });
  const where = at(m.ready.http);
  const paths = [
    '/reserve/?path=/a&bytes=5',
    '/release/?path=/a',
    '/report/?path=/',
    '/api/v1.0/lots',
    '/api/v1.0/ledger',
    '/metrics',
    '/api/openapi.json',
    '/nowhere',
    '/api/x',
  ];
  const bad = [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
    TOKEN,
    `Basic ${TOKEN}`,
    `Bearer ${TOKEN} ${TOKEN}`,
  ];
  for (const path of paths) {
    for (const authorization of bad) {
      const answer = await ask(where, path, { headers: authorization === undefined ? {} : { authorization } });
      t.match(
        answer,
        { status: 401, headers: { 'www-authenticate': /^Bearer/ }, body: /this needs the token/ },
        `${path} with '${authorization}'`,
      );
    }
  }
  t.match(await ask(where, '/reserve/?path=/a&bytes=5'), { body: /^\{"Succeeded":false,"ErrorMessage":".*","Data":null\}$/ });
  t.strictSame((await stateOf(m)).lots.length, 1, 'nothing was reserved');
  t.match(await ask(where, '/ping/'), { status: 200 }, 'ping is open');
  const headers = { authorization: `bearer ${TOKEN}`, origin: 'http://elsewhere' };
  t.match(await ask(where, '/reserve/?path=/a&bytes=5', { headers }), { status: 200 }, 'the token suffices');
  t.match((await askJson(where, '/ping/../api/openapi.json')).status, 200, 'which is the path of ping');

  const broken: [string, RegExp][] = [
    ['', /must hold one line/],
    ['short', /must hold one line/],
    [`${TOKEN}\n${TOKEN}`, /must hold one line/],
  ];
  for (const [text, reason] of broken) {
    await m.umount();
    await writeFile(file, text);
    const args = ['mount', m.data, m.mnt, '--http', '127.0.0.1:0', '--http-token-file', file];
    t.match(await vreserve(args), { code: 1, stderr: reason }, 'a token that is none');
    await m.remount(ARGS);
    t.equal(m.ready.counted, false, 'nothing had begun');
  }
  t.match(await vreserve(['mount', m.data, m.mnt, '--http', '127.0.0.1:0', '--http-token-file', join(top, 'none')]), { code: 1 });
});

t.test('pages of other sites', async (t) => {
  const m = await mount(t, { args: [...ARGS, '--http', '127.0.0.1:0'] });
  const where = at(m.ready.http);
  const { port } = where as { port: number };
  const rows: [Record<string, string>, number][] = [
    [{ origin: 'http://evil.example' }, 403],
    [{ origin: 'null' }, 403],
    [{ origin: `https://127.0.0.1:${port}` }, 403],
    [{ 'sec-fetch-site': 'cross-site' }, 403],
    [{ host: 'evil.example' }, 403],
    [{ host: `evil.example:${port}` }, 403],
    [{ host: '127.0.0.1.evil.example' }, 403],
    [{ origin: `http://127.0.0.1:${port}` }, 200],
    [{ 'sec-fetch-site': 'same-origin' }, 200],
    [{ host: `localhost:${port}` }, 200],
    [{ host: '[::1]:80' }, 200],
  ];
  for (const [headers, status] of rows) {
    t.equal(
      (await ask(where, '/reserve/?path=/page&bytes=5', { method: 'POST', headers })).status,
      status,
      JSON.stringify(headers),
    );
  }
  t.match(await raw(where, 'GET /ping/ HTTP/1.0\r\n\r\n'), /200 OK/, 'no Host at all');
  const outside = ['mount', m.data, join(m.mnt, '..', 'other'), '--http', '0.0.0.0:0'];
  t.match(await vreserve(outside), { code: 2, stderr: /can be reached from other machines: say --http-any/ });
});

t.test('a socket', async (t) => {
  const m = await mount(t, { args: [...ARGS, '--http', '127.0.0.1:0'] });
  const path = join(m.data, '..', '..', 'socket');
  const args = [...ARGS, '--http', `unix:${path}`];
  await m.umount();
  await m.remount(args);
  t.equal((await stat(path)).mode & 0o777, 0o600);
  await isServing(t, m, at(m.ready.http));
  const [otherData, otherMnt] = [join(m.data, '..', '..', 'data2'), join(m.data, '..', '..', 'mnt2')];
  await Promise.all([otherData, otherMnt].map((each) => mkdir(each)));
  t.match(await vreserve(['mount', otherData, otherMnt, ...args]), { code: 1, stderr: /the address is in use/ });
  await isServing(t, m, at(m.ready.http));
  await m.kill();
  await m.remount([...args, '--http-mode', '666']);
  t.equal((await stat(path)).mode & 0o777, 0o666, 'one that a killed daemon left is replaced');
  await isServing(t, m, at(m.ready.http));
  if (process.getuid?.() === 0) {
    const curl = ['-sS', '--unix-socket', path, 'http://x/ping/'];
    await chmod(path, 0o600);
    t.match(await run('curl', curl, { uid: 65534, gid: 65534 }), { code: 7 }, 'another user cannot connect');
    t.match(await run('curl', curl), { code: 0, stdout: /true/ });
  }
  await m.umount();
  await t.rejects(stat(path), { code: 'ENOENT' }, 'it goes with the mount');

  const refused = async (reason: RegExp, ...words: string[]) => {
    const outcome = await vreserve(['mount', m.data, m.mnt, ...words]);
    t.match(outcome, { code: 1, stdout: '', stderr: reason });
    await t.rejects(stat(join(m.mnt, '.vreserve')), { code: 'ENOENT' }, 'nothing is mounted');
  };
  await refused(/it lies in the mount/, '--http', `unix:${m.mnt}/s`);
  await writeFile(path, 'a file');
  await refused(/cannot listen on unix:.*: the address is in use/, '--http', `unix:${path}`);
  t.equal(await readFile(path, 'utf8'), 'a file', 'what is no socket is left as it is');
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.teardown(() => other.close());
  const { port } = other.address() as { port: number };
  await refused(/cannot listen on http:\/\/127\.0\.0\.1:\d+: the address is in use/, '--http', `127.0.0.1:${port}`);
  await m.remount(ARGS);
  t.equal(m.ready.counted, false, 'a mount that did not come about leaves no unclean end');
  t.match(await vreserve(['mount', m.data, m.mnt, '--http', 'nonsense']), { code: 2, stderr: /'nonsense' is no address/ });
});

t.test('requests that are none, and bodies that do not come', async (t) => {
  const m = await mount(t, { args: [...ARGS, '--http', '127.0.0.1:0'] });
  const where = at(m.ready.http);
  const form = (path: string, length: number | string, body: string) =>
    `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${length}\r\n\r\n${body}`;
  const chunked = (chunks: string) =>
    `POST /reserve/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`;
  const rows: [name: string, bytes: string | Buffer, answer: RegExp][] = [
    ['no HTTP', 'hello\r\n\r\n', /^HTTP\/1\.1 400 .*"BAD_REQUEST"/s],
    ['zeros', Buffer.alloc(5000), /^HTTP\/1\.1 400 /],
    ['TLS', Buffer.from('160301020001000100', 'hex'), /^HTTP\/1\.1 400 /],
    ['a method that is none', `FROB${PING.slice(3)}\r\n`, /^HTTP\/1\.1 400 /],
    ['CONNECT', 'CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', /^$/],
    ['a header bomb', `${PING}X: ${'x'.repeat(100_000)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
    ['many headers', `${PING}${'a: b\r\n'.repeat(20_000)}\r\n`, /^HTTP\/1\.1 431 /],
    ['a URL without an end', `GET /${'x'.repeat(100_000)} HTTP/1.1\r\n\r\n`, /^HTTP\/1\.1 431 /],
    [
      '10 GB announced, 1 KB sent',
      form('/reserve/', 10_000_000_000, 'x'.repeat(1000)),
      /^HTTP\/1\.1 413 .*"Succeeded":false,"ErrorMessage":"the body of the request is too large"/s,
    ],
    ['10 GB of JSON announced', form('/api/v1.0/lots', 10_000_000_000, '{'), /^HTTP\/1\.1 413 .*"BODY_TOO_LARGE"/s],
    ['a length that is none', form('/reserve/', '5x', 'path='), /^HTTP\/1\.1 400 /],
    ['two lengths', form('/reserve/', '5\r\nContent-Length: 6', 'path='), /^HTTP\/1\.1 400 /],
    ['in pieces', chunked('9\r\npath=/chu\r\n6\r\nnk&byt\r\n4\r\nes=9\r\n0\r\n\r\n'), /^HTTP\/1\.1 200 .*"Succeeded":true/s],
    ['pieces that are none', chunked('zz\r\n'), /^HTTP\/1\.1 400 /],
    ['pieces without an end', chunked(`${`ffff\r\n${'x'.repeat(0xffff)}\r\n`.repeat(20)}`), /^HTTP\/1\.1 413 /],
    ['an upgrade', `${PING}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`, /^HTTP\/1\.1 200 /],
  ];
  for (const [name, bytes, answer] of rows) t.match(await raw(where, bytes, /\}$/), answer, name);
  await t.test('cut off in the middle', async () => {
    for (const bytes of [
      form('/reserve/', 1000, 'path=/cut&bytes=100'),
      form('/api/v1.0/lots', 1000, '{"lotName":'),
      chunked('5\r\npath='),
      PING,
    ]) {
      const socket = await open(where);
      await new Promise((written) => socket.write(bytes, written));
      const closed = once(socket, 'close');
      socket.end();
      socket.resume();
      await closed;
      const reset = await open(where);
      await new Promise((written) => reset.write(bytes, written));
      reset.resetAndDestroy();
    }
  });
  await isServing(t, m, where);
  t.strictSame(
    (await stateOf(m)).lots.map(({ name, dedicatedBytes }) => [name, dedicatedBytes]),
    [
      ['default', 0],
      ['/chunk', 9],
    ],
    'only what was asked in whole is reserved',
  );
  await t.test('who says nothing is let go', async (t) => {
    const silent = await Promise.all(['', 'GET /pi', PING].map(async (begin) => raw(where, begin)));
    t.match(silent, [/408/, /408/, /408/]);
  });
});

t.test('askers who go at any time leave no charge', async (t) => {
  const m = await mount(t, { args: [...ARGS, '--http', '127.0.0.1:0'] });
  const where = at(m.ready.http);
  const random = new Random(20_260_101);
  const one = async (i: number) => {
    const path = `/p${i % 17}`;
    const call = random.chance(0.7) ? `reserve/?path=${path}&bytes=${random.between(1, 1e6)}` : `release/?path=${path}`;
    const text = `POST /${call} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n`;
    const socket = await open(where);
    socket.on('error', () => {});
    socket.resume();
    const isCut = random.chance(0.3);
    socket.write(isCut ? text.slice(0, random.below(text.length)) : text);
    if (random.chance(0.5)) socket.resetAndDestroy();
    else {
      if (isCut || random.chance(0.5)) socket.end();
      await Promise.race([once(socket, 'data'), once(socket, 'close')]);
      socket.destroy();
    }
  };
  for (let round = 0; round < 20; round++) await Promise.all(Array.from({ length: 25 }, (_, i) => one(round * 25 + i)));
  await isServing(t, m, where);
  const { pool, lots } = await stateOf(m);
  t.equal(
    pool.setAsideBytes,
    lots.reduce((sum, { dedicatedBytes }) => sum + dedicatedBytes, 0),
    'what is set aside is what is reserved',
  );
  for (const { name } of lots) if (name.startsWith('/')) await ask(where, `/release/?path=${name}`);
  await until(async () => (await stateOf(m)).pool.setAsideBytes === 0, 'all of it comes back');
});

/** Connects without waiting for more; one that is refused or closed is fine. */
function hold(where: At): Socket {
  const socket = connect(where as NetConnectOpts);
  socket.on('error', () => {});
  return socket;
}

/** The service process, which must be there. */
async function mustServe(m: Mounted): Promise<number> {
  const pid = await servicePid(m.ready.pid);
  if (pid === null) throw new Error('there is no service process');
  return pid;
}

const MIB = 1024 ** 2;

async function residentBytes(pid: number): Promise<number> {
  const [, kib] = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

t.test('ten thousand connections while files are written', async (t) => {
  const m = await mount(t, { args: [...ARGS, '--http', '127.0.0.1:0'] });
  const where = at(m.ready.http);
  const service = await mustServe(m);
  const load = new Load();
  t.teardown(() => load.stop());
  await mkdir(join(m.mnt, 'written'));
  await load.write([1, 2], [join(m.mnt, 'written')]);
  const before = await descriptors(service);
  const mostOfDaemon = (await descriptors(m.ready.pid)) + 200;
  const held: Socket[] = [];
  let settled = 0;
  for (let i = 0; i < 10_000; i++) {
    const socket = hold(where);
    socket.once('connect', () => settled++).once('error', () => settled++);
    held.push(socket);
    if (i % 200 === 199) await until(() => settled > i - 400, 'they connect');
  }
  await until(() => settled >= 10_000, 'all have connected or were refused');
  const most = await descriptors(service);
  t.ok(most > before + 512 && most < before + 4200, `they take ${most - before} descriptors`);
  t.ok((await descriptors(m.ready.pid)) < mostOfDaemon, 'and none of the daemon');
  const bytes = await residentBytes(service);
  t.ok(bytes < 500 * MIB, `${Math.round(bytes / MIB)} MiB`);
  t.match(
    await m.shell('echo fine > check; cat check', { timeoutMs: 20_000 }),
    { code: 0, stdout: 'fine\n' },
    'the mount serves meanwhile',
  );
  for (const socket of held) socket.destroy();
  await until(async () => (await descriptors(service)) <= before + 20, 'they are given back');
  await load.stop();
  t.strictSame(load.failures, [], 'no writer saw an error');
  await isServing(t, m, where);
  t.equal(await servicePid(m.ready.pid), service, 'it is the same process');
});

t.test(
  'no descriptors left',
  { skip: (await run('/bin/sh', ['-c', 'command -v prlimit'])).code === 0 ? false : 'no prlimit' },
  async (t) => {
    const m = await mount(t, { args: [...ARGS, '--http', '127.0.0.1:0'] });
    const where = at(m.ready.http);
    const service = await mustServe(m);
    const pid = String(service);
    const usual = (await must(run('prlimit', ['--pid', pid, '--nofile', '--noheadings', '--raw', '--output=SOFT,HARD']))).stdout
      .trim()
      .split(/\s+/);
    await must(run('prlimit', ['--pid', pid, `--nofile=${(await descriptors(service)) + 8}:${usual[1]}`]));
    const held = Array.from({ length: 50 }, () => hold(where).resume());
    await until(() => held.some((socket) => socket.closed), 'what does not fit is closed');
    for (const socket of held) socket.destroy();
    await must(run('prlimit', ['--pid', pid, `--nofile=${usual[0]}:${usual[1]}`]));
    await isServing(t, m, where);
  },
);
