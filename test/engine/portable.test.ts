// The engine fuse-native beside the native one: which of them serves, what is refused, and what only this one can get wrong.
import { spawn } from 'node:child_process';
import { cp, mkdir, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { file, NOBODY, Place, type Report, soon, whyNotRoot } from '../helpers/columns.js';
import { startSteps } from '../helpers/fsop.js';
import { gone, type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { MAIN, must, type Outcome, ROOT, run, vreserve } from '../helpers/run.js';
import { hold } from './hold.js';

const ENGINE = 'fuse-native';
const SMALL = ['--capacity', '64MB', '--margin', '0'];

async function reportOf(m: Mounted): Promise<Report & { daemon: { engine: string } }> {
  return JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8'));
}

/** Threads of the daemon that take requests from libfuse. */
async function takers(m: Mounted): Promise<string[]> {
  const tasks = await readdir(`/proc/${m.ready.pid}/task`);
  const names = await Promise.all(
    tasks.map((task) => readFile(`/proc/${m.ready.pid}/task/${task}/comm`, 'utf8').catch(() => '')),
  );
  return tasks.filter((_, i) => names[i] === 'vreserve-fuse\n');
}

t.test('which engine serves', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: SMALL, engine: ENGINE });
  t.match(m.ready, { engine: ENGINE, engineReason: '', io: 'cached' });
  t.match(await reportOf(m), { daemon: { engine: ENGINE } });
  const again = join(m.mnt, '..', 'again');
  await mkdir(again);
  t.match(await vreserve(['mount', m.data, again]), { code: 1, stderr: /is served by another vreserve daemon/ });
  t.match(await vreserve(['mount', m.data, again, '--engine', ENGINE]), { code: 1, stderr: /is served by another/ });
  await m.umount();
  await m.remount(['--engine', 'auto', ...SMALL]);
  t.match(await reportOf(m), { daemon: { engine: 'native' } }, 'auto takes the native one where it can');
});

t.test('bad input', { skip: whyNotRoot }, async (t) => {
  const top = await temporaryDirectory(t);
  const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
  await mkdir(data);
  await mkdir(mnt);
  const words = ['mount', data, mnt, ...SMALL];
  const unknown = await vreserve([...words, '--engine', 'bindfs']);
  t.match(unknown, { code: 2, stderr: /--engine must be one of auto, native, fuse-native, not 'bindfs'/ });
  const others = await vreserve([...words, '--engine', ENGINE, '--allow-other']);
  t.match(others, {
    code: 1,
    stderr: /no --allow-other with the engine fuse-native: it cannot tell who asks.*--i-trust-all-users/,
  });

  // The same programs, with node_modules as it is where the optional package was left out.
  const copy = join(top, 'copy');
  await mkdir(join(copy, 'node_modules'), { recursive: true });
  await cp(join(ROOT, 'build/src'), join(copy, 'build/src'), { recursive: true });
  await cp(join(ROOT, 'package.json'), join(copy, 'package.json'));
  await mkdir(join(copy, 'native/build/Release'), { recursive: true });
  await cp(join(ROOT, 'native/build/Release/vreserve.node'), join(copy, 'native/build/Release/vreserve.node'));
  for (const name of await readdir(join(ROOT, 'node_modules'))) {
    if (name !== ENGINE) await symlink(join(ROOT, 'node_modules', name), join(copy, 'node_modules', name));
  }
  const from = (engine: string): Promise<Outcome> =>
    run(process.execPath, [join(copy, 'build/src/cli/main.js'), ...words, '--engine', engine]);
  const missing = /the engine fuse-native cannot be loaded: the package is not installed; npm install fuse-native@2\.2\.6/;
  t.match(await from(ENGINE), { code: 1, stderr: missing });
  await mkdir(join(copy, 'node_modules', ENGINE));
  await writeFile(join(copy, 'node_modules', ENGINE, 'package.json'), '{"name":"fuse-native","version":"3.0.0"}');
  t.match(await from(ENGINE), { code: 1, stderr: /it is version 3\.0\.0; npm install fuse-native@2\.2\.6/ });
  await writeFile(join(copy, 'node_modules', ENGINE, 'package.json'), '{"name":"fuse-native","version":"2.2.6"}');
  t.match(await from(ENGINE), { code: 1, stderr: /it has no libfuse for linux/ }, 'its library is missing');
  t.match(await from('auto'), { code: 0 }, 'which is no matter where the native one starts');
  await must(vreserve(['umount', mnt]));
});

t.test('auto, where the native engine cannot start', { skip: whyNotRoot }, async (t) => {
  // An ordinary user without fusermount3, but with the fusermount of libfuse 2.
  const m = await mount(t, { args: SMALL, uid: NOBODY });
  t.equal(m.ready.engine, 'native');
  await m.umount();
  const bin = join(m.mnt, '..', 'bin');
  await mkdir(bin);
  const { stdout: helper } = await must(run('/bin/sh', ['-c', 'command -v fusermount3']));
  const asked = (...words: string[]) =>
    run('env', ['-u', 'NODE_OPTIONS', `PATH=${bin}`, process.execPath, MAIN, ...words], m.identity);
  const words = ['mount', m.data, m.mnt, ...SMALL];
  const neither = await asked(...words);
  t.match(neither, { code: 1, stderr: /fusermount3.*; nor with fuse-native: an ordinary user needs fusermount/ });
  await symlink(helper.trim(), join(bin, 'fusermount'));
  const mounted = await asked(...words);
  t.match(mounted, {
    code: 0,
    stderr: /^vreserve: mounted with fuse-native, because the native engine cannot start: .*fusermount3.*\n$/,
  });
  const ops = await startSteps(t, m.mnt, m.identity);
  t.match(await ops.do(`text ${m.mnt}/.vreserve/report.json`), /"engine": ?"fuse-native"/);
  await ops.end();
  const ended = await asked('umount', m.mnt);
  t.match(ended, { code: 0 }, 'and is unmounted without fusermount3');
});

t.test('mounted with one engine today, and with the other tomorrow', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: SMALL, engine: 'native' });
  const usage = async () =>
    (await reportOf(m)).lots.map(({ path, usedBytes, objects, dedicatedBytes }) => [path, usedBytes, objects, dedicatedBytes]);
  let expected: unknown[] = [];
  for (const [i, engine] of ['native', ENGINE, 'native', ENGINE, 'native'].entries()) {
    if (i > 0) {
      await m.remount(['--engine', engine, ...SMALL]);
      t.notOk(m.ready.counted, 'what was saved is taken');
      t.same(await usage(), expected, `${engine} has what the one before it left`);
    }
    const ops = await startSteps(t, m.mnt);
    const p = new Place(m, ops);
    await p.table(t, [
      [`mkdir job${i}`, 0],
      [`reserve job${i} 10000`, ''],
      ...file(`job${i}/f`, 1000 + i),
      [`truncate job0/f ${500 + i}`, 0],
    ]);
    await ops.end();
    await p.ops.end();
    expected = await soon(usage, (rows) => JSON.stringify(rows).includes(`["/job${i}",${i === 0 ? 500 : 1000 + i},1,`));
    await m.umount();
  }
  await m.remount(['--engine', ENGINE, ...SMALL]);
  for (const engine of ['native', ENGINE]) {
    await m.kill();
    await m.remount(['--engine', engine, ...SMALL]);
    t.ok(m.ready.counted, 'after a crash it is counted');
    t.same(await usage(), expected, `${engine} recovers it`);
  }
});

t.test('who is trusted', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: [...SMALL, '--allow-other', '--i-trust-all-users'], engine: ENGINE });
  await must(run('chmod', ['777', m.mnt]));
  const other = await startSteps(t, m.mnt, { uid: NOBODY });
  const p = new Place(m, other);
  t.equal(await p.reserve('theirs', 1000), '', 'everybody is the one who mounts');
  await p.table(t, file('theirs', 1000));
  t.match(await other.do('stat theirs'), { uid: 0 });
  await must(run('cp', ['/bin/true', join(m.mnt, 'program')]));
  await must(run('chmod', ['6777', join(m.mnt, 'program')]));
  await p.table(t, [
    ['open g program RDWR', 0],
    ['pwrite g x 9', 1],
    ['close g', 0],
  ]);
  t.match(await other.do('stat program'), { mode: '777' }, 'but set-user-id goes where it must');
  t.match(await run('stat', ['-c', '%a', join(m.data, 'program')]), { stdout: '777\n' });
  await m.umount().catch(() => {});
  await other.end();
  await m.umount();
  await m.remount([...SMALL, '--engine', ENGINE]);
  const alone = await startSteps(t, '/', { uid: NOBODY });
  t.equal(await alone.do(`stat ${m.mnt}/theirs`), 'EACCES', 'without it, nobody else');
});

t.test('snapshots', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: SMALL, engine: ENGINE });
  const p = new Place(m, await startSteps(t, m.mnt));
  const name = join(m.mnt, '.vreserve/report.json');
  const file = await open(name);
  const first = await file.stat();
  const before = await readFile(name, 'utf8');
  for (let i = 0; i < 10; i++) t.equal(await p.reserve(`a-lot-with-a-long-name-${i}`, 1000), '');
  t.equal((await file.stat()).size, first.size, 'an open one is as it was');
  t.equal((await file.readFile('utf8')).length, first.size);
  await file.close();
  const after = await readFile(name, 'utf8');
  t.ok(after.length > before.length + 1000, 'and the next is as it is now');
  // What is known of its size is what is read, also while it becomes another one all the time.
  const changes = Array.from({ length: 30 }, (_, i) => p.reserve(`more-${i}`, 1000));
  const reports = await Promise.all(Array.from({ length: 60 }, () => reportOf(m)));
  t.same(await Promise.all(changes), Array(30).fill(''));
  t.equal(reports.length, 60);
});

t.test('commands that wait', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: SMALL, engine: ENGINE, spool: true });
  const p = new Place(m, await startSteps(t, m.mnt));
  const { pool } = JSON.parse(await p.text('report.json')) as { pool: { headroomBytes: number } };
  t.equal(await p.reserve('full', pool.headroomBytes), '');
  const line = async () => (JSON.parse(await p.text('report.json')) as { waiting: unknown[] }).waiting.length;
  const waiting = Array.from({ length: 20 }, (_, i) => m.run(['reserve', join(m.mnt, `late${i}`), '1MB', '--wait']));
  t.equal(await soon(line, (count) => count === 20), 20, 'all wait');
  t.equal(await p.reserve('little', 1000), 'ENOSPC', 'others are answered meanwhile');
  const left = spawn('/bin/sh', ['-c', 'exec 3<>.vreserve/control; echo "reserve /never 50MB wait" >&3'], { cwd: m.mnt });
  t.equal(await soon(line, (count) => count === 21), 21);
  left.kill('SIGKILL');
  t.equal(await soon(line, (count) => count === 20), 20, 'who is killed leaves the line');
  t.equal(await p.release('full'), '');
  for (const each of waiting) t.match(await each, { code: 0 });
});

t.test("through a lot's own .vreserve", { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: SMALL, engine: ENGINE });
  const p = new Place(m, await startSteps(t, m.mnt));
  await p.table(t, [
    ['mkdir job', 0],
    ['mkdir job/hosts', 0],
    ['reserve job 10000', ''],
    ['reserve job/hosts 1000', ''],
  ]);
  const inside = (command: string) => p.ops.do(`control ${m.mnt}/job/.vreserve/control ${command}`);
  t.match(await inside('release /hosts'), { errno: 'EACCES' }, 'it may be root in a container who asks');
  t.match(await inside('reserve /own 1000'), { errno: '' });
  t.match(await inside('release /own'), { errno: '' });
  await p.table(t, [['release job/hosts', '']]);
});

t.test('open files that are unlinked or replaced', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: SMALL, engine: ENGINE });
  const p = new Place(m, await startSteps(t, m.mnt));
  await p.table(t, [
    ['mkdir a', 0],
    ['mkdir b', 0],
    ['reserve a 10000', ''],
    ['reserve b 1000', ''],
    ...file('a/large', 2000),
    ['open w b/target CREAT|RDWR', 0],
    ['write w target', 6],
    ['open f b/target RDWR', 0],
    ['rename a/large b/target', 'ENOSPC'],
    ['pread f 6 0', 'target'],
    ['cat b/target', 'target'],
    ['close f', 0],
    ['close w', 0],
    ['cat b/target', 'target'],
    ['used b', 6],
  ]);
  t.same(await p.ops.do('list b'), ['target file'], 'a rename that is refused leaves its target');

  await p.table(t, [
    ...file('b/new', 3),
    ['open f b/target RDWR', 0],
    ['rename b/new b/target', 0],
    ['pread f 6 0', 'target'],
    ['pwrite f T 0', 1],
    ['pread f 6 0', 'Target'],
    ['used b', 9],
  ]);
  t.match(await p.ops.do('fstat f'), { nlink: 0, size: 6 });
  t.same(await readdir(join(m.data, 'b')), ['target'], 'nothing is left beside it');
  await p.table(t, [
    ['close f', 0],
    ['soon used b', 3],
    ['open f b/target RDWR', 0],
    ['link b/target b/second', 0],
    ['unlink b/target', 0],
  ]);
  t.match(await p.ops.do('fstat f'), { nlink: 1, size: 3 });
  await p.table(t, [
    ['unlink b/second', 0],
    ['used b', 3],
    ['rmdir b', 'ENOTEMPTY'],
    ['ftruncate f 900', 0],
    ['used b', 900],
  ]);
  t.same(await readdir(join(m.data, 'b')), []);
  await m.kill();
  await p.ops.end();
  await m.remount([...SMALL, '--engine', 'native']);
  const after = new Place(m, await startSteps(t, m.mnt));
  await after.table(t, [
    ['used b', 0],
    ['rmdir b', 0],
  ]);
  t.equal((await after.report()).health, 'ok', 'a crash leaves nothing of them');
});

t.test('a disk that does not answer', { skip: whyNotRoot, timeout: 120_000 }, async (t) => {
  const names = Array.from({ length: 40 }, (_, i) => `slow${i}`);
  const fill = async (data: string) => {
    for (const name of [...names, 'quick']) await writeFile(join(data, name), 'text');
    await mkdir(join(data, 'deep'));
  };
  const m = await mount(t, { args: SMALL, engine: ENGINE, fill });
  const held = await hold(
    t,
    names.map((name) => join(m.data, name)),
  );
  const readers = names.map((name) => run('cat', [join(m.mnt, name)]));
  await held.held(names.length);
  t.match(await reportOf(m), { daemon: { engine: ENGINE } }, 'virtual files');
  t.equal(await readFile(join(m.mnt, 'quick'), 'utf8'), 'text', 'other files');
  t.match(await m.run(['ledger', m.mnt]), { code: 0, stdout: /mount/ }, 'the journal');
  await held.letGo();
  for (const reader of readers) t.match(await reader, { code: 0, stdout: 'text' });

  // Now all these threads are idle. Not one of them may end: the binding gives back nothing of those that do.
  const before = await takers(m);
  t.ok(before.length > names.length / 2, 'there are threads to end');
  await Promise.all(names.map((name) => run('cat', [join(m.mnt, name)])));
  const after = new Set(await takers(m));
  t.same(
    before.filter((task) => !after.has(task)),
    [],
    'no thread has ended',
  );

  // A command that takes its time is interrupted, as by Ctrl-C.
  const blocked = await hold(t, [join(m.data, 'deep')]);
  const check = run('/bin/sh', ['-c', 'echo $$; exec 3<>.vreserve/control; echo check >&3'], { cwd: m.mnt, timeoutMs: 2000 });
  await blocked.held(1);
  t.match(await check, { signal: 'SIGKILL' }, 'and need not wait for the disk');
  await blocked.letGo();
});

t.test('the end of a mount', { skip: whyNotRoot }, async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const m = await mount(t, { args: SMALL, engine: ENGINE });
    process.kill(m.ready.pid, signal);
    await gone(m.ready.pid);
    t.same(await readdir(m.mnt), [], `${signal} unmounts`);
    await m.remount([...SMALL, '--engine', ENGINE]);
    t.notOk(m.ready.counted, 'it ended cleanly');
    await must(run('umount', [m.mnt]));
    await gone(m.ready.pid);
    await m.remount([...SMALL, '--engine', ENGINE]);
    t.notOk(m.ready.counted, 'so does umount(8)');
  }
});

t.test('the end of a mount that is in use', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: SMALL, engine: ENGINE });
  const p = new Place(m, await startSteps(t, m.mnt));
  await p.table(t, [
    ['open f file CREAT|RDWR', 0],
    ['write f text', 4],
  ]);
  process.kill(m.ready.pid, 'SIGTERM');
  await soon(
    () => readdir(m.mnt),
    (names) => names.length === 0,
  );
  await p.table(t, [
    ['pread f 4 0', 'text'],
    ['pwrite f more 4', 4],
    ['close f', 0],
    ['chdir /', 0],
  ]);
  await gone(m.ready.pid);
  t.equal(await readFile(join(m.data, 'file'), 'utf8'), 'textmore', 'it is served until the last close');
  await m.remount([...SMALL, '--engine', ENGINE, '--grace', '100ms']);
  t.notOk(m.ready.counted);
  await p.table(t, [
    [`open f ${m.mnt}/file RDWR`, 0],
    ['pread f 4 0', 'text'],
  ]);
  process.kill(m.ready.pid, 'SIGTERM');
  await gone(m.ready.pid);
  t.match(await p.ops.do('pwrite f text 4'), /^(ENOTCONN|ECONNABORTED)$/, 'or until the grace is over');
  await p.ops.end();
  await rm(join(m.data, 'file'));
  await m.remount([...SMALL, '--engine', ENGINE]);
  t.ok(m.ready.counted);
});
