// The launcher: what is missing is said in a line each; links and the names of mount(8) helpers work; stdout stays clean.
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { temporaryDirectory } from '../helpers/mount.js';
import { ROOT, run, shell } from '../helpers/run.js';

const LAUNCHER = join(ROOT, 'scripts/vreserve');

/** What the launcher itself needs besides what it checks for. */
const BASIC = ['sh', 'dirname', 'basename', 'readlink', 'find', 'cat', 'cksum', 'mkdir', 'id', 'date', 'tail', 'sed', 'rm', 'wc'];

/** A directory for PATH with the named commands, and scripts in place of others. */
async function fakePath(top: string, commands: string[], scripts: Record<string, string> = {}): Promise<string> {
  const bin = join(top, 'bin');
  await mkdir(bin);
  for (const name of [...BASIC, ...commands]) {
    if (name in scripts) continue;
    const { stdout } = await run('/bin/sh', ['-c', `command -v ${name}`]);
    await symlink(stdout.trim(), join(bin, name));
  }
  for (const [name, script] of Object.entries(scripts)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(bin, name), 0o755);
  }
  return bin;
}

/** A clone in which nothing is built. */
async function emptyClone(top: string): Promise<string> {
  const clone = join(top, 'clone');
  await mkdir(join(clone, 'native'), { recursive: true });
  await mkdir(join(clone, 'src'));
  await mkdir(join(clone, 'test'));
  for (const name of ['scripts', 'package.json', 'package-lock.json', 'tsconfig.json']) {
    await run('cp', ['-r', join(ROOT, name), clone]);
  }
  return join(clone, 'scripts/vreserve');
}

t.test('each missing thing has its line', async (t) => {
  const top = await temporaryDirectory(t);
  const PATH = await fakePath(top, [], { id: 'echo 1000' });
  const got = await run(await emptyClone(top), ['mount', '/a', '/b'], { env: { PATH } });
  t.equal(got.code, 1);
  t.equal(got.stdout, '');
  const lines = got.stderr.trim().split('\n');
  for (const thing of ['Node.js 20.19', 'npm', 'C\\+\\+20 compiler', 'make', 'python3', 'fusermount3']) {
    t.equal(lines.filter((line) => new RegExp(`^vreserve: missing: .*${thing}`).test(line)).length, 1, thing);
  }
  t.equal(lines.length, 6);
});

t.test('root needs no fusermount3, and other commands no device', async (t) => {
  const top = await temporaryDirectory(t);
  const PATH = await fakePath(top, [], { id: 'echo 0' });
  t.notMatch((await run(LAUNCHER, ['mount'], { env: { PATH } })).stderr, /fusermount3/);
  const asUser = await temporaryDirectory(t);
  const userPath = await fakePath(asUser, [], { id: 'echo 1000' });
  t.match((await run(LAUNCHER, ['mount'], { env: { PATH: userPath } })).stderr, /missing: fusermount3.*apt install fuse3/);
  t.notMatch((await run(LAUNCHER, ['report'], { env: { PATH: userPath } })).stderr, /fusermount3/);
});

t.test('a Node.js that is too old', async (t) => {
  for (const version of ['v18.20.0', 'v20.18.1']) {
    const top = await temporaryDirectory(t);
    const PATH = await fakePath(top, [], { node: `echo ${version}` });
    const got = await run(LAUNCHER, ['--version'], { env: { PATH } });
    t.match(got, { code: 1, stdout: '', stderr: new RegExp(`missing: Node.js 20.19 or later; this is ${version}`) });
  }
});

const noNamespaces = process.getuid?.() === 0 ? false : 'hiding /dev/fuse needs root';
t.test('no /dev/fuse', { skip: noNamespaces }, async (t) => {
  const hidden = 'mount -t tmpfs none /dev && mknod /dev/null c 1 3';
  const got = await run('unshare', ['--mount', '/bin/sh', '-c', `${hidden} && exec "$0" mount /a /b`, LAUNCHER]);
  t.match(got, { code: 1, stdout: '', stderr: /^vreserve: missing: \/dev\/fuse\. Load the kernel module.*\n$/ });
});

t.test('a clone that cannot be written to', async (t) => {
  const top = await temporaryDirectory(t);
  const clone = await emptyClone(top);
  if (process.getuid?.() === 0) await shell(`chmod a+rx ${top}; chown -R 0:0 ${top}`);
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  if (process.getuid?.() !== 0) await chmod(join(top, 'clone'), 0o555);
  const got = await run(clone, ['--version'], user);
  await chmod(join(top, 'clone'), 0o755);
  t.match(got, { code: 1, stdout: '', stderr: /not built yet, and .* cannot be written to/ });
});

t.test('through links, from anywhere', async (t) => {
  const top = await temporaryDirectory(t);
  await symlink(LAUNCHER, join(top, 'vreserve'));
  await symlink('vreserve', join(top, 'again'));
  // Whatever was changed since the last build is built here.
  await run(LAUNCHER, ['--version'], { timeoutMs: 200_000 });
  for (const name of ['vreserve', 'again']) {
    t.match(await run(join(top, name), ['--version'], { cwd: '/' }), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' }, name);
  }
  t.match(await shell(`PATH=${top}:$PATH; cd /; vreserve --version`), { code: 0, stdout: /^\d/ });
});

t.test('as a helper of mount(8)', async (t) => {
  const top = await temporaryDirectory(t);
  for (const name of ['mount.vreserve', 'mount.fuse.vreserve']) {
    const helper = join(top, name);
    await symlink(LAUNCHER, helper);
    t.match(await run(helper, ['/nowhere', top, '-o', 'rw,nofail']), { code: 1, stderr: /'\/nowhere' does not exist/ }, name);
    t.match(await run(helper, ['/nowhere', top, '-s', '-n', '-v', '-o', 'bogus']), { code: 2, stderr: /unknown option 'bogus'/ });
    t.match(await run(helper, ['/nowhere', top, '-f', '-o', 'bogus']), { code: 0, stdout: '' }, '-f only pretends');
    t.match(await run(helper, ['/nowhere']), { code: 2, stderr: /usage: mount/ });
  }
});

t.test('a later start is quick', async (t) => {
  const node = async () => await timed(() => run(process.execPath, [join(ROOT, 'build/src/cli/main.js'), '--version']));
  const launcher = async () => await timed(() => run(LAUNCHER, ['--version']));
  const more: number[] = [];
  for (let i = 0; i < 5; i++) more.push((await launcher()) - (await node()));
  more.sort((a, b) => a - b);
  t.ok((more[2] ?? 1000) < 300, `${Math.round(more[2] ?? 0)} ms more than node itself`);
});

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}
