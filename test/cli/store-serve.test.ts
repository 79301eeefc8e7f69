// `vreserve store serve`: the store as a server of its own, run as users run it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Answer, type At, ask, at, open, until } from '../helpers/http.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { MAIN, vreserve } from '../helpers/run.js';

interface Served {
  where: At;
  http: string;
  child: ChildProcess;
  stdout: () => string;
  stderr: () => string;
  /** Exit code, or the signal. */
  ended: Promise<number | NodeJS.Signals | null>;
}

async function serve(t: Test, dir: string, ...args: string[]): Promise<Served> {
  const child = spawn(process.execPath, [MAIN, 'store', 'serve', dir, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  let logged = '';
  child.stdout.on('data', (part: Buffer) => {
    said += part.toString();
  });
  child.stderr.on('data', (part: Buffer) => {
    logged += part.toString();
  });
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals | null);
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  await until(() => said.endsWith('\n') || child.exitCode !== null, 'it says where it is');
  const http = args.includes('--json') ? (JSON.parse(said).http as string) : (/ at (\S+);/.exec(said)?.[1] ?? '');
  return { where: at(http), http, child, stdout: () => said, stderr: () => logged, ended };
}

const said = ({ status, body }: Answer) => `${status} ${body}`;

t.test('a session, and what is there after the next start', async (t) => {
  const dir = join(await temporaryDirectory(t), 'blobs');
  const first = await serve(t, dir, '-s', '127.0.0.1:0');
  t.equal(first.stdout(), `vreserve serves the store ${dir} at ${first.http}; Ctrl-C ends it\n`);
  t.equal((await stat(dir)).mode & 0o777, 0o700, 'made for its owner alone');
  const { where } = first;
  const post = (name: string, body: string) => ask(where, `/store/${name}`, { method: 'POST', body });
  t.equal(said(await ask(where, '/healthz')), '200 "Ok!"\n');
  t.equal(said(await post('a', 'one')), '204 ');
  t.match(said(await post('a', 'two')), /^500 .*already exists/);
  t.equal(said(await ask(where, '/store/a')), '200 one');
  t.equal(said(await ask(where, '/store/a', { method: 'PUT', body: 'three' })), '200 ');
  t.equal(said(await ask(where, '/store/b', { method: 'PUT', body: 'x' })), '404 ');
  t.equal(said(await post('b', 'gone')), '204 ');
  t.equal(said(await ask(where, '/store/b', { method: 'DELETE' })), '200 ');
  t.equal(said(await ask(where, '/store/b')), '404 ');
  t.match(said(await ask(where, '/store/c?lot=other', { method: 'POST', body: 'x' })), /there is no lot 'other' here/);
  t.equal(said(await ask(where, '/elsewhere')), '404 404 page not found\n');
  first.child.kill('SIGTERM');
  t.equal(await first.ended, 0);
  t.equal(first.stderr(), '');

  const again = await serve(t, dir, '-s', '127.0.0.1:0', '--json');
  t.match(JSON.parse(again.stdout()), { dir, http: again.http, pid: again.child.pid });
  t.equal(said(await ask(again.where, '/store/a')), '200 three');
  t.equal(said(await ask(again.where, '/store/b')), '404 ');
  again.child.kill('SIGKILL');
  await again.ended;

  const last = await serve(t, dir, '-s', '127.0.0.1:0');
  t.equal(said(await ask(last.where, '/store/a')), '200 three', 'after a kill too');
  last.child.kill('SIGINT');
  t.equal(await last.ended, 0);
});

t.test('on a socket, with a token, collecting as often as it is told', async (t) => {
  const top = await temporaryDirectory(t);
  const socket = join(top, 'socket');
  const token = 'abcdefghijklmnop';
  await writeFile(join(top, 'token'), `${token}\n`);
  const { where, child, ended } = await serve(
    t,
    join(top, 'blobs'),
    '-s',
    `unix:${socket}`,
    '--token-file',
    join(top, 'token'),
    '--gc-interval',
    '20ms',
  );
  t.equal((await stat(socket)).mode & 0o777, 0o600);
  const headers = { authorization: `Bearer ${token}` };
  t.equal((await ask(where, '/store/a', { method: 'POST', body: 'x' })).status, 401);
  t.equal((await ask(where, '/store/', {})).status, 401);
  t.equal((await ask(where, '/healthz')).status, 200, 'health is for everybody');
  t.equal((await ask(where, '/store/a', { method: 'POST', body: 'x', headers })).status, 204);
  const listed = await ask(where, '/store/', { headers });
  const { id } = JSON.parse(listed.body).blobs[0] as { id: string };
  const file = join(top, 'blobs', 'data', id);
  t.ok(existsSync(file));
  t.equal((await ask(where, '/store/a', { method: 'DELETE', headers })).status, 200);
  await until(() => !existsSync(file), 'the file is collected');
  child.kill('SIGTERM');
  t.equal(await ended, 0);
  t.notOk(existsSync(socket), 'the socket is gone');
});

/** An upload of which the first half is sent. */
async function halfSent(where: At, name: string) {
  const upload = request({ ...where, path: `/store/${name}`, method: 'POST', headers: { 'content-length': '8' }, agent: false });
  const answered = once(upload, 'response').then(
    ([response]) => (response as { statusCode: number }).statusCode,
    () => 'broken off',
  );
  upload.write('half');
  await until(async () => (await ask(where, '/store/')).body.includes(`"${name}"`), 'the upload has begun');
  return { upload, answered };
}

t.test('the end waits for requests under way; a second signal does not', async (t) => {
  const dir = join(await temporaryDirectory(t), 'blobs');
  const first = await serve(t, dir, '-s', '127.0.0.1:0');
  const silent = await open(first.where);
  silent.on('error', () => {});
  const whole = await halfSent(first.where, 'whole');
  first.child.kill('SIGTERM');
  await until(
    () =>
      ask(first.where, '/healthz').then(
        () => false,
        () => true,
      ),
    'nobody can connect any more',
  );
  whole.upload.end('done');
  t.equal(await whole.answered, 204);
  t.equal(await first.ended, 0);

  const second = await serve(t, dir, '-s', '127.0.0.1:0');
  t.equal(said(await ask(second.where, '/store/whole')), '200 halfdone');
  const broken = await halfSent(second.where, 'broken');
  second.child.kill('SIGTERM');
  await until(
    () =>
      ask(second.where, '/healthz').then(
        () => false,
        () => true,
      ),
    'nobody can connect any more',
  );
  second.child.kill('SIGTERM');
  t.equal(await second.ended, 0);
  t.equal(await broken.answered, 'broken off');
  const third = await serve(t, dir, '-s', '127.0.0.1:0');
  t.equal(said(await ask(third.where, '/store/broken')), '404 ');
  t.equal(third.stderr(), '', 'nothing was left to be removed');
});

t.test('what cannot be served', async (t) => {
  const top = await temporaryDirectory(t);
  const dir = join(top, 'blobs');
  const { http } = await serve(t, dir, '-s', '127.0.0.1:0');
  const busy = http.replace('http://', '');
  await mkdir(join(top, 'other'));
  await writeFile(join(top, 'other', 'file'), '');
  const other = join(top, 'new');
  const table: [words: string[], code: number, said: RegExp][] = [
    [[other, '-s', busy], 1, /the address is in use/],
    [[other, '-s', `unix:${join(top, 'no', 'socket')}`], 1, /cannot listen on/],
    [[dir, '-s', '127.0.0.1:0'], 1, /is in use by another process/],
    [[join(top, 'other'), '-s', '127.0.0.1:0'], 1, /is not a store of vreserve/],
    [[join(top, 'other', 'file'), '-s', '127.0.0.1:0'], 1, /ENOTDIR/],
    [[join(top, 'no', 'parent'), '-s', '127.0.0.1:0'], 1, /ENOENT/],
    [[other, '-s', 'nonsense'], 2, /is no address/],
    [[other, '-s', '127.0.0.1:70000'], 2, /is no address/],
    [[other, '-s', 'unix:'], 2, /a socket needs a path/],
    [[other, '-s', '0.0.0.0:0'], 2, /can be reached from other machines: say --http-any/],
    [[other, '--gc-interval', '0s'], 2, /at least 10ms/],
    [[other, '--gc-interval', 'often'], 2, /often/],
    [[other, '--token-file', join(top, 'absent')], 1, /token file .* cannot be used/],
    [['', '-s', '127.0.0.1:0'], 2, /directory is empty/],
    [[], 2, /something is missing/],
  ];
  for (const [words, code, expected] of table) {
    const found = await vreserve(['store', 'serve', ...words], { timeoutMs: 20_000 });
    t.equal(found.code, code, `${words.slice(1).join(' ')}: ${found.stderr}`);
    t.match(found.stderr, expected);
  }
  const json = await vreserve(['store', 'serve', other, '-s', busy, '--json']);
  t.match(JSON.parse(json.stdout), { ok: false, code: 'HTTP_FAILED', errno: 'EADDRINUSE' });
});

t.test('for other machines only where that is said, and with a warning', async (t) => {
  const dir = join(await temporaryDirectory(t), 'blobs');
  const { where, child, stderr, ended } = await serve(t, dir, '-s', '0.0.0.0:0', '--http-any');
  t.match(stderr(), /nobody is asked who they are/);
  t.equal((await ask({ ...where, host: '127.0.0.1' } as At, '/healthz')).status, 200);
  child.kill('SIGTERM');
  t.equal(await ended, 0);
});

t.test('help', async (t) => {
  const serveHelp = await vreserve(['store', 'serve', '--help']);
  t.match(
    serveHelp.stdout,
    /^Usage: vreserve store serve DIR [\s\S]*127\.0\.0\.1:7777[\s\S]*Examples:\n {2}vreserve store serve/,
  );
  const help = await vreserve(['store', '--help']);
  t.match(help.stdout, /serve +serve a store over HTTP\n {2}import +take over/);
  const importHelp = await vreserve(['store', 'import', '--help']);
  t.match(importHelp.stdout, /--into STORE/);
  t.notMatch(importHelp.stdout, /--mount|\.vreserve/);
});
