// What a removal takes away, and what it leaves: whatever is in a volume, whoever writes to it, and whoever has it mounted.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { link, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../helpers/http.js';
import { report } from '../helpers/lots.js';
import type { Mounted } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';
import { mountVolumes, nothingIsLeft, volumesOf } from '../helpers/volumes.js';

const NOTHING = { directories: [], lots: {}, work: [] };
const isRoot = process.getuid?.() === 0;
const lacksRoot = isRoot ? false : 'needs root, to mount';

/** Files of removed volumes may take a moment longer than the answer. */
async function cleared(m: Mounted): Promise<void> {
  await until(async () => (await readdir(join(m.mnt, 'volumes/.work/removed'))).length === 0, 'removed volumes are cleared away');
}

t.test('whatever is in a volume', async (t) => {
  const { m, plugin } = await mountVolumes(t);
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
      cd deep; python3 -c 'import os
for n in range(2500): os.mkdir("d"); os.chdir("d")
open("f", "w").write("bottom")'; cd ..
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
  const { m, plugin } = await mountVolumes(t);
  const victim = join(m.data, '../../victim');
  await mkdir(join(victim, 'd'), { recursive: true });
  for (const name of ['a', 'd/b']) await writeFile(join(victim, name), 'kept');
  t.equal(await plugin.create('v', { size: '50MB' }), '');
  await must(m.shell('cd volumes/v; for n in $(seq 40); do mkdir -p t/$n/d; : > t/$n/d/f; done'));
  // It puts links in the place of directories, and directories in the place of links, as long as it can.
  const script = `cd '${m.mnt}/volumes/v' || exit 1; exec 2> /dev/null; echo ready
    while :; do
      mkdir -p x/d; : > x/d/b; mv -T x y; ln -sfn '${victim}' x
      rm -f x; mv -T y x; mkdir -p t/1/d/e; mv -T t/1/d w; ln -sfn '${victim}/d' t/1/d; rm -rf w t/1/d
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
  const { m, plugin } = await mountVolumes(t);
  t.equal(await plugin.create('v', { size: '10MB' }), '');
  t.equal(await plugin.create('v2', { size: '10MB' }), '', 'another whose name begins alike');
  await writeFile(join(m.mnt, 'volumes/v/f'), 'kept');
  t.equal(await plugin.mount('v', 'engine'), '');
  const target = join(m.data, '../../target');
  await mkdir(target);
  // As an engine does it: in a mount namespace of the container's own.
  const script = 'mount --bind "$0" "$1" && echo ready && read -r line; umount "$1"';
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
  await plugin.kill();

  await plugin.isUp();
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
  const { m, plugin } = await mountVolumes(t);
  t.equal(await plugin.create('v', { size: '10MB' }), '');
  t.equal(await plugin.mount('v', 'a'), '');
  await m.umount();
  t.same(await readdir(dirname(plugin.socket)), [], 'the socket is gone with the mount');
  t.equal(await plugin.create('v'), null);
  await m.remount([...m.args, '--read-only']);
  t.same(await plugin.list(), ['v']);
  t.equal(await plugin.mount('v', 'a'), '');
  t.match(await plugin.create('w'), /read-only/);
  t.match(await plugin.create('v', { size: '20MB' }), /read-only/);
  t.match(await plugin.remove('v'), /read-only/);
  await m.umount();
  await m.remount();
  t.equal(await plugin.remove('v'), '', 'who has it mounted is known for as long as a mount lasts');
  await nothingIsLeft(t, m);
});
