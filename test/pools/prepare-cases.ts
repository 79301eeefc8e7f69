// `vreserve pool devices`, `prepare` and `wipe` on loop devices: what they make, what they refuse, and what they leave as it was.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Prepared } from '../../src/pools/prepare.js';
import { type Bench, bench, type Loop, whyNotLoops } from '../helpers/loops.js';
import { must, run, shell, vreserve } from '../helpers/run.js';

const skip = await whyNotLoops();
const MIB = 1024 ** 2;

interface DeviceRow {
  name: string;
  path: string;
  type: string;
  sizeBytes: number;
  state: string;
  uses: string[];
  signatures: { type: string; label: string | null; uuid: string | null }[];
}

async function row({ name }: Loop): Promise<DeviceRow | undefined> {
  const { stdout } = await must(vreserve(['pool', 'devices', '--loop', '--json']));
  return (JSON.parse(stdout) as { devices: DeviceRow[] }).devices.find((each) => each.name === name);
}

const poolsDir = ({ top }: Bench) => join(top, 'pools');
const prepare = (b: Bench, ...words: string[]) => vreserve(['pool', 'prepare', ...words, '--pools-dir', poolsDir(b), '--json']);
const wipe = (loop: Loop, confirm = loop.name) => vreserve(['pool', 'wipe', loop.path, '--yes-destroy', confirm]);

/** What is hidden in the directory of the pools, but its lock. */
async function notes(b: Bench): Promise<string[]> {
  return (await readdir(poolsDir(b))).filter((file) => file.startsWith('.') && file !== '.lock');
}

t.test('a pool of each policy: devices, bytes, quotas; then wiped, and free again', { skip }, async (t) => {
  const b = await bench(t);
  const loops: Loop[] = [];
  for (let i = 0; i < 4; i++) loops.push(await b.device({ ssd: i < 3 }));
  const [one, two, three, four] = loops as [Loop, Loop, Loop, Loop];
  t.match(await row(one), { state: 'free', type: 'ssd', signatures: [], uses: [], sizeBytes: one.bytes });
  t.match(await row(four), { state: 'free', type: 'hdd' });
  const cases: [string, Loop[], string[], string][] = [
    ['one', [one], [], 'single'],
    ['pair', [one, two], ['--policy', 'raid1'], 'raid1'],
    ['both', [two, three], ['--policy', 'single'], 'single'],
    ['four', [one, two, three, four], ['--policy', 'raid10'], 'raid10'],
  ];
  for (const [name, devices, options, policy] of cases) {
    const paths = devices.map(({ path }) => path);
    const pool = JSON.parse((await must(prepare(b, name, ...paths, ...options))).stdout) as Prepared;
    const directory = join(poolsDir(b), name);
    const type = devices.includes(four) ? 'hdd' : 'ssd';
    t.match(pool, { ok: true, name, policy, devices: paths, directory, type, resumed: false });
    t.ok(pool.sizeBytes >= 250 * MIB, `${name} has its bytes`);
    t.same(await notes(b), [], 'no note stays');
    const usage = (await must(run('btrfs', ['filesystem', 'df', directory]))).stdout;
    t.match(usage, new RegExp(`Data, ${policy}`, 'i'), `${name}: data are ${policy}`);
    t.match((await must(run('btrfs', ['qgroup', 'show', directory]))).stdout, /0\/5/, `${name}: quotas are on`);
    await writeFile(join(directory, 'file'), 'here');
    for (const device of devices) {
      t.match(await row(device), { state: 'used', signatures: [{ type: 'btrfs', label: name, uuid: pool.uuid }] });
      t.match(await wipe(device), { code: 1, stderr: /is in use: it (is mounted at|belongs to the mounted btrfs)/ });
    }
    t.equal(await readFile(join(directory, 'file'), 'utf8'), 'here');
    t.match(await prepare(b, 'other', paths[0] ?? ''), { code: 1, stderr: /is in use/ });
    await must(run('umount', [directory]));
    t.match(await prepare(b, 'other', paths[0] ?? ''), { code: 1, stderr: /is not empty, it has btrfs '/ });
    for (const device of devices) {
      t.match(await wipe(device), { code: 0, stdout: new RegExp(`wiped ${device.path}: btrfs '${name}'`) });
      t.match(await row(device), { state: 'free', signatures: [] });
    }
  }
});

/** Puts something on the device, and says what a refusal must name; undone by `undo`. */
const UNFIT: Record<
  string,
  { make: (b: Bench, t: Test) => Promise<Loop>; says: RegExp; undo?: (loop: Loop, b: Bench) => Promise<unknown> }
> = {
  'an ext4': {
    make: async (b) => {
      const loop = await b.device();
      await must(run('mkfs.ext4', ['-q', '-L', 'mine', loop.path]));
      return loop;
    },
    says: /is not empty, it has ext4 'mine'; what is on it is destroyed by: vreserve pool wipe \/dev\/loop\d+ --yes-destroy loop/,
  },
  'a partition table': {
    make: async (b) => {
      const loop = await b.device();
      await must(run('sfdisk', ['--quiet', loop.path], { input: 'label: gpt\n,,L\n' }));
      return loop;
    },
    says: /is not empty, it has gpt/,
  },
  'a mounted ext4': {
    make: async (b) => {
      const loop = await b.device();
      await must(run('mkfs.ext4', ['-q', loop.path]));
      const at = join(b.top, 'ext4');
      await mkdir(at);
      await must(run('mount', ['-o', 'ro,noload', loop.path, at]));
      return loop;
    },
    says: /is in use: it is mounted at .*ext4/,
    undo: (_, b) => run('umount', [join(b.top, 'ext4')]),
  },
  'another loop device over it': {
    make: async (b) => {
      const loop = await b.device();
      await must(run('losetup', ['--find', loop.path]));
      return loop;
    },
    says: /is in use: the loop device loop\d+ is over it/,
    undo: (loop) => shell(`losetup --detach $(losetup --noheadings --output NAME --associated ${loop.path})`),
  },
  swap: {
    make: async (b) => {
      const loop = await b.device();
      await must(run('mkswap', [loop.path]));
      await must(run('swapon', [loop.path]));
      return loop;
    },
    says: /is in use: it is swap space/,
    undo: (loop) => run('swapoff', [loop.path]),
  },
  'somebody who has it open exclusively': {
    make: async (b, t) => {
      const loop = await b.device();
      const script = 'import os,sys; os.open(sys.argv[1], os.O_RDONLY|os.O_EXCL); print("held", flush=True); sys.stdin.read()';
      const holder = spawn('python3', ['-c', script, loop.path], { stdio: ['pipe', 'pipe', 'inherit'] });
      const ended = once(holder, 'close');
      t.teardown(async () => {
        holder.kill('SIGKILL');
        await ended;
      });
      await once(holder.stdout, 'data');
      return loop;
    },
    says: /is in use: the kernel says that somebody has it/,
  },
  'too little': {
    make: (b) => b.device({ bytes: 255 * MIB }),
    says: /cannot be used: it has 267386880 bytes, and a pool needs 268435456/,
  },
  'a read-only device': { make: (b) => b.device({ readOnly: true }), says: /cannot be used: it is read-only/ },
};

t.test('devices that are not free are refused, and stay as they were to the byte', { skip }, async (t) => {
  for (const [what, { make, says, undo }] of Object.entries(UNFIT)) {
    await t.test(what, async (t) => {
      const b = await bench(t);
      const loop = await make(b, t);
      t.teardown(async () => void (await undo?.(loop, b)));
      const good = await b.device();
      const before = [await loop.fingerprint(), await good.fingerprint()];
      for (const words of [[loop.path], [good.path, loop.path]]) {
        const got = await prepare(b, 'plain', ...words);
        t.match(got, { code: 1, stderr: says }, `${words.length} devices`);
        t.equal(got.stderr.trimEnd().split('\n').length, 1, 'one line');
      }
      t.same([await loop.fingerprint(), await good.fingerprint()], before, 'no byte is another');
      t.notOk(existsSync(poolsDir(b)), 'nothing was made');
      if (/in use/.test(says.source)) {
        t.match(await wipe(loop), { code: 1, stderr: /is in use/ }, 'nor can it be wiped');
        t.same(await loop.fingerprint(), before[0]);
      }
      if (what === 'a read-only device') t.match(await wipe(loop), { code: 1, stderr: /it is read-only/ });
      t.match(await row(good), { state: 'free' });
    });
  }
});

t.test('names that are refused', { skip }, async (t) => {
  const b = await bench(t);
  const loop = await b.device({ partitions: true });
  const other = await b.device();
  const link = `/dev/vreserve-test-${Date.now()}`;
  await symlink(loop.path, link);
  t.teardown(async () => void (await run('rm', ['-f', link])));
  const alias = `/dev/vreserve-test-node-${Date.now()}`;
  const [major = '', minor = ''] = (await readFile(`/sys/block/${loop.name}/dev`, 'utf8')).trim().split(':');
  await must(run('mknod', [alias, 'b', major, minor]));
  t.teardown(async () => void (await run('rm', ['-f', alias])));
  const cases: [string[], number, RegExp][] = [
    [['p', link], 2, /it is a link to \/dev\/loop\d+: name the device itself/],
    [['p', alias], 2, /the name of that device is \/dev\/loop/],
    [['p', loop.name], 2, /write it as \/dev\/NAME/],
    [['p', loop.file], 2, /write it as \/dev\/NAME/],
    [['p', '/dev/null'], 2, /it is no block device/],
    [['p', '/dev'], 2, /write it as/],
    [['p', '/dev/'], 2, /write it as/],
    [['p', ''], 2, /it is empty/],
    [['p', `/dev/../${loop.path}`], 2, /'\.' or '\.\.'/],
    [['p', `/dev/./${loop.name}`], 2, /'\.' or '\.\.'/],
    [['p', `//dev/${loop.name}`], 2, /write it as/],
    [['p', '/dev/none-of-this-name'], 1, /there is no device '\/dev\/none-of-this-name'/],
    [['p', `${loop.path}\n`], 2, /control character/],
    [['p', loop.path, loop.path], 2, /is named twice/],
    [['', loop.path], 2, /name of a pool: it is empty/],
    [['a/b', loop.path], 2, /name of a pool: it must have letters/],
    [['..', loop.path], 2, /begin with a letter/],
    [['.hidden', loop.path], 2, /begin with a letter/],
    [['--', '-p', loop.path], 2, /begin with a letter/],
    [['a b', loop.path], 2, /name of a pool/],
    [['a,device=x', loop.path], 2, /name of a pool/],
    [['x'.repeat(64), loop.path], 2, /it has 64 letters, at most 63/],
    [['main', loop.path], 2, /backing directory of a mount/],
    [['p', loop.path, '--policy', 'raid5'], 2, /--policy must be one of single, raid1, raid10, not 'raid5'/],
    [['p', loop.path, '--policy', ''], 2, /--policy must be one of/],
    [['p', loop.path, '--policy', 'raid1'], 2, /raid1 needs 2 devices or more, 1 given/],
    [['p', loop.path, other.path, '--policy', 'raid10'], 2, /raid10 needs 4 devices or more, 2 given/],
    [['p'], 2, /something is missing/],
  ];
  const before = await loop.fingerprint();
  await Promise.all(
    cases.map(async ([words, code, says]) => {
      const at = words.indexOf('--');
      const options = ['--pools-dir', poolsDir(b)];
      const line = at < 0 ? [...words, ...options] : [...options, ...words];
      t.match(
        await vreserve(['pool', 'prepare', ...line]),
        { code, stdout: '', stderr: says },
        JSON.stringify(words).slice(0, 80),
      );
    }),
  );
  for (const [path, says] of [
    [link, /it is a link to/],
    [alias, /the name of that device is/],
    ['/dev/null', /it is no block device/],
    [loop.file, /write it as/],
  ] as const) {
    const got = await vreserve(['pool', 'wipe', path, '--yes-destroy', loop.name]);
    t.match(got, { code: 2, stdout: '', stderr: says }, `wipe ${path}`);
  }
  t.match(await vreserve(['pool', 'devices', loop.path]), { code: 2, stdout: '' }, 'devices takes no names');
  const shown = (await must(vreserve(['pool', 'devices', '--loop']))).stdout;
  t.match(shown, /^DEVICE +TYPE +SIZE +STATE +ON IT +SERIAL +MODEL +WHY\n/);
  t.match(shown, new RegExp(`^${loop.path} +hdd +315 MB +free `, 'm'));
  t.equal(await loop.fingerprint(), before);
  t.notOk(existsSync(poolsDir(b)), 'nothing was made');

  await must(run('sfdisk', ['--quiet', loop.path], { input: 'label: gpt\n,100MiB,L\n,,L\n' }));
  const partition = `${loop.path}p1`;
  if (!existsSync(partition)) await run('partx', ['--add', loop.path]);
  if (existsSync(partition)) {
    t.match(await prepare(b, 'plain', partition), { code: 2, stderr: /it is a partition: a pool has whole disks/ });
    t.match(await vreserve(['pool', 'wipe', partition, '--yes-destroy', loop.name]), { code: 2, stderr: /it is a partition/ });
    await must(run('mkfs.ext4', ['-q', partition]));
    const at = join(b.top, 'partition');
    await mkdir(at);
    await must(run('mount', [partition, at]));
    t.match(await wipe(loop), { code: 1, stderr: /is in use: it is mounted at .* \(its partition loop\d+p1\)/ });
    await must(run('umount', [at]));
    t.match(await wipe(loop), { code: 0, stdout: /gpt/ });
    t.notOk(existsSync(partition), 'the kernel shows no partition any more');
  } else t.comment('this kernel shows no partitions of loop devices');
});

t.test('wiping needs the right name, and takes every signature', { skip }, async (t) => {
  const b = await bench(t);
  const [loop, other] = [await b.device(), await b.device()];
  await must(run('mkfs.ext4', ['-q', loop.path]));
  await must(run('sfdisk', ['--quiet', other.path], { input: 'label: gpt\n,,L\n' }));
  const before = [await loop.fingerprint(), await other.fingerprint()];
  t.match(await vreserve(['pool', 'wipe', loop.path]), {
    code: 2,
    stderr: /say --yes-destroy and its serial number or its name/,
  });
  for (const confirm of ['', 'yes', other.name, loop.path, `${loop.name} `]) {
    t.match(
      await wipe(loop, confirm),
      { code: 1, stderr: /was not touched: --yes-destroy must be its name loop\d+, not/ },
      `'${confirm}'`,
    );
  }
  t.match(await vreserve(['pool', 'wipe', `${loop.path}x`, '--yes-destroy', loop.name]), {
    code: 1,
    stderr: /there is no device/,
  });
  t.same([await loop.fingerprint(), await other.fingerprint()], before);
  t.match(await wipe(loop), { code: 0, stdout: /ext4/ });
  t.equal(await other.fingerprint(), before[1], 'the other device is as it was');
  // One after the other on the same device: what the later ones did not overwrite is there still.
  await must(run('mkfs.btrfs', ['--quiet', '--force', other.path]));
  await must(run('sfdisk', ['--quiet', '--force', '--wipe', 'never', other.path], { input: 'label: gpt\n,,L\n' }));
  t.match(await wipe(other), { code: 0, stdout: /btrfs/ });
  for (const each of [loop, other]) {
    t.match(await row(each), { state: 'free', signatures: [] });
    t.equal((await must(run('wipefs', [each.path]))).stdout, '', 'wipefs finds nothing');
  }
  t.match(await wipe(loop), { code: 0, stdout: /no signature was on it/ }, 'once more is no error');
  t.match(await prepare(b, 'plain', loop.path, other.path, '--policy', 'raid1'), { code: 0 });
  t.match(await prepare(b, 'plain', loop.path), { code: 1 }, 'once more is one');
});

t.test('names of pools that are taken, and what is in the way', { skip }, async (t) => {
  const b = await bench(t);
  const [one, two] = [await b.device(), await b.device()];
  const { uuid } = JSON.parse((await must(prepare(b, 'taken', one.path))).stdout) as Prepared;
  const before = await two.fingerprint();
  t.match(await prepare(b, 'taken', two.path), {
    code: 1,
    stderr: new RegExp(`there is a pool 'taken' already, on ${one.path}`),
  });
  await must(run('umount', [join(poolsDir(b), 'taken')]));
  t.match(
    await prepare(b, 'taken', two.path),
    { code: 1, stderr: /there is a pool 'taken' already/ },
    'also where it is not mounted',
  );
  await mkdir(join(poolsDir(b), 'way', 'below'), { recursive: true });
  t.match(await prepare(b, 'way', two.path), { code: 1, stderr: /way' is in the way/ });
  await writeFile(join(poolsDir(b), 'file'), '');
  t.match(await prepare(b, 'file', two.path), { code: 1, stderr: /file' is in the way/ });
  await must(run('mount', [one.path, join(poolsDir(b), 'taken')]));
  await must(shell(`cd '${poolsDir(b)}'; mkdir over; mount --bind taken over`));
  t.match(
    await prepare(b, 'over', two.path),
    { code: 1, stderr: /over' is in the way/ },
    'an empty filesystem that is mounted there',
  );
  await must(run('umount', [join(poolsDir(b), 'over')]));
  t.equal(await two.fingerprint(), before);
  t.ok(uuid);
});

t.test('two at once: one has the device', { skip }, async (t) => {
  const b = await bench(t);
  const [one, two] = [await b.device(), await b.device()];
  const both = await Promise.all([prepare(b, 'x', one.path), prepare(b, 'y', one.path), prepare(b, 'z', two.path)]);
  t.same(both.map(({ code }) => code).sort(), [0, 0, 1], both.map(({ stderr }) => stderr).join(''));
  t.match(both.map(({ stderr }) => stderr).join(''), /is in use|is not empty/);
  const names = await Promise.all([prepare(b, 'same', one.path), prepare(b, 'same', two.path)]);
  t.same(
    names.map(({ code }) => code),
    [1, 1],
    'both devices have pools now',
  );
});

t.test('a tool that is missing is named with its package, and nothing has been touched', { skip }, async (t) => {
  const b = await bench(t);
  const loop = await b.device();
  const before = await loop.fingerprint();
  const empty = join(b.top, 'empty');
  await mkdir(empty);
  const cases: [string, string, RegExp][] = [
    ['mkfs.btrfs', '/usr/sbin', /mkfs\.btrfs is not installed: it is in the package btrfs-progs|wipefs is not installed/],
    ['wipefs', '/usr/sbin', /wipefs is not installed: it is in the package util-linux/],
  ];
  for (const [tool, directory, says] of cases) {
    const script = `mount --bind '${empty}' ${directory}; exec "$@"`;
    const within = ['unshare', '--mount', '/bin/bash', '-ec', script, 'sh'];
    const got = await vreserve(['pool', 'prepare', 'p', loop.path, '--pools-dir', poolsDir(b)], { within });
    t.match(got, { code: 1, stdout: '', stderr: says }, tool);
  }
  // mkfs.btrfs alone: the others are found in a directory of links.
  const script = `mkdir '${b.top}/bin'; cp -a /usr/sbin/wipefs /usr/sbin/blockdev '${b.top}/bin/'; mount --bind '${b.top}/bin' /usr/sbin; exec "$@"`;
  const got = await vreserve(['pool', 'prepare', 'p', loop.path, '--pools-dir', poolsDir(b)], {
    within: ['unshare', '--mount', '/bin/bash', '-ec', script, 'sh'],
  });
  t.match(got, { code: 1, stderr: /mkfs\.btrfs is not installed: it is in the package btrfs-progs/ });
  t.equal(await loop.fingerprint(), before);
  t.same(await notes(b), [], 'no note stays');
  t.notOk(existsSync(join(poolsDir(b), 'plain')), 'nor a directory');
  t.match(await prepare(b, 'plain', loop.path), { code: 0 });
});
