// Grafts on a live mount, by the data plane alone: directories of other pools in the mount, charged, counted and told apart.
import {
  appendFile,
  link,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { DEFAULT_LOT, type LotSpec, type PoolId, UNLIMITED } from '../../src/engine/engine.js';
import { BlobMount } from '../helpers/blob-view.js';
import { soon, whyNotRoot } from '../helpers/columns.js';
import { type Disk, type DiskKind, makeDisk, whyNoDisk } from '../helpers/disks.js';
import { temporaryDirectory } from '../helpers/mount.js';

const MIB = 1 << 20;

/** The lot of the space. */
const SPACE = 20;
const FAST: PoolId = 1;

const lotIn = (pool: PoolId, more: Partial<LotSpec>): LotSpec => ({
  id: SPACE,
  name: 'space',
  parents: [],
  dedicatedBytes: 0,
  opportunisticBytes: 0,
  maxObjects: UNLIMITED,
  setsAside: true,
  mayGrow: true,
  pool,
  ...more,
});

const bindTo = (path: string, id: number) => ({ path, id, recursive: true, exclude: false });

const change = { lots: [], gone: [], bind: [], unbind: [], mustCover: false, force: false };

const codeOf = async (work: Promise<unknown>) =>
  work.then(
    () => '',
    (error: { code?: string }) => error.code ?? String(error),
  );

interface World {
  m: BlobMount;
  disk: Disk;
  /** The graft, as seen. */
  space: string;
  used(id?: number): Promise<number>;
  objects(id?: number): Promise<number>;
}

/** A mount with a pool on a disk of that kind, and `/space` grafted from it, with a lot of so many bytes. */
async function start(t: Test, kind: DiskKind, { passthrough = true, dedicatedBytes = 8 * MIB } = {}): Promise<World> {
  const disk = await makeDisk(t, await temporaryDirectory(t), 'fast', kind, 160);
  const m = await BlobMount.start(t, { passthrough });
  await mkdir(join(disk.at, 'spaces/one'), { recursive: true });
  await mkdir(join(m.mnt, 'space'));
  const spec = { id: FAST, name: 'fast', directory: disk.at, mark: 'fast of a test\n', known: false };
  await m.call('addPool', { ...spec, capacityBytes: null, marginBytes: 0 });
  await m.call('graft', '/space', FAST, 'spaces/one');
  const lots = [lotIn(FAST, { dedicatedBytes })];
  t.match(await m.call('reshape', { ...change, lots, bind: [bindTo('/space', SPACE)] }), { granted: true });
  const row = async (id: number) => (await m.call('usage')).find((usage) => usage.id === id) ?? { bytes: -1, objects: -1 };
  return {
    m,
    disk,
    space: join(m.mnt, 'space'),
    used: async (id = SPACE) => (await row(id)).bytes,
    objects: async (id = SPACE) => (await row(id)).objects,
  };
}

for (const kind of ['ext4', 'btrfs', 'tmpfs'] as const) {
  for (const passthrough of kind === 'ext4' ? [true, false] : [true]) {
    const name = `${kind}, ${passthrough ? 'passthrough' : 'cached'}`;
    const skip = whyNotRoot !== false ? whyNotRoot : await whyNoDisk(kind);
    test(name, { skip, timeout: 120_000 }, async (t) => {
      const w = await start(t, kind, { passthrough });
      const { m, space, disk } = w;

      t.test('what is in it lies on its disk and is charged to its lot, to the byte', async (t) => {
        await writeFile(join(space, 'a'), Buffer.alloc(1000, 1));
        await appendFile(join(space, 'a'), Buffer.alloc(234, 2));
        await mkdir(join(space, 'd/e'), { recursive: true });
        await writeFile(join(space, 'd/e/b'), Buffer.alloc(3 * MIB, 3));
        t.equal(await w.used(), 1234 + 3 * MIB);
        t.equal(await w.objects(), 2);
        t.equal(await w.used(DEFAULT_LOT), 0, 'nothing of it is in the main pool');
        t.equal((await stat(join(disk.at, 'spaces/one/d/e/b'))).size, 3 * MIB);
        t.match(await m.call('pool', FAST), {
          usedBytes: 1234 + 3 * MIB,
          broken: null,
          io: passthrough ? 'passthrough' : 'cached',
        });
        t.match(await m.call('pool'), { usedBytes: 0 });
        await truncate(join(space, 'a'), 34);
        await unlink(join(space, 'd/e/b'));
        t.equal(
          await soon(
            () => w.used(),
            (bytes) => bytes === 34,
          ),
          34,
        );
        await rm(join(space, 'd'), { recursive: true });
        await unlink(join(space, 'a'));
        t.equal(
          await soon(
            () => w.objects(),
            (objects) => objects === 0,
          ),
          0,
        );
      });

      t.test('a write past the grant is refused, to the byte', async (t) => {
        const file = await open(join(space, 'full'), 'w');
        let written = 0;
        const block = Buffer.alloc(MIB);
        let error = '';
        while (error === '') {
          try {
            written += (await file.write(block, 0, block.length)).bytesWritten;
          } catch (thrown) {
            error = (thrown as { code?: string }).code ?? '';
          }
        }
        await file.close();
        t.equal(error, 'ENOSPC');
        t.equal(written, 8 * MIB);
        t.equal(await w.used(), 8 * MIB);
        t.equal(await codeOf(writeFile(join(m.mnt, 'other'), 'x')), '', 'the main pool goes on');
        await unlink(join(m.mnt, 'other'));
        await unlink(join(space, 'full'));
      });

      t.test('an unlinked file is charged until it is closed', async (t) => {
        const file = await open(join(space, 'gone'), 'w+');
        await file.write(Buffer.alloc(5000));
        await unlink(join(space, 'gone'));
        t.equal(await w.used(), 5000);
        await file.write(Buffer.alloc(10));
        t.equal(await w.used(), 5010);
        t.equal((await file.read(Buffer.alloc(9000), 0, 9000, 0)).bytesRead, 5010);
        await file.close();
        t.equal(
          await soon(
            () => w.used(),
            (bytes) => bytes === 0,
          ),
          0,
        );
      });

      t.test('names do not cross it', async (t) => {
        await writeFile(join(m.mnt, 'm'), 'main');
        await writeFile(join(space, 's'), 'space');
        await mkdir(join(m.mnt, 'dir'));
        t.equal(await codeOf(rename(join(m.mnt, 'm'), join(space, 'm'))), 'EXDEV');
        t.equal(await codeOf(rename(join(space, 's'), join(m.mnt, 's'))), 'EXDEV');
        t.equal(await codeOf(rename(join(m.mnt, 'dir'), join(space, 'dir'))), 'EXDEV');
        t.equal(await codeOf(link(join(m.mnt, 'm'), join(space, 'm'))), 'EXDEV');
        t.equal(await codeOf(link(join(space, 's'), join(m.mnt, 's'))), 'EXDEV');
        t.equal(await codeOf(rename(join(space, 's'), join(space, 't'))), '', 'within it they move');
        t.equal(await codeOf(link(join(space, 't'), join(space, 'u'))), '');
        t.equal(await w.objects(), 1);
        t.equal(await codeOf(rename(space, join(m.mnt, 'elsewhere'))), 'EBUSY');
        t.equal(await codeOf(rmdir(space)), 'EBUSY');
        t.equal(await codeOf(rename(join(m.mnt, 'dir'), space)), 'EBUSY');
        for (const path of [join(space, 't'), join(space, 'u'), join(m.mnt, 'm')]) await unlink(path);
        await rmdir(join(m.mnt, 'dir'));
      });

      t.test('numbers of inodes are told apart', async (t) => {
        await writeFile(join(space, 'n'), 'n');
        const seen = [await stat(m.mnt), await stat(space), await stat(join(space, 'n'))];
        t.equal(new Set(seen.map(({ ino }) => ino)).size, 3);
        t.equal(new Set(seen.map(({ dev }) => dev)).size, 1, 'it is one filesystem');
        const raw = await stat(join(disk.at, 'spaces/one/n'), { bigint: true });
        t.equal((await stat(join(space, 'n'), { bigint: true })).ino, raw.ino ^ (1n << 48n));
        t.same(await readdir(space), ['n']);
        t.ok((await m.shell(`ls -i '${m.mnt}' | grep -q "^ *$(stat -c %i '${space}') space$"`)).code === 0, 'listed as it is');
        await unlink(join(space, 'n'));
      });

      t.test('df shows the lot, and its pool', async (t) => {
        const { blocks, bsize, bavail } = await statfs(space);
        t.equal(blocks * bsize, 8 * MIB);
        t.equal(bavail * bsize, 8 * MIB);
        t.ok((await statfs(m.mnt)).blocks * bsize > 8 * MIB);
      });

      t.test('files are copied into it and out of it', async (t) => {
        await writeFile(join(m.mnt, 'source'), Buffer.alloc(100_000, 7));
        t.equal((await m.shell(`cp '${m.mnt}/source' '${space}/copy' && cmp '${m.mnt}/source' '${space}/copy'`)).code, 0);
        t.equal(await w.used(), 100_000);
        t.equal((await m.shell(`cp '${space}/copy' '${m.mnt}/back' && cmp '${m.mnt}/source' '${m.mnt}/back'`)).code, 0);
        await Promise.all([unlink(join(m.mnt, 'source')), unlink(join(m.mnt, 'back')), unlink(join(space, 'copy'))]);
      });

      t.test('a count finds what is charged', async (t) => {
        await mkdir(join(space, 'x/y'), { recursive: true });
        await writeFile(join(space, 'x/y/1'), Buffer.alloc(111));
        await writeFile(join(space, '2'), Buffer.alloc(222));
        await link(join(space, '2'), join(space, 'x/2'));
        await writeFile(join(m.mnt, '3'), Buffer.alloc(333));
        for (const repair of [false, true]) {
          const { lots } = await m.call('count', repair);
          for (const { id, bytes, objects, recordedBytes, recordedObjects, exact } of lots) {
            t.same([bytes, objects, exact], [recordedBytes, recordedObjects, true], `lot ${id}`);
          }
          t.match(
            lots.find(({ id }) => id === SPACE),
            { bytes: 333, objects: 2 },
          );
          t.match(
            lots.find(({ id }) => id === DEFAULT_LOT),
            { bytes: 333, objects: 1 },
          );
        }
        await unlink(join(m.mnt, '3'));
        await rm(join(space, 'x'), { recursive: true });
        await unlink(join(space, '2'));
      });

      t.test('lots below it are of its pool', async (t) => {
        await mkdir(join(space, 'in'));
        await writeFile(join(space, 'in/f'), Buffer.alloc(70));
        const child = { id: 21, name: 'child', dedicatedBytes: MIB };
        const refusals = [
          [[lotIn(0, child)], [bindTo('/space/in', 21)], 'EXDEV'],
          [[lotIn(0, { ...child, parents: [SPACE] })], [], 'EXDEV'],
          [[lotIn(FAST, { ...child, parents: [SPACE] })], [bindTo('/in-main', 21)], 'EXDEV'],
        ] as const;
        for (const [lots, bind, errno] of refusals) {
          t.match(await m.call('reshape', { ...change, lots: [...lots], bind: [...bind] }), { granted: false, errno });
        }
        t.match(await m.call('reshape', { ...change, unbind: ['/space'] }), { granted: false, errno: 'EBUSY', path: '/space' });
        const lots = [lotIn(FAST, { ...child, parents: [SPACE] })];
        t.match(await m.call('reshape', { ...change, lots, bind: [bindTo('/space/in', 21)] }), { granted: true });
        t.equal(await w.used(21), 70);
        t.equal(await w.used(), 0);
        t.match(await m.call('reshape', { ...change, gone: [21] }), { granted: true });
        t.equal(await w.used(), 70);
        await rm(join(space, 'in'), { recursive: true });
      });

      t.test('the pool has a headroom of its own', async (t) => {
        const { headroomBytes } = await m.call('pool', FAST);
        const refused = await m.call('reshape', {
          ...change,
          lots: [lotIn(FAST, { id: 22, name: 'large', dedicatedBytes: headroomBytes + MIB })],
        });
        t.match(refused, { granted: false, errno: 'ENOSPC', lot: null });
        const main = { ...change, lots: [lotIn(0, { id: 22, name: 'large', dedicatedBytes: headroomBytes + MIB })] };
        t.match(await m.call('reshape', main), { granted: true }, 'the main pool has that much');
        t.match(await m.call('reshape', { ...change, gone: [22] }), { granted: true });
      });

      t.test('what cannot be grafted', async (t) => {
        await mkdir(join(m.mnt, 'full/in'), { recursive: true });
        await writeFile(join(m.mnt, 'file'), '');
        await mkdir(join(space, 'inner'));
        const refusals: [string, PoolId, string, string][] = [
          ['/nowhere', FAST, '', 'ENOENT'],
          ['/file', FAST, '', 'ENOTDIR'],
          ['/full', FAST, '', 'ENOTEMPTY'],
          ['/space', FAST, '', 'EBUSY'],
          ['/space/inner', FAST, '', 'EXDEV'],
          ['/full/in', 9, '', 'ENODEV'],
          ['/full/in', FAST, 'spaces/none', 'ENOENT'],
          ['/', FAST, '', 'EINVAL'],
        ];
        for (const [path, pool, directory, code] of refusals) {
          t.equal(await codeOf(m.call('graft', path, pool, directory)), code, `${path} ${directory}`);
        }
        t.equal(await codeOf(m.call('removePool', FAST)), 'EBUSY');
        await rm(join(m.mnt, 'full'), { recursive: true });
        await rm(join(space, 'inner'), { recursive: true });
        await unlink(join(m.mnt, 'file'));
      });

      t.test('it is taken away when nothing is open', async (t) => {
        const file = await open(join(space, 'held'), 'w');
        await file.write('held');
        t.equal(await codeOf(m.call('ungraft', '/space')), 'EBUSY');
        await file.close();
        t.equal(
          await soon(
            () => codeOf(m.call('ungraft', '/space')),
            (code) => code === '',
          ),
          '',
        );
        t.same(await readdir(space), [], 'the empty directory is there again');
        t.match(await stat(join(disk.at, 'spaces/one/held')), { size: 4 });
        t.equal(await codeOf(m.call('ungraft', '/space')), 'ENOENT');
        t.equal(await codeOf(writeFile(join(space, 'x'), 'x')), 'ENOSPC', 'its lot is of the other pool');
        t.match(await m.call('reshape', { ...change, gone: [SPACE] }), { granted: true });
        t.equal(await codeOf(writeFile(join(space, 'x'), 'x')), '');
        t.equal(await w.used(DEFAULT_LOT), 1);
        await unlink(join(space, 'x'));
        t.equal(await codeOf(m.call('removePool', FAST)), '');
        await m.call('graft', '/space', FAST, '').then(
          () => t.fail('the pool is gone'),
          ({ code }) => t.equal(code, 'ENODEV'),
        );
      });
    });
  }
}
