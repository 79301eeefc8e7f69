// The unit that is shipped: understood by systemd, and, in a machine where systemd is process 1, active only when all is there.
import { access, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { temporaryDirectory } from '../helpers/mount.js';
import { must, ROOT, run, shell } from '../helpers/run.js';
import { vmDisk, whyNotSystemd } from '../helpers/vm.js';

const UNIT = join(ROOT, 'src/pools/vreserve.service');
const COMMAND = '/usr/local/bin/vreserve';
const skip = await whyNotSystemd();
const hasAnalyze = (await shell('command -v systemd-analyze')).code === 0;

t.test('systemd understands the unit', { skip: hasAnalyze ? false : 'there is no systemd-analyze' }, async (t) => {
  const file = join(await temporaryDirectory(t), 'vreserve.service');
  const unit = await readFile(UNIT, 'utf8');
  await writeFile(file, unit.replaceAll(COMMAND, join(ROOT, 'scripts/vreserve')));
  const verify = () => run('systemd-analyze', ['verify', '--man=no', '--recursive-errors=no', file]);
  t.match(await verify(), { code: 0, stderr: '' });
  await writeFile(file, unit.replace('Type=oneshot', 'Type=once'));
  t.match(await verify(), { code: 1, stderr: /\w/ }, 'and would complain');
});

t.test('started, used, stopped, and failed', { skip }, async (t) => {
  const disk = await vmDisk(1);
  const mnt = '/mnt/data';
  await mkdir('/etc/vreserve', { recursive: true });
  await symlink(join(ROOT, 'scripts/vreserve'), COMMAND);
  await must(run('cp', [UNIT, '/etc/systemd/system/']));
  // A service that needs the mount sees it.
  const after = `[Unit]
Requires=vreserve.service
After=vreserve.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/cat ${mnt}/.vreserve/health
`;
  await writeFile('/etc/systemd/system/after.service', after);
  await must(run('systemctl', ['daemon-reload']));
  const configure = (more: object) =>
    writeFile('/etc/vreserve/boot.json', JSON.stringify({ mount: { mountpoint: mnt }, ...more }));
  const state = async (unit: string) => (await run('systemctl', ['is-active', unit])).stdout.trim();
  const isMounted = async () => (await run('mountpoint', ['--quiet', mnt])).code === 0;
  const said = async () => (await run('journalctl', ['--no-pager', '--unit', 'vreserve', '--output', 'cat'])).stdout;

  await configure({ createIfNone: { name: 'first' } });
  t.match(await run('systemctl', ['start', 'after.service']), { code: 0 }, await said());
  t.equal(await state('vreserve'), 'active');
  t.equal(await state('after'), 'active');
  t.match(await said(), /pool first: made, mounted[\s\S]*\nok\n/);
  t.match(await run('lsblk', ['--noheadings', '--output', 'LABEL', disk.path]), { stdout: /first/ }, 'the first free SSD');
  await must(shell(`${COMMAND} reserve ${mnt}/job 10MB; mkdir -p ${mnt}/job; echo data >${mnt}/job/f`));

  t.match(await run('systemctl', ['stop', 'vreserve']), { code: 0 }, await said());
  t.equal(await state('vreserve'), 'inactive');
  t.equal(await state('after'), 'inactive', 'who needs it is stopped before');
  t.equal(await isMounted(), false);
  t.notMatch(
    await readFile('/proc/self/mountinfo', 'utf8'),
    /fuse\.vreserve|\/run\/vreserve\/[0-9]/,
    'nothing of the mount is left',
  );
  t.equal((await run('pgrep', ['-f', 'cli/main.js'])).stdout, '', 'nor a process');

  t.match(await run('systemctl', ['start', 'vreserve']), { code: 0 }, await said());
  t.equal(await readFile(`${mnt}/job/f`, 'utf8'), 'data\n', 'as it was');

  // A pool is wanted that is not there.
  await must(run('systemctl', ['stop', 'vreserve']));
  await configure({ pools: [{ name: 'first' }, { name: 'second' }] });
  await must(shell(`sed --in-place s/--wait=90s/--wait=5s/ /etc/systemd/system/vreserve.service; systemctl daemon-reload`));
  t.match(await run('systemctl', ['start', 'after.service']), { code: 1 });
  t.equal(await state('vreserve'), 'failed');
  t.equal(await state('after'), 'inactive', 'who needs it is not started');
  t.match(await said(), /pool second is missing: none of its devices is there/);
  t.equal(await isMounted(), false, 'nothing is mounted, and nothing is half there');
  t.equal((await run('pgrep', ['-f', 'cli/main.js'])).stdout, '');
  await configure({});
  t.match(await run('systemctl', ['start', 'after.service']), { code: 0 }, 'mended, it starts');
  t.equal(await state('after'), 'active');
  await must(run('systemctl', ['stop', 'vreserve']));
  await t.rejects(access(`${mnt}/job`));
});
