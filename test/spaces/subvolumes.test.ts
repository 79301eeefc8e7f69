// Spaces that btrfs enforces, in the main pool and in another one.
import { join } from 'node:path';
import { test } from 'tap';
import { whyNotRoot } from '../helpers/columns.js';
import { whyNoDisk } from '../helpers/disks.js';
import {
  create,
  holdsToSize,
  type KernelCase,
  kernelWorld,
  nothingIsLeft,
  rows,
  survivesKills,
  tellsWhatIsLoose,
} from '../helpers/kernel-spaces.js';
import { mount } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';
import { ask, listed } from '../helpers/spaces.js';

const skip = whyNotRoot !== false ? whyNotRoot : await whyNoDisk('btrfs');

const BTRFS: Omit<KernelCase, 'inMain'> = {
  kind: 'btrfs',
  options: 'rw',
  refusal: /Disk quota exceeded/,
  commit: (at) => must(run('btrfs', ['filesystem', 'sync', at])),
  loosen: {
    'a limit is taken away': (_at, space) => must(run('btrfs', ['qgroup', 'limit', 'none', space])),
    'a limit is raised': (_at, space) => must(run('btrfs', ['qgroup', 'limit', '1G', space])),
    'quotas are switched off': (at) => must(run('btrfs', ['quota', 'disable', at])),
  },
  left: (at) => rows('btrfs', ['subvolume', 'list', at]),
};

for (const inMain of [true, false]) {
  const where = inMain ? 'the main pool' : 'another pool';
  test(`held to its size, in ${where}`, { skip, timeout: 300_000 }, async (t) =>
    holdsToSize(t, await kernelWorld(t, { ...BTRFS, inMain })),
  );
  test(`killed in the middle, in ${where}`, { skip, timeout: 300_000 }, async (t) =>
    survivesKills(t, await kernelWorld(t, { ...BTRFS, inMain })),
  );
}

test('quotas changed by hand', { skip, timeout: 300_000 }, async (t) =>
  tellsWhatIsLoose(t, await kernelWorld(t, { ...BTRFS, inMain: true })),
);

test('what else is done by hand', { skip, timeout: 300_000 }, async (t) => {
  const world = await kernelWorld(t, { ...BTRFS, inMain: true });
  const { m, behind } = world;
  await create(m, 'q', 10_000_000);
  await must(m.shell('mkdir spaces/q/d; echo x > spaces/q/d/f'));
  const space = join(behind, 'q');
  await must(run('btrfs', ['subvolume', 'create', join(space, 'd/inner')]));
  await must(run('btrfs', ['subvolume', 'snapshot', space, join(space, 'd/inner/snapshot')]));
  t.same(await ask(m, { do: 'delete', name: 'q' }), { deleted: true }, 'subvolumes and snapshots in it go with it');
  await nothingIsLeft(t, world);

  await create(m, 'q', 10_000_000);
  await must(run('btrfs', ['subvolume', 'delete', space]));
  t.match(await m.shell('echo x > spaces/q/f'), { code: 1 }, 'one that is gone takes nothing');
  await m.umount();
  await m.remount();
  t.match(await m.shell('cat .vreserve/health'), { stdout: /spaces\/q/ }, 'and is told');
  t.match(await m.shell('echo x > spaces/q/f'), { code: 1, stderr: /Input\/output error/ }, 'nor does the directory below it');
  t.same(await ask(m, { do: 'delete', name: 'q' }), { deleted: true });
  t.same(await listed(m), []);
  await nothingIsLeft(t, world);
});

test('where there is no filesystem that can', { skip, timeout: 120_000 }, async (t) => {
  const m = await mount(t, { on: 'tmpfs' });
  t.match(
    await create(m, 'q', 1_000_000),
    /^NOT_SUPPORTED .*main is on tmpfs: only btrfs, and XFS with project quotas, can.*leave out --enforce/,
  );
  t.same(await listed(m), []);
});
