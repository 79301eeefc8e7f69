// Spaces that the kernel enforces, in the main pool or another one: cases that hold on each filesystem that can do it.
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type Disk, type DiskKind, makeDisk } from './disks.js';
import { until } from './http.js';
import { lotAt, report } from './lots.js';
import { type Mounted, mount, temporaryDirectory } from './mount.js';
import { must, run } from './run.js';
import { ask, listed } from './spaces.js';

const MB = 1_000_000;
const POOL_MB = 60;

/** Where they are, and how that filesystem does it. */
export interface KernelCase {
  kind: DiskKind;
  /** Of mount(8). */
  options: string;
  /** In the pool of the backing; else in another one. */
  inMain: boolean;
  /** What who writes too much reads. */
  refusal: RegExp;
  /** All that was written is counted from then on. */
  commit(at: string): Promise<unknown>;
  /** Takes the limits away that spaces have, or switches quotas off, behind the mount. */
  loosen: Record<string, (at: string, spaceDirectory: string) => Promise<unknown>>;
  /** What there is of limits and the like: none where there is no space. */
  left(at: string): Promise<string[]>;
}

export interface KernelWorld {
  m: Mounted;
  /** Where spaces lie. */
  disk: Disk;
  /** Of spaces, behind the mount. */
  behind: string;
  of: KernelCase;
}

/** A mount whose pool with 60 MB is the one where the kernel can enforce. */
export async function kernelWorld(t: Test, of: KernelCase): Promise<KernelWorld> {
  const { kind, options, inMain } = of;
  const space = ['--margin', '0', '--type', 'hdd'];
  if (inMain) {
    let disk: Disk | undefined;
    const under = async (top: string) => {
      disk = await makeDisk(t, top, 'pool', kind, 300, options);
    };
    const m = await mount(t, { under, args: [`--capacity=${POOL_MB}MB`, ...space] });
    if (disk === undefined) throw new Error('there is no disk');
    return { m, disk, behind: join(m.data, '.vreserve/spaces'), of };
  }
  const disk = await makeDisk(t, await temporaryDirectory(t), 'other', kind, 300, options);
  const pool = `--pool=other=${disk.at},type=hdd,capacity=${POOL_MB}MB,margin=0`;
  const m = await mount(t, { on: 'tmpfs', args: ['--capacity=20MB', ...space, pool] });
  return { m, disk, behind: join(disk.at, '.vreserve/spaces'), of };
}

export const create = (m: Mounted, name: string, bytes: number) =>
  ask(m, { do: 'create', name, bytes, enforce: 'kernel', type: 'hdd' });

const health = (m: Mounted) => readFile(join(m.mnt, '.vreserve/health'), 'utf8');

async function poolOf({ m, of }: KernelWorld): Promise<{ setAsideBytes: number; headroomBytes: number; usedBytes: number }> {
  const text = await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8');
  const { pool, pools = [] } = JSON.parse(text) as {
    pool: { setAsideBytes: number; headroomBytes: number; usedBytes: number };
    pools?: (typeof pool)[];
  };
  const other = pools[0];
  return of.inMain || other === undefined ? pool : other;
}

/** Requests that the data plane has served, by operation. */
async function writes(m: Mounted): Promise<number> {
  const text = await readFile(join(m.mnt, '.vreserve/metrics'), 'utf8');
  return Number(/requests_total\{operation="WRITE"\} (\d+)/i.exec(text)?.[1] ?? 0);
}

export async function nothingIsLeft(t: Test, world: KernelWorld): Promise<void> {
  const { m, disk, behind, of } = world;
  t.same(await listed(m), []);
  t.same(await readdir(behind), []);
  await until(async () => (await readdir(join(behind, '../removed-spaces'))).length === 0, 'what was removed is cleared away');
  await of.commit(disk.at);
  await until(async () => (await of.left(disk.at)).length === 0, 'no limit is left');
  t.match(await poolOf(world), { setAsideBytes: 0, usedBytes: 0 });
  t.equal(await health(m), 'ok\n');
  t.match(await m.run(['check', m.mnt]), { code: 0 });
}

/** Writing, counting, resizing, and removing. */
export async function holdsToSize(t: Test, world: KernelWorld): Promise<void> {
  const { m, disk, of } = world;
  const poolName = of.inMain ? 'main' : 'other';
  t.match(await create(m, 'q', 10 * MB), { pool: poolName, enforce: 'kernel', sizeBytes: 10 * MB, usedBytes: Number });
  t.match(await create(m, 'r', 10 * MB), { pool: poolName });
  t.match(await create(m, 'q', 20 * MB), { sizeBytes: 10 * MB }, 'one that is there is left as it is');
  t.ok((await poolOf(world)).setAsideBytes > 19 * MB, 'set aside as any other');
  const before = await writes(m);
  const filled = await m.shell('cat /dev/zero > spaces/q/big || stat -c %s spaces/q/big');
  t.match(filled, { stderr: of.refusal });
  const held = Number(filled.stdout);
  t.ok(held > 5 * MB && held <= 10 * MB, `${held} bytes are in it`);
  if (m.ready.io === 'passthrough') t.equal(await writes(m), before, 'no write passed through the server');
  await must(m.shell('head -c 1000000 /dev/zero > spaces/r/f; ln spaces/r/f spaces/r/g; mv spaces/r/g spaces/r/h'));
  t.match(await m.shell('ln spaces/r/f spaces/q/f'), { stderr: /cross-device/ }, 'another filesystem, as it were');

  await of.commit(disk.at);
  await until(async () => (await lotAt(m.mnt, '/spaces/q')).usedBytes >= held, 'the report has what the quota has');
  const { usedBytes } = await lotAt(m.mnt, '/spaces/q');
  t.ok(usedBytes <= 10 * MB);
  t.match((await listed(m))[0], { name: 'q', usedBytes });
  const usage = JSON.parse(await readFile(join(m.mnt, '.vreserve/lots/q/usage.json'), 'utf8')) as object;
  t.match(JSON.stringify(usage), new RegExp(`\\b${usedBytes}\\b`), 'its usage.json, too');
  t.match(await readFile(join(m.mnt, '.vreserve/metrics'), 'utf8'), `vreserve_lot_used_bytes{lot="q"} ${usedBytes}`);
  const { stdout: df } = await must(m.shell('df -B1 --output=size,avail spaces/q | tail -1'));
  const [size = 0, available = 0] = df.trim().split(/\s+/).map(Number);
  t.ok(size - 10 * MB < 4096 && available <= 10 * MB - usedBytes, `and df: ${df}`);
  t.match(await m.run(['check', m.mnt]), { code: 0 });

  t.match(await ask(m, { do: 'update', name: 'q', bytes: 4 * MB }), /^SPACE_SHRINK/);
  t.match(await ask(m, { do: 'update', name: 'q', bytes: 61 * MB }), /^NO_SPACE/);
  t.match(await ask(m, { do: 'lookup', name: 'q' }), { sizeBytes: 10 * MB });
  t.match(await m.run(['reserve', join(m.mnt, 'spaces/q/sub'), '1MB']), { code: 1, stderr: /which the kernel enforces: no lot/ });
  t.match(await ask(m, { do: 'update', name: 'q', bytes: 30 * MB }), { sizeBytes: 30 * MB });
  await must(m.shell('head -c 12000000 /dev/zero > spaces/q/more; truncate -s 1000 spaces/q/more; echo abc >> spaces/q/more'));
  t.equal((await must(m.shell('stat -c %s spaces/q/more'))).stdout, '1004\n');

  const { headroomBytes } = await poolOf(world);
  await must(m.shell('truncate -s 1G spaces/q/hole; rm spaces/q/big'));
  t.ok((await poolOf(world)).headroomBytes >= headroomBytes - MB, 'a hole takes nothing from others');
  await of.commit(disk.at);
  await until(async () => (await lotAt(m.mnt, '/spaces/q')).usedBytes < 5 * MB, 'what was removed is not counted any more');
  await must(m.shell('rm spaces/q/hole'));

  await m.kill();
  await m.remount();
  t.match(await lotAt(m.mnt, '/spaces/q'), { dedicatedBytes: 30 * MB, objects: 1 });
  await mkdir(join(m.mnt, 'spaces/q/d'));
  t.match(await m.shell('cat /dev/zero > spaces/q/d/g'), { stderr: of.refusal }, 'after kill -9, too');
  await m.umount();
  await m.remount();
  t.match(await m.shell('cat /dev/zero > spaces/q/d/h'), { stderr: of.refusal }, 'and after a clean end');

  const holder = await open(join(m.mnt, 'spaces/q/d/g'), 'r+');
  t.match(await ask(m, { do: 'delete', name: 'q' }), /^SPACE_IN_USE .* files of it are open$/);
  await holder.close();
  t.same(await ask(m, { do: 'delete', name: 'q' }), { deleted: true });
  t.match(await m.shell('cat spaces/r/f | wc -c'), { stdout: '1000000\n' }, 'the other one is as it was');
  t.same(await ask(m, { do: 'delete', name: 'r' }), { deleted: true });
  await nothingIsLeft(t, world);
}

/** What somebody does to quotas behind the mount is told, and can be mended. */
export async function tellsWhatIsLoose(t: Test, world: KernelWorld): Promise<void> {
  const { m, disk, behind, of } = world;
  await create(m, 'q', 10 * MB);
  await writeFile(join(m.mnt, 'spaces/q/f'), 'x');
  for (const [what, loosen] of Object.entries(of.loosen)) {
    t.equal(await health(m), 'ok\n');
    await loosen(disk.at, join(behind, 'q'));
    await until(async () => /space 'q' is no longer enforced by the kernel/.test(await health(m)), `${what}: health says so`);
    t.match(await m.run(['report', m.mnt]), { stdout: /no longer enforced/ }, 'and so does the report');
    t.match(await create(m, 'q', 10 * MB), { sizeBytes: 10 * MB }, 'who asks for it again mends it');
    await until(async () => (await health(m)) === 'ok\n', 'all is well again');
    t.match(await m.shell('cat /dev/zero > spaces/q/big'), { stderr: of.refusal });
    await must(m.shell('rm spaces/q/big'));
    await of.commit(disk.at);
  }
  await ask(m, { do: 'delete', name: 'q' });
  await nothingIsLeft(t, world);
}

/** `kill -9` in the middle of many changes: none is half afterwards. */
export async function survivesKills(t: Test, world: KernelWorld): Promise<void> {
  const { m, behind } = world;
  const sizes = [MB, 2 * MB];
  for (let round = 0; round < 4; round++) {
    const before = new Set((await listed(m)).map(({ name }) => name));
    let left = 1 + 3 * round;
    const names = Array.from({ length: 10 }, (_, n) => `s${n}`);
    const answers = new Map<string, unknown>();
    await Promise.all(
      names.map(async (name, n) => {
        if (!before.has(name)) answers.set(name, await create(m, name, MB));
        else if (n % 2 === 0) answers.set(name, await ask(m, { do: 'delete', name }));
        else await ask(m, { do: 'update', name, bytes: 2 * MB });
        left -= 1;
        if (left === 0) await m.kill();
      }),
    );
    await m.remount();
    const spaces = await listed(m);
    t.notOk(
      spaces.some(({ state, sizeBytes }) => state !== 'ready' || !sizes.includes(sizeBytes)),
      `round ${round}: nothing is half`,
    );
    const is = new Set(spaces.map(({ name }) => name));
    for (const [name, answer] of answers) {
      if (answer !== null && typeof answer !== 'string') t.equal(is.has(name), !before.has(name), `${name} is as was answered`);
    }
    t.same((await readdir(join(m.mnt, 'spaces'))).filter((name) => name !== '.work').sort(), [...is].sort());
    t.same((await readdir(behind)).sort(), [...is].sort(), 'and lies behind the mount');
    await until(async () => (await health(m)) === 'ok\n', 'each has its limit');
    for (const name of is) await writeFile(join(m.mnt, 'spaces', name, 'f'), 'x');
  }
  for (const { name } of await listed(m)) t.same(await ask(m, { do: 'delete', name }), { deleted: true });
  await nothingIsLeft(t, world);
  t.equal((await report(m.mnt)).lots.length, 1);
}

/** Rows of a tool that say more than nothing. */
export async function rows(tool: string, words: readonly string[]): Promise<string[]> {
  return (await run(tool, words)).stdout.split('\n').filter((line) => line.trim() !== '');
}
