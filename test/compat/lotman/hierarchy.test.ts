// LotMan's cases on making, changing and removing lots: parents and children, cycles, orphans, and who may.

import t from 'tap';
import { whyNotRoot } from '../../helpers/columns.js';
import {
  below,
  checkRefusal,
  DAEMON,
  DONE,
  FAMILY,
  FAR,
  type LotCase,
  lot,
  MARSH,
  NOBODY,
  onFreshMounts,
  policy,
  type Refused,
  refusal,
  refusals,
  SOUTH_BELOW_RIVER,
  SOUTH_CHANGED,
  whyNotOthers,
} from './family.js';

const DUPLICATE = 'The lot already exists and cannot be recreated. Maybe you meant to modify it?';
const REMOVAL = 'Failed to remove lot from database: ';
const CANNOT = `${REMOVAL}The operation cannot be completed as requested because `;
const NOT_DELETED = { text: `${REMOVAL}The default lot cannot be deleted.` };
const CYCLE_OF_NEW =
  'Failed to store lot: The lot cannot be added because the combination of parents/children would introduce a dependency cycle in the data structure.';
const CYCLE_OF_ADDED = 'Failure to add parents: The requested parent addition would introduce a dependency cycle.';
const CYCLE_OF_UPDATE = /The requested parent update would introduce a dependency cycle\.$/;
const ORPHAN = 'Failed on call to lot.remove_parents: Could not remove parents because doing so would orphan the lot.';
const NOT_OWNER = (kind: 'parents' | 'children'): Refused => ({
  code: 'NOT_YOURS',
  text: `Error while checking context for ${kind}: Current context prohibits action on lot: Caller does not have proper ownership.`,
});

const CASES: Record<string, LotCase> = {
  async 'the default lot is there, and stays'(t, { lots }) {
    t.ok(await lots.exists('default'));
    t.ok(await lots.isRoot('default'));
    t.strictSame(await lots.list(), ['default']);
    await lots.add(lot('first'));
    await refusals(t, [
      ['made again', () => lots.add(lot('default')), { text: DUPLICATE }],
      ['removed', () => lots.remove('default'), NOT_DELETED],
      ['removed with all flags', () => lots.remove('default', { assignToOrphans: true, assignToNonOrphans: true }), NOT_DELETED],
      ['removed with all below it', () => lots.removeRecursive('default'), NOT_DELETED],
      ['given a path', () => lots.addTo({ lot_name: 'default', paths: [below('/mine')] }), { code: 'LOT_IS_DEFAULT' }],
    ]);
    t.ok(await lots.exists('default'));
  },

  async 'a lot is added and removed'(t, { lots, m }) {
    const one = lot('one', { paths: [{ path: 'a/b/c', recursive: false }, below('/foo/bar')] });
    t.notOk(await lots.exists('one'));
    await lots.add(one);
    t.ok(await lots.exists('one'));
    t.equal((await refusal(lots.add(one))).text, DUPLICATE);
    await lots.remove('one');
    t.notOk(await lots.exists('one'));
    const missing = { code: 'NO_SUCH_LOT', text: "That was easy! The lot does not exist, so it doesn't have to be removed." };
    await refusals(t, [
      ['a lot that is gone', () => lots.remove('one'), missing],
      ['a lot that never was', () => lots.removeRecursive('never'), missing],
    ]);
    await lots.add(one);
    const shown = await lots.show('one');
    await m.umount();
    await m.remount();
    t.strictSame(await lots.show('one'), shown, 'after the next mount');
    await lots.add(lot('two'));
    await m.kill();
    await m.remount();
    t.strictSame([await lots.show('one'), await lots.exists('two')], [shown, true], 'after a crash');
  },

  async 'lots that cannot be'(t, world) {
    const { lots } = world;
    await world.add(...FAMILY);
    const bad = (change: object) => () => lots.add(lot('bad', change));
    await refusals(t, [
      ['below what is below it', bad({ parents: ['delta'], children: ['north'] }), { text: CYCLE_OF_NEW }],
      ['below itself by its child', bad({ parents: ['bad', 'delta'], children: ['river'] }), { text: CYCLE_OF_NEW }],
      ['its child and its parent', bad({ parents: ['river'], children: ['river'] }), { text: CYCLE_OF_NEW }],
      [
        'without parents',
        bad({ parents: [], children: ['north'] }),
        { code: 'BAD_LOT_JSON', text: 'At /parents of [] - array has too few items\n' },
      ],
      ['below a lot that is not there', bad({ parents: ['none'] }), { code: 'NO_SUCH_LOT' }],
      ['above a lot that is not there', bad({ children: ['north', 'none'] }), { code: 'NO_SUCH_LOT' }],
    ]);
    t.notOk(await lots.exists('bad'));
    t.strictSame(await lots.parents('north', { self: true }), ['north'], 'and its child has got no parent');
  },

  async 'a lot is put between two others'(t, world) {
    const { lots } = world;
    await world.add(...FAMILY);
    t.strictSame(await lots.parents('delta'), ['river', 'south']);
    await lots.add(MARSH);
    t.strictSame(await lots.parents('delta'), ['marsh', 'river'], 'in the place of the parent that both have');
    t.strictSame(await lots.children('south'), ['marsh']);
    t.strictSame(await lots.children('marsh'), ['delta']);
    await lots.add(lot('above', { children: ['island'], management_policy_attrs: policy(50, 0) }));
    t.strictSame(await lots.parents('island', { self: true }), ['above', 'island'], 'no parent to take the place of: one more');
  },

  async 'what a lot is can be changed'(t, world) {
    const { lots } = world;
    await world.add(...FAMILY);
    await refusals(t, [
      ['a lot that is not there', () => lots.update({ lot_name: 'none', owner: 'root' }), { code: 'NO_SUCH_LOT' }],
      [
        'a change that is no change',
        () => lots.update(lot('none', { paths: [below('/x')] }) as never),
        {
          code: 'BAD_LOT_JSON',
          text: /^At \/management_policy_attrs of .* - validation failed for additional property 'creation_time'/,
        },
      ],
    ]);
    await lots.update(SOUTH_CHANGED);
    t.strictSame(await lots.owners('south'), ['nobody']);
    t.strictSame(await lots.parents('south', { self: true }), ['river']);
    t.notOk(await lots.isRoot('south'));
    t.strictSame(await lots.dirs('south'), [
      { exclude: false, lot_name: 'south', path: 'feed://other/way/', recursive: true },
      { exclude: false, lot_name: 'south', path: 'feed://renewed/s/', recursive: false },
    ]);
    t.strictSame(
      await lots.policy({
        lot_name: 'south',
        dedicated_GB: false,
        max_num_objects: false,
        creation_time: false,
        deletion_time: false,
      }),
      {
        creation_time: { value: 123 },
        dedicated_GB: { value: 30.111 },
        deletion_time: { value: FAR + 333 },
        max_num_objects: { value: 50 },
      },
    );

    await refusals(t, [
      [
        'a parent from below',
        () => lots.update({ lot_name: 'river', owner: 'nobody', parents: [{ current: 'north', new: 'south' }] }),
        { text: CYCLE_OF_UPDATE },
      ],
      [
        'a parent that it has not',
        () => lots.update({ lot_name: 'south', owner: 'root', parents: [{ current: 'island', new: 'north' }] }),
        {},
      ],
    ]);
    t.strictSame(
      [await lots.owners('river'), await lots.owners('south')],
      [['root'], ['nobody']],
      'nor is the rest of a refused change made',
    );
    t.strictSame(await lots.parents('river'), ['north']);
    await lots.update({ lot_name: 'island', management_policy_attrs: { opportunistic_GB: 41 } });
    t.strictSame(await lots.policy({ lot_name: 'island', dedicated_GB: false, opportunistic_GB: false }), {
      dedicated_GB: { value: 5 },
      opportunistic_GB: { value: 41 },
    });
  },

  async 'parents and paths are added, and taken away'(t, world) {
    const { lots } = world;
    await world.add(...FAMILY);
    await lots.update(SOUTH_BELOW_RIVER);
    await lots.addTo({ lot_name: 'south', paths: [below('feed://farm/barnyard')], parents: ['island'] });
    t.strictSame(await lots.parents('south'), ['island', 'river']);
    t.equal((await lots.dirs('south')).length, 3);
    await lots.addTo({ lot_name: 'island', parents: ['default'] });
    t.strictSame(await lots.parents('island', { self: true }), ['default', 'island']);
    t.notOk(await lots.isRoot('island'), 'with another parent beside itself');

    const removing = (parents: string[]) => lots.removeParents({ lot_name: 'island', parents });
    await refusals(t, [
      ['a parent from below', () => lots.addTo({ lot_name: 'north', parents: ['river'] }), { text: CYCLE_OF_ADDED }],
      ['from far below', () => lots.addTo({ lot_name: 'north', parents: ['delta'] }), { text: CYCLE_OF_ADDED }],
      ['a parent that is not there', () => lots.addTo({ lot_name: 'delta', parents: ['none'] }), { code: 'NO_SUCH_LOT' }],
      [
        'to a lot that is not there',
        () => lots.addTo({ lot_name: 'none', parents: ['north'] }),
        { code: 'NO_SUCH_LOT', text: 'That was easy! The lot does not exist, so nothing can be added to it.' },
      ],
      ['all parents', () => removing(['default', 'island', 'nobody_s_parent']), { text: ORPHAN }],
      ['of a lot that is not there', () => lots.removeParents({ lot_name: 'none', parents: ['north'] }), { code: 'NO_SUCH_LOT' }],
    ]);
    t.strictSame(await lots.parents('delta'), ['river', 'south']);
    t.strictSame(await lots.parents('island', { self: true }), ['default', 'island'], 'a refused removal removes none');
    await removing(['default', 'default', 'nobody_s_parent']);
    t.strictSame(await lots.parents('island', { self: true }), ['island']);
    t.ok(await lots.isRoot('island'));
    await removing(['nobody_s_parent']);
  },

  async 'what becomes of the children'(t, world) {
    const { lots } = world;
    const grow = async () => {
      for (const name of ['top', 'side', 'mid', 'both', 'alone']) if (await lots.exists(name)) await lots.removeRecursive(name);
      await world.add(
        lot('top', { management_policy_attrs: policy(20, 20) }),
        lot('side', { management_policy_attrs: policy(20, 20) }),
        lot('mid', { parents: ['top'], management_policy_attrs: policy(10, 10) }),
        lot('alone', { parents: ['mid'] }),
        lot('both', { parents: ['mid', 'side'] }),
      );
    };
    await grow();
    await refusals(t, [
      [
        'orphans',
        () => lots.remove('mid', { assignToNonOrphans: true }),
        {
          text: `${CANNOT}deleting the lot would create an orphan that requires explicit assignment to the default lot. Set assign_LTBR_parent_as_parent_to_orphans=true.`,
        },
      ],
      [
        'orphans of a root',
        () => lots.remove('top', { assignToOrphans: true }),
        {
          text: /^Failed to remove lot from database: .*The lot being removed is a root, and has no parents to assign to its children\.$/,
        },
      ],
    ]);
    t.strictSame(
      [await lots.children('mid'), await lots.parents('both')],
      [
        ['alone', 'both'],
        ['mid', 'side'],
      ],
      'nothing is done by halves',
    );

    await lots.remove('mid', { assignToOrphans: true });
    t.notOk(await lots.exists('mid'));
    t.strictSame(await lots.parents('alone'), ['top'], 'the orphan gets the parents of the lot that goes');
    t.strictSame(await lots.parents('both'), ['side'], 'the other child does not, and has no parent any more that is gone');
    t.strictSame(await lots.children('top'), ['alone']);
    await lots.add(lot('mid', { parents: ['top'], management_policy_attrs: policy(10, 10) }));
    t.strictSame(await lots.children('mid'), [], 'a new lot of that name has not got the old children');

    await grow();
    await lots.remove('mid', { assignToOrphans: true, assignToNonOrphans: true });
    t.strictSame([await lots.parents('alone'), await lots.parents('both')], [['top'], ['side', 'top']], 'or both do');

    await grow();
    await lots.removeRecursive('top');
    t.strictSame(await lots.list(), ['default', 'side'], 'with all below it, whatever other parents that has');

    await lots.add(lot('leaf', { parents: ['side'] }));
    await lots.remove('leaf');
    await lots.remove('side');
    t.strictSame(await lots.list(), ['default'], 'a child, then its parent');
  },

  async 'a change is made whole or not at all'(t, world) {
    const { lots } = world;
    await world.add(...FAMILY, lot('own', { paths: [below('feed://own')] }));
    const before = await Promise.all(['north', 'south', 'delta', 'own'].map((name) => lots.show(name)));
    await refusals(t, [
      [
        'its owner and policy, and a cycle',
        () =>
          lots.update({
            lot_name: 'north',
            owner: 'nobody',
            parents: [{ current: 'north', new: 'delta' }],
            management_policy_attrs: { max_num_objects: 1 },
          }),
        { text: CYCLE_OF_UPDATE },
      ],
      [
        'a parent, and a path that is taken',
        () => lots.addTo({ lot_name: 'south', parents: ['island'], paths: [below('feed://new'), below('feed://own')] }),
        { code: 'PATH_TAKEN' },
      ],
      [
        'a lot between, and a path that is taken',
        () => lots.add({ ...MARSH, paths: [below('feed://own')] }),
        { code: 'PATH_TAKEN' },
      ],
      [
        'one path, and one that is taken',
        () =>
          lots.update({
            lot_name: 'south',
            paths: [
              { current: 'feed://s', new: 'feed://t', recursive: true },
              { current: 'feed://other/way', new: 'feed://own', recursive: true },
            ],
          }),
        { code: 'PATH_TAKEN' },
      ],
    ]);
    t.strictSame(await Promise.all(['north', 'south', 'delta', 'own'].map((name) => lots.show(name))), before);
    t.notOk(await lots.exists('marsh'));
    t.equal(await world.ownerOf('feed://new'), 'default');
  },
};

const RIGHTS: Record<string, LotCase> = {
  async 'who may change what'(t, world) {
    const { lots } = world;
    await world.add(
      lot('top', { owner: 'nobody', paths: [below('feed://top')], management_policy_attrs: policy(20, 20) }),
      lot('mid', { owner: 'daemon', parents: ['top'], management_policy_attrs: policy(10, 10) }),
      lot('low', { parents: ['mid'] }),
      lot('own', { owner: String(DAEMON), paths: [below('feed://own')], management_policy_attrs: policy(5, 5) }),
    );
    t.strictSame(await lots.owners('own'), ['daemon'], 'a number is as good as a name');
    const small = policy(0.1, 0.1);
    const child = (name: string, change: object) => lot(name, { owner: 'daemon', management_policy_attrs: small, ...change });
    const objects = (name: string) => ({ lot_name: name, management_policy_attrs: { max_num_objects: 500 } });
    const rows: [who: number, words: readonly (string | object)[], refused: Refused | null][] = [
      [DAEMON, ['add', child('new', { parents: ['top'] })], NOT_OWNER('parents')],
      [DAEMON, ['update', objects('top')], NOT_OWNER('parents')],
      [DAEMON, ['remove', 'top'], NOT_OWNER('parents')],
      [DAEMON, ['add-to', { lot_name: 'top', paths: [below('feed://more')] }], NOT_OWNER('parents')],
      [DAEMON, ['remove-parents', { lot_name: 'top', parents: ['top'] }], NOT_OWNER('parents')],
      [DAEMON, ['remove-paths', { paths: ['feed://own', 'feed://top'] }], NOT_OWNER('parents')],
      [DAEMON, ['usage', 'set', { lot_name: 'top', self_GB: 99 }], NOT_OWNER('parents')],
      // The owner of a lot that is no parent of its own owns what is in it; the lot itself is its parents'.
      [DAEMON, ['update', objects('mid')], NOT_OWNER('parents')],
      [DAEMON, ['update', objects('low')], null],
      [NOBODY, ['update', objects('mid')], null],
      [NOBODY, ['update', objects('low')], null],
      [NOBODY, ['update', objects('own')], NOT_OWNER('parents')],
      [NOBODY, ['remove', 'own'], NOT_OWNER('parents')],
      // Every child must be one's own, not only one of them.
      [DAEMON, ['add', child('between', { parents: ['own'], children: ['low', 'top'] })], NOT_OWNER('children')],
      [DAEMON, ['add', child('between', { parents: ['own'], children: ['low'], management_policy_attrs: policy(1, 1) })], null],
      [DAEMON, ['add', child('new', { parents: ['mid'] })], null],
      [DAEMON, ['remove', 'new'], null],
      [DAEMON, ['usage', 'set', { lot_name: 'own', self_GB: 3 }], null],
      // Everybody may read.
      [NOBODY, ['show', 'own'], null],
      [NOBODY, ['list'], null],
    ];
    for (const [who, words, refused] of rows) {
      const said = await world.as(who, ...words);
      const what = `${who}: ${JSON.stringify(words)}`;
      if (refused === null) t.strictSame(said, DONE, what);
      else checkRefusal(t, said, refused, what);
    }
    t.strictSame((await lots.list()).sort(), ['between', 'default', 'low', 'mid', 'own', 'top']);
    t.strictSame(await lots.parents('low'), ['between', 'mid']);
    t.strictSame(
      [await world.held('top'), await world.held('own')],
      [
        [0, 0],
        [3, 0],
      ],
    );
    t.equal(await world.ownerOf('feed://own/x'), 'own', 'of several paths all are removed, or none');
    t.equal(await world.ownerOf('feed://top/x'), 'top');
    t.equal(await world.ownerOf('feed://more'), 'default');
  },

  async 'a lot that is given away'(t, world) {
    const { lots } = world;
    await world.add(lot('daemon', { owner: 'nobody' }));
    const give = (owner: string) => ({ lot_name: 'daemon', owner });
    t.strictSame(
      await world.as(NOBODY, 'update', give('daemon')),
      DONE,
      "to a user who is called like the lot, and by its owner's own hand",
    );
    t.strictSame(await lots.owners('daemon'), ['daemon']);
    checkRefusal(t, await world.as(NOBODY, 'update', give('nobody')), NOT_OWNER('parents'), 'taken back');
    t.strictSame(await world.as(DAEMON, 'update', give(String(NOBODY))), DONE);
    t.strictSame(await lots.owners('daemon'), ['nobody']);
  },
};

t.test('hierarchy', { skip: whyNotRoot, timeout: 200_000 }, (t) => onFreshMounts(t, CASES));
t.test('rights', { skip: whyNotOthers, timeout: 100_000 }, (t) => onFreshMounts(t, RIGHTS));
