// `vreserve boot`, `status` and `pool stats` on loop devices: from disks to a mount that is well.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { BootPool } from '../../src/pools/boot-pools.js';
import type { Prepared } from '../../src/pools/prepare.js';
import type { Stats } from '../../src/pools/stats.js';
import { type Bench, bench, whyNotLoops } from '../helpers/loops.js';
import { must, run, shell, vreserve } from '../helpers/run.js';

const skip = await whyNotLoops();
const OPTIONS = { 'spool-grant': '0', 'store-grant': '0' };
const MIB = 1024 ** 2;

const at = ({ top }: Bench, ...words: string[]) => join(top, ...words);
const prepare = async (b: Bench, ...words: string[]) =>
  JSON.parse((await must(vreserve(['pool', 'prepare', ...words, '--pools-dir', at(b, 'pools'), '--json']))).stdout) as Prepared;

async function writeConfig(b: Bench, config: object): Promise<string> {
  const file = at(b, 'boot.json');
  const mount = { mountpoint: at(b, 'mnt'), options: OPTIONS };
  await writeFile(file, JSON.stringify({ poolsDir: at(b, 'pools'), mount, ...config }));
  return file;
}

interface Booted {
  pools: BootPool[];
  notes: string[];
  mount: { mountpoint: string; backing: string; already: boolean; added: string[]; notes: string[] };
}

const boot = async (file: string) => JSON.parse((await must(vreserve(['boot', '--config', file, '--json']))).stdout) as Booted;

t.test('from empty disks to a mount: made, mounted, well; and the same after a restart', { skip }, async (t) => {
  const b = await bench(t);
  const [hdd, small, ssd, later] = [
    await b.device(),
    await b.device({ ssd: true, bytes: 100 * MIB }),
    await b.device({ ssd: true }),
    await b.device({ ssd: true }),
  ];
  t.teardown(async () => void (await vreserve(['umount', at(b, 'mnt')])));
  const devices = [hdd.path, small.path, ssd.path, later.path];
  const file = await writeConfig(b, { devices });
  const none = await vreserve(['boot', '--config', file]);
  t.match(none, { code: 1, stderr: /there is no pool, and the file names no backing directory/ }, 'nothing is made unasked');
  t.match(await vreserve(['status', '--config', file]), { code: 1, stdout: /nothing is mounted at .*\nthere is no pool/ });

  await writeConfig(b, { devices, createIfNone: { name: 'first' } });
  const waiting = vreserve(['status', '--config', file, '--wait=60', '--json']);
  const first = await boot(file);
  t.match(first, { notes: [], pools: [{ name: 'first', state: 'mounted', type: 'ssd', created: true }] });
  t.equal(first.pools[0]?.directory, at(b, 'pools', 'first'));
  t.match(first.mount, { mountpoint: at(b, 'mnt'), backing: at(b, 'pools', 'first'), already: false });
  t.match(
    (await must(run('wipefs', ['--noheadings', '--output', 'LABEL', ssd.path]))).stdout,
    /first/,
    'the first SSD that fits',
  );
  for (const each of [hdd, small, later]) t.equal((await must(run('wipefs', [each.path]))).stdout, '', 'no other disk');
  const waited = await waiting;
  t.match({ ...waited, stdout: JSON.parse(waited.stdout) }, { code: 0, stdout: { ok: true, missing: [], notes: [] } });
  await must(vreserve(['reserve', at(b, 'mnt', 'job'), '10MB']));

  const again = await boot(file);
  t.match(
    again,
    { pools: [{ name: 'first', state: 'mounted', created: false }], mount: { already: true } },
    'once more changes nothing',
  );

  await must(vreserve(['umount', at(b, 'mnt')]));
  t.match(await vreserve(['status', '--config', file]), { code: 1, stdout: /nothing is mounted at/ });
  await must(run('umount', [at(b, 'pools', 'first')]));
  t.match(await vreserve(['status', '--config', file]), { code: 1, stdout: /pool first is not mounted at/ });
  await rm(at(b, 'pools'), { recursive: true });
  t.match(await boot(file), { pools: [{ name: 'first', state: 'mounted', created: false }], mount: { already: false } });
  t.match(await readFile(at(b, 'mnt', '.vreserve', 'report'), 'utf8'), /job/, 'what was reserved is there');

  const { pid } = JSON.parse(await readFile(at(b, 'mnt', '.vreserve', 'report.json'), 'utf8')).daemon as { pid: number };
  process.kill(pid, 'SIGKILL');
  const dead = await vreserve(['status', '--config', file]);
  t.match(dead, { code: 1, stdout: /does not answer|gives no answer/ });
  t.match(await boot(file), { mount: { already: false } }, 'a mount whose daemon is gone is mounted anew');
  t.match(await vreserve(['status', at(b, 'mnt')]), { code: 0, stdout: 'ok\n' });
  t.match(await vreserve(['status', 'mnt'], { cwd: b.top }), { code: 0, stdout: 'ok\n' }, 'from where one is');
});

t.test('pools that are missing, broken, degraded, or not wanted', { skip }, async (t) => {
  const b = await bench(t);
  const [one, two, three] = [await b.device(), await b.device(), await b.device({ ssd: true })];
  t.teardown(async () => void (await vreserve(['umount', at(b, 'mnt')])));
  await mkdir(at(b, 'data'));
  const safe = await prepare(b, 'safe', one.path, two.path, '--policy', 'raid1');
  const span = await prepare(b, 'span', three.path);
  await must(run('umount', [safe.directory]));
  await must(run('umount', [span.directory]));
  // Of its superblock all is there, and of the trees it names nothing.
  await must(
    shell(`head -c 200M /dev/zero | dd of=${three.path} bs=1M seek=1 count=60 iflag=fullblock conv=notrunc,fsync status=none`),
  );
  await two.detach();
  const backing = { backing: at(b, 'data'), mountpoint: at(b, 'mnt'), options: OPTIONS };
  const devices = [one.path, three.path];
  const wanted = [{ name: 'safe', type: 'ssd' }, { name: 'span' }, { name: 'other' }, { name: 'known', uuid: '0-0' }];
  const file = await writeConfig(b, { devices, pools: wanted, mount: backing, createIfNone: { name: 'other' } });
  const booted = await vreserve(['boot', '--config', file, '--json']);
  t.equal(booted.code, 0, booted.stderr);
  t.match(JSON.parse(booted.stdout), {
    pools: [
      {
        name: 'safe',
        state: 'degraded',
        type: 'ssd',
        reason: 'one of its devices is missing',
        directory: at(b, 'pools', 'safe'),
      },
      { name: 'span', state: 'broken', directory: null, reason: /^mount failed/ },
      { name: 'other', state: 'missing', directory: null, reason: 'none of its devices is there' },
      { name: 'known', state: 'missing', uuid: '0-0' },
    ],
    mount: { backing: at(b, 'data'), already: false },
  });
  t.match(booted.stderr, /pool safe is degraded: one of its devices is missing\n/);
  t.match(booted.stderr, /pool span is broken/);
  const status = await vreserve(['status', '--config', file]);
  t.match(status, {
    code: 1,
    stdout: /pool span is not mounted at .*\npool other is missing: .*\npool known is missing: .*\npool safe: one/,
  });
  const stats = JSON.parse((await must(vreserve(['pool', 'stats', '--json']))).stdout) as Stats;
  t.match(
    stats.pools.find(({ name }) => name === 'safe'),
    { state: 'degraded', troubles: ['one of its devices is missing'] },
  );
  t.match(
    stats.pools.find(({ name }) => name === 'span'),
    { state: 'not mounted', sizeBytes: null, directory: null },
  );

  await writeConfig(b, { devices, pools: [{ name: 'safe' }], mount: backing });
  t.match(await vreserve(['status', '--config', file]), { code: 0, stdout: /^pool safe: one of its devices is missing\nok\n$/ });

  const elsewhere = at(b, 'elsewhere');
  await mkdir(elsewhere);
  await must(run('umount', [at(b, 'pools', 'safe')]));
  await must(run('mount', ['-o', 'degraded', one.path, elsewhere]));
  const { pools } = await boot(file);
  t.match(pools, [{ name: 'safe', state: 'broken', reason: `it is mounted at ${elsewhere} already` }]);
});

t.test('all: SSDs first; and two of one name', { skip }, async (t) => {
  const b = await bench(t);
  const [one, two, three] = [await b.device(), await b.device({ ssd: true }), await b.device()];
  t.teardown(async () => void (await vreserve(['umount', at(b, 'mnt')])));
  const devices = [one.path, two.path, three.path];
  const slow = await prepare(b, 'a-slow', one.path);
  const fast = await prepare(b, 'b-fast', two.path);
  await must(run('umount', [slow.directory]));
  await must(run('umount', [fast.directory]));
  const file = await writeConfig(b, { devices, pools: 'all', createIfNone: { name: 'never' } });
  const { pools, mount } = await boot(file);
  t.same(
    pools.map(({ name, state }) => [name, state]),
    [
      ['b-fast', 'mounted'],
      ['a-slow', 'mounted'],
    ],
  );
  t.equal(mount.backing, at(b, 'pools', 'b-fast'));
  t.equal((await must(run('wipefs', [three.path]))).stdout, '', 'there is a pool, so none is made');
  const report = JSON.parse(await readFile(at(b, 'mnt', '.vreserve', 'report.json'), 'utf8')) as { pools: object[] };
  const other = { name: 'a-slow', type: 'hdd', directory: at(b, 'pools', 'a-slow'), broken: null };
  t.match(report.pools, [other], 'the other one is a pool of the mount');
  t.match(await vreserve(['status', '--config', file]), { code: 0, stdout: 'ok\n' });
  const served = JSON.parse((await must(vreserve(['pool', 'stats', at(b, 'mnt'), '--json']))).stdout) as Stats;
  t.match(
    served.pools.find(({ name }) => name === 'a-slow'),
    { state: 'served', servedAs: 'a-slow', type: 'hdd', devices: [one.path] },
  );
  const bindAt = at(b, 'var', 'cache');
  const cached = await writeConfig(b, { devices, cache: { bytes: '20MiB', bindAt } });
  t.match(await vreserve(['status', '--config', cached]), { code: 1, stdout: `the cache is not at ${bindAt}\n` });
  await must(vreserve(['umount', at(b, 'mnt')]));
  await boot(cached);
  t.match(await vreserve(['status', '--config', cached, '--wait']), { code: 0, stdout: 'ok\n' });
  t.match((await must(run('df', ['--block-size=1', '--output=size', bindAt]))).stdout, /20971520/, 'the cache is there');
  await must(vreserve(['umount', at(b, 'mnt')]));
  t.equal((await run('mountpoint', ['--quiet', bindAt])).code, 32, 'and goes with the mount');
  await boot(await writeConfig(b, { devices, pools: 'all' }));
  await must(vreserve(['umount', at(b, 'mnt')]));
  await must(run('umount', [slow.directory]));
  await must(run('umount', [fast.directory]));
  await must(run('mkfs.btrfs', ['--quiet', '--label', 'a-slow', three.path]));
  const twice = await boot(file);
  t.match(
    twice.pools.filter(({ name }) => name === 'a-slow'),
    [{ state: 'missing', reason: /2 pools have that name/ }, {}],
  );
  await must(vreserve(['umount', at(b, 'mnt')]));
  await writeConfig(b, { devices, pools: [{ name: 'a-slow', uuid: slow.uuid }] });
  t.match((await boot(file)).pools, [{ name: 'a-slow', state: 'mounted', uuid: slow.uuid }]);
});

t.test(
  'a disk that comes later: boot gives it to the mount that runs, and the backing stays the backing',
  { skip },
  async (t) => {
    const b = await bench(t);
    const [hdd, ssd, third] = [await b.device(), await b.device({ ssd: true }), await b.device()];
    t.teardown(async () => void (await vreserve(['umount', at(b, 'mnt')])));
    const devices = [hdd.path, ssd.path, third.path];
    const first = await prepare(b, 'first', hdd.path);
    const file = await writeConfig(b, { devices });
    t.match((await boot(file)).mount, { already: false, backing: first.directory });
    await must(vreserve(['reserve', at(b, 'mnt', 'job'), '10MB']));
    const shown = async () => {
      const report = JSON.parse(await readFile(at(b, 'mnt', '.vreserve', 'report.json'), 'utf8')) as {
        pools: { name: string }[];
      };
      return report.pools.map(({ name }) => name);
    };
    t.same(await shown(), []);

    const later = await prepare(b, 'later', ssd.path);
    await must(run('umount', [later.directory]));
    const again = await vreserve(['boot', '--config', file]);
    t.equal(again.code, 0, again.stderr);
    t.match(again.stdout, /^pool later is a pool of .*mnt now$/m);
    t.match(again.stdout, /is mounted already\n$/);
    t.same(await shown(), ['later']);
    t.match(await vreserve(['status', '--config', file]), { code: 0, stdout: 'ok\n' });
    t.match(await boot(file), { mount: { already: true, added: [], notes: [] } }, 'once more adds nothing');
    t.same(await shown(), ['later']);

    // The mount has a pool of that name elsewhere: it is told, and the mount goes on as it is.
    await mkdir(at(b, 'mine'));
    await must(run('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'vreserve-test', at(b, 'mine')]));
    t.teardown(async () => void (await run('umount', ['--lazy', at(b, 'mine')])));
    await must(vreserve(['pool', 'add', at(b, 'mnt'), `third=${at(b, 'mine')}`]));
    await prepare(b, 'third', third.path);
    const clash = await boot(file);
    t.match(clash.mount, {
      already: true,
      added: [],
      notes: [/^pool third is not added to .*: there is a pool 'third' already/],
    });
    await must(vreserve(['pool', 'remove', at(b, 'mnt'), 'third']));

    await must(vreserve(['umount', at(b, 'mnt')]));
    t.match(
      (await boot(file)).mount,
      { already: false, backing: first.directory },
      'though an SSD comes first of those with no ledger',
    );
    t.match(await readFile(at(b, 'mnt', '.vreserve', 'report'), 'utf8'), /job/);
    t.same((await shown()).sort(), ['later', 'third']);
  },
);

t.test('stats: bytes, quotas, sums by type, and what a mount says', { skip }, async (t) => {
  const b = await bench(t);
  const [one, two] = [await b.device({ ssd: true }), await b.device()];
  t.teardown(async () => void (await vreserve(['umount', at(b, 'mnt')])));
  const fast = await prepare(b, 'stats-fast', one.path);
  const slow = await prepare(b, 'stats-slow', two.path);
  await must(
    shell(
      `btrfs subvolume create '${slow.directory}/s'; btrfs qgroup limit 50M '${slow.directory}/s'; head -c 10M /dev/urandom > '${slow.directory}/s/file'; sync --file-system '${slow.directory}'`,
    ),
  );
  const stats = JSON.parse((await must(vreserve(['pool', 'stats', '--json']))).stdout) as Stats;
  const found = (name: string) => stats.pools.find((pool) => pool.name === name);
  t.match(found('stats-fast'), {
    type: 'ssd',
    state: 'mounted',
    directory: fast.directory,
    devices: [one.path],
    setAsideBytes: 0,
  });
  const { sizeBytes, usedBytes, setAsideBytes } = found('stats-slow') ?? {};
  t.equal(sizeBytes, two.bytes);
  t.ok(Number(usedBytes) > 10 * MIB && Number(usedBytes) < 20 * MIB, `used ${usedBytes}`);
  t.ok(Number(setAsideBytes) > 39 * MIB && Number(setAsideBytes) <= 40 * MIB, `set aside ${setAsideBytes}`);
  for (const type of ['ssd', 'hdd'] as const) {
    const sum = stats.pools.filter((pool) => pool.type === type).reduce((total, pool) => total + (pool.sizeBytes ?? 0), 0);
    t.equal(stats.totals[type].sizeBytes, sum, type);
  }
  const text = (await must(vreserve(['pool', 'stats']))).stdout;
  t.match(text, /^POOL +TYPE +SIZE +USED +SET ASIDE +FREE +STATE +WHERE\n/);
  t.match(text, /\nstats-slow +hdd +315 MB .*mounted +\//);
  t.match(text, /\ntotal +hdd /);

  await mkdir(at(b, 'mnt'));
  await must(vreserve(['mount', fast.directory, at(b, 'mnt'), '--spool-grant', '0', '--store-grant', '0']));
  await must(vreserve(['reserve', at(b, 'mnt', 'job'), '100MB']));
  const ofMount = JSON.parse((await must(vreserve(['pool', 'stats', at(b, 'mnt'), '--json']))).stdout) as Stats;
  t.match(
    ofMount.pools.find(({ name }) => name === 'stats-fast'),
    { state: 'served', servedAs: 'main', setAsideBytes: 100_000_000, directory: fast.directory, devices: [one.path] },
  );
  t.equal(ofMount.pools.filter(({ servedAs }) => servedAs === 'main').length, 1);
  t.match(
    ofMount.pools.find(({ name }) => name === 'stats-slow'),
    { directory: slow.directory },
  );
  t.match(await vreserve(['pool', 'stats', '/']), { code: 1, stderr: /not a vreserve mount/ });
});

t.test('files that boot refuses, with nothing done', { skip }, async (t) => {
  const b = await bench(t);
  const mount = { mountpoint: at(b, 'mnt') };
  const cases: [string | object, RegExp][] = [
    ['{', /it is no JSON/],
    ['[]', /it must be object/],
    [{}, /it must have required property 'mount'/],
    [{ mount: {} }, /mount must have required property 'mountpoint'/],
    [{ mount, pool: 1 }, /it must not have 'pool'/],
    [{ mount, pools: 'some' }, /pools must be "all" or a list/],
    [{ mount, pools: [{}] }, /pools/],
    [{ mount, pools: [{ name: '../x' }] }, /name of a pool/],
    [{ mount, pools: [{ name: 'a' }, { name: 'a' }] }, /pools has 'a' twice/],
    [{ mount, createIfNone: { name: 'a', policy: 'raid6' } }, /createIfNone.policy must be one of single, raid1, raid10/],
    [{ mount, createIfNone: { name: '.' } }, /name of a pool/],
    [{ mount, pools: [{ name: 'a' }], createIfNone: { name: 'b' } }, /createIfNone.name 'b' must be one of pools/],
    [{ mount, devices: ['loop0'] }, /cannot be a device/],
    [{ mount, poolsDir: 'pools' }, /poolsDir must be an absolute path/],
    [{ mount: { mountpoint: '../x' } }, /mount.mountpoint must be an absolute path/],
    [{ mount, cache: { bytes: '1.5G' } }, /not a number of bytes/],
    [{ mount, cache: { bytes: -1 } }, /not a number of bytes/],
    [{ mount: { ...mount, options: { frobnicate: true } } }, /vreserve mount has no option 'frobnicate'/],
  ];
  const file = at(b, 'boot.json');
  for (const [config, says] of cases) {
    await writeFile(file, typeof config === 'string' ? config : JSON.stringify(config));
    for (const command of ['boot', 'status']) {
      if (command === 'status' && /frobnicate/.test(says.source)) continue;
      const got = await vreserve([command, '--config', file]);
      t.match(got, { code: 2, stdout: '', stderr: says }, `${command} ${says}`);
    }
  }
  t.match(await vreserve(['boot']), { code: 2, stderr: /say which file: --config FILE/ });
  t.match(await vreserve(['boot', '--config', at(b, 'none')]), { code: 1, stderr: /cannot be read: ENOENT/ });
  t.match(await vreserve(['status', '--wait=x']), { code: 2, stderr: /not a duration/ });
  t.match(await vreserve(['status', at(b, 'none'), '--wait=0']), { code: 1, stdout: /nothing is mounted at/ });
  t.match((await shell(`ls -A '${b.top}'`)).stdout, 'boot.json\n', 'nothing was made');
});
