// The device of a pool goes while it is used, on each filesystem: writers are told, the others go on, and it is served and
// counted again after a repair.
import { copyFile, open, readdir, readFile, stat, statfs, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Test, test } from 'tap';
import { sendControl } from '../../src/client/control.js';
import type { PoolRow } from '../../src/core/snapshot.js';
import { soon, whyNotRoot } from '../helpers/columns.js';
import { type Disk, type DiskKind, makeDisk, whyNoDisk } from '../helpers/disks.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';

const MIB = 1 << 20;
const BLOCK = 64 << 10;

interface Report {
  health: string;
  pools: PoolRow[];
}

const report = async (m: Mounted) => JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as Report;
const poolOf = async (m: Mounted, name: string) => (await report(m)).pools.find((pool) => pool.name === name);
const graft = (m: Mounted, path: string, name: string, bytes: number) =>
  sendControl<object>(m.mnt, { cmd: 'pool', name: 'graft', words: [path, name, String(bytes)] });
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => '',
    (error: { code?: string }) => error.code ?? String(error),
  );

/** Writes to the disk until it is told to stop, or cannot; what it was told then. */
async function writer(path: string, until: AbortSignal): Promise<string> {
  const file = await open(path, 'w');
  try {
    for (let i = 0; !until.aborted; i++) {
      await file.write(Buffer.alloc(BLOCK, i), 0, BLOCK, (i % 16) * BLOCK);
      if (i % 4 === 0) await file.datasync();
      await sleep(1);
    }
    return 'stopped';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  } finally {
    await file.close().catch(() => {});
  }
}

/** EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, without flushing the log: as if the cable were pulled. */
const GO_DOWN = `
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))`;

const goesDown = (disk: Disk) => must(run('python3', ['-c', GO_DOWN, disk.at]));
/** The blocks are not there any more. */
const isCut = async (disk: Disk) => {
  const { stdout } = await must(run('findmnt', ['-no', 'SOURCE', disk.at]));
  // Nothing is written meanwhile, which would make the file longer again.
  await must(run('fsfreeze', ['-f', disk.at]));
  try {
    await truncate(`${disk.at}.img`, BLOCK);
    await must(run('losetup', ['--set-capacity', stdout.trim()]));
  } finally {
    await run('fsfreeze', ['-u', disk.at]);
  }
};
const isUnmounted = (disk: Disk) => disk.lose();

const CASES: readonly [kind: DiskKind, how: string, fail: (disk: Disk) => Promise<unknown>][] = [
  ['ext4', 'is cut off', isCut],
  ['btrfs', 'is cut off', isCut],
  ['btrfs', 'is unmounted', isUnmounted],
  ['ext4', 'goes down', goesDown],
  ['xfs', 'goes down', goesDown],
];
const REPAIR: Partial<Record<DiskKind, [string, ...string[]]>> = { ext4: ['e2fsck', '-fy'] };

async function lost(t: Test, kind: DiskKind, fail: (disk: Disk) => Promise<unknown>): Promise<void> {
  const disk = await makeDisk(t, await temporaryDirectory(t), kind, kind, 320);
  const other = await makeDisk(t, await temporaryDirectory(t), 'other', 'tmpfs', 64);
  const pools = [`--pool=bad=${disk.at},margin=0`, `--pool=other=${other.at},margin=0`];
  const m = await mount(t, { on: 'tmpfs', args: [...pools, '--margin', '0'] });
  await graft(m, '/bad', 'bad', 32 * MIB);
  await graft(m, '/other', 'other', 32 * MIB);
  await writeFile(join(m.mnt, 'bad/kept'), Buffer.alloc(123_456, 7));
  await must(run('sync', ['-f', disk.at]));
  // What there is to be had again; of a disk that is cut nothing is left.
  await must(run('fsfreeze', ['-f', disk.at]));
  const copied = await run('cp', ['--sparse=always', `${disk.at}.img`, `${disk.at}.saved`]);
  await must(run('fsfreeze', ['-u', disk.at]));
  t.equal(copied.code, 0);
  t.equal((await poolOf(m, 'bad'))?.broken, null, 'all is well');

  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const inBad = ['a', 'b', 'c'].map((name) => writer(join(m.mnt, 'bad', name), stop.signal));
  const elsewhere = ['other/a', 'a'].map((path) => writer(join(m.mnt, path), stop.signal));
  await soon(
    async () => (await poolOf(m, 'bad'))?.usedBytes ?? 0,
    (bytes) => bytes > 8 * BLOCK,
  );
  t.ok(((await poolOf(m, 'bad'))?.usedBytes ?? 0) > 8 * BLOCK, 'writers are at work');
  await fail(disk);
  const told = await Promise.race([Promise.all(inBad), sleep(30_000, [], { ref: false })]);
  t.same(
    told.map((code) => /^(EIO|EROFS)$/.test(code)),
    [true, true, true],
    `writers are told: ${told}`,
  );
  const row = await soon(
    () => poolOf(m, 'bad'),
    (row) => row?.broken !== null,
    20_000,
  );
  t.not(row?.broken, null, `it is found out: ${row?.broken}`);
  t.match((await report(m)).health, `pool bad at ${disk.at} is broken: ${row?.broken}`);
  t.equal(await codeOf(readFile(join(m.mnt, 'bad/kept'))), 'EIO');
  t.equal(await codeOf(writeFile(join(m.mnt, 'bad/new'), 'x')), 'EIO');
  t.equal(await codeOf(statfs(join(m.mnt, 'bad'))), 'EIO');
  t.equal((await m.run(['reserve', join(m.mnt, 'job'), '1MiB'])).code, 0, 'the ledger goes on');
  t.equal((await m.run(['reserve', join(m.mnt, 'other/job'), '1MiB'])).code, 0);
  t.equal((await m.run(['check', m.mnt])).code, 0, 'what is there can be counted');
  stop.abort();
  t.same(await Promise.all(elsewhere), ['stopped', 'stopped'], 'writers elsewhere have gone on');

  if (fail !== isUnmounted) await disk.lose();
  await soon(
    async () => (await run('losetup', ['-a'])).stdout.includes(disk.at),
    (busy) => !busy,
  );
  if (fail === isCut) await copyFile(`${disk.at}.saved`, `${disk.at}.img`);
  const [repair, ...words] = REPAIR[kind] ?? ['true'];
  await run(repair, [...words, `${disk.at}.img`]);
  await disk.mount();
  const back = await soon(
    () => poolOf(m, 'bad'),
    (row) => row?.broken === null,
    20_000,
  );
  t.equal(back?.broken, null, 'it comes back by itself');
  t.same(await readFile(join(m.mnt, 'bad/kept')), Buffer.alloc(123_456, 7));
  const names = await readdir(join(m.mnt, 'bad'));
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(m.mnt, 'bad', name))).size));
  const all = sizes.reduce((sum, size) => sum + size, 0);
  t.match(await poolOf(m, 'bad'), { usedBytes: all }, 'and is counted');
  t.equal((await m.run(['check', m.mnt])).code, 0);
  t.equal(await codeOf(writeFile(join(m.mnt, 'bad/new'), Buffer.alloc(1000))), '');
  t.match(await poolOf(m, 'bad'), { usedBytes: all + 1000 });
}

for (const [kind, how, fail] of CASES) {
  const skip = whyNotRoot !== false ? whyNotRoot : await whyNoDisk(kind);
  test(`${kind} that ${how}`, { skip, timeout: 60_000 }, (t) => lost(t, kind, fail));
}
