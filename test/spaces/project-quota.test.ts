// Spaces that XFS enforces by project quota, where this kernel has that: `scripts/vm spaces/project-quota` runs it on one that does.
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'tap';
import { whyNotRoot } from '../helpers/columns.js';
import { makeDisk, whyNoDisk } from '../helpers/disks.js';
import { create, holdsToSize, type KernelCase, kernelWorld, rows, survivesKills, tellsWhatIsLoose } from '../helpers/kernel-spaces.js';
import { mount, temporaryDirectory } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';
import { ask, listed } from '../helpers/spaces.js';

const MB = 1_000_000;
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
const limited = async (at: string) => (await rows('xfs_quota', ['-x', '-c', 'report -p -n -N', at])).filter((row) => !/^#0 /.test(row));
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

for (const inMain of [true, false]) {
  const where = inMain ? 'the main pool' : 'another pool';
  test(`held to its size, in ${where}`, { skip, timeout: 300_000 }, async (t) => holdsToSize(t, await kernelWorld(t, { ...XFS, inMain })));
  test(`killed in the middle, in ${where}`, { skip, timeout: 300_000 }, async (t) =>
    survivesKills(t, await kernelWorld(t, { ...XFS, inMain })));
}

test('quotas changed by hand', { skip, timeout: 300_000 }, async (t) =>
  tellsWhatIsLoose(t, await kernelWorld(t, { ...XFS, inMain: true })));

test('projects', { skip, timeout: 300_000 }, async (t) => {
  const { m, disk, behind } = await kernelWorld(t, { ...XFS, inMain: true });
  await create(m, 'q', 10 * MB);
  await create(m, 'r', 10 * MB);
  const space = join(behind, 'q');
  const ids = [await idOf(space), await idOf(join(behind, 'r'))];
  t.ok(ids[0] !== ids[1] && ids.every((id) => id >= 0x4000_0000), `projects of their own: ${ids}`);
  await must(m.shell('mkdir spaces/q/d spaces/q/e; echo x > spaces/q/d/f'));
  t.match(await m.shell('xfs_io -r -c "chproj 7" spaces/q/d; xfs_io -r -c lsproj spaces/q/d'), { code: 1 }, 'nobody leaves it through the mount');
  t.equal(await idOf(join(space, 'd/f')), ids[0], 'what is made in it is its own');
  await must(run('xfs_io', ['-r', '-c', 'chproj 7', '-c', 'chattr +P', join(space, 'e')]));
  t.match(await m.shell('mv -n --no-copy spaces/q/d/f spaces/q/e/f || ln spaces/q/d/f spaces/q/e/f'), { stderr: /cross-device/ });
  t.match(await m.shell('ln spaces/q/d/f spaces/q/e/f'), { stderr: /cross-device/ }, 'XFS itself says so');
  await must(m.shell('mv spaces/q/d/f spaces/q/e/f; cat spaces/q/e/f'));
  for (const name of ['q', 'r']) t.same(await ask(m, { do: 'delete', name }), { deleted: true });
  await must(run('sync', ['-f', disk.at]));
  t.same(await limited(disk.at), [], 'and their numbers are free again');
});

test('where the filesystem is mounted without project quotas', { skip: whyNoXfs, timeout: 120_000 }, async (t) => {
  const top = await temporaryDirectory(t);
  const other = await makeDisk(t, top, 'other', 'xfs', 320);
  const m = await mount(t, { on: 'tmpfs', args: [`--pool=other=${other.at},type=hdd`] });
  const why = skip === false ? /other is on xfs: .*mount it with -o prjquota/ : /other is on xfs: this kernel was built without/;
  t.match(await create(m, 'q', MB), /^NOT_SUPPORTED/);
  t.match(await create(m, 'q', MB), why);
  t.same(await listed(m), []);
  t.match(await readFile(join(m.mnt, '.vreserve/health'), 'utf8'), 'ok\n');
});
