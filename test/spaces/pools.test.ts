// Spaces on several pools, on disks of the test's own: which pool gets one, what each holds, and what the kernel enforces on btrfs.
import { access, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { whyNotRoot } from '../helpers/columns.js';
import { type Disk, makeDisk, whyNoDisk } from '../helpers/disks.js';
import { until } from '../helpers/http.js';
import { lotAt, report } from '../helpers/lots.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { must } from '../helpers/run.js';
import { ask, listed, space } from '../helpers/spaces.js';

const MB = 1_000_000;
const skip = whyNotRoot !== false ? whyNotRoot : (await whyNoDisk('ext4')) || (await whyNoDisk('btrfs'));

const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

/** A mount of 20 MB on HDD, with a pool of 40 MB on SSD (ext4) and one of 60 MB on HDD (btrfs). */
async function start(t: Test): Promise<{ m: Mounted; fast: Disk; slow: Disk; args: string[] }> {
  const top = await temporaryDirectory(t);
  const fast = await makeDisk(t, top, 'fast', 'ext4', 160);
  const slow = await makeDisk(t, top, 'slow', 'btrfs', 300);
  const pools = [
    `--pool=fast=${fast.at},type=ssd,capacity=40MB,margin=0`,
    `--pool=slow=${slow.at},type=hdd,capacity=60MB,margin=0`,
  ];
  const args = ['--capacity', '20MB', '--margin', '0', '--type', 'hdd', ...pools];
  return { m: await mount(t, { on: 'tmpfs', args }), fast, slow, args };
}

const poolOf = async (m: Mounted, name: string) => {
  const { pools } = JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as {
    pools: { name: string; usedBytes: number; setAsideBytes: number; headroomBytes: number }[];
  };
  return pools.find((pool) => pool.name === name);
};

const create = (m: Mounted, name: string, bytes: number, more: object = {}) => ask(m, { do: 'create', name, bytes, ...more });

async function nothingIsLeft(t: Test, m: Mounted, disks: readonly Disk[]): Promise<void> {
  t.same(await listed(m), []);
  t.equal((await report(m.mnt)).lots.length, 1);
  t.same(
    (await readdir(join(m.mnt, 'spaces'))).filter((name) => name !== '.work'),
    [],
  );
  for (const { at } of disks) {
    t.same(await readdir(join(at, '.vreserve/spaces')), [], `${at} has no space`);
    await until(
      async () => (await readdir(join(at, '.vreserve/removed-spaces'))).length === 0,
      'what was removed is cleared away',
    );
  }
  for (const name of ['fast', 'slow']) t.match(await poolOf(m, name), { setAsideBytes: 0, usedBytes: 0 });
  t.match(await m.run(['check', m.mnt]), { code: 0 });
}

test('the pool that the policy picks', { skip, timeout: 300_000 }, async (t) => {
  const { m, fast, slow } = await start(t);
  t.match(await create(m, 'a', 30 * MB), { pool: 'fast', type: 'ssd' }, 'ssd-first: an SSD, though another has more');
  t.match(await create(m, 'b', 20 * MB), { pool: 'slow', type: 'hdd' }, 'and another where no SSD has room');
  t.match(await create(m, 'c', 10 * MB + 1, { type: 'ssd' }), /^SPACE_NO_ROOM .* of this type ssd: .* 10 MB available$/);
  t.match(await create(m, 'c', 40 * MB, { type: 'hdd', at: '/deep' }), { pool: 'slow', path: '/deep' }, 'all that is left there');
  t.match(await create(m, 'd', 1 * MB, { policy: 'hdd-only' }), { pool: 'main' });
  t.match(await create(m, 'e', 10 * MB, { policy: 'ssd-only' }), { pool: 'fast' }, 'to the byte');
  t.match(await create(m, 'f', 20 * MB), /^SPACE_NO_ROOM .* 19 MB available$/);
  t.match(await poolOf(m, 'fast'), { setAsideBytes: 40 * MB, headroomBytes: 0 });
  t.match(await poolOf(m, 'slow'), { setAsideBytes: 60 * MB, headroomBytes: 0 });

  const filled = await m.shell('cat /dev/zero > spaces/a/big || stat -c %s spaces/a/big; stat -c %a spaces/a');
  t.match(filled, { stdout: `${30 * MB}\n755\n`, stderr: /No space left on device/ }, 'exact there as anywhere');
  t.equal((await stat(join(fast.at, '.vreserve/spaces/a/big'))).size, 30 * MB, 'it lies in its pool');
  t.match(await poolOf(m, 'fast'), { usedBytes: 30 * MB });
  t.match((await report(m.mnt)).pool, { usedBytes: 0 });
  await must(m.shell('mkdir -p deep/x/y; echo x > deep/x/y/f; ln deep/x/y/f deep/g'));
  t.match(await ask(m, { do: 'update', name: 'c', bytes: 30 * MB }), { sizeBytes: 30 * MB });
  t.match(await ask(m, { do: 'update', name: 'a', bytes: 31 * MB }), /^NO_SPACE/, 'its own pool has no more');

  await m.umount();
  await m.remount();
  t.match(
    (await listed(m)).map(({ name, pool, usedBytes }) => [name, pool, usedBytes]),
    [
      ['a', 'fast', 30 * MB],
      ['b', 'slow', 0],
      ['c', 'slow', 2],
      ['d', 'main', 0],
      ['e', 'fast', 0],
    ],
    'the same after a restart',
  );
  const holder = await open(join(m.mnt, 'deep/g'), 'r');
  t.match(await ask(m, { do: 'delete', name: 'c' }), /^SPACE_IN_USE .* files of it are open$/);
  await holder.close();
  t.match(await m.shell('cat deep/g'), { stdout: 'x\n' }, 'and nothing has changed');
  t.match(await ask(m, { do: 'lookup', name: 'c' }), { state: 'ready', sizeBytes: 30 * MB });
  await m.kill();
  await m.remount();
  t.match(await m.shell('cat deep/g'), { stdout: 'x\n' });
  for (const name of ['a', 'b', 'c', 'd', 'e']) t.same(await ask(m, { do: 'delete', name }), { deleted: true }, name);
  t.notOk(await isThere(join(m.mnt, 'deep')));
  t.match(await create(m, 'a', 40 * MB, { type: 'ssd' }), { pool: 'fast', usedBytes: 0 }, 'its place can be had again');
  t.same(await readdir(join(m.mnt, 'spaces/a')), []);
  t.same(await ask(m, { do: 'delete', name: 'a' }), { deleted: true });
  await nothingIsLeft(t, m, [fast, slow]);
});

test('killed in the middle', { skip, timeout: 300_000 }, async (t) => {
  const { m, fast, slow } = await start(t);
  await create(m, 'warm', MB, { type: 'ssd' });
  await create(m, 'warm2', MB, { at: '/warm2', type: 'hdd' });
  for (const name of ['warm', 'warm2']) await ask(m, { do: 'delete', name });
  for (let round = 0; round < 4; round++) {
    const before = new Set((await listed(m)).map(({ name }) => name));
    let left = 2 + 3 * round;
    const names = Array.from({ length: 12 }, (_, n) => `s${n}`);
    const answers = new Map<string, unknown>();
    await Promise.all(
      names.map(async (name, n) => {
        const type = n % 3 === 0 ? 'hdd' : 'ssd';
        answers.set(name, await (before.has(name) ? ask(m, { do: 'delete', name }) : create(m, name, MB, { type })));
        left -= 1;
        if (left === 0) await m.kill();
      }),
    );
    await m.remount();
    const spaces = await listed(m);
    t.notOk(
      spaces.some(({ state, sizeBytes }) => state !== 'ready' || sizeBytes !== MB),
      `round ${round}: nothing is half`,
    );
    const is = new Set(spaces.map(({ name }) => name));
    for (const [name, answer] of answers)
      if (answer !== null) t.equal(is.has(name), !before.has(name), `${name} is as was answered`);
    t.same((await readdir(join(m.mnt, 'spaces'))).filter((name) => name !== '.work').sort(), [...is].sort());
    for (const { at, pool } of [
      { at: fast.at, pool: 'fast' },
      { at: slow.at, pool: 'slow' },
    ]) {
      const inPool = spaces.filter((each) => each.pool === pool).map(({ name }) => name);
      t.same((await readdir(join(at, '.vreserve/spaces'))).sort(), inPool.sort(), `and those of ${pool} lie there`);
    }
    for (const name of is) await writeFile(join(m.mnt, 'spaces', name, 'f'), 'x');
  }
  for (const { name } of await listed(m)) t.same(await ask(m, { do: 'delete', name }), { deleted: true });
  await nothingIsLeft(t, m, [fast, slow]);
});

test('enforced by the kernel, beside others', { skip, timeout: 300_000 }, async (t) => {
  const { m, fast, slow } = await start(t);
  t.match(await create(m, 'q', 10 * MB, { enforce: 'kernel', type: 'ssd' }), /^SPACE_NO_ROOM/, 'no btrfs there');
  const made = await must(space(m, 'create', 'q', '10MB', '--enforce', 'kernel', '--json'));
  t.match(JSON.parse(made.stdout), { pool: 'slow', enforce: 'kernel', sizeBytes: 10 * MB });
  t.match(await poolOf(m, 'slow'), { setAsideBytes: 10 * MB - (await lotAt(m.mnt, '/spaces/q')).usedBytes });
  const lot =
    '{"lot_name":"l","owner":"root","parents":["l"],"paths":[{"path":"/spaces/q/l","recursive":true}],"management_policy_attrs":{"dedicated_GB":0,"opportunistic_GB":0,"max_num_objects":1,"creation_time":0,"expiration_time":1924988400000,"deletion_time":1924988400000}}';
  t.match(await m.run(['lot', 'add', lot, '--mount', m.mnt]), { code: 1, stderr: /which the kernel enforces: no lot/ });

  await must(m.shell('echo x > spaces/q/suid; chmod 4777 spaces/q/suid'));
  await must(m.shell('echo y >> spaces/q/suid', { uid: 65534, gid: 65534 }));
  t.match(await m.shell('stat -c %a spaces/q/suid; rm spaces/q/suid'), { stdout: '777\n' }, 'set-user-id goes with a write');

  const before = (await requests(m)).WRITE ?? 0;
  await must(m.shell('head -c 5000000 /dev/zero > spaces/q/f'));
  t.equal((await requests(m)).WRITE ?? 0, before, 'no write passes through the server');
  await create(m, 'x', MB, { type: 'ssd' });
  await must(m.shell('echo x > spaces/x/f'));
  t.ok(((await requests(m)).WRITE ?? 0) > before, 'others are written through it');
  for (const name of ['q', 'x']) t.same(await ask(m, { do: 'delete', name }), { deleted: true });
  await nothingIsLeft(t, m, [fast, slow]);
});

/** Requests that the data plane has served, by operation. */
async function requests(m: Mounted): Promise<Record<string, number>> {
  const text = await readFile(join(m.mnt, '.vreserve/metrics'), 'utf8');
  const found = text.matchAll(/requests_total\{op(?:eration)?="(\w+)"\} (\d+)/g);
  return Object.fromEntries([...found].map(([, name = '', count = '']) => [name.toUpperCase(), Number(count)]));
}
