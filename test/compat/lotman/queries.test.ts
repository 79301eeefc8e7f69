// LotMan's cases on what can be asked: owners, parents, children, policies, paths, whole lots, the version, the context.

import t from 'tap';
import { Lots } from '../../../src/client/lots.js';
import { whyNotRoot } from '../../helpers/columns.js';
import {
  below,
  FAMILY,
  FAR,
  type LotCase,
  lot,
  MARSH,
  onFreshMounts,
  type RefusedRow,
  refusal,
  refusals,
  SOUTH_BELOW_RIVER,
  SOUTH_CHANGED,
  useDeltaAndMarsh,
  type World,
} from './family.js';

const NO_LOT = { code: 'NO_SUCH_LOT' };

/** The family with marsh, with south below river and island. */
async function grow(world: World): Promise<void> {
  await world.add(...FAMILY, MARSH);
  await world.lots.update(SOUTH_BELOW_RIVER);
  await world.lots.addTo({ lot_name: 'south', parents: ['island'] });
}

/** An answer without the order of its paths, which nobody has promised. */
function sortedPaths<T extends object>(shown: T): T {
  const paths = 'paths' in shown && Array.isArray(shown.paths) ? (shown.paths as { path: string }[]) : [];
  return { ...shown, paths: [...paths].sort((a, b) => (a.path < b.path ? -1 : 1)) };
}

const dir = (lot_name: string, path: string, recursive: boolean) => ({ exclude: false, lot_name, path, recursive });

const CASES: Record<string, LotCase> = {
  async 'owners, parents and children'(t, world) {
    const { lots } = world;
    await grow(world);
    await lots.update({ lot_name: 'south', owner: 'nobody' });
    await lots.update({ lot_name: 'river', owner: '1' });
    const all = { recursive: true };
    const self = { self: true };
    const rows: [question: string, ask: () => Promise<unknown>, answer: unknown][] = [
      ['owners delta', () => lots.owners('delta'), ['root']],
      ['owners delta, all', () => lots.owners('delta', all), ['daemon', 'nobody', 'root']],
      ['owners south', () => lots.owners('south'), ['nobody']],
      ['owners marsh, all', () => lots.owners('marsh', all), ['daemon', 'nobody', 'root']],
      ['owners north, all', () => lots.owners('north', all), ['root']],
      ['parents delta', () => lots.parents('delta'), ['marsh', 'river']],
      ['parents delta, all', () => lots.parents('delta', all), ['island', 'marsh', 'north', 'river', 'south']],
      [
        'parents delta, all and self',
        () => lots.parents('delta', { ...all, ...self }),
        ['island', 'marsh', 'north', 'river', 'south'],
      ],
      ['parents north', () => lots.parents('north'), []],
      ['parents north, self', () => lots.parents('north', self), ['north']],
      ['parents north, all and self', () => lots.parents('north', { ...all, ...self }), ['north']],
      ['children north', () => lots.children('north'), ['river']],
      ['children north, self', () => lots.children('north', self), ['north', 'river']],
      ['children north, all', () => lots.children('north', all), ['delta', 'marsh', 'river', 'south']],
      [
        'children north, all and self',
        () => lots.children('north', { ...all, ...self }),
        ['delta', 'marsh', 'north', 'river', 'south'],
      ],
      ['children river', () => lots.children('river'), ['delta', 'south']],
      ['children delta, all and self', () => lots.children('delta', { ...all, ...self }), []],
      ['is root north', () => lots.isRoot('north'), true],
      ['is root island', () => lots.isRoot('island'), true],
      ['is root river', () => lots.isRoot('river'), false],
      ['is root south', () => lots.isRoot('south'), false],
      ['is root delta', () => lots.isRoot('delta'), false],
      ['is root default', () => lots.isRoot('default'), true],
      ['exists none', () => lots.exists('none'), false],
      ['exists delta', () => lots.exists('delta'), true],
    ];
    for (const [question, ask, answer] of rows) t.strictSame(await ask(), answer, question);
    t.strictSame((await lots.list()).sort(), ['default', 'delta', 'island', 'marsh', 'north', 'river', 'south']);
  },

  async 'of a lot that is not there nothing can be asked'(t, { lots }) {
    const rows: RefusedRow[] = [
      ['owners', () => lots.owners('none', { recursive: true }), NO_LOT],
      ['parents', () => lots.parents('none'), NO_LOT],
      ['children', () => lots.children('none', { recursive: true }), NO_LOT],
      ['is root', () => lots.isRoot('none'), NO_LOT],
      ['policy', () => lots.policy({ lot_name: 'none', dedicated_GB: true }), NO_LOT],
      ['dirs', () => lots.dirs('none', { recursive: true }), NO_LOT],
      ['usage', () => lots.usage({ lot_name: 'none', total_GB: true }), NO_LOT],
      ['show', () => lots.show('none', { recursive: true }), NO_LOT],
    ];
    await refusals(t, rows);
    for (const [what, ask] of rows)
      t.notMatch((await refusal(ask())).text, 'must be created first', `${what}: no word of the default lot`);
    await refusals(t, [
      [
        'an attribute that nobody knows',
        () => lots.policy({ lot_name: 'default', opportunistic_GB: true, bad_key: true } as never),
        {
          code: 'BAD_LOT_JSON',
          text: 'At  of {"bad_key":true,"lot_name":"default","opportunistic_GB":true} - validation failed for additional property \'bad_key\': instance invalid as per false-schema\n',
        },
      ],
    ]);
  },

  async 'the policy that holds is the least of all above'(t, world) {
    const { lots } = world;
    await grow(world);
    const every = (recursive: boolean) => ({
      lot_name: 'delta',
      dedicated_GB: recursive,
      opportunistic_GB: recursive,
      max_num_objects: recursive,
      creation_time: recursive,
      expiration_time: recursive,
      deletion_time: recursive,
    });
    t.strictSame(await lots.policy(every(true)), {
      creation_time: { lot_name: 'marsh', value: 100 },
      dedicated_GB: { lot_name: 'delta', value: 3 },
      deletion_time: { lot_name: 'marsh', value: FAR + 700 },
      expiration_time: { lot_name: 'marsh', value: FAR + 200 },
      max_num_objects: { lot_name: 'island', value: 10 },
      opportunistic_GB: { lot_name: 'river', value: 1.5 },
    });
    t.strictSame(await lots.policy(every(false)), {
      creation_time: { value: 123 },
      dedicated_GB: { value: 3 },
      deletion_time: { value: FAR + 810 },
      expiration_time: { value: FAR + 310 },
      max_num_objects: { value: 40 },
      opportunistic_GB: { value: 2.1 },
    });
    t.strictSame(
      await lots.policy({ lot_name: 'river', creation_time: true, dedicated_GB: false }),
      { creation_time: { lot_name: 'river', value: 123 }, dedicated_GB: { value: 50 } },
      'the lot itself before others that say the same',
    );
    t.strictSame(await lots.policy({ lot_name: 'river' }), {}, 'nothing asked, nothing told');
  },

  async 'paths of a lot, and of those below it'(t, world) {
    const { lots } = world;
    await grow(world);
    const marsh = [dir('marsh', 'feed://m/', false), dir('marsh', 'feed://n/', true)];
    const delta = [dir('delta', 'feed://a/b/c/d/', true), dir('delta', 'feed://e/', true)];
    const byPath = (dirs: readonly { path: string }[]) => [...dirs].sort((a, b) => (a.path < b.path ? -1 : 1));
    t.strictSame(byPath(await lots.dirs('marsh')), byPath(marsh));
    t.strictSame(byPath(await lots.dirs('marsh', { recursive: true })), byPath([...marsh, ...delta]));
    t.strictSame(await lots.dirs('default'), []);
  },

  async 'a lot as a whole'(t, world) {
    const { lots } = world;
    await world.add(...FAMILY, MARSH);
    await lots.update(SOUTH_CHANGED);
    await lots.addTo({ lot_name: 'south', paths: [below('feed://farm/barnyard')], parents: ['island'] });
    await useDeltaAndMarsh(lots);
    const found = { path: 'feed://a/b/c/d', includes_subdirs: true, size_GB: 3.14, num_obj: 6, subdirs: [] };
    await lots.setUsageByDir([found]);
    await lots.setUsageByDir([{ ...found, size_GB: 2, num_obj: -3 }], { delta: true });

    const management_policy_attrs = {
      creation_time: 123,
      dedicated_GB: 30.111,
      deletion_time: FAR + 333,
      expiration_time: FAR + 222,
      max_num_objects: 50,
      opportunistic_GB: 6.6,
    };
    const paths = [
      dir('south', 'feed://farm/barnyard/', true),
      dir('south', 'feed://other/way/', true),
      dir('south', 'feed://renewed/s/', false),
    ];
    const none = { self_contrib: 0 };
    t.strictSame(sortedPaths(await lots.show('south')), {
      lot_name: 'south',
      owner: 'nobody',
      parents: ['island', 'river'],
      children: ['marsh'],
      paths,
      management_policy_attrs,
      usage: {
        GB_being_written: none,
        dedicated_GB: none,
        num_objects: none,
        objects_being_written: none,
        opportunistic_GB: none,
        total_GB: none,
      },
    });
    const children = (contribution: number) => ({ children_contrib: contribution, self_contrib: 0, total: contribution });
    t.strictSame(sortedPaths(await lots.show('south', { recursive: true })), {
      lot_name: 'south',
      owners: ['nobody', 'root'],
      parents: ['island', 'north', 'river'],
      children: ['delta', 'marsh'],
      paths: [
        dir('delta', 'feed://a/b/c/d/', true),
        dir('delta', 'feed://e/', true),
        paths[0],
        dir('marsh', 'feed://m/', false),
        dir('marsh', 'feed://n/', true),
        paths[1],
        paths[2],
      ],
      management_policy_attrs,
      restrictive_management_policy_attrs: {
        creation_time: { lot_name: 'south', value: 123 },
        dedicated_GB: { lot_name: 'island', value: 5 },
        deletion_time: { lot_name: 'south', value: FAR + 333 },
        expiration_time: { lot_name: 'south', value: FAR + 222 },
        max_num_objects: { lot_name: 'island', value: 10 },
        opportunistic_GB: { lot_name: 'river', value: 1.5 },
      },
      usage: {
        GB_being_written: children(3.4),
        dedicated_GB: children(8.64),
        num_objects: children(10),
        objects_being_written: children(7),
        opportunistic_GB: children(0),
        total_GB: children(8.64),
      },
    });
  },

  async 'which lots a path belongs to'(t, world) {
    const { lots } = world;
    await grow(world);
    await lots.addTo({ lot_name: 'south', paths: [below('feed://farm/barnyard')] });
    const rows: [path: string, recursive: boolean, found: string[]][] = [
      ['feed://a/b/c/d', false, ['delta']],
      ['feed://a/b/c/d/x/y', true, ['delta', 'island', 'marsh', 'north', 'river', 'south']],
      ['feed://farm/barnyard', false, ['south']],
      ['feed://farm/barnyard/x', true, ['south', 'island', 'north', 'river']],
      ['feed://farm/barn/x', false, ['north']],
      ['feed://farm/bar', false, ['default']],
      ['feed://a/b/c', false, ['north']],
      ['feed://a/b/c/x', false, ['default']],
      ['feed://nowhere', true, ['default']],
      ['/nowhere', false, ['default']],
    ];
    for (const [path, recursive, found] of rows)
      t.strictSame(await lots.which(path, { recursive }), found, `${path}: the lot, then all above it by name`);
  },

  async 'the version, and the context'(t, { m, lots }) {
    const { stdout } = await m.run(['--version']);
    t.ok((await lots.version()).includes(stdout.trim()), 'ours, not that of LotMan');
    t.match(await lots.version(), /^v?[0-9]+\.[0-9]+\.[0-9]+/);

    t.equal(await lots.getContext('caller'), 'root', 'who asks, as the kernel says');
    t.equal(await lots.getContext('lot_home'), m.mnt);
    const patient = new Lots(m.mnt, { timeoutMs: 5000 });
    t.equal(await patient.getContext('db_timeout'), 5000);
    await patient.setContext('db_timeout', 10_000);
    t.equal(await patient.getContext('db_timeout'), 10_000);
    t.not(await lots.getContext('db_timeout'), 10_000, "another client's is another one");
    await lots.add(lot('mine'));
    await refusals(t, [
      ['to be somebody else', () => lots.setContext('caller', 'nobody'), { code: 'NOT_SUPPORTED' }],
      ['to read what is not known', () => lots.getContext('colour' as 'caller'), { text: /colour/ }],
      ['to set what is not known', () => lots.setContext('colour' as 'caller', 100), { text: /colour/ }],
    ]);
    t.equal(await lots.getContext('caller'), 'root');
  },
};

t.test('queries', { skip: whyNotRoot, timeout: 200_000 }, (t) => onFreshMounts(t, CASES));
