// Namespaces on several pools, on disks of the test's own: which pool gets one, who pays, and what becomes of it when its disk is away.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import type { NamespaceInfo } from '../../src/core/namespace-layout.js';
import { whyNotRoot } from '../helpers/columns.js';
import { type Disk, makeDisk, whyNoDisk } from '../helpers/disks.js';
import { until } from '../helpers/http.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { RespClient } from '../helpers/resp.js';
import { must } from '../helpers/run.js';

const MB = 1_000_000;
const skip = whyNotRoot !== false ? whyNotRoot : await whyNoDisk('ext4');

interface World {
  m: Mounted;
  slow: Disk;
  args: string[];
}

/** A mount of 20 MB on SSD, with a pool of 60 MB on HDD (ext4). */
async function start(t: Test): Promise<World> {
  const slow = await makeDisk(t, await temporaryDirectory(t), 'slow', 'ext4', 160);
  const pools = [`--pool=slow=${slow.at},type=hdd,capacity=60MB,margin=0`];
  const args = ['--capacity', '20MB', '--margin', '0', '--type', 'ssd', '--zdb', '127.0.0.1:0', ...pools];
  return { m: await mount(t, { on: 'tmpfs', args }), slow, args };
}

const ns = (m: Mounted, ...words: string[]) => m.run(['ns', ...words, '--mount', m.mnt]);
const told = async (m: Mounted, name: string): Promise<NamespaceInfo> =>
  (JSON.parse((await must(ns(m, 'info', name, '--json'))).stdout) as { namespace: NamespaceInfo }).namespace;
const poolOf = async (m: Mounted) => {
  const { pools } = JSON.parse(await readFile(join(m.mnt, '.vreserve/report.json'), 'utf8')) as {
    pools: { name: string; usedBytes: number; setAsideBytes: number; broken: string | null }[];
  };
  return pools.find(({ name }) => name === 'slow');
};
const here = ({ at }: Disk) => readdir(join(at, '.vreserve/namespaces')).catch(() => []);

async function connect(m: Mounted, name: string): Promise<RespClient> {
  const client = await RespClient.connect(m.ready.zdb);
  await client.ask('SELECT', name);
  return client;
}

test('the pool that the type asks for', { skip, timeout: 200_000 }, async (t) => {
  const { m, slow } = await start(t);
  t.match(await ns(m, 'reserve', 'here', '5MB'), { code: 0, stdout: /in pool main$/m }, 'an SSD, where one has the room');
  t.match(await ns(m, 'reserve', 'there', '30MB'), { code: 0, stdout: /in pool slow$/m }, 'and another where none has');
  t.match(await ns(m, 'reserve', 'old', '10MB', '--type', 'hdd'), { code: 0, stdout: /in pool slow$/m });
  t.match(await ns(m, 'reserve', 'new', '16MB', '--type', 'ssd'), {
    code: 1,
    stderr: /not enough space left in pools of this type ssd/,
  });
  t.match(await ns(m, 'reserve', 'new', '20000001', '--type', 'hdd'), {
    code: 1,
    stderr: /of this type hdd: 20 MB .* asked for, 20 MB/,
  });
  t.match(await ns(m, 'reserve', 'new', '1MB', '--type', 'tape'), { code: 2, stderr: /invalid device type 'tape'/ });
  t.same((await here(slow)).sort(), ['old', 'there'], 'what was refused has left nothing');

  const client = await connect(m, 'there');
  for (let n = 0; n < 100; n++) await client.ask('SET', `key${n}`, Buffer.alloc(10_000, 'v'));
  const info = await told(m, 'there');
  t.match(info, { pool: 'slow', entries: 100, payloadBytes: MB, dedicatedBytes: 30 * MB, broken: null });
  const { usedBytes = 0 } = (await poolOf(m)) ?? {};
  t.ok(usedBytes >= info.fileBytes && usedBytes < info.fileBytes + MB, `${usedBytes} bytes are the pool's`);
  t.match(await m.run(['pool', 'remove', m.mnt, 'slow']), { code: 1, stderr: /namespaces\/(old|there)/ });
  t.match(await m.run(['check', m.mnt]), { code: 0 });

  t.match(await ns(m, 'release', 'there'), { code: 0 });
  t.match(await client.ask('GET', 'key1'), /not available anymore/);
  await client.closed;
  t.match(await ns(m, 'release', 'old'), { code: 0 });
  t.match(await poolOf(m), { usedBytes: 0, setAsideBytes: 0 });
  t.same(await here(slow), []);
  t.same((await readdir(join(m.data, '.vreserve/namespaces'))).sort(), ['default', 'here']);
  t.match(await ns(m, 'reserve', 'there', '60MB', '--type', 'hdd'), { code: 0 }, 'all of it is free again, and the name');
  t.equal(await (await connect(m, 'there')).ask('GET', 'key1'), null, 'what was there is gone');
  t.match(await ns(m, 'release', 'there'), { code: 0 });
  t.match(await m.run(['pool', 'remove', m.mnt, 'slow']), { code: 0 });
});

test('killed, and while the disk is away', { skip, timeout: 200_000 }, async (t) => {
  const { m, slow, args } = await start(t);
  await must(ns(m, 'reserve', 'kept', '30MB', '--type', 'hdd'));
  await must(ns(m, 'reserve', 'near', '2MB', '--type', 'ssd'));
  const client = await connect(m, 'kept');
  for (let n = 0; n < 50; n++) t.equal(await client.ask('SET', `k${n}`, `value ${n}`), `$k${n}`);
  await m.kill();
  await m.remount(args);
  t.equal(await (await connect(m, 'kept')).ask('GET', 'k49'), '$value 49', 'over a crash');
  t.match(await m.run(['check', m.mnt]), { code: 0 });

  await m.umount();
  await slow.lose();
  await m.remount(args);
  t.match(await poolOf(m), { broken: /./ });
  const { stdout, stderr } = await must(ns(m, 'list'));
  t.match(stderr, /namespace kept cannot be used now: /);
  t.match(stdout, /^kept .* slow /m);
  t.match(await told(m, 'kept'), { pool: 'slow', dedicatedBytes: 30 * MB, broken: /./ });
  const near = await connect(m, 'near');
  t.equal(await near.ask('SET', 'a', 'b'), '$a', 'the others go on');
  t.match(await near.ask('SELECT', 'kept'), /^-/, 'this one is refused');
  t.match(await ns(m, 'release', 'kept'), { code: 1 }, 'and stays');

  await slow.mount();
  await until(async () => (await poolOf(m))?.broken === null, 'the pool is back');
  t.equal(await (await connect(m, 'kept')).ask('GET', 'k0'), '$value 0', 'nothing was lost');
  t.match(await told(m, 'kept'), { entries: 50, broken: null });
  t.match(await ns(m, 'release', 'kept'), { code: 0 });
  t.same(await here(slow), []);
  t.match(await m.run(['check', m.mnt]), { code: 0 });
});

test('the disk goes while it is written to', { skip, timeout: 200_000 }, async (t) => {
  const { m, slow } = await start(t);
  await must(ns(m, 'reserve', 'kept', '30MB', '--type', 'hdd'));
  const [there, near] = [await connect(m, 'kept'), await RespClient.connect(m.ready.zdb)];
  t.equal(await there.ask('SET', 'a', 'before'), '$a');
  await slow.lose();
  await until(async () => (await poolOf(m))?.broken !== null, 'the pool is broken');
  let n = 0;
  await until(async () => /^-Your active/.test(String(await there.ask('SET', `n${n++}`, 'x'))), 'who writes there is told');
  await there.closed;
  t.equal(await near.ask('SET', 'a', 'b'), '$a', 'the others go on, on the same connection');
  t.match(await near.ask('SELECT', 'kept'), /^-/);
  await slow.mount();
  await until(async () => (await poolOf(m))?.broken === null, 'the pool is back');
  const again = await connect(m, 'kept');
  t.equal(await again.ask('GET', 'a'), '$before');
  t.equal(await again.ask('SET', 'b', 'after'), '$b');
  t.match(await told(m, 'kept'), { broken: null });
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
});
