// Volumes as people use them: made, used and removed by podman.
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Mounted, Teardown } from '../helpers/mount.js';
import { must } from '../helpers/run.js';
import { mountVolumes, nothingIsLeft, type Plugin, volumesOf } from '../helpers/volumes.js';
import { Podman, whyNoContainers } from './podman.js';

const MB = 1_000_000;
const reason = await whyNoContainers();

async function inspect(
  podman: Podman,
  name: string,
): Promise<{ Driver: string; Mountpoint: string; Status: Record<string, unknown> }> {
  const { stdout } = await must(podman.volume('inspect', name));
  return JSON.parse(stdout)[0];
}

/** Fills a file until no more fits, and says its size. */
const FILL = 'cat /dev/zero > /data/big; echo "exit $?"; stat -c %s /data/big';

async function withPodman(t: Teardown): Promise<{ m: Mounted; plugin: Plugin; podman: Podman }> {
  const { m, plugin } = await mountVolumes(t);
  return { m, plugin, podman: await Podman.create(t, { vreserve: plugin.socket }) };
}

t.test('a volume from its creation to its removal', { skip: reason }, async (t) => {
  const { m, podman } = await withPodman(t);
  const made = await podman.volume('create', '--driver', 'vreserve', '-o', 'size=50M', 'v1');
  t.match(made, { code: 0, stdout: 'v1\n' });
  t.match(await podman.volume('ls', '--format', '{{.Driver}} {{.Name}}'), { stdout: 'vreserve v1\n' });
  t.match((await inspect(podman, 'v1')).Status, { grantBytes: 50 * MB, usedBytes: 0, freeBytes: 50 * MB });

  const filled = await podman.run(
    'v1',
    `df -Pk /data | tail -n 1; ${FILL}; df -Pk /data | tail -n 1; cat /data/.vreserve/report`,
  );
  t.match(filled, { code: 0, stderr: /No space left on device/ });
  const lines = filled.stdout.split('\n');
  t.match(lines[0], / 48832 +4 +48828 +0% \/data$/, 'df inside shows its size');
  t.equal(lines[1], 'exit 1');
  t.equal(lines[2], String(50 * MB), 'every byte of it, and not one more');
  t.match(lines[3], / 100% \/data$/);
  t.match(filled.stdout, /50 MB +50 MB +100%/, 'the report in it');
  t.match(await inspect(podman, 'v1'), {
    Driver: 'vreserve',
    Mountpoint: join(m.mnt, 'volumes/v1'),
    Status: { usedBytes: 50 * MB, freeBytes: 0, objects: 1 },
  });

  const refused = await podman.volume('create', '--driver', 'vreserve', '-o', 'size=51M', 'v2');
  t.match(refused, { code: 125, stderr: /51 MB asked for \/volumes\/v2, 50 MB available/ });
  t.match(await podman.volume('create', '--driver', 'vreserve', '-o', 'speed=9', 'v2'), {
    code: 125,
    stderr: /option 'speed': it is not known/,
  });
  t.same((await volumesOf(m)).directories, ['v1'], 'of what was refused nothing is left');

  t.match(await podman.volume('rm', 'v1'), { code: 0 });
  t.match(await podman.volume('ls', '-q'), { stdout: '' });
  await nothingIsLeft(t, m);
});

t.test('two containers, one volume; two volumes', { skip: reason }, async (t) => {
  const { m, podman } = await withPodman(t);
  await must(podman.volume('create', '--driver', 'vreserve', '-o', 'size=20M', 'shared'));
  await must(
    podman.volume(
      'create',
      '--driver',
      'vreserve',
      '-o',
      'size=20M',
      '-o',
      'uid=1000',
      '-o',
      'gid=1000',
      '-o',
      'mode=700',
      'own',
    ),
  );
  await must(podman.volume('create', '--driver', 'vreserve', 'unbounded'));
  const [one, other, third] = await Promise.all([
    podman.run('shared', 'echo one > /data/one; while [ ! -e /data/other ]; do sleep 0.1; done; cat /data/*'),
    podman.run('shared', 'echo other > /data/other; while [ ! -e /data/one ]; do sleep 0.1; done; cat /data/*'),
    podman.run('own', `stat -c '%u %g %a' /data; ${FILL}`, '1000:1000'),
  ]);
  t.match(
    [one, other],
    [
      { code: 0, stdout: 'one\nother\n' },
      { code: 0, stdout: 'one\nother\n' },
    ],
    'each sees the other',
  );
  t.match(third, { code: 0, stdout: `1000 1000 700\nexit 1\n${20 * MB}\n` }, 'a user of its own');
  t.match(
    await podman.run('unbounded', FILL),
    { code: 0, stdout: `exit 1\n${60 * MB}\n` },
    'without a size: what nobody was promised',
  );
  t.match((await inspect(podman, 'unbounded')).Status, { grantBytes: -1, dedicatedBytes: 0, usedBytes: 60 * MB });
  t.match(
    await podman.run('shared', 'cat /dev/zero > /data/big; cat /data/* | wc -c'),
    { stdout: `${20 * MB}\n` },
    'and the promised is there',
  );
  t.match(
    await podman.run('unbounded', 'echo "release /" > /data/.vreserve/control'),
    { code: 1 },
    'a container does not change its own',
  );
  t.match(
    await podman.run('shared', 'rm -r /data/* && mkdir /data/sub && echo "reserve /sub 1MB" > /data/.vreserve/control'),
    { code: 0 },
    'but may divide it',
  );
  for (const name of ['shared', 'own', 'unbounded']) t.match(await podman.volume('rm', name), { code: 0 }, `rm ${name}`);
  await nothingIsLeft(t, m);
});

t.test('the plugin is away, and comes back', { skip: reason }, async (t) => {
  const { m, plugin, podman } = await withPodman(t);
  await must(podman.volume('create', '--driver', 'vreserve', '-o', 'size=20M', 'v1'));
  await must(podman.run('v1', 'echo kept > /data/f'));
  await plugin.kill();
  await plugin.isUp();
  t.match(await podman.run('v1', 'cat /data/f'), { code: 0, stdout: 'kept\n' });
  await m.kill();
  t.match(await podman.run('v1', 'cat /data/f'), { code: /[1-9]/, stdout: '' }, 'without the mount nothing is read');
  t.match(await podman.volume('rm', 'v1'), { code: 125 }, 'nor removed');
  await m.remount();
  t.match(await podman.run('v1', 'cat /data/f'), { code: 0, stdout: 'kept\n' }, 'and there it is again');
  await writeFile(join(m.mnt, 'volumes/v1/g'), 'by hand');
  t.match(await podman.run('v1', 'cat /data/g'), { stdout: 'by hand' });
  t.match(await podman.volume('rm', 'v1'), { code: 0 });
  t.same(await readdir(join(m.mnt, 'volumes')), ['.work']);
  await nothingIsLeft(t, m);
});
