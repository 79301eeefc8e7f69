// Several pools under one mount: given with it, added and removed while it is live, over restarts and kills, broken and back.
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat, statfs, unlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Test, test } from 'tap';
import { sendControl } from '../../src/client/control.js';
import type { PoolRow } from '../../src/core/snapshot.js';
import { soon, whyNotRoot } from '../helpers/columns.js';
import { type Disk, makeDisk, whyNoDisk } from '../helpers/disks.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { must, run, vreserve } from '../helpers/run.js';

const MIB = 1 << 20;

const skip = whyNotRoot !== false ? whyNotRoot : (await whyNoDisk('ext4')) || (await whyNoDisk('btrfs'));

const codeOf = async (work: Promise<unknown>) =>
  work.then(
    () => '',
    (error: { code?: string }) => error.code ?? String(error),
  );

interface Lot {
  path: string;
  usedBytes: number;
  objects: number;
}

interface Report {
  health: string;
  pools: PoolRow[];
  pool: PoolRow;
  lots: Lot[];
}

const report = async (m: Mounted) => JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as Report;
const poolOf = async (m: Mounted, name: string) => (await report(m)).pools.find((pool) => pool.name === name);
const lotOf = async (m: Mounted, path: string) => (await report(m)).lots.find((lot) => lot.path === path);
const journal = async (m: Mounted) =>
  (await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ event }) => String(event).startsWith('pool-'));

const pool = (m: Mounted, name: string, ...words: string[]) => sendControl<object>(m.mnt, { cmd: 'pool', name, words });
const graft = (m: Mounted, path: string, name: string, bytes: number) => pool(m, 'graft', path, name, String(bytes));

/** Disks that a test has, one of each kind, and a mount with a pool on each. */
async function start(t: Test, kinds: readonly ('ext4' | 'btrfs' | 'tmpfs')[] = ['ext4', 'btrfs', 'tmpfs']) {
  const top = await temporaryDirectory(t);
  const disks: Disk[] = [];
  for (const kind of kinds) disks.push(await makeDisk(t, top, kind, kind, 160));
  const args = disks.map(({ at, kind }) => `--pool=${kind}=${at},margin=0,type=${kind === 'ext4' ? 'hdd' : 'ssd'}`);
  const m = await mount(t, { on: 'tmpfs', args: [...args, '--margin', '0'] });
  return { m, disks, top };
}

test('pools given with the mount', { skip, timeout: 180_000 }, async (t) => {
  const { m, disks } = await start(t);
  t.same(
    (await report(m)).pools.map(({ name, directory, type, broken, filesystem, io }) => [
      name,
      directory,
      type,
      broken,
      filesystem,
      io,
    ]),
    disks.map(({ kind, at }) => [kind, at, kind === 'ext4' ? 'hdd' : 'ssd', null, kind, m.ready.io]),
  );
  t.same(
    m.ready.pools.map(({ name, broken }) => [name, broken]),
    disks.map(({ kind }) => [kind, null]),
  );
  for (const { kind } of disks) await graft(m, `/on-${kind}`, kind, 8 * MIB);

  t.test('each is charged by itself', async (t) => {
    for (const [i, { kind }] of disks.entries()) {
      await writeFile(join(m.mnt, `on-${kind}/file`), Buffer.alloc(1000 + i));
      t.match(await lotOf(m, `/on-${kind}`), { usedBytes: 1000 + i, objects: 1 });
      t.match(await poolOf(m, kind), { usedBytes: 1000 + i, setAsideBytes: 8 * MIB - 1000 - i });
    }
    t.match(await lotOf(m, '/'), { usedBytes: 0 });
    t.equal(await codeOf(writeFile(join(m.mnt, 'on-ext4/large'), Buffer.alloc(9 * MIB))), 'ENOSPC');
    t.equal((await lotOf(m, '/on-ext4'))?.usedBytes, 8 * MIB, 'exactly the grant has landed');
    await unlink(join(m.mnt, 'on-ext4/large'));
  });

  t.test('each has its own room', async (t) => {
    const headroom = (await poolOf(m, 'ext4'))?.headroomBytes ?? 0;
    const main = (await report(m)).pool.headroomBytes;
    // More than what was just removed may give back.
    const more = headroom + 64 * MIB;
    t.ok(main > more, `the main pool has more: ${main}`);
    await t.rejects(graft(m, '/too-large', 'ext4', more), { code: 'NO_SPACE' });
    t.equal((await m.run(['reserve', join(m.mnt, 'in-main'), String(more)])).code, 0);
    t.equal((await m.run(['release', join(m.mnt, 'in-main')])).code, 0);
    t.equal((await readdir(join(disks[0]?.at ?? '', '.vreserve/spaces'))).length, 1, 'nothing of it stays in the pool');
    t.same(await readdir(join(m.mnt, 'too-large')), [], 'what was refused is no graft');
    await t.rejects(pool(m, 'ungraft', '/too-large'), { code: 'NOT_GRAFTED' });
  });

  t.test('a reservation below is of the same pool', async (t) => {
    const path = join(m.mnt, 'on-btrfs/job');
    t.equal((await m.run(['reserve', path, '1MiB'])).code, 0);
    await mkdir(path);
    await writeFile(join(path, 'x'), Buffer.alloc(500));
    t.match(await lotOf(m, '/on-btrfs/job'), { usedBytes: 500 });
    t.match(await lotOf(m, '/on-btrfs'), { usedBytes: 1501 }, 'the lot above counts it, too');
    t.match(await lotOf(m, '/on-btrfs/job'), { pool: 'btrfs' }, 'which the reports say');
    const shown = await readFile(join(m.mnt, '.vreserve/report'), 'utf8');
    t.match(shown, /^LOT .* POOL$/m);
    t.match(shown, /^\/on-btrfs\/job .* btrfs$/m);
    t.match(shown, /^default .* main$/m);
    t.equal((await statfs(path)).blocks * (await statfs(path)).bsize, MIB);
    t.equal((await m.run(['release', path])).code, 0);
    t.match(await poolOf(m, 'btrfs'), { usedBytes: 1501 });
  });

  t.test('no name crosses, and no number comes twice', async (t) => {
    const places = ['', ...disks.map(({ kind }) => `on-${kind}`)].map((name) => join(m.mnt, name));
    for (const at of places) await writeFile(join(at, 'probe'), 'probe');
    for (const from of places) {
      for (const to of places) {
        if (from !== to) t.equal(await codeOf(rename(join(from, 'probe'), join(to, 'other'))), 'EXDEV');
      }
    }
    const numbers = await Promise.all(places.flatMap((at) => [stat(at), stat(join(at, 'probe'))]));
    t.equal(new Set(numbers.map(({ ino }) => ino)).size, numbers.length);
    t.equal(await codeOf(rmdir(join(m.mnt, 'on-ext4'))), 'EBUSY');
    t.equal((await m.shell('find . -xdev -name probe | wc -l')).stdout.trim(), String(places.length));
    for (const at of places) await unlink(join(at, 'probe'));
  });

  t.test('it is there again after an umount, and counted after a kill', async (t) => {
    await m.umount();
    await m.remount(['--margin', '0']);
    for (const [i, { kind }] of disks.entries())
      t.match(await lotOf(m, `/on-${kind}`), { usedBytes: 1000 + i + (i === 1 ? 500 : 0) });
    await m.kill();
    await rm(join(disks[1]?.at ?? '', '.vreserve/spaces'), { recursive: true });
    const { stdout } = await run('ls', [join(disks[0]?.at ?? '', '.vreserve/spaces')]);
    await writeFile(join(disks[0]?.at ?? '', '.vreserve/spaces', stdout.trim(), 'behind'), Buffer.alloc(77));
    await m.remount(['--margin', '0']);
    t.match(await lotOf(m, '/on-ext4'), { usedBytes: 1077, objects: 2 });
    t.match(await lotOf(m, '/on-tmpfs'), { usedBytes: 1002, objects: 1 });
    t.match((await report(m)).health, /on-btrfs cannot be served/);
    t.equal((await m.run(['check', m.mnt])).code, 0);
  });
});

test('what the root and a lot of another pool show', { skip, timeout: 120_000 }, async (t) => {
  const top = await temporaryDirectory(t);
  const large = await makeDisk(t, top, 'large', 'tmpfs', 160);
  const args = [`--pool=large=${large.at},margin=0`, '--capacity', String(16 * MIB), '--margin', '0'];
  const m = await mount(t, { on: 'tmpfs', args });
  await graft(m, '/large', 'large', 64 * MIB);
  const sizeOf = async (at: string) => {
    const { blocks, bsize } = await statfs(at);
    return blocks * bsize;
  };
  t.equal(await sizeOf(m.mnt), 16 * MIB, 'the root has the capacity of the main pool');
  t.equal(await sizeOf(join(m.mnt, '.vreserve')), 16 * MIB);
  t.equal(await sizeOf(join(m.mnt, 'large')), 64 * MIB);
  const own = JSON.parse(await readFile(join(m.mnt, 'large/.vreserve/report.json'), 'utf8')) as Report;
  t.match(own.pool, { capacityBytes: 64 * MIB, freeBytes: 64 * MIB }, 'a lot that is larger than the main pool');
  // Neither is the other after its files have been looked at.
  await writeFile(join(m.mnt, 'large/x'), Buffer.alloc(MIB));
  t.equal(await sizeOf(m.mnt), 16 * MIB);
  const { bavail, bsize } = await statfs(m.mnt);
  t.equal(bavail * bsize, 16 * MIB, "nothing of what is written there is the main one's");
});

test('pools of a live mount', { skip, timeout: 120_000 }, async (t) => {
  const { m, disks, top } = await start(t, ['ext4']);
  const other = await makeDisk(t, top, 'other', 'tmpfs', 64);
  const at = other.at;
  const added = await m.run(['pool', 'add', m.mnt, `fast=${at},capacity=32MiB,margin=1MiB`, '--json']);
  t.match(JSON.parse(added.stdout), { name: 'fast', directory: at, capacityBytes: 32 * MIB, marginBytes: MIB, broken: null });
  const listed = JSON.parse((await m.run(['pool', 'list', m.mnt, '--json'])).stdout) as PoolRow[];
  t.same(
    listed.map(({ name }) => name),
    ['main', 'ext4', 'fast'],
  );
  t.match((await m.run(['pool', 'list', m.mnt])).stdout, /^main .*\next4 .*\nfast .*/);
  await graft(m, '/space', 'fast', 4 * MIB);
  await writeFile(join(m.mnt, 'space/x'), 'x');
  t.match(await poolOf(m, 'fast'), { usedBytes: 1 });
  t.match(await readFile(join(m.mnt, '.vreserve/report'), 'utf8'), /POOL +TYPE[\s\S]*fast +ssd/);
  t.match(await readFile(join(m.mnt, '.vreserve/metrics'), 'utf8'), /vreserve_other_pool_used_bytes\{pool="fast"\} 1\n/);

  await mkdir(join(top, 'link'));
  const refused: [string[], RegExp][] = [
    [['add', m.mnt, `fast=${at}`], /there is a pool 'fast' already/],
    [['add', m.mnt, `again=${at}`], /it is pool fast/],
    [['add', m.mnt, `inside=${join(at, '.vreserve')}`], /inside, or around, pool fast/],
    [['add', m.mnt, `around=${top}`], /inside, or around/],
    [['add', m.mnt, `same=${m.data}`], /it is the backing directory/],
    [['add', m.mnt, `same=${m.mnt}`], /it is the mountpoint/],
    [['add', m.mnt, 'none=/does/not/exist'], /it does not exist/],
    [['add', m.mnt, 'file=/etc/passwd'], /not a directory/],
    [['add', m.mnt, 'main=/tmp'], /'main' is the pool of the backing directory/],
    [['add', m.mnt, 'a/b=/tmp'], /cannot be the name of a pool/],
    [['add', m.mnt, 'x=/tmp,type=tape'], /must be ssd or hdd/],
    [['add', m.mnt, 'x=/tmp,size=1'], /has no 'size'/],
    [['add', m.mnt, 'x'], /given as NAME=DIR/],
    [['remove', m.mnt, 'none'], /there is no pool 'none'; there are main, ext4, fast/],
    [['remove', m.mnt, 'fast'], /pool 'fast' is in use: \/space is in it/],
  ];
  for (const [words, said] of refused) {
    const { code, stderr } = await m.run(['pool', ...words]);
    t.not(code, 0, words.join(' '));
    t.match(stderr, said);
  }

  const second = await mount(t, { on: 'tmpfs' });
  t.match((await second.run(['pool', 'add', second.mnt, `mine=${at}`])).stderr, /not to be had: it is a pool of another mount/);
  const again = await vreserve(['mount', second.data, join(top, 'link'), '--pool', `mine=${at}`, '--pool', `mine=${top}`]);
  t.match(again, { code: 2, stderr: /two pools 'mine'/ });

  await pool(m, 'ungraft', '/space');
  t.match((await m.run(['pool', 'remove', m.mnt, 'fast'])).stderr, /lot \/space is in it/);
  t.equal((await m.run(['release', join(m.mnt, 'space')])).code, 0);
  t.equal((await m.run(['pool', 'remove', m.mnt, 'fast'])).code, 0);
  t.same(
    (await report(m)).pools.map(({ name }) => name),
    ['ext4'],
  );
  t.equal(await codeOf(other.lose()), '', 'its disk can be taken out');
  t.same(
    (await journal(m)).map(({ pool: name, event }) => [name, event]),
    [
      ['ext4', 'pool-added'],
      ['fast', 'pool-added'],
      ['fast', 'pool-removed'],
    ],
  );
  t.equal(disks.length, 1);
});

test('a pool that breaks under writers', { skip, timeout: 180_000 }, async (t) => {
  const { m, disks } = await start(t, ['ext4', 'tmpfs']);
  const disk = disks[0];
  if (disk === undefined) throw new Error('no disk');
  await graft(m, '/broken', 'ext4', 32 * MIB);
  await graft(m, '/whole', 'tmpfs', 32 * MIB);
  await writeFile(join(m.mnt, 'broken/kept'), Buffer.alloc(12_345));
  const writer = async (name: string) => {
    const file = await open(join(m.mnt, name), 'w');
    try {
      for (let i = 0; i < 1000; i++) {
        await file.write(Buffer.alloc(1000), 0, 1000, (i % 100) * 1000);
        await sleep(5);
      }
      return 'done';
    } catch (error) {
      return (error as { code?: string }).code ?? String(error);
    } finally {
      await file.close().catch(() => {});
    }
  };
  const writers = { broken: writer('broken/w'), whole: writer('whole/w'), main: writer('w') };
  await soon(
    async () => (await lotOf(m, '/broken'))?.usedBytes ?? 0,
    (bytes) => bytes > 20_000,
  );
  await disk.lose();
  t.equal(await writers.broken, 'EIO');
  const broken = await soon(
    () => poolOf(m, 'ext4'),
    (row) => row?.broken !== null,
  );
  t.match(broken?.broken ?? '', /unmounted/);
  t.match((await report(m)).health, /pool ext4 at .* is broken/);
  t.match(await m.shell('cat .vreserve/health'), { stdout: /pool ext4/ });
  t.equal(await codeOf(readFile(join(m.mnt, 'broken/kept'))), 'EIO');
  t.equal(await codeOf(readdir(join(m.mnt, 'broken'))), 'EIO');
  t.equal(await codeOf(writeFile(join(m.mnt, 'broken/new'), 'x')), 'EIO');
  t.equal(await codeOf(statfs(join(m.mnt, 'broken'))), 'EIO');
  t.equal((await m.run(['reserve', join(m.mnt, 'in-main'), '1MiB'])).code, 0, 'the ledger goes on');
  t.ok(((await lotOf(m, '/broken'))?.usedBytes ?? 0) >= 12_345, 'what it held is remembered');
  const { stdout: loops } = await run('losetup', ['-a']);
  await soon(
    async () => (await run('losetup', ['-a'])).stdout.includes(disk.at),
    (busy) => !busy,
  );
  t.notMatch((await run('losetup', ['-a'])).stdout, `${disk.at}.img`, `its disk is let go (was ${loops})`);

  await disk.mount();
  const back = await soon(
    () => poolOf(m, 'ext4'),
    (row) => row?.broken === null,
  );
  t.equal(back?.broken, null, 'it comes back by itself');
  t.match(await stat(join(m.mnt, 'broken/kept')), { size: 12_345 });
  t.equal((await readFile(join(m.mnt, 'broken/kept'))).length, 12_345);
  t.equal(await codeOf(writeFile(join(m.mnt, 'broken/new'), Buffer.alloc(100))), '');
  t.equal(await writers.whole, 'done');
  t.equal(await writers.main, 'done');
  t.equal((await m.run(['check', m.mnt])).code, 0, 'and is counted');
  t.match(await poolOf(m, 'ext4'), { usedBytes: (await lotOf(m, '/broken'))?.usedBytes });
  const said = await soon(
    () => journal(m),
    (lines) => lines.some(({ event }) => event === 'pool-back'),
  );
  t.same(
    said.filter(({ pool: name }) => name === 'ext4').map(({ event }) => event),
    ['pool-added', 'pool-broken', 'pool-back'],
  );
});

test('a pool whose disk fails', { skip, timeout: 180_000 }, async (t) => {
  // ext4 finds an error, and takes nothing from then on.
  const disk = await makeDisk(t, await temporaryDirectory(t), 'disk', 'ext4', 160);
  await must(run('mount', ['-o', 'remount,errors=remount-ro', disk.at]));
  const { stdout: device } = await must(run('findmnt', ['-no', 'SOURCE', disk.at]));
  const trigger = `/sys/fs/ext4/${basename(device.trim())}/trigger_fs_error`;
  if ((await codeOf(stat(trigger))) !== '') {
    t.pass('skipped: this kernel lets nobody make ext4 fail');
    return;
  }
  const m = await mount(t, { on: 'tmpfs', args: ['--margin', '0', '--pool', `bad=${disk.at},margin=0`] });
  await graft(m, '/bad', 'bad', 64 * MIB);
  await writeFile(join(m.mnt, 'bad/early'), Buffer.alloc(4000, 1));
  await run('sync', ['-f', disk.at]);
  await writeFile(trigger, 'a test\n');
  t.match(await codeOf(writeFile(join(m.mnt, 'bad/late'), Buffer.alloc(MIB))), /EIO|EROFS/);
  const broken = await soon(
    () => poolOf(m, 'bad'),
    (row) => row?.broken !== null,
  );
  t.not(broken?.broken, null, 'it is found to be broken');
  t.equal(await codeOf(readFile(join(m.mnt, 'bad/early'))), 'EIO');
  t.equal(await codeOf(writeFile(join(m.mnt, 'fine'), 'x')), '', 'the main pool goes on');
  await disk.lose();
  await soon(
    async () => (await run('losetup', ['-a'])).stdout.includes(disk.at),
    (busy) => !busy,
  );
  await run('e2fsck', ['-fy', `${disk.at}.img`]);
  await disk.mount();
  const back = await soon(
    () => poolOf(m, 'bad'),
    (row) => row?.broken === null,
  );
  t.equal(back?.broken, null, 'it comes back with its disk');
  t.equal((await readFile(join(m.mnt, 'bad/early'))).length, 4000);
  t.equal((await m.run(['check', m.mnt])).code, 0);
});

test('a known pool that is away when the mount begins', { skip, timeout: 120_000 }, async (t) => {
  const { m, disks, top } = await start(t, ['ext4']);
  const disk = disks[0];
  if (disk === undefined) throw new Error('no disk');
  await graft(m, '/space', 'ext4', 8 * MIB);
  await writeFile(join(m.mnt, 'space/x'), Buffer.alloc(321));
  await m.umount();
  await disk.lose();
  await m.remount();
  t.match(await poolOf(m, 'ext4'), { broken: /another directory is there/ });
  t.same(await readdir(disk.at), [], 'what lies below its mountpoint is left as it is');
  t.equal(await codeOf(readdir(join(m.mnt, 'space'))), 'EIO');
  t.match(await lotOf(m, '/space'), { usedBytes: 321 });
  t.equal((await m.run(['check', m.mnt])).code, 0);
  // Meanwhile it changes behind the mount.
  const elsewhere = join(top, 'elsewhere');
  await mkdir(elsewhere);
  await must(run('mount', ['-o', 'loop', `${disk.at}.img`, elsewhere]));
  const [id = ''] = await readdir(join(elsewhere, '.vreserve/spaces'));
  await writeFile(join(elsewhere, '.vreserve/spaces', id, 'x'), Buffer.alloc(1000));
  await must(run('umount', [elsewhere]));
  await disk.mount();
  await soon(
    () => poolOf(m, 'ext4'),
    (row) => row?.broken === null,
  );
  t.same(await readdir(join(m.mnt, 'space')), ['x']);
  t.match(await lotOf(m, '/space'), { usedBytes: 1000, objects: 1 }, 'it was counted before it was served');
  await writeFile(join(m.mnt, 'space/y'), 'y');
  t.match(await lotOf(m, '/space'), { usedBytes: 1001, objects: 2 });
});
