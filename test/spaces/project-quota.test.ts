// Spaces that XFS enforces by project quota, where this kernel has that: `scripts/vm spaces/project-quota` runs it on one that does.
import { access, mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'tap';
import { quietLog } from '../../src/log.js';
import { systemTools } from '../../src/pools/tools.js';
import { PoolDirectory } from '../../src/spaces/pool-directory.js';
import { Projects } from '../../src/spaces/projects.js';
import { whyNotRoot } from '../helpers/columns.js';
import { makeDisk, whyNoDisk } from '../helpers/disks.js';
import {
  create,
  holdsToSize,
  type KernelCase,
  kernelWorld,
  rows,
  survivesKills,
  tellsWhatIsLoose,
} from '../helpers/kernel-spaces.js';
import { mount, temporaryDirectory } from '../helpers/mount.js';
import { must, PATIENCE, run, shell } from '../helpers/run.js';
import { ask, listed } from '../helpers/spaces.js';

const MB = 1_000_000;
const timeout = 300_000 * PATIENCE;
const whyNoXfs = whyNotRoot !== false ? whyNotRoot : await whyNoDisk('xfs');
const skip = whyNoXfs !== false ? whyNoXfs : await whyNoProjects();

/** The kernel tells only once it has XFS, which may be a module. */
async function whyNoProjects(): Promise<string | false> {
  await run('modprobe', ['xfs']).catch(() => {});
  const has = await access('/proc/fs/xfs/xqmstat').then(
    () => true,
    () => false,
  );
  if (!has) return 'this kernel was built without quotas of XFS: scripts/vm has one with them';
  const { code } = await run('xfs_quota', ['-V']).catch(() => ({ code: 1 }));
  return code === 0 ? false : 'there is no xfs_quota';
}

/** Projects that have a limit, or hold anything. */
const limited = async (at: string) =>
  (await rows('xfs_quota', ['-x', '-c', 'report -p -n -N', at])).filter((row) => !/^#0 /.test(row));
const quota = (at: string, command: string) => must(run('xfs_quota', ['-x', '-c', command, at]));
const idOf = async (space: string) => {
  const { stdout } = await must(run('xfs_io', ['-r', '-c', 'lsproj', space]));
  return Number(/\d+/.exec(stdout)?.[0]);
};

const XFS: Omit<KernelCase, 'inMain'> = {
  kind: 'xfs',
  options: 'prjquota',
  refusal: /No space left on device/,
  commit: (at) => must(run('sync', ['-f', at])),
  loosen: {
    'a limit is taken away': async (at, space) => quota(at, `limit -p bhard=0 ${await idOf(space)}`),
    'a limit is raised': async (at, space) => quota(at, `limit -p bhard=1g ${await idOf(space)}`),
  },
  left: limited,
};

test('projects by themselves, without a mount', { skip, timeout }, async (t) => {
  const top = await temporaryDirectory(t);
  const { at } = await makeDisk(t, top, 'disk', 'xfs', 320, 'prjquota');
  const projects = new Projects(systemTools());
  const pool = join(at, 'a pool');
  await mkdir(pool);
  const directory = new PoolDirectory(pool, () => projects, quietLog());
  t.equal(directory.whyNotByKernel(), null);
  for (const name of ['q', 'r']) {
    await directory.make(name, true);
    await directory.limit(name, 10 * MB);
  }
  const [q, r] = [directory.at('q'), directory.at('r')];
  const ids = [await idOf(q), await idOf(r)];
  t.ok(ids[0] !== ids[1] && ids.every((id) => id >= 0x4000_0000), `projects of their own: ${ids}`);
  await directory.make('q', true);
  t.equal(await idOf(q), ids[0], 'one that is there keeps its own');
  t.match(await shell(`cd '${q}'; mkdir d; cat /dev/zero > d/big`), { stderr: XFS.refusal }, 'ENOSPC, not EDQUOT');
  const { size } = await stat(join(q, 'd/big'));
  t.ok(size > 9 * MB && size <= 10 * MB, `${size} bytes are in it`);
  await must(shell(`head -c 1000000 /dev/zero > '${r}/f'; sync -f '${at}'`));
  const held = await directory.measure(['q', 'r', 'none']);
  t.ok((held.get('q')?.usedBytes ?? 0) >= size && (held.get('r')?.usedBytes ?? 0) >= MB, 'one question for all');
  t.ok(Math.abs((held.get('q')?.limitBytes ?? 0) - 10 * MB) <= 4096, 'the limit, to a block');
  t.equal(held.get('none'), null);
  t.match(await shell(`ln '${r}/f' '${q}/f'`), { stderr: /cross-device/ }, 'XFS itself lets nothing cross');

  await directory.limit('q', 20 * MB);
  await must(shell(`head -c 5000000 /dev/zero >> '${q}/d/big'`));
  await quota(at, `limit -p bhard=0 ${ids[0]}`);
  t.equal((await directory.measure(['q'])).get('q')?.limitBytes, null, 'a limit that is gone is seen');

  // Killed between the number and its flag.
  await mkdir(directory.at('half'));
  await must(run('xfs_io', ['-r', '-c', 'chproj 9', directory.at('half')]));
  await directory.make('half', true);
  t.ok((await idOf(directory.at('half'))) >= 0x4000_0000, 'what was given half is given anew');

  for (const name of ['q', 'r', 'half']) await directory.takeAway(name, true);
  while (await directory.settled(1000)) {
    // Its files are being removed.
  }
  await must(run('sync', ['-f', at]));
  t.same(await limited(at), [], 'and their numbers are free again');
  await directory.stop();

  await quota(at, 'disable -p');
  t.match(directory.whyNotByKernel(), /counted and not enforced/);
});

for (const inMain of [true, false]) {
  const where = inMain ? 'the main pool' : 'another pool';
  test(`held to its size, in ${where}`, { skip, timeout }, async (t) => holdsToSize(t, await kernelWorld(t, { ...XFS, inMain })));
  test(`killed in the middle, in ${where}`, { skip, timeout }, async (t) =>
    survivesKills(t, await kernelWorld(t, { ...XFS, inMain })),
  );
}

test('quotas changed by hand', { skip, timeout }, async (t) =>
  tellsWhatIsLoose(t, await kernelWorld(t, { ...XFS, inMain: true })),
);

test('projects', { skip, timeout }, async (t) => {
  const { m, disk, behind } = await kernelWorld(t, { ...XFS, inMain: true });
  await create(m, 'q', 10 * MB);
  await create(m, 'r', 10 * MB);
  const space = join(behind, 'q');
  const ids = [await idOf(space), await idOf(join(behind, 'r'))];
  t.ok(ids[0] !== ids[1] && ids.every((id) => id >= 0x4000_0000), `projects of their own: ${ids}`);
  await must(m.shell('mkdir spaces/q/d spaces/q/e; echo x > spaces/q/d/f'));
  t.match(
    await m.shell('xfs_io -r -c "chproj 7" spaces/q/d; xfs_io -r -c lsproj spaces/q/d'),
    { code: 1 },
    'nobody leaves it through the mount',
  );
  t.equal(await idOf(join(space, 'd/f')), ids[0], 'what is made in it is its own');
  await must(run('xfs_io', ['-r', '-c', 'chproj 7', '-c', 'chattr +P', join(space, 'e')]));
  t.match(await m.shell('mv -n --no-copy spaces/q/d/f spaces/q/e/f || ln spaces/q/d/f spaces/q/e/f'), { stderr: /cross-device/ });
  t.match(await m.shell('ln spaces/q/d/f spaces/q/e/f'), { stderr: /cross-device/ }, 'XFS itself says so');
  await must(m.shell('mv spaces/q/d/f spaces/q/e/f; cat spaces/q/e/f'));
  for (const name of ['q', 'r']) t.same(await ask(m, { do: 'delete', name }), { deleted: true });
  await must(run('sync', ['-f', disk.at]));
  t.same(await limited(disk.at), [], 'and their numbers are free again');
});

test('where the filesystem is mounted without project quotas', { skip: whyNoXfs, timeout }, async (t) => {
  const top = await temporaryDirectory(t);
  const other = await makeDisk(t, top, 'other', 'xfs', 320);
  const m = await mount(t, { on: 'tmpfs', args: [`--pool=other=${other.at},type=hdd`] });
  const why = skip === false ? /other is on xfs: .*mount it with -o prjquota/ : /other is on xfs: this kernel was built without/;
  t.match(await create(m, 'q', MB), /^NOT_SUPPORTED/);
  t.match(await create(m, 'q', MB), why);
  t.same(await listed(m), []);
  t.match(await readFile(join(m.mnt, '.vreserve/health'), 'utf8'), 'ok\n');
});
