// LotMan's cases on paths: slashes at their end, exclusions, removal, and which lot the longest path gives. Each runs on paths
// of the mount and on foreign ones.

import t, { type Test } from 'tap';
import { whyNotRoot } from '../../helpers/columns.js';
import { below, type LotCase, lot, onFreshMounts, only, policy, refusals, type World } from './family.js';

/** Begins a path of the mount, and a foreign one. */
const TOPS = { mount: '/', foreign: 'feed://' } as const;

type PathCase = (t: Test, world: World, path: (rest: string) => string) => Promise<void>;

/** The case for each kind of path, one after the other on one mount. */
function onBothKinds(run: PathCase): LotCase {
  return async (t, world) => {
    for (const [kind, top] of Object.entries(TOPS)) {
      await t.test(kind, (t) => run(t, world, (rest) => top + rest));
      await world.clear();
    }
  };
}

/** Asks for the lot of each path. */
async function owners(
  t: Test,
  world: World,
  path: (rest: string) => string,
  rows: Readonly<Record<string, string>>,
): Promise<void> {
  for (const [rest, owner] of Object.entries(rows))
    t.equal(await world.ownerOf(path(rest)), owner, `${path(rest)} is ${owner}'s`);
}

const exclude = (path: string, recursive: boolean) => ({ path, recursive, exclude: true });

const CASES: Record<string, LotCase> = {
  'one slash ends a path, whoever asks': onBothKinds(async (t, world, path) => {
    const { lots } = world;
    await world.add(lot('slash', { paths: [below(path('no/slash/here')), only(path('with/slash/'))] }));
    t.strictSame((await lots.dirs('slash')).map((dir) => dir.path).sort(), [path('no/slash/here/'), path('with/slash/')].sort());
    await owners(t, world, path, {
      'no/slash/here': 'slash',
      'no/slash/here/': 'slash',
      'no/slash/here/sub/deeper': 'slash',
      'no/slash/here/sub/': 'slash',
      'no/slash': 'default',
      'no/slash/hereafter': 'default',
      'with/slash': 'slash',
      'with/slash/': 'slash',
      'with/slash/sub/': 'default',
    });
    await lots.removePaths({ paths: [path('with/slash')] });
    t.strictSame(
      (await lots.dirs('slash')).map((dir) => dir.path),
      [path('no/slash/here/')],
    );
    await lots.removePaths({ paths: [path('no/slash/here/')] });
    t.strictSame(await lots.dirs('slash'), []);
  }),

  exclusions: onBothKinds(async (t, world, path) => {
    const { lots } = world;
    await world.add(
      lot('one', { management_policy_attrs: policy(20, 20) }),
      lot('store', {
        parents: ['one'],
        paths: [
          { ...below(path('data/storage')), exclude: false },
          exclude(path('data/storage/cache'), true),
          exclude(path('data/storage/stuff'), false),
          only(path('data/logs')),
        ],
      }),
    );
    const flags = (await lots.dirs('store')).map((dir) => [dir.path, dir.recursive, dir.exclude]);
    t.strictSame(flags.sort(), [
      [path('data/logs/'), false, false],
      [path('data/storage/'), true, false],
      [path('data/storage/cache/'), true, true],
      [path('data/storage/stuff/'), false, true],
    ]);
    await owners(t, world, path, {
      'data/storage': 'store',
      'data/storage/sub': 'store',
      'data/storage/cached': 'store',
      'data/storage/cache': 'default',
      'data/storage/cache/sub': 'default',
      'data/storage/cache/deep/nested/path': 'default',
      // An exclusion that is not recursive takes the directory itself away, and leaves what is in its subdirectories.
      'data/storage/stuff': 'default',
      'data/storage/stuff/sub/': 'store',
      'data/storage/stuff/sub/deep/er': 'store',
      'data/logs': 'store',
      'data/logs/sub/': 'default',
      data: 'default',
    });

    // Of another lot's shorter path the exclusion takes nothing away; its own one does.
    await world.add(lot('wide', { parents: ['one'], paths: [below(path('data')), exclude(path('data/cache'), true)] }));
    await owners(t, world, path, {
      data: 'wide',
      'data/cache': 'default',
      'data/cache/sub': 'default',
      'data/cachedata': 'wide',
      'data/storage/cache/sub': 'wide',
      'data/storage/stuff': 'wide',
      'data/storage/sub': 'store',
      'data/logs/sub/': 'wide',
    });
  }),

  'exclusions come and go': onBothKinds(async (t, world, path) => {
    const { lots } = world;
    await world.add(lot('plain', { paths: [below(path('test/path'))] }));
    const flags = async () => (await lots.dirs('plain')).map((dir) => [dir.path, dir.exclude]).sort();
    t.strictSame(await flags(), [[path('test/path/'), false]], 'included unless it says otherwise');
    await lots.addTo({ lot_name: 'plain', paths: [exclude(path('test/path/out'), true)] });
    t.strictSame(await flags(), [
      [path('test/path/'), false],
      [path('test/path/out/'), true],
    ]);
    await owners(t, world, path, { 'test/path/sub': 'plain', 'test/path/out': 'default', 'test/path/out/sub': 'default' });
    await lots.removePaths({ paths: [path('test/path/out')] });
    t.strictSame(await flags(), [[path('test/path/'), false]]);
    await owners(t, world, path, { 'test/path/out': 'plain', 'test/path/out/sub': 'plain' });

    const change = { current: path('test/path'), new: path('test/path'), recursive: true };
    await lots.update({ lot_name: 'plain', paths: [{ ...change, exclude: true }] });
    t.strictSame(await flags(), [[path('test/path/'), true]]);
    await owners(t, world, path, { 'test/path': 'default', 'test/path/sub': 'default' });
    await lots.update({ lot_name: 'plain', paths: [{ ...change, recursive: false }] });
    t.strictSame(await flags(), [[path('test/path/'), true]], 'what the change does not name stays');
    await lots.update({ lot_name: 'plain', paths: [{ ...change, new: path('other/path'), exclude: false }] });
    await owners(t, world, path, { 'test/path': 'default', 'other/path/sub': 'plain' });
  }),

  'several paths are removed at once': onBothKinds(async (t, world, path) => {
    const { lots } = world;
    await world.add(
      lot('one', { paths: [only(path('a/b/c')), below(path('foo/bar'))] }),
      lot('two', { paths: [below(path('two'))] }),
    );
    await lots.addTo({ lot_name: 'one', paths: [only(path('test/p1')), below(path('test/p2')), only(path('test/p3'))] });
    const paths = async () => (await lots.dirs('one')).map((dir) => dir.path).sort();
    t.equal((await paths()).length, 5);
    await lots.removePaths({ paths: [path('test/p1'), path('test/p3')] });
    t.strictSame(await paths(), [path('a/b/c/'), path('foo/bar/'), path('test/p2/')]);
    await lots.removePaths({ paths: [path('test/p2'), path('no/such/path'), path('two'), path('test/p2')] });
    t.strictSame(await paths(), [path('a/b/c/'), path('foo/bar/')], 'of several lots, twice, and what no lot has');
    t.strictSame(await lots.dirs('two'), []);
    await lots.removePaths({ paths: [path('foo/bar/sub')] });
    t.equal(await world.ownerOf(path('foo/bar/sub')), 'one', 'what only lies below a path is no path');
  }),

  'a path has one lot': onBothKinds(async (t, world, path) => {
    const { lots } = world;
    await world.add(
      lot('one', { paths: [below(path('one')), exclude(path('one/not'), true)] }),
      lot('two', { paths: [below(path('two'))] }),
    );
    const taken = { code: 'PATH_TAKEN' };
    await refusals(t, [
      ['by a new lot', () => lots.add(lot('three', { paths: [below(path('three')), only(path('one/'))] })), taken],
      ['added', () => lots.addTo({ lot_name: 'two', paths: [below(path('one'))] }), taken],
      ['excluded', () => lots.addTo({ lot_name: 'two', paths: [exclude(path('one'), true)] }), taken],
      ['the exclusion of another', () => lots.addTo({ lot_name: 'two', paths: [below(path('one/not'))] }), taken],
      [
        'by a change',
        () => lots.update({ lot_name: 'two', paths: [{ current: path('two'), new: path('one'), recursive: true }] }),
        taken,
      ],
    ]);
    t.notOk(await lots.exists('three'));
    t.equal((await lots.dirs('two')).length, 1);
    await owners(t, world, path, { 'one/x': 'one', 'two/x': 'two', 'three/x': 'default', 'one/not': 'default' });
    await world.add(lot('inner', { paths: [below(path('one/in'))] }));
    await owners(t, world, path, { 'one/in/x': 'inner', 'one/inside': 'one' });
  }),

  'byte by byte, name by name': onBothKinds(async (t, world, path) => {
    await world.add(
      lot('under', { paths: [below(path('lab_1'))] }),
      lot('percent', { paths: [below(path('pct%'))] }),
      lot('case', { paths: [below(path('Case'))] }),
      lot('umlaut', { paths: [below(path('\u00fc'))] }),
    );
    await owners(t, world, path, {
      'lab_1/x': 'under',
      'labx1/x': 'default',
      lab_1x: 'default',
      'pct%/x': 'percent',
      'pct/x': 'default',
      'pctage/x': 'default',
      'Case/x': 'case',
      'case/x': 'default',
      'CASE/x': 'default',
      '\u00fc/x': 'umlaut',
      'u\u0308/x': 'default',
      '\u00dc/x': 'default',
    });
  }),
};

t.test('paths', { skip: whyNotRoot, timeout: 300_000 }, (t) => onFreshMounts(t, CASES));
