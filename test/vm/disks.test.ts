// Whole disks, in the virtual machine of scripts/vm: what holds one, one that is pulled out under writers, and one with errors.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { soon } from '../helpers/columns.js';
import { temporaryDirectory } from '../helpers/mount.js';
import { MAIN, must, run, shell, vreserve } from '../helpers/run.js';
import { vmDisk, whyNotVm } from '../helpers/vm.js';

const skip = await whyNotVm('dmsetup', 'mkfs.btrfs', 'mkfs.ext4');
const WAIT_MS = 300_000;

interface Seen {
  path: string;
  state: string;
  type: string;
  serial: string | null;
}
const devices = async () => {
  const { stdout } = await must(vreserve(['pool', 'devices', '--json']));
  return (JSON.parse(stdout) as { devices: Seen[] }).devices;
};
const deviceAt = async (path: string) => (await devices()).find((each) => each.path === path);

interface Line {
  event: string;
  [name: string]: unknown;
}

/** The lines of a command that goes on, as JSON. */
async function listen(t: Test, ...words: string[]) {
  const child = spawn(process.execPath, [MAIN, ...words], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const ended = once(child, 'close');
  const end = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  t.teardown(end);
  const lines: Line[] = [];
  createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line) as Line));
  return { lines, end };
}

t.test('disks as they are, and what a mapper holds', { skip }, async (t) => {
  const [ssd, hdd] = [await vmDisk(1), await vmDisk(2)];
  t.match(await deviceAt(ssd.path), { type: 'ssd', state: 'free', serial: 'VM-DISK-1' });
  t.match(await deviceAt(hdd.path), { type: 'hdd', state: 'free', serial: 'VM-DISK-2' });
  t.match(await deviceAt('/dev/vda'), { state: 'used' }, 'the disk of the machine itself');
  t.teardown(async () => void (await run('dmsetup', ['remove', 'held'])));
  await must(shell(`dmsetup create held --table "0 100000 linear ${hdd.path} 0"`));
  t.match(await deviceAt(hdd.path), { state: 'used' });
  for (const words of [
    ['prepare', 'never', hdd.path],
    ['wipe', hdd.path, '--yes-destroy', hdd.serial],
    ['prepare', 'never', '/dev/mapper/held'],
    ['prepare', 'never', '/dev/dm-0'],
    ['prepare', 'never', '/dev/vda'],
    ['wipe', '/dev/vda', '--yes-destroy', 'vda'],
  ]) {
    const refused = await vreserve(['pool', ...words]);
    t.match({ ...refused, refused: refused.code !== 0 }, { refused: true, stderr: /\w/, stdout: '' }, words.join(' '));
    t.comment(refused.stderr.trim());
  }
  await must(run('dmsetup', ['remove', 'held']));
  t.equal((await must(run('wipefs', [hdd.path]))).stdout, '', 'nothing was written');
  t.match(await deviceAt(hdd.path), { state: 'free' });
  await must(run('mkfs.ext4', ['-q', hdd.path]));
  t.match(await vreserve(['pool', 'wipe', hdd.path, '--yes-destroy', ssd.serial]), { code: 1, stderr: /was not touched/ });
  t.match(await vreserve(['pool', 'wipe', hdd.path, '--yes-destroy', hdd.serial]), { code: 0, stdout: /wiped .*ext4/ });
});

t.test('a disk is pulled out under writers, and put back', { skip }, async (t) => {
  const top = await temporaryDirectory(t);
  const [mnt, poolsDir, file] = [join(top, 'mnt'), join(top, 'pools'), join(top, 'boot.json')];
  const [fast, slow] = [await vmDisk(1), await vmDisk(2)];
  await mkdir(join(top, 'data'));
  const mount = {
    mountpoint: mnt,
    backing: join(top, 'data'),
    options: { 'watch-devices': true, 'spool-grant': '0', 'store-grant': '0' },
  };
  await writeFile(file, JSON.stringify({ poolsDir, mount, pools: [{ name: 'fast' }, { name: 'slow' }] }));
  t.teardown(async () => void (await vreserve(['umount', mnt])));
  t.teardown(
    async () =>
      void (await shell(
        `for d in ${poolsDir}/*; do umount --lazy $d; done; wipefs --quiet --all --force ${fast.path}; wipefs --quiet --all --force ${slow.path}`,
      )),
  );
  await must(vreserve(['pool', 'prepare', 'fast', fast.path, '--pools-dir', poolsDir]));
  await must(vreserve(['pool', 'prepare', 'slow', slow.path, '--pools-dir', poolsDir]));
  await must(vreserve(['boot', '--config', file]));
  t.match(await vreserve(['status', '--config', file, '--wait=60']), { code: 0, stdout: /ok\n$/ });
  const status = () => vreserve(['status', '--config', file]);
  const monitor = await listen(t, 'pool', 'monitor', mnt, '--json', '--every', '100ms', '--pools-dir', poolsDir);
  const journal = await listen(t, 'ledger', mnt, '--follow', '--json');
  const told = async ({ lines }: { lines: Line[] }, event: string, words: object) => {
    const isIt = (line: Line) => line.event === event && Object.entries(words).every(([name, value]) => line[name] === value);
    t.ok(
      (
        await soon(
          async () => lines,
          (all) => all.some(isIt),
          WAIT_MS,
        )
      ).some(isIt),
      `${event} ${JSON.stringify(words)}`,
    );
  };
  await must(vreserve(['space', 'create', 'a', '100MiB', '--type', 'ssd', '--mount', mnt]));
  await mkdir(join(mnt, 'main'));
  // One writer on the disk, one beside it: each says how it ended, or goes on until it is told to stop.
  const writer = (path: string) =>
    shell(
      `i=0; while [ ! -e ${top}/stop ]; do dd if=/dev/zero of=${path} bs=64k count=16 conv=fsync status=none || exit 9; i=$((i+1)); echo $i >${top}/turns-$(basename $(dirname ${path})); done`,
      { timeoutMs: 600_000 },
    );
  const onDisk = writer(join(mnt, 'spaces/a/f'));
  const beside = writer(join(mnt, 'main/f'));
  const turns = async (of: string) => Number(await readFile(join(top, `turns-${of}`), 'utf8').catch(() => '0'));
  await soon(
    () => turns('a'),
    (n) => n > 2,
    WAIT_MS,
  );
  await soon(
    () => turns('main'),
    (n) => n > 2,
    WAIT_MS,
  );
  const before = fast.path;
  await fast.pull();

  t.match(await onDisk, { code: 9, stderr: /Input\/output error/ }, 'its writer has EIO');
  await told(monitor, 'device-removed', { device: before });
  await told(monitor, 'pool-broken', { pool: 'fast' });
  await told(journal, 'device-removed', { device: before });
  await told(journal, 'pool-broken', { pool: 'fast' });
  const report = async () =>
    JSON.parse(await readFile(join(mnt, '.vreserve/report.json'), 'utf8')) as {
      pools: { name: string; broken: string | null }[];
    };
  const brokenOnes = async () => (await report()).pools.filter(({ broken }) => broken !== null).map(({ name }) => name);
  t.same(await brokenOnes(), ['fast']);
  t.match(await run('cat', [join(mnt, 'spaces/a/f')]), { code: 1, stderr: /Input\/output error/ });
  t.match(await status(), { code: 1, stdout: /pool fast/ });
  const then = await turns('main');
  t.ok(
    (await soon(
      () => turns('main'),
      (n) => n > then + 2,
      WAIT_MS,
    )) >
      then + 2,
    'the writer beside it goes on',
  );

  const waiting = vreserve(['status', '--config', file, '--wait=300'], { timeoutMs: 320_000 });
  await fast.plug();
  await told(monitor, 'device-added', { device: fast.path });
  await told(journal, 'device-added', { device: fast.path });
  const again = await vreserve(['boot', '--config', file]);
  t.match(again, { code: 0, stderr: '' }, 'boot mounts it again');
  t.comment(again.stdout + again.stderr);
  await told(monitor, 'pool-back', { pool: `fast of ${mnt}` });
  await told(journal, 'pool-back', { pool: 'fast' });
  t.match(await waiting, { code: 0, stdout: /ok\n$/ });
  t.same(await brokenOnes(), []);
  await must(shell(`echo there >${join(mnt, 'spaces/a/g')}; sync ${join(mnt, 'spaces/a/g')}`));
  await writeFile(join(top, 'stop'), '');
  t.match(await beside, { code: 0 });
  const check = await vreserve(['check', mnt]);
  t.equal(check.code, 0, check.stdout + check.stderr);
  // They have files of the mount open.
  await monitor.end();
  await journal.end();
  await must(vreserve(['umount', mnt]));
});

t.test('a disk with errors under a pool', { skip }, async (t) => {
  const top = await temporaryDirectory(t);
  const [mnt, at] = [join(top, 'mnt'), join(top, 'pool')];
  const disk = await vmDisk(3);
  for (const name of ['mnt', 'pool', 'data']) await mkdir(join(top, name));
  const sectors = Number((await must(run('blockdev', ['--getsz', disk.path]))).stdout);
  const table = (kind: string) => (kind === 'error' ? `0 ${sectors} error` : `0 ${sectors} linear ${disk.path} 0`);
  const become = (kind: string) =>
    must(shell(`dmsetup suspend --noflush --nolockfs ill; dmsetup load ill --table "${table(kind)}"; dmsetup resume ill`));
  t.teardown(
    async () => void (await shell(`umount --lazy ${at}; dmsetup remove --force ill; wipefs --quiet --all --force ${disk.path}`)),
  );
  t.teardown(async () => void (await vreserve(['umount', mnt])));
  await must(shell(`dmsetup create ill --table "${table('linear')}"; mkfs.ext4 -q /dev/mapper/ill; mount /dev/mapper/ill ${at}`));
  await must(
    vreserve(['mount', join(top, 'data'), mnt, '--pool', `ill=${at},type=ssd`, '--spool-grant', '0', '--store-grant', '0']),
  );
  await must(vreserve(['space', 'create', 'a', '100MiB', '--type', 'ssd', '--mount', mnt]));
  await must(shell(`head -c 1M /dev/zero >${mnt}/spaces/a/f; sync ${mnt}/spaces/a/f`));
  const broken = async () => {
    const report = JSON.parse(await readFile(join(mnt, '.vreserve/report.json'), 'utf8')) as {
      pools: { broken: string | null }[];
    };
    return report.pools[0]?.broken ?? null;
  };
  t.equal(await broken(), null);
  await become('error');
  const wrote = await shell(`dd if=/dev/zero of=${mnt}/spaces/a/g bs=64k count=16 conv=fsync status=none`);
  t.match(wrote, { code: 1, stderr: /Input\/output error|Read-only file system/ });
  t.type(await soon(broken, (reason) => reason !== null, WAIT_MS), 'string', 'it is broken');
  t.comment(String(await broken()));
  t.match(await run('ls', [`${mnt}/spaces/a`]), { stderr: /Input\/output error/ });
  await must(shell(`echo goes on >${mnt}/f; grep -q on ${mnt}/f`));
  await become('linear');
  await must(
    shell(
      `umount ${at} || umount --lazy ${at}; for i in $(seq 100); do e2fsck -fp /dev/mapper/ill >/dev/null && break; [ $? = 1 ] && break; sleep 1; done; mount /dev/mapper/ill ${at}`,
    ),
  );
  t.equal(await soon(broken, (reason) => reason === null, WAIT_MS), null, 'and back by itself');
  await must(shell(`ls ${mnt}/spaces/a/f; echo well >${mnt}/spaces/a/h`));
  const check = await vreserve(['check', mnt]);
  t.equal(check.code, 0, check.stdout + check.stderr);
  await must(vreserve(['umount', mnt]));
});
