// `vreserve serve`: the original service without a mount, on filesystems of the machine.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type At, ask, until } from '../../helpers/http.js';
import { temporaryDirectory } from '../../helpers/mount.js';
import { MAIN, must, run, vreserve } from '../../helpers/run.js';

const OK = '200 {"Succeeded":true,"ErrorMessage":"","Data":null}';
const SIZE = 1024 * 1024;

interface Served {
  where: At;
  port: number;
  child: ChildProcess;
  stdout: () => string;
  /** Exit code, or the signal. */
  ended: Promise<number | NodeJS.Signals | null>;
}

async function serve(t: Test, args: readonly string[]): Promise<Served> {
  const child = spawn(process.execPath, [MAIN, 'serve', '-p', '0', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (part: Buffer) => {
    said += part.toString();
  });
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals | null);
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  await until(() => /(port|:)\s?\d+$/m.test(said) && /(Ctrl-C|To test)/.test(said), `it says where it is: ${said}`);
  const port = Number(/(?:port |:)(\d+)$/m.exec(said)?.[1]);
  return { where: { host: '127.0.0.1', port }, port, child, stdout: () => said, ended };
}

const asker = (where: At) => async (call: string, path: string, bytes?: number | string) => {
  const query = `path=${encodeURIComponent(path)}${bytes === undefined ? '' : `&bytes=${bytes}`}`;
  const { status, body } = await ask(where, `/${call}/?${query}`);
  return `${status} ${body}`;
};

const lacking = (path: string, asked: number, available: number) =>
  `500 {"Succeeded":false,"ErrorMessage":"Could not reserve ${asked} bytes for file '${path}': requested ${asked} bytes on volume, but only ${available} are available","Data":null}`;

/** A filesystem of one mebibyte at each of the names. */
async function filesystems(t: Test, ...names: string[]): Promise<string> {
  const top = await temporaryDirectory(t);
  for (const name of names) {
    await mkdir(join(top, name));
    await must(run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'vreserve-test', join(top, name)]));
    t.teardown(async () => {
      await run('umount', ['--lazy', join(top, name)]);
    });
  }
  return top;
}

t.test('what it prints, and how it ends', async (t) => {
  const top = await temporaryDirectory(t);
  const log = join(top, 'log');
  const first = await serve(t, ['-H', '127.0.0.1', '-l', log]);
  t.equal(
    first.stdout(),
    `vreserve is listening on host 127.0.0.1 port ${first.port}\nand logging to ${log}\nUse Ctrl-C to stop\n`,
  );
  t.equal(await asker(first.where)('ping', ''), OK);
  t.match(await asker(first.where)('reserve', 'relative', 5), /'relative': no such file or directory/);
  t.equal(await asker(first.where)('reserve', '/a\nb', 5), OK);
  await asker(first.where)('report', '/');
  await asker(first.where)('release', '/a\nb');
  const lines = (await readFile(log, 'utf8'))
    .split('\n')
    .map((line) => line.replace(/^\S+Z /, '').replace(/\[127\.0\.0\.1:\d+\]/, '[peer]'));
  t.strictSame(lines, [
    `INFO vreserve is listening on 127.0.0.1:${first.port}`,
    `INFO To test: curl http://127.0.0.1:${first.port}/ping/`,
    "ERROR [peer] Could not reserve 5 bytes for file 'relative': no such file or directory",
    'INFO [peer] Reserved 5 bytes for /a\\u000ab',
    'INFO [peer] Reservations / (1)',
    'INFO [peer] Released /a\\u000ab',
    '',
  ]);
  const busy = await vreserve(['serve', '-p', String(first.port)]);
  t.match(busy, {
    code: 1,
    stdout: '',
    stderr: /^vreserve: the service cannot listen on http:\/\/127\.0\.0\.1:\d+: the address is in use\n$/,
  });
  t.match(await vreserve(['serve', '-p', 'x']), { code: 2, stderr: /'127\.0\.0\.1:x' is no address/ });
  t.match(await vreserve(['serve', '-h']), { code: 0, stdout: /serve \[DATA\]/ });
  first.child.kill('SIGINT');
  t.equal(await first.ended, 0);
  const second = await serve(t, []);
  t.match(second.stdout(), /^\S+Z INFO vreserve is listening on 127\.0\.0\.1:\d+$/m, 'the log is on stdout');
  second.child.kill('SIGTERM');
  t.equal(await second.ended, 0);
});

const isRoot = process.getuid?.() === 0;

t.test('volumes', { skip: isRoot ? false : 'needs root, to mount' }, async (t) => {
  const top = await filesystems(t, 'v', 'a b');
  await mkdir(join(top, 'v2'));
  await symlink('v', join(top, 'link'));
  const { where } = await serve(t, []);
  const call = asker(where);
  const on = (name: string) => join(top, name);

  t.equal(await call('reserve', on('v/x'), SIZE), OK, 'an exact fit is granted');
  t.equal(await call('reserve', on('v/y'), 1), lacking(on('v/y'), 1, 0));
  t.equal(await call('reserve', on('v2/x'), 5), OK, 'a neighbour whose name begins the same is on another volume');
  t.equal(await call('reserve', on('a b/c'), SIZE), OK, 'a mountpoint with a blank');
  t.equal(await call('reserve', on('link/y'), 1), lacking(on('link/y'), 1, 0), 'through a symbolic link');
  t.equal(await call('report', on('v')), `200 {"Succeeded":true,"ErrorMessage":"","Data":{"${on('v/x')}":${SIZE}}}`);
  t.equal(await call('report', 'relative'), '200 {"Succeeded":true,"ErrorMessage":"","Data":{}}');

  for (const bytes of [SIZE, 1, 2, SIZE, 3]) t.equal(await call('reserve', on('v/x'), bytes), OK, 'reserving again replaces');
  t.equal(await call('reserve', on('v/y'), SIZE), lacking(on('v/y'), SIZE, SIZE - 3));
  t.equal(await call('reserve', on('v/y'), SIZE - 3), OK, 'nothing leaked');
  t.equal(await call('release', on('v/y')), OK);

  t.equal(await call('reserve', on('v/x'), 600_000), OK);
  await writeFile(on('v/x'), Buffer.alloc(600_000));
  t.equal(await call('reserve', on('v/z'), 900_000_000_000), lacking(on('v/z'), 900_000_000_000, 0), 'nothing underflows');
  t.match(await call('reserve', on('v/z'), '18446744073709551615'), /only 0 are available/);
  t.equal(await call('release', on('v/x')), OK);
  await writeFile(on('v/x'), '');
  const racers = await Promise.all(Array.from({ length: 32 }, (_, i) => call('reserve', on(`v/r${i}`), SIZE / 16)));
  t.equal(racers.filter((each) => each === OK).length, 16, 'many at once get exactly what there is');
});

t.test('what is promised is kept in DATA', { skip: isRoot ? false : 'needs root, to mount' }, async (t) => {
  const top = await filesystems(t, 'v');
  const data = join(top, 'data');
  await mkdir(data);
  const first = await serve(t, [data]);
  t.equal(await asker(first.where)('reserve', join(top, 'v/x'), SIZE), OK);
  t.equal(await asker(first.where)('reserve', join(top, 'gone/x'), 5), OK);
  t.equal(await asker(first.where)('release', join(top, 'gone/x')), OK);
  first.child.kill('SIGKILL');
  await first.ended;
  const second = await serve(t, [data]);
  t.match(await asker(second.where)('report', join(top, 'v')), `{"${join(top, 'v/x')}":${SIZE}}`);
  t.match(await asker(second.where)('reserve', join(top, 'v/y'), 1), /only 0 are available/);
  second.child.kill('SIGTERM');
  await second.ended;
  await writeFile(join(data, '.vreserve/promised.json'), '[{"path":5}]');
  t.match(await vreserve(['serve', data, '-p', '0']), {
    code: 1,
    stderr: /promised\.json' cannot be understood; it was left as it is/,
  });
  t.match(await vreserve(['serve', join(top, 'none'), '-p', '0']), { code: 1, stderr: /cannot be used/ });
});
