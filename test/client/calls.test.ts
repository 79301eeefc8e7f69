// Every call of the client, the same table over TCP, over a Unix socket and through the mount.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { VreserveClient } from '../../src/client/client.js';
import { clientOf, codeOf, type Reached, reach, WAYS } from '../helpers/client.js';
import { must } from '../helpers/run.js';

const CAPACITY = 50_000_000;
const FAR = 4_102_444_800_000;
const ARGS = ['--capacity', String(CAPACITY), '--margin', '0'];

const policy = {
  dedicated_GB: 0.001,
  opportunistic_GB: 0.0005,
  max_num_objects: 10,
  creation_time: 0,
  expiration_time: FAR,
  deletion_time: FAR,
};
const lot = (name: string, more: object = {}) => ({
  lot_name: name,
  owner: 'root',
  parents: [name],
  management_policy_attrs: policy,
  ...more,
});

interface Case {
  name: string;
  call: (client: VreserveClient, reached: Reached) => Promise<unknown>;
  /** What the answer matches. */
  gives?: unknown;
  /** What the error matches. */
  throws?: { code: string; errno?: string; message?: RegExp | string; details?: object };
}

const CASES: Case[] = [
  { name: 'ping', call: (c) => c.ping(), gives: undefined },
  { name: 'nothing is reserved', call: async (c) => [...(await c.reservations())], gives: [] },
  {
    name: 'reserve',
    call: (c) => c.reserve('/job1', 5_000_000),
    gives: { name: '/job1', path: '/job1', dedicatedBytes: 5_000_000, usedBytes: 0, maxObjects: -1, expiresAtMs: null },
  },
  { name: 'anew, in words', call: (c) => c.reserve('/job1', '6MiB'), gives: { dedicatedBytes: 6 * 1024 * 1024 } },
  {
    name: 'with limits',
    call: (c) =>
      c.reserve('/job1', '6MB', { expiresInMs: 3_600_000, owner: 'nobody', opportunisticBytes: 2_000_000, maxObjects: 3 }),
    gives: { dedicatedBytes: 6_000_000, owner: 'nobody', opportunisticBytes: 2_000_000, maxObjects: 3, expiresAtMs: Number },
  },
  {
    name: 'what is left out stays, and null is never',
    call: (c) => c.reserve('/job1', '6MB', { expiresInMs: null, opportunisticBytes: -1 }),
    gives: { owner: 'nobody', opportunisticBytes: -1, maxObjects: 3, expiresAtMs: null },
  },
  { name: 'extend', call: (c) => c.extend('/job1', '1MB'), gives: { dedicatedBytes: 7_000_000 } },
  { name: 'extend what is not reserved', call: (c) => c.extend('/none', 1), throws: { code: 'NO_SUCH_LOT', errno: 'ENOENT' } },
  {
    name: 'a path of the host',
    call: (c, { m }) => c.reserve(join(m.mnt, 'job2'), '1MB'),
    gives: { path: '/job2', dedicatedBytes: 1_000_000 },
  },
  { name: 'letters of other scripts', call: (c) => c.reserve('/名 前/&<"', 1000), gives: { name: '/名 前/&<"' } },
  {
    name: 'reservations',
    call: async (c) => Object.fromEntries(await c.reservations()),
    gives: { '/job1': 7_000_000, '/job2': 1_000_000, '/名 前/&<"': 1000 },
  },
  {
    name: 'reservations as the host sees them',
    call: async (c, { m }) => (await c.reservations(m.mnt)).get(join(m.mnt, 'job1')),
    gives: 7_000_000,
  },
  {
    name: 'more than there is',
    call: (c) => c.reserve('/big', CAPACITY),
    throws: {
      code: 'NO_SPACE',
      errno: 'ENOSPC',
      message: /^50 MB asked for \/big, 42 MB .*available$/,
      details: { path: '/big', askedBytes: CAPACITY, availableBytes: CAPACITY - 8_001_000 },
    },
  },
  {
    name: 'fewer than it holds',
    call: async (c, { m }) => {
      await writeFile(join(m.mnt, 'job2'), Buffer.alloc(5000));
      return c.reserve('/job2', 4999);
    },
    throws: { code: 'BELOW_USE', errno: 'ENOSPC', details: { heldBytes: 5000 } },
  },
  { name: 'no path', call: (c) => c.reserve('', 5), throws: { code: 'BAD_PATH', message: /empty/ } },
  { name: 'no path to release', call: (c) => c.release(''), throws: { code: 'BAD_PATH' } },
  { name: 'no path to report', call: (c) => c.reservations(''), throws: { code: 'BAD_PATH' } },
  { name: 'half a letter', call: (c) => c.reserve('/\ud800', 5), throws: { code: 'BAD_PATH', message: /not valid UTF-8/ } },
  { name: 'a relative path', call: (c) => c.reserve('job', 5), throws: { code: 'BAD_PATH', message: /begin with/ } },
  { name: 'dots', call: (c) => c.reserve('/a/../b', 5), throws: { code: 'BAD_PATH' } },
  { name: 'a NUL', call: (c) => c.reserve('/a\0b', 5), throws: { code: 'BAD_PATH', message: /NUL/ } },
  { name: 'a long name', call: (c) => c.reserve(`/${'x'.repeat(300)}`, 5), throws: { code: 'PATH_TOO_LONG' } },
  { name: 'the root', call: (c) => c.reserve('/', 5), throws: { code: 'BAD_PATH' } },
  { name: 'what is our own', call: (c) => c.reserve('/.vreserve/x', 5), throws: { code: 'BAD_PATH' } },
  { name: 'no bytes', call: (c) => c.reserve('/a', 0), throws: { code: 'BAD_BYTES', message: /at least one byte/ } },
  { name: 'a part of a byte', call: (c) => c.reserve('/a', 1.5), throws: { code: 'BAD_BYTES' } },
  { name: 'less than none', call: (c) => c.reserve('/a', -1), throws: { code: 'BAD_BYTES' } },
  { name: 'words that are no number', call: (c) => c.reserve('/a', 'much'), throws: { code: 'BAD_BYTES' } },
  { name: 'an owner that is none', call: (c) => c.reserve('/a', 5, { owner: 'a\nb' }), throws: { code: 'BAD_OWNER' } },
  { name: 'a time that is none', call: (c) => c.reserve('/a', 5, { expiresInMs: -5 }), throws: { code: 'BAD_COMMAND' } },
  { name: 'release', call: (c) => c.release('/job1'), gives: { name: '/job1', dedicatedBytes: 7_000_000 } },
  { name: 'release again', call: (c) => c.release('/job1'), gives: null },
  {
    name: 'report',
    call: (c) => c.report(),
    gives: {
      daemon: { pid: Number, version: String },
      pool: { capacityBytes: CAPACITY, marginBytes: 0 },
      health: 'ok',
      lots: [{ name: 'default' }, { name: '/job2', usedBytes: 5000, objects: 1 }, {}],
      waiting: [],
    },
  },

  { name: 'version', call: (c) => c.lots.version(), gives: /^\d+\.\d+\.\d+$/ },
  { name: 'context', call: (c) => c.lots.context(), gives: { caller: 'root', administrator: true } },
  { name: 'add', call: (c) => c.lots.add(lot('ops', { paths: [{ path: '/ops', recursive: true }] })), gives: undefined },
  { name: 'add below', call: (c) => c.lots.add(lot('team', { parents: ['ops'] })), gives: undefined },
  { name: 'add again', call: (c) => c.lots.add(lot('ops')), throws: { code: 'LOT_EXISTS', message: /already exists/ } },
  { name: 'a lot that is none', call: (c) => c.lots.add(lot('')), throws: { code: 'BAD_LOT_JSON', message: /too short/ } },
  { name: 'exists', call: (c) => c.lots.exists('team'), gives: true },
  { name: 'does not exist', call: (c) => c.lots.exists('nobody'), gives: false },
  { name: 'is a root', call: (c) => c.lots.isRoot('ops'), gives: true },
  { name: 'is no root', call: (c) => c.lots.isRoot('team'), gives: false },
  { name: 'is not there', call: (c) => c.lots.isRoot('nobody'), throws: { code: 'NO_SUCH_LOT', message: "no lot 'nobody'" } },
  { name: 'list', call: (c) => c.lots.list(), gives: ['default', '/job2', '/名 前/&<"', 'ops', 'team'] },
  { name: 'owners', call: (c) => c.lots.owners('team', { recursive: true }), gives: ['root'] },
  { name: 'parents', call: (c) => c.lots.parents('team', { recursive: true, self: true }), gives: ['ops'] },
  { name: 'parents, itself', call: (c) => c.lots.parents('ops', { self: true }), gives: ['ops'] },
  { name: 'children', call: (c) => c.lots.children('ops', { recursive: true, self: true }), gives: ['ops', 'team'] },
  { name: 'update', call: (c) => c.lots.update({ lot_name: 'team', owner: 'daemon' }), gives: undefined },
  { name: 'updated', call: (c) => c.lots.owners('team'), gives: ['daemon'] },
  {
    name: 'addTo',
    call: (c) => c.lots.addTo({ lot_name: 'team', paths: [{ path: '/ops/team', recursive: true }] }),
    gives: undefined,
  },
  { name: 'which', call: (c) => c.lots.which('/ops/team/x', { recursive: true }), gives: ['team', 'ops'] },
  {
    name: 'dirs',
    call: (c) => c.lots.dirs('ops', { recursive: true }),
    gives: [
      { lot_name: 'ops', path: '/ops/', recursive: true, exclude: false },
      { lot_name: 'team', path: '/ops/team/' },
    ],
  },
  {
    name: 'policy',
    call: (c) => c.lots.policy({ lot_name: 'team', dedicated_GB: false, max_num_objects: true }),
    gives: { dedicated_GB: { value: 0.001 }, max_num_objects: { lot_name: 'team', value: 10 } },
  },
  {
    name: 'usage',
    call: (c) => c.lots.usage({ lot_name: 'ops', total_GB: true, num_objects: false }),
    gives: { total_GB: { self_contrib: 0, children_contrib: 0, total: 0 }, num_objects: { self_contrib: 0 } },
  },
  {
    name: 'setUsage of what is measured',
    call: (c) => c.lots.setUsage({ lot_name: 'ops', self_GB: 1 }),
    throws: { code: 'USAGE_IS_MEASURED' },
  },
  {
    name: 'a lot elsewhere',
    call: (c) => c.lots.add(lot('far', { paths: [{ path: 'far://x', recursive: true }] })),
    gives: undefined,
  },
  { name: 'setUsage', call: (c) => c.lots.setUsage({ lot_name: 'far', self_GB: 0.25 }), gives: undefined },
  { name: 'setUsage, more', call: (c) => c.lots.setUsage({ lot_name: 'far', self_GB: 0.5 }, { delta: true }), gives: undefined },
  {
    name: 'setUsage, summed',
    call: (c) => c.lots.usage({ lot_name: 'far', total_GB: false }),
    gives: { total_GB: { self_contrib: 0.75 } },
  },
  {
    name: 'setUsageByDir',
    call: (c) => c.lots.setUsageByDir([{ path: 'far://x', includes_subdirs: true, size_GB: 2, num_obj: 1 }]),
    gives: undefined,
  },
  { name: 'past', call: (c) => c.lots.past('ded', { recursive: true }), gives: ['default', 'far'] },
  {
    name: 'show',
    call: (c) => c.lots.show('team', { recursive: true }),
    gives: { lot_name: 'team', owners: ['daemon', 'root'] },
  },
  { name: 'removePaths', call: (c) => c.lots.removePaths({ paths: ['/ops/team'] }), gives: undefined },
  {
    name: 'removeParents, all of them',
    call: (c) => c.lots.removeParents({ lot_name: 'team', parents: ['ops'] }),
    throws: { code: 'LOT_ORPHANS' },
  },
  { name: 'remove a parent', call: (c) => c.lots.remove('ops'), throws: { code: 'LOT_ORPHANS' } },
  { name: 'removeRecursive', call: (c) => c.lots.removeRecursive('ops'), gives: undefined },
  { name: 'remove', call: (c) => c.lots.remove('far'), gives: undefined },
  { name: 'the default lot', call: (c) => c.lots.remove('default'), throws: { code: 'LOT_IS_DEFAULT' } },
  { name: 'what remains', call: (c) => c.lots.list(), gives: ['default', '/job2', '/名 前/&<"'] },
];

for (const way of WAYS) {
  t.test(`by ${way}`, async (t) => {
    const reached = await reach(t, way, ARGS);
    const { client } = reached;
    t.equal(client.target, reached.target);
    for (const { name, call, gives, throws } of CASES) {
      const outcome = await call(client, reached).then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      );
      if (throws !== undefined) t.match(outcome, { error: { name: 'VreserveError', ...throws } }, name);
      else t.match(outcome, { value: gives }, name);
    }
  });
}

for (const way of WAYS) {
  t.test(`64 at once by ${way}`, async (t) => {
    const { client } = await reach(t, way, ARGS);
    const warnings: Error[] = [];
    const warn = (warning: Error) => warnings.push(warning);
    process.on('warning', warn);
    t.teardown(() => process.off('warning', warn));
    const { signal } = new AbortController();
    for (let round = 0; round < 3; round++) {
      const codes = await Promise.all(Array.from({ length: 64 }, (_, i) => codeOf(client.reserve(`/r${i}`, '1MB', { signal }))));
      t.equal(codes.filter((code) => code === 'no error').length, 50, 'exactly what there is');
      t.equal(codes.filter((code) => code === 'NO_SPACE').length, 14);
      t.equal((await client.reservations()).size, 50);
      await Promise.all(Array.from({ length: 64 }, (_, i) => client.release(`/r${i}`, { signal })));
    }
    const calls = Array.from({ length: 600 }, (_, i) =>
      i % 2 === 0 ? client.ping({ signal }) : client.lots.exists('default', { signal }),
    );
    t.equal((await Promise.all(calls)).filter((found) => found === true).length, 300);
    t.strictSame(warnings, []);
  });
}

t.test('all three tell the same', async (t) => {
  const { m, client } = await reach(t, 'tcp', ARGS);
  const mounted = clientOf(t, m.mnt);
  await client.reserve('/a', '1MB', { expiresInMs: 3_600_000 });
  await mounted.reserve('/b', '2MB');
  const [one, other] = await Promise.all([client.report(), mounted.report()]);
  t.strictSame({ ...one, atMs: 0 }, { ...other, atMs: 0 });
  t.strictSame(await client.reservations(), await mounted.reservations());
  t.strictSame(await client.lots.show('/a', { recursive: true }), await mounted.lots.show('/a', { recursive: true }));
  await mkdir(join(m.mnt, 'c'));
  t.strictSame(await client.reserve('/c', 5000), await mounted.reserve('/c', 5000));
  await must(m.shell('head -c 3000 /dev/zero > c/x'));
  t.match(await mounted.reserve('/c', 4000), { usedBytes: 3000, objects: 1 });

  await t.test("in a lot's own directory", async (t) => {
    const inside = clientOf(t, join(m.mnt, 'c'));
    await inside.ping();
    t.match(await inside.reserve('/d', 10), { path: '/d' });
    t.match(await inside.reserve(join(m.mnt, 'c/e'), 20), { path: '/e' });
    t.strictSame([...(await inside.reservations())].slice(1), [
      ['/d', 10],
      ['/e', 20],
    ]);
    t.strictSame(Object.fromEntries(await mounted.reservations()), { '/a': 1e6, '/b': 2e6, '/c': 4000, '/c/d': 10, '/c/e': 20 });
    t.match(await inside.report(), { pool: { capacityBytes: 4000 } });
  });
});
