// LotMan's cases on usage: reported for a lot or by directory, its share of the policy, and the lots that are past theirs.

import t, { type Test } from 'tap';
import type { DirectoryUsageJson } from '../../../src/lots/schema.js';
import { whyNotRoot } from '../../helpers/columns.js';
import {
  below,
  FAMILY,
  type LotCase,
  lot,
  MARSH,
  onFreshMounts,
  only,
  policy,
  refusals,
  useDeltaAndMarsh,
  type World,
} from './family.js';

/** A directory that is reported; its numbers contain those of the subdirectories where there are any. */
function dir(path: string, gb: number, objects: number, subdirs: readonly DirectoryUsageJson[] = []): DirectoryUsageJson {
  return { path, size_GB: gb, num_obj: objects, includes_subdirs: subdirs.length > 0, subdirs };
}

/** Own GB and objects of lots. */
async function holds(
  t: Test,
  world: World,
  rows: Readonly<Record<string, [gb: number, objects: number]>>,
  why = '',
): Promise<void> {
  for (const [name, held] of Object.entries(rows)) t.strictSame(await world.held(name), held, `${name} ${why}`);
}

/** Dedicated, opportunistic, own and children's GB; then total, own and children's share of the dedicated and of the others. */
const SHARES: readonly (readonly [
  d: number,
  o: number,
  s: number,
  c: number,
  dedicated: readonly [number, number, number],
  opportunistic: readonly [number, number, number],
])[] = [
  [10, 4, 0, 0, [0, 0, 0], [0, 0, 0]],
  [10, 4, 3, 5, [8, 3, 5], [0, 0, 0]],
  [10, 4, 3, 7, [10, 3, 7], [0, 0, 0]],
  [10, 4, 3, 9, [10, 3, 7], [2, 0, 2]],
  [10, 4, 3, 11, [10, 3, 7], [4, 0, 4]],
  [10, 4, 3, 20, [10, 3, 7], [4, 0, 4]],
  [10, 4, 10, 0, [10, 10, 0], [0, 0, 0]],
  [10, 4, 10, 2, [10, 10, 0], [2, 0, 2]],
  [10, 4, 10, 9, [10, 10, 0], [4, 0, 4]],
  [10, 4, 12, 1, [10, 10, 0], [3, 2, 1]],
  [10, 4, 12, 2, [10, 10, 0], [4, 2, 2]],
  [10, 4, 12, 5, [10, 10, 0], [4, 2, 2]],
  [10, 4, 14, 3, [10, 10, 0], [4, 4, 0]],
  [10, 4, 20, 3, [10, 10, 0], [4, 4, 0]],
  [10, 3.5, 3.5, 10.5, [10, 3.5, 6.5], [3.5, 0, 3.5]],
  [0, 2, 1, 0.5, [0, 0, 0], [1.5, 1, 0.5]],
  [10, 0, 12, 3, [10, 10, 0], [0, 0, 0]],
];

const share = ([total, self_contrib, children_contrib]: readonly [number, number, number]) => ({
  children_contrib,
  self_contrib,
  total,
});

const NEGATIVE = (key: string) => ({
  text: new RegExp(`The attempted delta update would result in storing negative values for the key ${key}\\.$`),
});

const CASES: Record<string, LotCase> = {
  async 'usage is reported, and told'(t, world) {
    const { lots } = world;
    await world.add(...FAMILY, MARSH);
    await refusals(t, [
      [
        'of a lot that is not there',
        () => lots.setUsage({ lot_name: 'none', self_GB: 10.5, self_objects: 4 }),
        { code: 'NO_SUCH_LOT' },
      ],
      [
        'below 0',
        () => lots.setUsage({ lot_name: 'delta', self_GB: -1 }),
        { code: 'BAD_LOT_JSON', text: 'At /self_GB of -1 - instance is below minimum of 0.0\n' },
      ],
    ]);
    await useDeltaAndMarsh(lots);
    t.strictSame(await lots.usage({ lot_name: 'marsh', dedicated_GB: true, opportunistic_GB: true, total_GB: true }), {
      dedicated_GB: share([10, 3.5, 6.5]),
      opportunistic_GB: share([3.5, 0, 3.5]),
      total_GB: share([14, 3.5, 10.5]),
    });
    t.strictSame(
      await lots.usage({
        lot_name: 'marsh',
        num_objects: true,
        GB_being_written: true,
        objects_being_written: true,
        total_GB: false,
      }),
      {
        GB_being_written: share([3.4, 1.2, 2.2]),
        num_objects: share([11, 7, 4]),
        objects_being_written: share([7, 5, 2]),
        total_GB: { self_contrib: 3.5 },
      },
    );
    await lots.setUsage({ lot_name: 'delta', self_objects: 1 });
    await holds(t, world, { delta: [10.5, 1] }, 'what is not named stays');
    await lots.setUsage({ lot_name: 'delta', self_GB: -0.5, self_objects: 2 }, { delta: true });
    await holds(t, world, { delta: [10, 3] }, 'what is named changes by so much');
    await refusals(t, [
      ['more than there is', () => lots.setUsage({ lot_name: 'delta', self_GB: -10.5 }, { delta: true }), NEGATIVE('self_GB')],
      [
        'one good number and a bad one',
        () => lots.setUsage({ lot_name: 'delta', self_GB: 5, self_objects: -4 }, { delta: true }),
        NEGATIVE('self_objects'),
      ],
    ]);
    await holds(t, world, { delta: [10, 3] }, 'a refused change changes nothing');
    await lots.setUsage({ lot_name: 'delta', self_GB: -10, self_objects: -3 }, { delta: true });
    await holds(t, world, { delta: [0, 0] });
  },

  async 'usage is reported by directory'(t, world) {
    const { lots } = world;
    await world.add(...FAMILY, MARSH);
    await lots.setUsage({ lot_name: 'river', self_GB: 1 });
    await lots.setUsageByDir([
      dir('feed://a/b/c', 5.12, 40, [dir('d', 3.14, 6, [dir('x', 1.6, 0)]), dir('y/z', 0.5, 0), dir('z', 0.25, 0)]),
      dir('feed://farm/barn', 9.153, 6, [dir('hay', 5.35, 0, [dir('more', 2.2, 0)])]),
    ]);
    await holds(t, world, { north: [10.383, 40], delta: [3.14, 6], default: [0.75, 0] }, 'its part');
    await holds(t, world, { river: [1, 0] }, 'is not named, and keeps what it had');
    const change = (gb: number, objects: number) => lots.setUsageByDir([dir('feed://a/b/c/d', gb, objects)], { delta: true });
    await change(2, -3);
    await holds(t, world, { delta: [5.14, 3], north: [10.383, 40] });
    await refusals(t, [
      ['bytes below 0', () => change(-10, 0), NEGATIVE('self_GB')],
      ['objects below 0', () => change(0, -4), NEGATIVE('self_objects')],
      [
        'one good directory and a bad one',
        () => lots.setUsageByDir([dir('feed://farm/barn', 1, 1), dir('feed://a/b/c/d', -10, 0)], { delta: true }),
        NEGATIVE('self_GB'),
      ],
    ]);
    await holds(t, world, { delta: [5.14, 3], north: [10.383, 40] }, 'a refused report reports nothing');
    await lots.setUsageByDir([dir('feed://a/b/c/d', 1, 1), dir('feed://e', 2, 2)]);
    await holds(t, world, { delta: [3, 3] }, 'the directories of one report are added, an earlier report is not');
  },

  async 'exclusions hold for directories that are reported'(t, world) {
    const { lots } = world;
    await world.add(
      lot('project', {
        paths: [
          below('feed://project'),
          { path: 'feed://project/cache', recursive: true, exclude: true },
          { path: 'feed://project/tmp', recursive: false, exclude: true },
        ],
        management_policy_attrs: policy(100, 50),
      }),
    );
    await holds(t, world, { project: [0, 0], default: [0, 0] });
    await lots.setUsageByDir([
      dir('feed://project/src', 10, 100),
      dir('feed://project/cache', 5, 50),
      dir('feed://project/cache/build', 3, 30),
      dir('feed://project/tmp', 2, 20),
      dir('feed://project/tmp/work', 4, 40),
    ]);
    await holds(t, world, { project: [14, 140], default: [10, 100] });
    await lots.setUsageByDir([dir('feed://project/src/new', 1.5, 15), dir('feed://project/cache/new', 0.5, 5)], { delta: true });
    await holds(t, world, { project: [15.5, 155], default: [10.5, 105] });
  },

  async 'and for the directories in them, however deep'(t, world) {
    const { lots } = world;
    const exclude = (path: string, recursive: boolean) => ({ path, recursive, exclude: true });
    await world.add(
      lot('data', {
        paths: [below('feed://data'), exclude('feed://data/scratch', true)],
        management_policy_attrs: policy(100, 50),
      }),
      lot('user', {
        paths: [below('feed://home/user'), exclude('feed://home/user/downloads', false), exclude('feed://home/user/cache', true)],
        management_policy_attrs: policy(100, 50),
      }),
      lot('deep', { paths: [below('feed://deep'), exclude('feed://deep/a/b/out', true)] }),
      lot('flat', { paths: [only('feed://flat')] }),
    );
    await lots.setUsageByDir([dir('feed://data/important', 8, 80), dir('feed://data/scratch', 12, 120, [dir('temp', 5, 50)])]);
    await holds(t, world, { data: [8, 80], default: [12, 120] });

    await lots.setUsageByDir([
      dir('feed://home/user', 50, 500, [
        dir('documents', 20, 200),
        dir('downloads', 10, 100, [dir('archive', 3, 30)]),
        dir('cache', 8, 80, [dir('temp', 5, 50)]),
        dir('.config', 4, 40),
      ]),
    ]);
    await holds(t, world, { user: [35, 350], default: [15, 150], data: [8, 80] });

    await lots.setUsageByDir([
      dir('feed://deep', 20, 20, [dir('a', 10, 10, [dir('b', 8, 8, [dir('out', 7, 7), dir('in', 1, 1)])])]),
      dir('feed://flat', 6, 6, [dir('sub', 2, 2, [dir('sub', 1, 1)])]),
    ]);
    await holds(t, world, { deep: [13, 13], flat: [4, 4], default: [9, 9] }, 'at whatever depth the exclusion is');
  },

  async 'shares of the policy'(t, world) {
    const { lots } = world;
    for (const [index, [d, o, s, c, dedicated, opportunistic]] of SHARES.entries()) {
      const [name, child] = [`lot${index}`, `child${index}`];
      const what = `D ${d}, O ${o}, S ${s}, C ${c}`;
      await world.add(
        lot(name, { paths: [below(`feed://${name}`)], management_policy_attrs: policy(d, o) }),
        lot(child, { parents: [name], paths: [below(`feed://${name}/child`)], management_policy_attrs: policy(0, 100) }),
      );
      await lots.setUsage({ lot_name: name, self_GB: s });
      await lots.setUsage({ lot_name: child, self_GB: c });
      t.strictSame(
        await lots.usage({ lot_name: name, dedicated_GB: true, opportunistic_GB: true, total_GB: true }),
        { dedicated_GB: share(dedicated), opportunistic_GB: share(opportunistic), total_GB: share([s + c, s, c]) },
        what,
      );
      t.strictSame(
        await lots.usage({ lot_name: name, dedicated_GB: false, opportunistic_GB: false, total_GB: false }),
        {
          dedicated_GB: { self_contrib: Math.min(s, d) },
          opportunistic_GB: { self_contrib: Math.min(Math.max(0, s - d), o) },
          total_GB: { self_contrib: s },
        },
        `${what}: its own alone`,
      );
    }
  },

  async 'what lies below a lot in two ways counts once'(t, world) {
    const { lots } = world;
    await world.add(
      lot('top', { management_policy_attrs: policy(20, 20) }),
      lot('left', { parents: ['top'], management_policy_attrs: policy(5, 5) }),
      lot('right', { parents: ['top'], management_policy_attrs: policy(5, 5) }),
      lot('bottom', { parents: ['left', 'right'], paths: [below('feed://bottom')] }),
    );
    await lots.setUsage({ lot_name: 'bottom', self_GB: 0.5, self_objects: 3 });
    for (const name of ['left', 'right', 'top'])
      t.strictSame(
        await lots.usage({ lot_name: name, total_GB: true, num_objects: true }),
        { num_objects: share([3, 0, 3]), total_GB: share([0.5, 0, 0.5]) },
        name,
      );
    await lots.remove('left', { assignToNonOrphans: true });
    t.strictSame(await lots.usage({ lot_name: 'top', total_GB: true }), { total_GB: share([0.5, 0, 0.5]) });
  },

  async 'lots that are past their bytes and objects'(t, world) {
    const { lots } = world;
    const limited = (d: number, o: number, objects: number) => policy(d, o, { max_num_objects: objects });
    // The default lot has no limits, unless it is given some.
    await lots.update({
      lot_name: 'default',
      management_policy_attrs: { dedicated_GB: 1, opportunistic_GB: 1, max_num_objects: 5 },
    });
    await world.add(
      lot('full', { paths: [below('feed://full')], management_policy_attrs: limited(2, 1, 5) }),
      lot('kid', { parents: ['full'], paths: [below('feed://kid')], management_policy_attrs: limited(1, 1, 5) }),
      lot('half', { paths: [below('feed://half')], management_policy_attrs: limited(2, 1, 5) }),
      lot('a part', { parents: ['half'], paths: [below('feed://part')], management_policy_attrs: limited(1, 100, 50) }),
      lot('empty', { management_policy_attrs: limited(2, 1, 5) }),
    );
    await lots.setUsage({ lot_name: 'full', self_GB: 3, self_objects: 5 });
    await lots.setUsage({ lot_name: 'kid', self_GB: 0.5, self_objects: 1 });
    await lots.setUsage({ lot_name: 'half', self_GB: 1.5, self_objects: 3 });
    await lots.setUsage({ lot_name: 'a part', self_GB: 1.5, self_objects: 2 });
    const quota = { recursiveQuota: true };
    const children = { recursiveChildren: true };
    const rows: ['opp' | 'ded' | 'obj', object, string[]][] = [
      ['opp', {}, ['full']],
      ['opp', quota, ['full', 'half']],
      ['opp', children, ['full', 'kid']],
      ['opp', { ...quota, ...children }, ['a part', 'full', 'half', 'kid']],
      ['ded', {}, ['full', 'a part']],
      ['ded', quota, ['full', 'half', 'a part']],
      ['ded', children, ['a part', 'full', 'kid']],
      ['ded', { ...quota, ...children }, ['a part', 'full', 'half', 'kid']],
      ['obj', {}, ['full']],
      ['obj', quota, ['full', 'half']],
      ['obj', children, ['full', 'kid']],
      ['obj', { ...quota, ...children }, ['a part', 'full', 'half', 'kid']],
    ];
    for (const [what, options, past] of rows)
      t.strictSame(await lots.past(what, options), past, `${what} ${JSON.stringify(options)}`);
  },

  async 'lots that are past their times'(t, world) {
    const { lots } = world;
    const times = (expires: number | undefined, deletes: number | undefined) =>
      policy(1, 1, {
        ...(expires === undefined ? {} : { expiration_time: expires }),
        ...(deletes === undefined ? {} : { deletion_time: deletes }),
      });
    await world.add(
      lot('old', { management_policy_attrs: times(200, 300) }),
      lot('heir', { parents: ['old'] }),
      lot('late', { management_policy_attrs: times(200, undefined) }),
      lot('early', { management_policy_attrs: times(undefined, 300) }),
      lot('fresh'),
    );
    const rows: ['exp' | 'del', boolean, string[]][] = [
      ['exp', false, ['old', 'late']],
      ['exp', true, ['heir', 'late', 'old']],
      ['del', false, ['old', 'early']],
      ['del', true, ['early', 'heir', 'old']],
    ];
    for (const [what, recursive, past] of rows) t.strictSame(await lots.past(what, { recursive }), past, `${what} ${recursive}`);
    await lots.update({ lot_name: 'fresh', management_policy_attrs: { expiration_time: Date.now() - 1 } });
    t.strictSame(await lots.past('exp'), ['old', 'late', 'fresh']);
  },
};

t.test('usage', { skip: whyNotRoot, timeout: 200_000 }, (t) => onFreshMounts(t, CASES));
