// What LotMan only writes down and vreserve enforces: dedicated bytes are set aside, and the usage of the mount is measured.

import t from 'tap';
import { soon, whyNotRoot } from '../../helpers/columns.js';
import { report } from '../../helpers/lots.js';
import { below, type LotCase, lot, onFreshMounts, only, policy, refusals } from './family.js';

const NO_SPACE = { code: 'NO_SPACE' };
const MEASURED = { code: 'USAGE_IS_MEASURED' };
const GB = 1e9;

const grant = (dedicated: number, opportunistic: number) => ({ management_policy_attrs: policy(dedicated, opportunistic) });

const CASES: Record<string, LotCase> = {
  async 'the pool gives what it has'(t, world) {
    const { lots, m } = world;
    const aside = async () => (await report(m.mnt)).pool.setAsideBytes;
    await world.add(lot('most', grant(400, 0)));
    t.equal(await aside(), 400 * GB);
    await refusals(t, [
      ['a lot too many', () => lots.add(lot('more', grant(200, 0))), NO_SPACE],
      ['a change too far', () => lots.update({ lot_name: 'most', management_policy_attrs: { dedicated_GB: 600 } }), NO_SPACE],
      [
        'as a whole',
        () => lots.update({ lot_name: 'most', owner: 'nobody', management_policy_attrs: { dedicated_GB: 600 } }),
        NO_SPACE,
      ],
    ]);
    t.strictSame(await lots.list(), ['default', 'most']);
    t.strictSame(await lots.policy({ lot_name: 'most', dedicated_GB: false }), { dedicated_GB: { value: 400 } });
    t.strictSame(await lots.owners('most'), ['root']);
    await lots.remove('most');
    t.equal(await aside(), 0);
    await world.add(lot('more', grant(200, 0)), lot('any', grant(0, 9000)));
    t.equal(await aside(), 200 * GB, 'opportunistic bytes are promised to nobody');
    await world.add(lot('gone', { management_policy_attrs: policy(100, 0, { expiration_time: 200 }) }));
    t.equal(await aside(), 200 * GB, 'nor is anything to a lot that has expired');
  },

  async 'a child is given what its parent has'(t, world) {
    const { lots, m } = world;
    const aside = async () => (await report(m.mnt)).pool.setAsideBytes;
    await world.add(lot('parent', grant(10, 0)), lot('other', grant(10, 0)));
    await lots.add(lot('child', { parents: ['parent'], ...grant(7, 1) }));
    t.equal(await aside(), 20 * GB, 'its bytes come out of those of its parent');
    await refusals(t, [
      ['more than is left', () => lots.add(lot('second', { parents: ['parent'], ...grant(4, 0) })), NO_SPACE],
      ['more for the first', () => lots.update({ lot_name: 'child', management_policy_attrs: { dedicated_GB: 11 } }), NO_SPACE],
      [
        'a big lot as a child',
        () => lots.update({ lot_name: 'other', parents: [{ current: 'other', new: 'parent' }] }),
        NO_SPACE,
      ],
    ]);
    t.ok(await lots.isRoot('other'));
    await lots.add(lot('second', { parents: ['parent'], ...grant(3, 0) }));
    t.equal(await aside(), 20 * GB);
  },

  async 'usage of the mount is measured'(t, world) {
    const { lots, m } = world;
    await world.add(
      lot('job', { paths: [below('/job'), below('feed://job')], ...grant(10, 4) }),
      lot('part', { parents: ['job'], paths: [below('/job/part')], ...grant(0, 4) }),
      lot('feed', { paths: [below('feed://feed')] }),
    );
    await m.shell('mkdir -p job/part; truncate -s 12GB job/file');
    await soon(
      () => world.held('job'),
      ([gb]) => gb === 12,
    );
    t.strictSame(
      await lots.usage({ lot_name: 'job', dedicated_GB: false, opportunistic_GB: false, total_GB: false, num_objects: true }),
      {
        dedicated_GB: { self_contrib: 10 },
        num_objects: { children_contrib: 0, self_contrib: 1, total: 1 },
        opportunistic_GB: { self_contrib: 2 },
        total_GB: { self_contrib: 12 },
      },
    );
    t.match(await m.shell('truncate -s 15GB job/file'), { code: 1 }, 'and held to the grant');
    await m.shell('truncate -s 1GB job/part/file');
    await soon(
      () => world.held('part'),
      ([gb]) => gb === 1,
    );
    t.strictSame(await lots.usage({ lot_name: 'job', opportunistic_GB: true, total_GB: true }), {
      opportunistic_GB: { children_contrib: 1, self_contrib: 2, total: 3 },
      total_GB: { children_contrib: 1, self_contrib: 12, total: 13 },
    });
    t.ok((await lots.past('ded')).includes('job'));

    const directory = (path: string) => ({ path, includes_subdirs: false, size_GB: 5, num_obj: 5 });
    await refusals(t, [
      ['reported', () => lots.setUsage({ lot_name: 'job', self_GB: 1 }), MEASURED],
      ['changed', () => lots.setUsage({ lot_name: 'part', self_GB: 1 }, { delta: true }), MEASURED],
      ['of the default lot', () => lots.setUsage({ lot_name: 'default', self_GB: 1 }), MEASURED],
      ['by directory', () => lots.setUsageByDir([directory('feed://feed'), directory('/job/part')]), MEASURED],
      ['by a directory of the default lot', () => lots.setUsageByDir([directory('/elsewhere')]), MEASURED],
    ]);
    t.strictSame(await world.held('feed'), [0, 0], 'and nothing of it is taken');
    await lots.removePaths({ paths: ['/job'] });
    t.strictSame(
      [await world.held('job'), await world.held('part'), await world.held('default')],
      [
        [0, 0],
        [1, 1],
        [12, 1],
      ],
    );
  },

  async 'files belong to the lot that has their path'(t, world) {
    const { m } = world;
    await world.add(
      lot('store', {
        paths: [
          below('/data/storage'),
          { path: '/data/storage/cache', recursive: true, exclude: true },
          { path: '/data/storage/stuff', recursive: false, exclude: true },
          only('/data/logs'),
        ],
      }),
    );
    const files = ['storage/1', 'storage/sub/2', 'storage/stuff/sub/3', 'logs/4'];
    const others = ['storage/cache/5', 'storage/cache/sub/6', 'storage/stuff/7', 'logs/sub/8', '9'];
    const made = await m.shell(
      [...files, ...others].map((file) => `mkdir -p "$(dirname data/${file})"; truncate -s 1MB data/${file}`).join('\n'),
    );
    t.match(made, { code: 0, stderr: '' });
    t.strictSame(await world.held('store'), [0.004, 4], files.join(' '));
    t.strictSame(await world.held('default'), [0.005, 5], others.join(' '));
    for (const file of files) t.equal(await world.ownerOf(`/data/${file}`), 'store', file);
    for (const file of others) t.equal(await world.ownerOf(`/data/${file}`), 'default', file);
  },
};

t.test('enforced', { skip: whyNotRoot, timeout: 200_000 }, (t) => onFreshMounts(t, CASES));
