// The pure rules: bytes, durations, paths, errors, lots.

import t from 'tap';
import { checkBytes, formatBytes, formatExactBytes, parseBytes } from '../../src/core/bytes.js';
import { formatDuration, parseDurationMs } from '../../src/core/duration.js';
import { asVreserveError, ERRORS, errnoOf, VreserveError } from '../../src/core/errors.js';
import { renderEvent } from '../../src/core/events.js';
import { childrenOf, defaultLot, grantBytes, type Lot, reservation, withAncestors, withDescendants } from '../../src/core/lot.js';
import { checkBindable, checkPath, isWithin, joinBelow, longestPrefix, parentPath, relativeTo } from '../../src/core/paths.js';
import { lotSnapshots, type Snapshot, scopedTo } from '../../src/core/snapshot.js';

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
  for (const [path, prefix] of table)
    t.equal(
      longestPrefix(path, (p) => bound.has(p)),
      prefix,
      path,
    );
  t.equal(
    longestPrefix('/x/y', (p) => p === '/'),
    '/',
  );
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
    t.match(row.errno, /^E[A-Z]+$/, code);
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
  const owner = { owner: '0', confinedOwner: false };
  const lots = new Map<number, Lot>();
  for (const lot of [
    defaultLot('0', 1),
    reservation(2, '/a', 100, owner, [], 1),
    reservation(3, '/a/b', 10, owner, [2], 1),
    reservation(4, '/a/b/c', 5, owner, [3, 2], 1),
    reservation(5, '/Z', 5, owner, [], 1),
  ])
    lots.set(lot.id, lot);
  t.strictSame(
    withAncestors(4, lots).map(({ id }) => id),
    [4, 3, 2],
  );
  const children = childrenOf(lots.values());
  t.strictSame([...withDescendants(2, children)].sort(), [2, 3, 4], 'each once, though 4 is below 2 twice');
  t.equal(grantBytes(defaultLot('0', 1).policy), -1);
  t.equal(grantBytes({ ...defaultLot('0', 1).policy, dedicatedBytes: 5, opportunisticBytes: 3 }), 8);

  const all = lotSnapshots(lots, (id) => ({ bytes: id, objects: 1, pendingBytes: 0, pendingObjects: 0 }));
  t.strictSame(
    all.map(({ lot }) => lot.name),
    ['default', '/Z', '/a', '/a/b', '/a/b/c'],
    'the default lot first, then bytewise',
  );
  t.match(all[2], { own: { bytes: 2 }, used: { bytes: 9, objects: 3 }, children: [3, 4] });
  const snapshot = { lots: all, troubles: [] } as unknown as Snapshot;
  const scoped = scopedTo(snapshot, 3);
  t.match(
    scoped?.lots.map(({ lot }) => [lot.name, lot.paths, lot.parents]),
    [
      ['/', ['/'], []],
      ['/c', ['/c'], [3]],
    ],
  );
  t.equal(scopedTo(snapshot, 9), null);
});

t.test('a line of the journal', async (t) => {
  const line = renderEvent({ atMs: 0, event: 'grant', lotId: 2, fields: { lot: 'a\nb', bytes: 1, parent: undefined } });
  t.equal(line, '{"at":"1970-01-01T00:00:00.000Z","event":"grant","lot":"a\\nb","bytes":1}\n');
});
