// What becomes of lots when a tree of the mount is freed of all that is bound in it.

import t from 'tap';
import { LotBook } from '../../src/core/book.js';
import { freeTree } from '../../src/core/change.js';
import { defaultLot, type Lot, type LotPath, NO_POLICY, recursivePath } from '../../src/core/lot.js';

const exclusion = (path: string): LotPath => ({ path, recursive: true, exclude: true });

function lot(id: number, name: string, paths: readonly (string | LotPath)[], parents: readonly number[] = []): Lot {
  const bound = paths.map((path) => (typeof path === 'string' ? recursivePath(path) : path));
  return {
    id,
    name,
    owner: '0',
    confinedOwner: false,
    selfParent: parents.length === 0,
    parents,
    paths: bound,
    policy: NO_POLICY,
  };
}

const reservation = (id: number, path: string, parents: readonly number[] = []) => lot(id, path, [path], parents);

interface Row {
  what: string;
  lots: readonly Lot[];
  /** Ids that go. */
  gone: readonly number[];
  /** Lots that change: their parents and paths. */
  put?: Record<number, { parents?: number[]; paths?: string[] }>;
}

const ROWS: Row[] = [
  { what: 'nothing', lots: [], gone: [] },
  {
    what: 'others',
    lots: [reservation(2, '/v/ab'), reservation(3, '/v'), reservation(4, '/v/a.b'), lot(5, 'foreign', ['v/a'])],
    gone: [],
  },
  { what: 'the path itself', lots: [reservation(2, '/v/a')], gone: [2] },
  {
    what: 'what lies below',
    lots: [reservation(2, '/v/a'), reservation(3, '/v/a/b', [2]), reservation(4, '/v/a/b/c', [3])],
    gone: [2, 3, 4],
  },
  { what: 'only what lies below', lots: [reservation(2, '/v'), reservation(3, '/v/a/b', [2])], gone: [3] },
  {
    what: 'a lot with a path elsewhere',
    lots: [lot(2, 'two', ['/v/a/x', '/w', exclusion('/v/a/x/y')])],
    gone: [],
    put: { 2: { parents: [], paths: ['/w'] } },
  },
  { what: 'a lot that has its name there', lots: [lot(2, '/v/a', ['/v/a', '/w'])], gone: [2] },
  {
    what: 'a lot that is named by a path elsewhere',
    lots: [lot(2, '/w', ['/w', '/v/a/w'])],
    gone: [],
    put: { 2: { parents: [], paths: ['/w'] } },
  },
  {
    what: 'a child elsewhere of a chain that goes',
    lots: [reservation(2, '/v'), reservation(3, '/v/a', [2]), reservation(4, '/v/a/b', [3]), lot(5, 'five', ['/w'], [4])],
    gone: [3, 4],
    put: { 5: { parents: [2], paths: ['/w'] } },
  },
  {
    what: 'a child of several',
    lots: [reservation(2, '/v/a'), reservation(3, '/w'), lot(4, 'four', ['/x'], [2, 3])],
    gone: [2],
    put: { 4: { parents: [3], paths: ['/x'] } },
  },
  {
    what: 'a child that loses all',
    lots: [reservation(2, '/v/a'), lot(3, 'three', ['/x', '/v/a/x'], [2])],
    gone: [2],
    put: { 3: { parents: [], paths: ['/x'] } },
  },
  {
    what: 'a lot without paths stays',
    lots: [reservation(2, '/v/a'), lot(3, 'three', [], [2])],
    gone: [2],
    put: { 3: { parents: [], paths: [] } },
  },
];

t.test('a tree is freed', async (t) => {
  for (const { what, lots, gone, put = {} } of ROWS) {
    const book = new LotBook();
    book.apply({ put: [defaultLot('0', 0), ...lots], remove: [] });
    const change = freeTree(book, '/v/a');
    t.same([...change.remove].sort(), gone, what);
    const changed = change.put.map(({ id, parents, paths }) => [id, { parents, paths: paths.map(({ path }) => path) }]);
    t.same(Object.fromEntries(changed), put, what);
    book.apply(change);
    for (const each of book.all()) {
      t.notOk(
        each.paths.some(({ path }) => path === '/v/a' || path.startsWith('/v/a/')),
        what,
      );
      t.ok(
        each.parents.every((id) => book.get(id) !== undefined),
        `${what}: parents are there`,
      );
      t.ok(each.selfParent || each.parents.length > 0, `${what}: nobody is without a parent`);
    }
  }
});
