// The pure rules: bytes, durations, paths, errors, lots.

import t from 'tap';
import { ATTRIBUTES, restricting } from '../../src/core/attributes.js';
import { LotBook, withAncestors } from '../../src/core/book.js';
import { checkBytes, compareBytes, formatBytes, formatExactBytes, parseBytes } from '../../src/core/bytes.js';
import { formatDuration, parseDurationMs } from '../../src/core/duration.js';
import { asVreserveError, ERRORS, errnoOf, VreserveError } from '../../src/core/errors.js';
import { renderEvent } from '../../src/core/events.js';
import {
  defaultLot,
  grantBytes,
  isReservation,
  type Lot,
  type LotPath,
  type LotUsage,
  NO_POLICY,
  NO_USAGE,
  ownPath,
  type Policy,
  recursivePath,
  UNLIMITED,
} from '../../src/core/lot.js';
import { LotsSeen, type Scope } from '../../src/core/lots-seen.js';
import { checkBindable, checkPath, isWithin, joinBelow, ownerOf, parentPath, relativeTo } from '../../src/core/paths.js';
import { parsePercent } from '../../src/core/percent.js';
import { effectiveTimes, nextChangeMs, phaseOf } from '../../src/core/phase.js';
import { planReclaim, type ReclaimFile, reclaimableLots } from '../../src/core/reclaim.js';
import { dedicatedUse, isPastPolicy, opportunisticUse, type Past, splitUsage } from '../../src/core/usage.js';

/** A lot named by its number, without paths. */
function lotOf(id: number, rest: Partial<Omit<Lot, 'policy'>> = {}, policy: Partial<Policy> = {}): Lot {
  const named = { id, name: `lot${id}`, owner: '0', confinedOwner: false, selfParent: true, parents: [], paths: [] };
  return { ...named, ...rest, policy: { ...NO_POLICY, ...policy } };
}

function reservation(id: number, path: string, bytes: number, parents: number[] = []): Lot {
  return lotOf(id, { name: path, paths: [recursivePath(path)], parents }, { dedicatedBytes: bytes, createdAtMs: 1 });
}

function bookOf(...lots: Lot[]): LotBook {
  const book = new LotBook();
  book.apply({ put: lots, remove: [] });
  return book;
}

function used(bytes: number, objects = 1): LotUsage {
  return { bytes, objects, pendingBytes: 0, pendingObjects: 0 };
}

const ids = (lots: Iterable<Lot>) => [...lots].map(({ id }) => id);

t.test('bytes are read exactly', async (t) => {
  const good: [string, number][] = [
    ['0', 0],
    ['17', 17],
    ['17B', 17],
    ['500G', 500e9],
    ['500GB', 500e9],
    ['500gb', 500e9],
    ['500GiB', 500 * 2 ** 30],
    ['500Gi', 500 * 2 ** 30],
    ['1KiB', 1024],
    ['3T', 3e12],
    ['9007199254740991', 2 ** 53 - 1],
    ['7Pi', 7 * 2 ** 50],
    ['007', 7],
  ];
  for (const [text, bytes] of good) t.equal(parseBytes(text), bytes, text);
  const bad = [
    '',
    '-1',
    '1.5',
    '1,5',
    '10X',
    'G',
    ' 1',
    '1 G',
    '+1',
    '1e3',
    '0x10',
    '1GiBB',
    '1iB',
    '9007199254740992',
    '9P1',
    '9008P',
    '8Pi',
    '٣',
  ];
  for (const text of bad) t.throws(() => parseBytes(text), { code: 'BAD_BYTES', errno: 'EINVAL', exitCode: 2 }, `'${text}'`);
  t.throws(() => parseBytes('-1'), /negative/);
  t.throws(() => parseBytes('1.5G'), /whole number/);
  t.throws(() => parseBytes('9007199254740992'), /2\^53/);
  for (const number of [-1, 1.5, 2 ** 53, Number.NaN]) t.throws(() => checkBytes(number), { code: 'BAD_BYTES' });
});

t.test('bytes are written for people', async (t) => {
  const table: [number, string][] = [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1 kB'],
    [1500, '1.5 kB'],
    [1234, '1.23 kB'],
    [9999, '10 kB'],
    [12_345, '12.3 kB'],
    [99_960, '100 kB'],
    [999_499, '999 kB'],
    [999_500, '1 MB'],
    [500e6, '500 MB'],
    [-3.2e9, '-3.2 GB'],
    [2 ** 53 - 1, '9.01 PB'],
  ];
  for (const [bytes, text] of table) t.equal(formatBytes(bytes), text, text);
  t.equal(formatExactBytes(500e6), '500 MB');
  t.equal(formatExactBytes(499_990_001), '500 MB (499,990,001 bytes)');
});

t.test('durations', async (t) => {
  for (const [text, ms] of [
    ['30s', 30_000],
    ['10m', 600_000],
    ['30d', 2_592_000_000],
    ['250ms', 250],
    ['5', 5000],
  ] as const) {
    t.equal(parseDurationMs(text), ms, text);
  }
  for (const text of ['', '-1s', '1.5h', '10y', 's', '99999999999999999w'])
    t.throws(() => parseDurationMs(text), { code: 'BAD_DURATION' }, text);
  t.strictSame([45_000, 720_000, 3 * 3_600_000, 30 * 86_400_000].map(formatDuration), ['45 s', '12 min', '3 h', '30 d']);
});

t.test('paths', async (t) => {
  for (const [path, checked] of [
    ['/', '/'],
    ['/a', '/a'],
    ['/a/', '/a'],
    ['/a b/ü', '/a b/ü'],
    ['/..a/b.', '/..a/b.'],
  ] as const) {
    t.equal(checkPath(path), checked, path);
  }
  for (const path of ['', 'a', './a', '/a//b', '//', '/.', '/..', '/a/../b', '/a/./b', '/a\0b']) {
    t.throws(() => checkPath(path), { code: 'BAD_PATH', errno: 'EINVAL' }, JSON.stringify(path));
  }
  const long = `/${Array.from({ length: 16 }, () => 'x'.repeat(255)).join('/')}`;
  t.equal(checkPath(long.slice(0, 4095)).length, 4095, 'the longest path');
  t.throws(() => checkPath(`${long.slice(0, 4090)}/abcdef`), { code: 'PATH_TOO_LONG', errno: 'ENAMETOOLONG' });
  t.throws(() => checkPath(`/${'x'.repeat(5000)}`), { code: 'PATH_TOO_LONG' });
  t.throws(() => checkPath(`/${'x'.repeat(256)}`), { code: 'PATH_TOO_LONG' });
  t.throws(() => checkPath(`/${'ü'.repeat(128)}`), { code: 'PATH_TOO_LONG' }, 'bytes, not letters');
  for (const path of ['/', '/.vreserve', '/.vreserve/x', '/a/.vreserve'])
    t.throws(() => checkBindable(path), { code: 'BAD_PATH' }, path);

  const bound = new Set(['/a', '/a/b', '/ab']);
  const table: [string, string | null][] = [
    ['/a', '/a'],
    ['/a/b', '/a/b'],
    ['/a/b/c/d', '/a/b'],
    ['/a/bc', '/a'],
    ['/ab/c', '/ab'],
    ['/abc', null],
    ['/', null],
  ];
  const at = (lot: string) => (bound.has(lot) ? { lot, recursive: true, exclude: false } : undefined);
  for (const [path, prefix] of table) {
    t.equal(ownerOf(path, true, at), prefix, path);
    t.equal(ownerOf(path, false, at), prefix, `${path}, a file`);
  }
  t.ok(isWithin('/a/b', '/a') && isWithin('/a', '/a') && isWithin('/a', '/'));
  t.notOk(isWithin('/ab', '/a'));
  t.strictSame([parentPath('/a'), parentPath('/a/b')], ['/', '/a']);
  for (const [path, below] of [
    ['/a/b', '/b'],
    ['/a', '/'],
  ] as const) {
    t.equal(relativeTo(path, '/a'), below);
    t.equal(joinBelow('/a', below), path);
  }
});

t.test('errors', async (t) => {
  for (const [code, row] of Object.entries(ERRORS)) {
    t.match(row.errno, /^E[A-Z0-9]+$/, code);
    t.notMatch(row.message, /\n/);
  }
  const error = new VreserveError('NO_SPACE', { path: '/a', askedText: '2 GB', availableText: '1 GB' });
  t.match(error, { message: '2 GB asked for /a, 1 GB available', errno: 'ENOSPC', exitCode: 1, httpStatus: 507 });
  t.equal(new VreserveError('SYSTEM', { errno: 'ELOOP', reason: 'x' }).errno, 'ELOOP');
  const system = Object.assign(new Error('no'), { code: 'ENOTDIR' });
  t.match(asVreserveError(system), { code: 'SYSTEM', errno: 'ENOTDIR', message: 'no' });
  t.match(asVreserveError(new TypeError('x')), { code: 'INTERNAL', errno: 'EIO' });
  t.equal(errnoOf(Object.assign(new Error(''), { code: 'ERR_INVALID_ARG_TYPE' })), null);
  t.equal(errnoOf(Object.assign(new Error(''), { code: 'SQLITE_FULL' })), null);
});

t.test('lots', async (t) => {
  const book = bookOf(
    defaultLot('0', 1),
    reservation(2, '/a', 100),
    reservation(3, '/a/b', 10, [2]),
    reservation(4, '/a/b/c', 5, [3, 2]),
    reservation(5, '/Z', 5),
  );
  t.strictSame(ids(book.withAncestors(4)), [4, 3, 2]);
  t.strictSame([...book.withDescendants(2)].sort(), [2, 3, 4], 'each once, though 4 is below 2 twice');
  t.equal(grantBytes(defaultLot('0', 1).policy), -1);
  t.equal(grantBytes({ ...defaultLot('0', 1).policy, dedicatedBytes: 5, opportunisticBytes: 3 }), 8);

  const all = new LotsSeen(
    book,
    usageIs((id) => used(id)),
    { lot: 1, directory: '/' },
  ).all();
  t.strictSame(
    all.map(({ lot }) => lot.name),
    ['default', '/Z', '/a', '/a/b', '/a/b/c'],
    'the default lot first, then bytewise',
  );
  t.match(all[2], { own: { bytes: 2 }, used: { bytes: 9, objects: 3 } });
  t.strictSame([...book.children(2)], [3, 4]);
  const scoped = new LotsSeen(
    book,
    usageIs((id) => used(id)),
    { lot: 3, directory: '/a/b' },
  );
  t.strictSame(
    scoped.all().map(({ lot }) => [lot.name, lot.paths, lot.parents]),
    [
      ['/', [recursivePath('/')], []],
      ['/c', [recursivePath('/c')], [3]],
    ],
  );
  const gone = new LotsSeen(
    book,
    usageIs(() => NO_USAGE),
    { lot: 9, directory: '/' },
  );
  t.strictSame([gone.all(), gone.get(9), gone.named('/')], [[], undefined, undefined]);
});

/** Fails where the numbers of one lot are asked for although those of all were taken at one moment. */
function usageIs(usageOf: (id: number) => LotUsage) {
  return { usageOf, allUsage: () => new Map(Array.from({ length: 100 }, (_, id) => [id, usageOf(id)])) };
}

t.test('paths of lots', async (t) => {
  const bare = (path: string): LotPath => ({ path, recursive: false, exclude: false });
  const except = (path: string): LotPath => ({ path, recursive: true, exclude: true });
  const table: [string, LotPath[], string | null, boolean][] = [
    ['/a', [recursivePath('/a')], '/a', true],
    ['/a', [recursivePath('/b')], '/b', false],
    ['/a', [recursivePath('/a'), recursivePath('/b')], '/a', false],
    ['x', [], null, false],
    ['x', [recursivePath('root://h/x'), except('/a/b'), bare('/a'), recursivePath('/c')], '/a', false],
    ['x', [except('/a'), recursivePath('uri')], null, false],
  ];
  for (const [name, paths, own, reserved] of table) {
    t.strictSame([ownPath(lotOf(2, { name, paths })), isReservation(lotOf(2, { name, paths }))], [own, reserved]);
  }
});

t.test('a book keeps its indexes', async (t) => {
  const book = new LotBook();
  const state = () => ({
    names: Object.fromEntries([...book.all()].map(({ name, id }) => [name, book.named(name)?.id === id ? id : 'lost'])),
    paths: Object.fromEntries(['/a', '/b', '/c', '/d', 'uri:x'].flatMap((p) => (book.at(p) ? [[p, book.at(p)?.lot]] : []))),
    children: Object.fromEntries([1, 2, 3, 4].flatMap((id) => (book.children(id).size ? [[id, [...book.children(id)]]] : []))),
  });
  const two = lotOf(2, { paths: [recursivePath('/a'), recursivePath('/b')] });
  const three = lotOf(3, { parents: [2, 1], paths: [{ path: '/c', recursive: false, exclude: true }] });
  const four = lotOf(4, { parents: [3], paths: [recursivePath('uri:x')] });
  const steps: [string, Parameters<LotBook['apply']>[0], ReturnType<typeof state>][] = [
    [
      'put',
      { put: [defaultLot('0', 1), two, three, four], remove: [] },
      {
        names: { default: 1, lot2: 2, lot3: 3, lot4: 4 },
        paths: { '/a': 2, '/b': 2, '/c': 3, 'uri:x': 4 },
        children: { 1: [3], 2: [3], 3: [4] },
      },
    ],
    [
      'a path becomes another',
      { put: [{ ...two, paths: [recursivePath('/d'), recursivePath('/b')] }], remove: [] },
      {
        names: { default: 1, lot2: 2, lot3: 3, lot4: 4 },
        paths: { '/b': 2, '/c': 3, '/d': 2, 'uri:x': 4 },
        children: { 1: [3], 2: [3], 3: [4] },
      },
    ],
    [
      'a path goes from one lot to another, whichever is put first',
      {
        put: [
          { ...four, parents: [3, 2], paths: [recursivePath('/b'), recursivePath('/c')] },
          { ...two, paths: [recursivePath('/d')] },
          { ...three, paths: [recursivePath('uri:x')] },
        ],
        remove: [],
      },
      {
        names: { default: 1, lot2: 2, lot3: 3, lot4: 4 },
        paths: { '/b': 4, '/c': 4, '/d': 2, 'uri:x': 3 },
        children: { 1: [3], 2: [3, 4], 3: [4] },
      },
    ],
    [
      'a lot goes, and its child gets another parent',
      { put: [{ ...four, parents: [1] }], remove: [3] },
      { names: { default: 1, lot2: 2, lot4: 4 }, paths: { '/d': 2, 'uri:x': 4 }, children: { 1: [4] } },
    ],
    [
      'a lot that is not there goes',
      { put: [], remove: [77] },
      { names: { default: 1, lot2: 2, lot4: 4 }, paths: { '/d': 2, 'uri:x': 4 }, children: { 1: [4] } },
    ],
    ['several go', { put: [], remove: [2, 4] }, { names: { default: 1 }, paths: {}, children: {} }],
  ];
  for (const [name, change, expected] of steps) {
    book.apply(change);
    // A set of children keeps the order in which they came.
    const now = state();
    for (const list of Object.values(now.children)) list.sort();
    t.strictSame(now, expected, name);
    t.equal(book.size, Object.keys(expected.names).length);
  }
  t.equal(book.get(3), undefined);
  t.equal(book.named('lot3'), undefined);
  t.throws(() => book.must(3), /lot 3 is missing/);
  const flags = { path: '/x', recursive: false, exclude: true };
  book.apply({ put: [lotOf(5, { paths: [flags] })], remove: [] });
  t.strictSame(book.at('/x'), { ...flags, lot: 5 });
  t.equal(book.at('/x/y'), undefined, 'exactly that path');
});

t.test('above and below', async (t) => {
  // 2 is above 3 and 4, both are above 5, 5 and 1 above 6.
  const book = bookOf(
    lotOf(1),
    lotOf(2),
    lotOf(3, { parents: [2] }),
    lotOf(4, { parents: [2] }),
    lotOf(5, { parents: [4, 3] }),
    lotOf(6, { parents: [5, 1] }),
  );
  t.strictSame(ids(book.withAncestors(6)), [6, 5, 1, 4, 3, 2], 'nearest first, each once');
  t.strictSame([...book.withDescendants(2)], [2, 3, 4, 5, 6]);
  t.strictSame([...book.withDescendants(6)], [6]);
  t.strictSame(ids(book.withAncestors(9)), []);
  const draft = lotOf(7, { parents: [3] });
  t.strictSame(ids(withAncestors(7, (id) => (id === 7 ? draft : book.get(id)))), [7, 3, 2], 'of a lot that is not there yet');
});

t.test('who owns a path', async (t) => {
  const paths: Record<number, LotPath[]> = {
    2: [
      recursivePath('/a'),
      { path: '/a/x', recursive: true, exclude: true },
      recursivePath('/a/x/y'),
      { path: '/a/x/y/z', recursive: false, exclude: true },
    ],
    3: [{ path: '/a/flat', recursive: false, exclude: false }],
    4: [recursivePath('/a/x/other')],
    5: [
      recursivePath('/n'),
      { path: '/n/flat', recursive: false, exclude: true },
      { path: '/n/m/k', recursive: true, exclude: true },
    ],
    6: [recursivePath('/n/m')],
    7: [
      { path: '/alone', recursive: false, exclude: false },
      { path: '/alone/d/e', recursive: true, exclude: true },
    ],
    8: [
      recursivePath('root://host/data'),
      { path: 'root://host/data/tmp', recursive: true, exclude: true },
      recursivePath('uri:x'),
    ],
    9: [{ path: '/only', recursive: true, exclude: true }],
  };
  const book = bookOf(defaultLot('0', 1), ...Object.entries(paths).map(([id, own]) => lotOf(Number(id), { paths: own })));
  // The owner of the path as a directory, and as a file, where they differ.
  const table: [string, number, number?][] = [
    ['/', 1],
    ['/b', 1],
    ['/ab', 1],
    ['/A', 1],
    ['/a', 2],
    ['/a/b', 2],
    ['/a/b/c/d', 2],
    ['/a/x', 1],
    ['/a/x/f', 1],
    ['/a/xy', 2],
    ['/a/x/y', 2],
    ['/a/x/y/f', 2],
    ['/a/x/y/z', 1],
    ['/a/x/y/z/f', 2, 1],
    ['/a/x/y/z/f/g', 2],
    ['/n/flat', 1],
    ['/n/flat/f', 5, 1],
    ['/n/flat/d/f', 5],
    ['/a/x/other', 4],
    ['/a/x/other/f', 4],
    ['/a/flat', 3],
    ['/a/flat/f', 2, 3],
    ['/a/flat/d/f', 2],
    ['/n', 5],
    ['/n/m', 6],
    ['/n/m/f', 6],
    ['/n/m/k', 6],
    ['/n/m/k/f', 6],
    ['/alone', 7],
    ['/alone/f', 1, 7],
    ['/alone/d', 1, 7],
    ['/alone/d/e', 1],
    ['/alone/d/e/f', 1],
    ['/only', 1],
    ['/only/f', 1],
    ['root://host/data', 8],
    ['root://host/data/2026/f', 8],
    ['root://host/data/tmp/f', 1],
    ['root://host/database', 1],
    ['root://host', 1],
    ['/root://host/data', 1],
    ['uri:x', 8],
    ['uri:x/y', 8],
    ['uri:', 1],
    ['', 1],
  ];
  for (const [path, directory, file = directory] of table) {
    t.strictSame([book.ownerOf(path, true), book.ownerOf(path, false)], [directory, file], path);
  }
});

t.test('lots as they are seen', async (t) => {
  // Below /a in the mount: /a/b; by a parent only: /else and a lot of two directories; 6 is below 2 by two ways.
  const book = bookOf(
    defaultLot('0', 1),
    reservation(2, '/a', 100),
    reservation(3, '/a/b', 10, [2]),
    reservation(4, '/else', 10, [2]),
    lotOf(5, {
      name: 'two',
      parents: [2, 7],
      paths: [recursivePath('/a/two'), { path: '/two', recursive: false, exclude: true }],
    }),
    lotOf(6, { name: 'deep', parents: [3, 4] }),
    reservation(7, '/secret', 10),
    reservation(8, '/a/two/in', 1, [5]),
  );
  const names = (seen: LotsSeen) => seen.all().map(({ lot }) => lot.name);
  const usage = usageIs((id) => used(10 ** (id - 1), 1));
  const cases: [Scope, Record<string, number>, [string, number | undefined][]][] = [
    [
      { lot: 1, directory: '/' },
      {
        default: 1,
        '/a': 10_111_110,
        '/a/b': 100_100,
        '/a/two/in': 1e7,
        '/else': 101_000,
        '/secret': 11_010_000,
        deep: 1e5,
        two: 10_010_000,
      },
      [
        ['/a', 2],
        ['/b', undefined],
        ['deep', 6],
        ['default', 1],
        ['', undefined],
      ],
    ],
    [
      { lot: 2, directory: '/a' },
      { '/': 10_111_110, '/b': 100_100, '/else': 101_000, '/two/in': 1e7, deep: 1e5, two: 10_010_000 },
      [
        ['/', 2],
        ['/b', 3],
        ['/a/b', undefined],
        ['/a', undefined],
        ['/else', 4],
        ['/two/in', 8],
        ['deep', 6],
        ['two', 5],
        ['default', undefined],
        ['/secret', undefined],
      ],
    ],
    [
      { lot: 5, directory: '/a/two' },
      { '/in': 1e7, two: 10_010_000 },
      [
        ['/in', 8],
        ['two', 5],
        ['/', undefined],
        ['/a', undefined],
        ['deep', undefined],
      ],
    ],
    [
      { lot: 5, directory: '/two' },
      { '/a/two/in': 1e7, two: 10_010_000 },
      [
        ['/a/two/in', 8],
        ['/in', undefined],
      ],
    ],
  ];
  for (const [scope, totals, named] of cases) {
    const name = `from ${scope.lot} in ${scope.directory}`;
    const seen = new LotsSeen(book, usage, scope);
    t.strictSame(Object.fromEntries(seen.all().map((lot) => [lot.lot.name, lot.used.bytes])), totals, name);
    t.equal(seen.count, Object.keys(totals).length, name);
    for (const lot of seen.all()) {
      t.strictSame(new LotsSeen(book, usage, scope).get(lot.lot.id), lot, `${name}: one is as among all`);
      t.strictSame(seen.named(lot.lot.name)?.id, lot.lot.id, `${name}: ${lot.lot.name} is found by its name`);
    }
    for (const [text, id] of named) t.equal(seen.named(text)?.id, id, `${name}: '${text}'`);
  }
  const all = new LotsSeen(book, usage, { lot: 1, directory: '/' });
  t.equal(all.get(2)?.used.objects, 6, 'a lot that is below by two ways counts once');
  t.strictSame(all.childrenOf(2), ['/a/b', '/else', 'two']);
  t.strictSame(all.namesOf([6, 99, 1]), ['deep', 'default']);
  const scoped = new LotsSeen(book, usage, { lot: 2, directory: '/a' });
  t.strictSame(scoped.childrenOf(2), ['/b', '/else', 'two']);
  t.strictSame(scoped.namesOf([7, 6, 3]), ['deep', '/b'], 'who is out of sight is left out');
  t.match(scoped.get(5)?.lot, { parents: [2], paths: [{ path: '/two' }, { path: '/two', recursive: false, exclude: true }] });
  t.strictSame([scoped.sees(7), scoped.get(7), scoped.sees(8)], [false, undefined, true]);
  t.strictSame(names(scoped), ['/', '/b', '/else', '/two/in', 'deep', 'two']);
  book.apply({ put: [], remove: [8] });
  t.equal(names(new LotsSeen(book, usage, { lot: 2, directory: '/a' })).length, 5);
});

t.test('a deep and wide tree of lots is summed', async (t) => {
  const lots = [lotOf(1)];
  for (let id = 2; id <= 20_000; id++) lots.push(lotOf(id, { parents: id < 100 ? [id - 1] : [99] }));
  const seen = new LotsSeen(
    bookOf(...lots),
    { usageOf: () => used(1), allUsage: () => new Map(ids(lots).map((id) => [id, used(1)])) },
    {
      lot: 1,
      directory: '/',
    },
  );
  const startedMs = performance.now();
  const [first] = seen.all();
  t.equal(first?.used.bytes, 20_000);
  t.ok(performance.now() - startedMs < 2000, `${performance.now() - startedMs} ms`);
});

t.test('texts in the order of their bytes', async (t) => {
  const texts = ['', 'a', 'ab', 'b', '/', '/a', '\0', '\x7f', '\x80', 'é', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\uffff'];
  texts.push('\u{10000}', '\u{1f600}', '\u{1f600}a', '\u{1f601}', '\u{10ffff}', 'a\u{10000}', 'a\ue000', 'a\uffff\u{10000}', 'A');
  for (const a of texts) {
    for (const b of texts) {
      t.equal(Math.sign(compareBytes(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)), JSON.stringify([a, b]));
    }
  }
});

t.test('where a lot stands in time', async (t) => {
  const never = { expiresAtMs: null, deletesAtMs: null };
  const book = bookOf(
    lotOf(1),
    lotOf(2, {}, { createdAtMs: 10, expiresAtMs: 50, deletesAtMs: 90 }),
    lotOf(3, { parents: [2] }, { createdAtMs: 20, ...never }),
    lotOf(4, { parents: [2] }, { createdAtMs: 0, expiresAtMs: 30, deletesAtMs: 200 }),
    lotOf(5, { parents: [1, 3, 4] }, { createdAtMs: 0, expiresAtMs: 60, deletesAtMs: 80 }),
    lotOf(6, { parents: [1] }, { createdAtMs: 0, deletesAtMs: 40 }),
  );
  const lookup = (id: number) => book.get(id);
  const times: [number, number | null, number | null][] = [
    [1, null, null],
    [2, 50, 90],
    [3, 50, 90],
    [4, 30, 90],
    [5, 30, 80],
    [6, null, 40],
    [99, null, null],
  ];
  for (const [id, expiresAtMs, deletesAtMs] of times)
    t.strictSame(effectiveTimes(id, lookup), { expiresAtMs, deletesAtMs }, `${id}`);
  // Now, and per lot from 1 to 6: A sets aside, G may grow.
  const phases: [number, string][] = [
    [0, 'AG A A AG AG AG'],
    [9, 'AG A A AG AG AG'],
    [10, 'AG AG A AG AG AG'],
    [20, 'AG AG AG AG AG AG'],
    [29, 'AG AG AG AG AG AG'],
    [30, 'AG AG AG G G AG'],
    [40, 'AG AG AG G G A'],
    [49, 'AG AG AG G G A'],
    [50, 'AG G G G G A'],
    [79, 'AG G G G G A'],
    [80, 'AG G G G - A'],
    [90, 'AG - G G - A'],
    [200, 'AG - G - - A'],
  ];
  for (const [nowMs, expected] of phases) {
    const shown = [...book.all()].map((lot) => {
      const { setsAside, mayGrow } = phaseOf(lot, lookup, nowMs);
      return `${setsAside ? 'A' : ''}${mayGrow ? 'G' : ''}` || '-';
    });
    t.equal(shown.join(' '), expected, `at ${nowMs}`);
  }
  const next: [number, number, number | null][] = [
    [1, -5, 0],
    [1, 0, null],
    [2, 0, 10],
    [2, 10, 50],
    [2, 49, 50],
    [2, 50, 90],
    [2, 90, null],
    [3, 0, 20],
    [3, 20, null],
    [4, 0, 30],
  ];
  for (const [id, nowMs, atMs] of next) t.equal(nextChangeMs(book.must(id), nowMs), atMs, `lot ${id} after ${nowMs}`);
});

t.test('the policy that restricts', async (t) => {
  const book = bookOf(
    lotOf(1, {}, { opportunisticBytes: UNLIMITED, createdAtMs: 7 }),
    lotOf(2, {}, { dedicatedBytes: 50, opportunisticBytes: 0, maxObjects: 5, createdAtMs: 3, expiresAtMs: 9 }),
    lotOf(
      3,
      { parents: [1, 2] },
      { dedicatedBytes: 50, opportunisticBytes: UNLIMITED, createdAtMs: 5, expiresAtMs: 10, deletesAtMs: 8 },
    ),
  );
  const least = (id: number) =>
    Object.fromEntries(ATTRIBUTES.map((attribute) => [attribute, restricting(attribute, id, book).id]));
  t.strictSame(least(3), {
    dedicatedBytes: 1,
    opportunisticBytes: 2,
    maxObjects: 2,
    createdAtMs: 2,
    expiresAtMs: 2,
    deletesAtMs: 3,
  });
  t.strictSame(least(2), {
    dedicatedBytes: 2,
    opportunisticBytes: 2,
    maxObjects: 2,
    createdAtMs: 2,
    expiresAtMs: 2,
    deletesAtMs: 2,
  });
  book.apply({ put: [lotOf(1, {}, { dedicatedBytes: 50 })], remove: [] });
  t.equal(restricting('dedicatedBytes', 3, book).id, 3, 'the lot itself where they are equal');
});

t.test("use of a policy is by LotMan's formulas", async (t) => {
  const grid = [0, 1, 2, 3, 5, 8, 2 ** 40];
  let cells = 0;
  const wrong: unknown[] = [];
  for (const S of grid) {
    for (const C of grid) {
      const split = { self: used(S), children: used(C) };
      for (const D of grid) {
        const dedicated = {
          total: Math.min(S + C, D),
          self: Math.min(S, D),
          children: S >= D ? 0 : S + C >= D ? D - S : C,
        };
        const is = dedicatedUse(D, split);
        if (JSON.stringify(is) !== JSON.stringify(dedicated)) wrong.push({ S, C, D, is, dedicated });
        for (const O of [...grid, Number.POSITIVE_INFINITY]) {
          cells += 1;
          const opportunistic = {
            total: S + C >= O + D ? O : S + C >= D ? S + C - D : 0,
            self: S >= O + D ? O : S >= D ? S - D : 0,
            children:
              S >= O + D ? 0 : S >= D && S + C >= O + D ? O + D - S : S >= D ? C : S + C >= O + D ? O : S + C > D ? S + C - D : 0,
          };
          const found = opportunisticUse(D, O, split);
          if (JSON.stringify(found) !== JSON.stringify(opportunistic)) wrong.push({ S, C, D, O, found, opportunistic });
        }
      }
    }
  }
  t.equal(cells, 7 ** 3 * 8);
  t.strictSame(wrong, []);
  const book = bookOf(lotOf(1), lotOf(2, { parents: [1] }), lotOf(3, { parents: [1] }), lotOf(4, { parents: [2, 3] }));
  t.strictSame(
    splitUsage(1, book, (id) => used(10 ** id, id)),
    { self: used(10, 1), children: used(11_100, 9) },
    'a diamond counts once',
  );
});

t.test('past a policy', async (t) => {
  const policy = { dedicatedBytes: 5, opportunisticBytes: 3, maxObjects: 2, expiresAtMs: 10, deletesAtMs: 20 };
  const limited = lotOf(2, {}, policy);
  const unlimited = lotOf(3, {}, { opportunisticBytes: UNLIMITED });
  const table: [Past, Lot, LotUsage, number, boolean][] = [
    ['exp', limited, used(0), 9, false],
    ['exp', limited, used(0), 10, true],
    ['del', limited, used(0), 19, false],
    ['del', limited, used(0), 20, true],
    ['ded', limited, used(4), 0, false],
    ['ded', limited, used(5), 0, true],
    ['opp', limited, used(7), 0, false],
    ['opp', limited, used(8), 0, true],
    ['obj', limited, used(0, 1), 0, false],
    ['obj', limited, used(0, 2), 0, true],
    ['exp', unlimited, used(2 ** 50, 2 ** 50), 2 ** 50, false],
    ['del', unlimited, used(2 ** 50, 2 ** 50), 2 ** 50, false],
    ['opp', unlimited, used(2 ** 50, 2 ** 50), 2 ** 50, false],
    ['obj', unlimited, used(2 ** 50, 2 ** 50), 2 ** 50, false],
    ['ded', unlimited, used(0), 0, true],
  ];
  for (const [what, lot, usage, nowMs, past] of table) {
    t.equal(isPastPolicy(what, lot, usage, nowMs), past, `${what} of ${lot.name} with ${usage.bytes} at ${nowMs}`);
  }
});

/** Files of lots by their bytes, older first: `/2-0` is the oldest of lot 2. */
function filesOf(bytesByLot: Record<number, number[]>): ReclaimFile[] {
  const files = Object.entries(bytesByLot).flatMap(([lot, sizes]) =>
    sizes.map((bytes, n) => ({
      path: `/${lot}-${n}`,
      lot: Number(lot),
      inode: Number(lot) * 100 + n,
      bytes,
      accessedAtMs: n * 10 + Number(lot),
      uid: 0,
      directoryUid: 0,
    })),
  );
  // In an order that is nobody's.
  return files.sort((a, b) => ((a.inode * 7919) % 101) - ((b.inode * 7919) % 101));
}

function usageOfFiles(files: readonly ReclaimFile[]): (id: number) => LotUsage {
  return (id) => {
    const own = files.filter(({ lot }) => lot === id);
    return used(
      own.reduce((sum, { bytes }) => sum + bytes, 0),
      own.length,
    );
  };
}

t.test('what is reclaimed', async (t) => {
  const base = defaultLot('0', 1);
  const [long, now] = [2 ** 50, 1000];
  const old = { expiresAtMs: 900, deletesAtMs: 950 };
  const expired = { expiresAtMs: 900 };
  const cases: [string, Lot[], Record<number, number[]>, number, string[]][] = [
    ['nothing is wanted', [lotOf(2, {}, old)], { 2: [10] }, 0, []],
    ['nothing is past', [lotOf(2, {}, { dedicatedBytes: 100 })], { 2: [10, 20] }, long, []],
    [
      'the order of the kinds, whatever the age of the files',
      [
        lotOf(2, {}, { dedicatedBytes: 10, opportunisticBytes: 50 }),
        lotOf(3, {}, { dedicatedBytes: 1, opportunisticBytes: UNLIMITED, maxObjects: 1 }),
        lotOf(4, {}, { dedicatedBytes: 1, opportunisticBytes: 5 }),
        lotOf(5, {}, expired),
        lotOf(6, {}, old),
      ],
      { 2: [10, 10], 3: [1, 1], 4: [9, 1], 5: [5], 6: [6, 6] },
      long,
      ['del /6-0', 'del /6-1', 'exp /5-0', 'opp /4-0', 'obj /3-0', 'ded /2-0'],
    ],
    [
      'oldest access first, by path where they are equal',
      [lotOf(2, {}, expired), lotOf(3, {}, expired)],
      { 2: [1, 1, 1], 3: [1, 1] },
      long,
      ['exp /2-0', 'exp /3-0', 'exp /2-1', 'exp /3-1', 'exp /2-2'],
    ],
    ['it stops when it is enough', [lotOf(2, {}, old)], { 2: [10, 10, 10] }, 11, ['del /2-0', 'del /2-1']],
    ['it stops when it is just enough', [lotOf(2, {}, old)], { 2: [10, 10, 10] }, 10, ['del /2-0']],
    [
      'of what is past its grant only the excess',
      [lotOf(2, {}, { opportunisticBytes: 50 })],
      { 1: [], 2: [10, 20, 30, 10] },
      15,
      ['opp /2-0', 'opp /2-1'],
    ],
    [
      'then what is opportunistic, down to the dedicated bytes and never below',
      [lotOf(2, {}, { dedicatedBytes: 25, opportunisticBytes: 25 })],
      { 2: [20, 10, 30, 10] },
      long,
      ['opp /2-0', 'ded /2-1', 'ded /2-3'],
    ],
    [
      'a file that reaches into the dedicated bytes is passed over for one that does not',
      [lotOf(2, {}, { dedicatedBytes: 90 })],
      { 2: [40, 30, 5, 10, 20] },
      long,
      ['opp /2-2', 'opp /2-3'],
    ],
    [
      'too many objects, with and without bytes',
      [lotOf(2, {}, { dedicatedBytes: 5, opportunisticBytes: 100, maxObjects: 2 })],
      { 2: [0, 0, 5] },
      long,
      ['obj /2-0'],
    ],
    ['files without bytes make no room elsewhere', [lotOf(2, {}, { dedicatedBytes: 1 })], { 2: [0, 3, 0] }, long, []],
    [
      "the lots above are asked: what is past the parent's grant goes from the child",
      [lotOf(2, {}, { opportunisticBytes: 30 }), lotOf(3, { parents: [2] }, { opportunisticBytes: 100 })],
      { 2: [10], 3: [10, 10, 10] },
      10,
      ['opp /2-0'],
    ],
    [
      'not what the child was promised, although the parent is past its grant',
      [lotOf(2, {}, { opportunisticBytes: 10 }), lotOf(3, { parents: [2] }, { dedicatedBytes: 25 })],
      { 2: [5, 5], 3: [5, 10, 10] },
      long,
      ['opp /2-0', 'opp /2-1'],
    ],
    [
      "nor what the parent was promised, although the child is past the child's",
      [lotOf(2, {}, { dedicatedBytes: 30 }), lotOf(3, { parents: [2] }, { dedicatedBytes: 5, opportunisticBytes: 5 })],
      { 2: [10], 3: [10, 10] },
      long,
      [],
    ],
    [
      'nor with one parent of two',
      [
        lotOf(2, {}, { dedicatedBytes: 20 }),
        lotOf(3, {}, { opportunisticBytes: 1 }),
        lotOf(4, { parents: [3, 2] }, { opportunisticBytes: 100 }),
      ],
      { 3: [4], 4: [10, 10] },
      long,
      ['opp /3-0'],
    ],
    [
      'an expired lot was promised nothing any more, a lot below it neither',
      [lotOf(2, {}, { dedicatedBytes: 100, ...expired }), lotOf(3, { parents: [2] }, { dedicatedBytes: 100 })],
      { 2: [10], 3: [10, 0] },
      long,
      ['exp /2-0', 'exp /3-0', 'exp /3-1'],
    ],
    [
      'times are those of the lots above too, the earliest',
      [
        lotOf(2, {}, { deletesAtMs: 950 }),
        lotOf(3, { parents: [2] }, { dedicatedBytes: 100, expiresAtMs: 2000, deletesAtMs: 3000 }),
        lotOf(4, { parents: [3] }, { dedicatedBytes: 100 }),
        lotOf(5, {}, { dedicatedBytes: 100, expiresAtMs: 1001 }),
        lotOf(6, {}, { dedicatedBytes: 100, expiresAtMs: 1000 }),
      ],
      { 3: [5], 4: [5], 5: [5], 6: [5] },
      long,
      ['del /3-0', 'del /4-0', 'exp /6-0'],
    ],
    ['the default lot holds only what nobody was promised', [], { 1: [5, 0, 5] }, 6, ['ded /1-0', 'ded /1-2']],
  ];
  for (const [name, lots, bytesByLot, wantedBytes, expected] of cases) {
    const book = bookOf(base, ...lots);
    const files = filesOf(bytesByLot);
    const chosen = planReclaim(book, usageOfFiles(files), files, wantedBytes, now);
    t.strictSame(
      chosen.map(({ past, path }) => `${past} ${path}`),
      expected,
      name,
    );
    const lotsOfAll = new Set(planReclaim(book, usageOfFiles(files), files, long, now).map(({ lot }) => lot));
    const candidates = reclaimableLots(book, usageOfFiles(files), now);
    t.ok(
      [...lotsOfAll].every((id) => candidates.has(id)),
      `${name}: the lots were to be looked at`,
    );
  }
  const book = bookOf(
    lotOf(1, {}, { dedicatedBytes: 9 }),
    lotOf(2, {}, old),
    lotOf(3, { parents: [2] }),
    lotOf(4, {}, { dedicatedBytes: 5 }),
  );
  t.strictSame([...reclaimableLots(book, (id) => used(id === 4 ? 6 : 0), now)], [2, 3, 4], 'others need not be looked at');
});

t.test('reclaiming at random keeps every promise', async (t) => {
  let state = 4711;
  const random = (most: number) => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * most);
  };
  const wrong: unknown[] = [];
  let chosenAtAll = 0;
  for (let round = 0; round < 300; round++) {
    const lots = [defaultLot('0', 1)];
    for (let id = 2; id < 8; id++) {
      const parents = [random(id), random(id)].filter((parent, i, all) => parent > 1 && all.indexOf(parent) === i);
      const policy = {
        dedicatedBytes: random(60),
        opportunisticBytes: random(50) - 1,
        maxObjects: random(12) - 1,
        expiresAtMs: random(6) === 0 ? 500 : null,
        deletesAtMs: random(8) === 0 ? 600 : null,
      };
      lots.push(lotOf(id, { parents }, policy));
    }
    const book = bookOf(...lots);
    const files = filesOf(Object.fromEntries(lots.map(({ id }) => [id, Array.from({ length: random(6) }, () => random(25))])));
    const wantedBytes = random(300);
    const chosen = planReclaim(book, usageOfFiles(files), files, wantedBytes, 1000);
    chosenAtAll += chosen.length;
    const order = ['del', 'exp', 'opp', 'obj', 'ded'];
    const bytesOf = (some: readonly ReclaimFile[]) => some.reduce((sum, { bytes }) => sum + bytes, 0);
    const heldBy = (id: number, some: readonly ReclaimFile[]) =>
      bytesOf(some.filter(({ lot }) => book.withDescendants(id).has(lot)));
    if (bytesOf(chosen.slice(0, -1)) >= wantedBytes && chosen.length > 0) wrong.push({ round, what: 'more than was wanted' });
    if (new Set(chosen.map(({ path }) => path)).size < chosen.length) wrong.push({ round, what: 'a file twice' });
    for (const [i, file] of chosen.entries()) {
      const before = chosen[i - 1];
      const rank = order.indexOf(file.past);
      if (before !== undefined && order.indexOf(before.past) > rank) wrong.push({ round, what: 'order', file });
      const gone = new Set(chosen.slice(0, i + 1).map(({ path }) => path));
      const left = files.filter(({ path }) => !gone.has(path));
      const times = effectiveTimes(file.lot, (id) => book.get(id));
      const isDue = file.past === 'del' ? times.deletesAtMs !== null : times.expiresAtMs !== null;
      if (rank < 2) {
        if (!isDue) wrong.push({ round, what: 'not due', file });
        continue;
      }
      for (const { id, policy } of book.withAncestors(file.lot)) {
        const alive = effectiveTimes(id, (each) => book.get(each)).expiresAtMs === null;
        if (alive && policy.dedicatedBytes > 0 && heldBy(id, left) < policy.dedicatedBytes) {
          wrong.push({ round, what: 'within the dedicated bytes', file, id });
        }
      }
    }
    if (bytesOf(chosen) < wantedBytes) {
      // All there is was taken: nothing is left of lots past their times, and nobody is left who has too much and could give.
      const left = files.filter(({ path }) => !chosen.some((each) => each.path === path));
      for (const file of left) {
        const { expiresAtMs, deletesAtMs } = effectiveTimes(file.lot, (id) => book.get(id));
        if (expiresAtMs !== null || deletesAtMs !== null) wrong.push({ round, what: 'left although due', file });
        const above = book.withAncestors(file.lot).map(({ id, policy }) => {
          const objects = left.filter(({ lot }) => book.withDescendants(id).has(lot)).length;
          const bytes = heldBy(id, left);
          const tooMuch =
            (file.bytes > 0 && bytes > policy.dedicatedBytes) || (policy.maxObjects >= 0 && objects > policy.maxObjects);
          return { tooMuch, spares: policy.dedicatedBytes === 0 || bytes - file.bytes >= policy.dedicatedBytes };
        });
        if (above.some(({ tooMuch }) => tooMuch) && above.every(({ spares }) => spares))
          wrong.push({ round, what: 'left', file });
      }
    }
  }
  t.strictSame(wrong, []);
  t.ok(chosenAtAll > 1000, `${chosenAtAll} files were chosen`);
});

t.test('percentages', async (t) => {
  const table: [string, number][] = [
    ['85%', 0.85],
    ['85', 0.85],
    ['99.5%', 0.995],
    ['0', 0],
    ['0%', 0],
    ['007%', 0.07],
    ['100', 1],
    ['100.0%', 1],
    ['0.000001%', 1e-8],
  ];
  for (const [text, fraction] of table) t.equal(parsePercent(text), fraction, text);
  for (const text of [
    '',
    '%',
    '101',
    '100.1%',
    '999',
    '1000',
    '-1',
    '+5',
    ' 85',
    '85 %',
    '85%%',
    '1e1',
    '.5',
    '5.',
    '0.0000001',
    '٣',
    'NaN',
    '85%\n',
  ]) {
    t.throws(() => parsePercent(text), { errno: 'EINVAL', exitCode: 2, message: /is not a percentage/ }, JSON.stringify(text));
  }
  t.throws(() => parsePercent('x'.repeat(1000)), { message: /^.{40,90}$/ }, 'a long text is cut');
});

t.test('a line of the journal', async (t) => {
  const line = renderEvent({ atMs: 0, event: 'grant', lotId: 2, fields: { lot: 'a\nb', bytes: 1, parent: undefined } });
  t.equal(line, '{"at":"1970-01-01T00:00:00.000Z","event":"grant","lot":"a\\nb","bytes":1}\n');
});
