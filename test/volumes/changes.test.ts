// Volumes that are made and removed by many at once, by processes that are killed, and against whoever is in the way.
// Rounds of killing: 6, or VRESERVE_ROUNDS of the environment.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../helpers/http.js';
import { report } from '../helpers/lots.js';
import { type Mounted, mount } from '../helpers/mount.js';
import { Random } from '../helpers/random.js';
import { must, run, shell } from '../helpers/run.js';
import { nothingIsLeft, Plugin, volumesOf } from '../helpers/volumes.js';

const MB = 1_000_000;
const ROUNDS = Number(process.env.VRESERVE_ROUNDS ?? 6);
const ARGS = ['--capacity', '100MB', '--margin', '0'];
const NOTHING = { directories: [], lots: {}, work: [] };
const isRoot = process.getuid?.() === 0;
const lacksRoot = isRoot ? false : 'needs root, to mount';

/** Files of removed volumes may take a moment longer than the answer. */
async function cleared(m: Mounted): Promise<void> {
  await until(async () => (await readdir(join(m.mnt, 'volumes/.work/removed'))).length === 0, 'removed volumes are cleared away');
}

t.test('many at once', async (t) => {
  const m = await mount(t, { args: ARGS });
  const plugin = await Plugin.start(t, m);

  const same = await Promise.all(Array.from({ length: 64 }, () => plugin.create('one', { size: '30MB' })));
  t.same(new Set(same), new Set(['']), '64 creations of one volume');
  t.same(await volumesOf(m), { directories: ['one'], lots: { one: 30 * MB }, work: [] });
  t.equal(await plugin.remove('one'), '');

  const names = Array.from({ length: 64 }, (_, n) => `v${n}`);
  const racing = await Promise.all(names.map((name) => plugin.create(name, { size: '7MB' })));
  t.equal(racing.filter((err) => err === '').length, 14, '14 times 7 MB are in 100 MB, and no 15th time');
  t.same(
    new Set(racing.filter((err) => err !== '').map((err) => err?.replace(/v\d+/, 'v'))),
    new Set(['7 MB asked for /volumes/v, 2 MB available']),
  );
  const made = names.filter((_, n) => racing[n] === '').sort();
  t.same(await volumesOf(m), { directories: made, lots: Object.fromEntries(made.map((name) => [name, 7 * MB])), work: [] });
  const gone = await Promise.all([...made, ...made].map((name) => plugin.remove(name)));
  t.equal(gone.filter((err) => err === '').length, 14, 'each is removed once');
  t.equal(gone.filter((err) => err?.startsWith('there is no volume')).length, 14);
  await nothingIsLeft(t, m);

  const turns = await Promise.all(
    Array.from({ length: 60 }, (_, n) =>
      [
        () => plugin.create('x', { size: '9MB' }),
        () => plugin.remove('x'),
        () => plugin.mount('x', 'a'),
        () => plugin.unmount('x', 'a'),
      ][n % 4]?.(),
    ),
  );
  t.notOk(
    turns.some((err) => err !== '' && !/no volume|in use/.test(err ?? 'none')),
    'calls for one volume in any order',
  );
  const { directories, lots, work } = await volumesOf(m);
  t.same(work, []);
  t.same(directories, Object.keys(lots), 'leave it whole, or not there');
  await plugin.unmount('x', 'a');
  await plugin.remove('x');
  await nothingIsLeft(t, m);
});

t.test('what is freed can be had at once', async (t) => {
  const m = await mount(t, { args: ARGS });
  const plugin = await Plugin.start(t, m);
  for (let round = 0; round < 5; round++) {
    t.equal(await plugin.create(`r${round}`, { size: '90MB' }), '');
    await must(
      m.shell(`cd volumes/r${round}; head -c 80000000 /dev/zero > big; mkdir d; cd d; for n in $(seq 300); do echo x > $n; done`),
    );
    // Nobody waits for the answer to the removal before the next creation.
    const removal = plugin.remove(`r${round}`);
    await until(async () => !(await plugin.list()).includes(`r${round}`), 'it is out of sight');
    t.equal(await plugin.create('next', { size: '90MB' }), '', 'a volume of the same size');
    t.equal(await removal, '');
    t.equal(await plugin.remove('next'), '');
  }
  await nothingIsLeft(t, m);
});

t.test('a process that is killed', async (t) => {
  const m = await mount(t, { args: ARGS });
  const random = new Random(7);
  for (let round = 0; round < ROUNDS; round++) {
    const plugin = await Plugin.start(t, m);
    const before = new Set(await plugin.list());
    const answers = new Map<string, string | null>();
    let left = random.between(1, 24);
    const names = Array.from({ length: 24 }, (_, n) => `v${n}`);
    const calls = names.map(async (name) => {
      const err = await (before.has(name) ? plugin.remove(name) : plugin.create(name, { size: '1MB' }));
      answers.set(name, err);
      left -= 1;
      if (left === 0) await plugin.kill();
    });
    await Promise.all(calls);
    await plugin.kill();

    const next = await Plugin.start(t, m);
    const { directories, lots, work } = await volumesOf(m);
    t.same(directories, Object.keys(lots).sort(), `round ${round}: each has a directory and a reservation, or neither`);
    t.same(await next.list(), directories);
    t.notOk(
      Object.values(lots).some((bytes) => bytes !== MB),
      'of the size asked for',
    );
    t.same(
      work.filter((each) => !each.startsWith('removed')),
      [],
      'nothing is half done',
    );
    const isThere = (name: string) => directories.includes(name);
    t.same(
      names.filter((name) => answers.get(name) === '' && isThere(name) === before.has(name)),
      [],
      'and what was answered is done',
    );
    await next.kill();
  }
  const last = await Plugin.start(t, m);
  for (const name of await last.list()) t.equal(await last.remove(name), '');
  await nothingIsLeft(t, m);
});

t.test('whatever is in a volume', async (t) => {
  const m = await mount(t, { args: ARGS });
  const plugin = await Plugin.start(t, m);
  const outside = join(m.mnt, 'outside');
  await mkdir(join(outside, 'd'), { recursive: true });
  await writeFile(join(outside, 'd/kept'), 'kept');
  const beside = join(m.data, '../../beside');
  await mkdir(beside);
  await writeFile(join(beside, 'kept'), 'kept');

  t.equal(await plugin.create('v', { size: '50MB' }), '');
  const v = join(m.mnt, 'volumes/v');
  await must(
    m.shell(`cd volumes/v
      mkdir many deep; cd many; for n in $(seq 3000); do : > $n; done; cd ..
      cd deep; for n in $(seq 2500); do mkdir d; cd d; done; echo bottom > f; cd '${v}'
      mkdir -p locked/in; echo x > locked/in/f; chmod 0 locked/in locked
      mkdir wide; cd wide; for n in $(seq 200); do mkdir -p $n/a/b; echo x > $n/a/f; done; cd ..
      : > ./-rf; : > '*'; : > 'a b'; : > "$(printf 'new\\nline')"; : > "$(printf '\\377\\376')"; mkdir "$(printf 'd\\200')"; : > "$(printf 'd\\200/\\201')"
      : > ..data; mkdir ...; mkfifo fifo; ${isRoot ? 'mknod null c 1 3;' : ''} ln -s ${outside} to-dir; ln -s ${beside}/kept to-file; ln -s / root; ln -s loop loop
      mkdir links; for n in $(seq 50); do ln many/1 links/$n; done`),
  );
  await symlink(outside, join(v, 'wide/1/a/b/to-dir'));
  await link(join(v, 'many/2'), join(v, 'deep/hard'));
  await must(m.run(['reserve', join(v, 'wide'), '1MB']));
  await must(m.run(['reserve', join(v, 'deep/d/later'), '1MB']));
  t.equal(await plugin.remove('v'), '');
  t.same(await plugin.list(), []);
  await cleared(m);
  t.same(await volumesOf(m), NOTHING, 'with the reservations in it');
  t.equal(await readFile(join(outside, 'd/kept'), 'utf8'), 'kept', 'no link was followed');
  t.equal(await readFile(join(beside, 'kept'), 'utf8'), 'kept');
  const { pool } = await report(m.mnt);
  t.match(pool, { usedBytes: 4, setAsideBytes: 0 });
  t.match(await m.run(['check', m.mnt]), { code: 0 });
});

t.test('against who goes on writing while it is removed', async (t) => {
  const m = await mount(t, { args: ARGS });
  const plugin = await Plugin.start(t, m);
  const victim = join(m.data, '../../victim');
  await mkdir(join(victim, 'd'), { recursive: true });
  for (const name of ['a', 'd/b']) await writeFile(join(victim, name), 'kept');
  t.equal(await plugin.create('v', { size: '50MB' }), '');
  await must(m.shell('cd volumes/v; for n in $(seq 40); do mkdir -p t/$n/d; : > t/$n/d/f; done'));
  // It puts links in the place of directories, and directories in the place of links, as long as it can.
  const script = `cd '${m.mnt}/volumes/v' || exit 1; echo ready
    while :; do
      mkdir -p x/d 2>/dev/null; : > x/d/b 2>/dev/null; mv -T x y 2>/dev/null; ln -sfn '${victim}' x 2>/dev/null
      rm -f x 2>/dev/null; mv -T y x 2>/dev/null; mkdir -p t/1/d/e 2>/dev/null; mv -T t/1/d w 2>/dev/null; ln -sfn '${victim}/d' t/1/d 2>/dev/null; rm -rf w t/1/d 2>/dev/null
    done`;
  const racer = await started(t, 'bash', ['-c', script]);
  t.equal(await plugin.remove('v'), '');
  t.same(await plugin.list(), [], 'it is gone for everybody else');
  racer.kill('SIGKILL');
  await once(racer, 'close');
  t.equal(await plugin.create('w', {}), '');
  t.equal(await plugin.remove('w'), '', 'what comes next clears the rest away');
  await nothingIsLeft(t, m);
  for (const name of ['a', 'd/b']) t.equal(await readFile(join(victim, name), 'utf8'), 'kept');
});

/** A process that says a line when it has begun; it ends with the test at the latest. */
async function started(t: Test, command: string, words: readonly string[]): Promise<ChildProcess> {
  const child = spawn(command, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  await once(child.stdout, 'data');
  return child;
}

t.test('who has it mounted', { skip: lacksRoot }, async (t) => {
  const m = await mount(t, { args: ARGS });
  const first = await Plugin.start(t, m);
  t.equal(await first.create('v', { size: '10MB' }), '');
  t.equal(await first.create('v2', { size: '10MB' }), '', 'another whose name begins alike');
  await writeFile(join(m.mnt, 'volumes/v/f'), 'kept');
  t.equal(await first.mount('v', 'engine'), '');
  const target = join(m.data, '../../target');
  await mkdir(target);
  // As an engine does it: in a mount namespace of the container's own.
  const script = 'mount --bind "$0" "$1" && echo ready && read -r; umount "$1"';
  const container = await started(t, 'unshare', [
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-c',
    script,
    join(m.mnt, 'volumes/v'),
    target,
  ]);
  await first.kill();

  const plugin = await Plugin.start(t, m);
  t.match(
    await plugin.remove('v'),
    new RegExp(`^volume 'v' is in use: process ${container.pid} has it mounted$`),
    'also of before the process began',
  );
  t.equal(await readFile(join(m.mnt, 'volumes/v/f'), 'utf8'), 'kept');
  t.equal(await plugin.unmount('v', 'engine'), '', 'what was mounted before is unmounted');
  t.match(await plugin.remove('v'), /has it mounted/);
  t.equal(await plugin.remove('v2'), '', 'the other one is nobody’s');
  container.stdin?.end();
  await once(container, 'close');
  await mkdir(join(m.mnt, 'volumes/v/sub'));
  await must(run('mount', ['--bind', join(m.mnt, 'volumes/v/sub'), target]));
  t.match(await plugin.remove('v'), /has it mounted/, 'a part of it');
  await must(run('umount', [target]));
  t.equal(await plugin.remove('v'), '');
  await nothingIsLeft(t, m);
});

t.test('a mount that is read-only, and one that has ended', async (t) => {
  const m = await mount(t, { args: ARGS });
  const before = await Plugin.start(t, m);
  t.equal(await before.create('v', { size: '10MB' }), '');
  await before.stop();
  t.equal(before.said, '');
  t.same(
    (await readdir(join(m.data, '../..'))).filter((name) => name.endsWith('.sock')),
    [],
    'the socket is gone with it',
  );
  await m.umount();
  await m.remount([...ARGS, '--read-only']);
  const plugin = await Plugin.start(t, m);
  t.same(await plugin.list(), ['v']);
  t.equal(await plugin.mount('v', 'a'), '');
  t.match(await plugin.create('w'), /read-only/);
  t.match(await plugin.create('v', { size: '20MB' }), /read-only/);
  t.match(await plugin.remove('v'), /read-only/);
  await m.kill();
  t.match(await plugin.create('w'), /ENOTCONN|ending|read-only/);
  await must(shell(`umount --lazy '${m.mnt}'`));
  t.match(await plugin.mount('v', 'a'), /ending/, 'what lies below the mountpoint is no volume');
});
