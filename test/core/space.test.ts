// Spaces by the rules: names, policies, the choice of a pool, and the size of the cache.
import t from 'tap';
import { VreserveError } from '../../src/core/errors.js';
import {
  cacheSize,
  cacheStep,
  checkSpaceName,
  checkSpaceSize,
  type DiskType,
  noRoom,
  poolsFor,
  type SpacePolicy,
  type SpacePool,
  spaceEnforcer,
  spacePolicy,
} from '../../src/core/space.js';

const GIB = 1024 ** 3;

function refusal(work: () => unknown): string {
  try {
    return `none: ${String(work())}`;
  } catch (error) {
    return error instanceof VreserveError ? `${error.code} ${error.message}` : String(error);
  }
}

t.test('names', async (t) => {
  for (const name of ['a', '9', 'a.b_c-D', 'x'.repeat(255), 'ZDB', 'azdb']) t.equal(checkSpaceName(name), name);
  const bad: [name: string, says: RegExp][] = [
    ['', /^SPACE_BAD_NAME invalid volume name. it is empty$/],
    ['zdb', /^SPACE_BAD_NAME invalid volume name. zdb prefix is reserved$/],
    ['zdb-1', /zdb prefix is reserved$/],
    ['x'.repeat(300), /it has 300 bytes, at most 255 are possible$/],
    ['ä'.repeat(128), /it has 256 bytes/],
    ['a/b', /'a\/b' must have letters/],
    ['..', /'\.\.' must have/],
    ['.', /must have/],
    ['.vreserve', /begin with a letter/],
    ['-a', /begin with/],
    ['a b', /must have/],
    ['a\nb', /'a\?b' must have/],
    ['ü', /must have/],
  ];
  for (const [name, says] of bad)
    t.match(
      refusal(() => checkSpaceName(name)),
      says,
      JSON.stringify(name.slice(0, 20)),
    );
});

t.test('sizes, types and policies', async (t) => {
  t.equal(checkSpaceSize(1), 1);
  t.equal(
    refusal(() => checkSpaceSize(0)),
    'SPACE_BAD_SIZE invalid size: a space has at least 1 byte',
  );
  t.match(
    refusal(() => checkSpaceSize(-1)),
    /^BAD_BYTES/,
  );
  t.match(
    refusal(() => checkSpaceSize(1.5)),
    /^BAD_BYTES/,
  );
  const asked: [type: string | undefined, policy: string | undefined, becomes: string][] = [
    [undefined, undefined, 'ssd-first'],
    ['ssd', undefined, 'ssd-only'],
    ['hdd', undefined, 'hdd-only'],
    [undefined, 'hdd-only', 'hdd-only'],
    ['ssd', 'ssd-only', 'ssd-only'],
  ];
  for (const [type, policy, becomes] of asked) t.equal(spacePolicy(type, policy), becomes, `${type} ${policy}`);
  t.equal(
    refusal(() => spacePolicy('nvme', undefined)),
    "SPACE_BAD_TYPE invalid device type 'nvme'. type unknown",
  );
  t.match(
    refusal(() => spacePolicy(undefined, 'best')),
    /^SPACE_BAD_POLICY 'best' .* one of ssd-only, hdd-only, ssd-first$/,
  );
  t.match(
    refusal(() => spacePolicy('ssd', 'hdd-only')),
    /^SPACE_BAD_POLICY .* type ssd asks for ssd-only$/,
  );
  t.match(
    refusal(() => spacePolicy('hdd', 'ssd-first')),
    /asks for hdd-only$/,
  );
  t.equal(spaceEnforcer(undefined), 'mount');
  t.equal(spaceEnforcer('kernel'), 'kernel');
  t.match(
    refusal(() => spaceEnforcer('me')),
    /^SPACE_BAD_ENFORCER/,
  );
});

/** `main:ssd:100` and the like; `!` behind it: broken. */
function pools(text: string): SpacePool[] {
  return text.split(' ').map((each, id) => {
    const [name = '', type = '', headroom = ''] = each.split(':');
    const state = headroom.endsWith('!') ? 'broken' : 'served';
    return { id, name, type: type as DiskType, state, headroomBytes: Number.parseInt(headroom, 10), filesystem: 'ext4' };
  });
}

t.test('which pool', async (t) => {
  const cases: [policy: SpacePolicy, bytes: number, pools: string, tried: string][] = [
    ['ssd-only', 10, 'a:ssd:20 b:ssd:30 c:hdd:90', 'b a'],
    ['ssd-only', 10, 'a:hdd:20 b:hdd:30', ''],
    ['hdd-only', 10, 'a:ssd:99 b:hdd:30 c:hdd:40', 'c b'],
    ['ssd-first', 10, 'a:hdd:99 b:ssd:10 c:ssd:11 d:hdd:100', 'c b d a'],
    ['ssd-first', 12, 'a:hdd:99 b:ssd:10 c:ssd:11', 'a'],
    ['ssd-first', 100, 'a:hdd:99 b:ssd:10', ''],
    ['ssd-only', 20, 'a:ssd:20', 'a'],
    ['ssd-only', 21, 'a:ssd:20', ''],
    ['ssd-only', 10, 'a:ssd:99! b:ssd:30', 'b'],
    ['ssd-first', 1, 'a:ssd:5 b:ssd:5 c:ssd:5', 'a b c'],
    ['ssd-first', 1, 'a:ssd:-5 b:hdd:5', 'b'],
    ['hdd-only', 1, '', ''],
  ];
  for (const [policy, bytes, has, tried] of cases) {
    const found = poolsFor(policy, bytes, has === '' ? [] : pools(has));
    t.equal(found.map(({ name }) => name).join(' '), tried, `${bytes} with ${policy} on ${has}`);
  }
  const says = (policy: SpacePolicy, has: string) => noRoom(policy, 50, pools(has), (bytes) => `${bytes} B`).message;
  t.equal(
    says('ssd-only', 'a:ssd:20 b:ssd:30 c:hdd:90'),
    'not enough space left in pools of this type ssd: 50 B asked for, 30 B available',
  );
  t.match(says('hdd-only', 'a:ssd:20'), /type hdd: 50 B asked for, 0 B available$/);
  t.match(says('ssd-first', 'a:ssd:20 b:hdd:-3'), /type ssd or hdd: 50 B asked for, 20 B available$/);
});

t.test('the size of the cache', async (t) => {
  const step = cacheStep(5 * GIB);
  t.equal(step, 5 * GIB);
  t.equal(cacheStep(20 * GIB), 5 * GIB, 'larger ones grow by no more');
  t.equal(cacheStep(1000), 1000);
  const cases: [sizeGib: number, usedGib: number, becomesGib: number][] = [
    [5, 0, 5],
    [5, 2.9, 5],
    [5, 3, 10],
    [5, 5, 10],
    [10, 6, 15],
    [10, 5.9, 10],
    [10, 2, 10],
    [10, 1.99, 5],
    [10, 0, 5],
    [50, 9.99, 20],
    [50, 10, 50],
    [50, 7.5, 15],
    [50, 7.6, 20],
    [50, 0, 5],
    [12, 2.3, 5],
    [6, 1.1, 5],
  ];
  for (const [size, used, becomes] of cases) {
    t.equal(cacheSize(size * GIB, used * GIB, step), becomes * GIB, `${size} GiB with ${used} GiB used`);
  }
  t.equal(cacheSize(3, 1, 5), 3, 'it is not made larger than it is by shrinking');
  for (let size = 1; size < 40; size++) {
    for (let used = 0; used <= size; used++) t.ok(cacheSize(size, used, 3) >= used, 'never below what is used');
  }
});
