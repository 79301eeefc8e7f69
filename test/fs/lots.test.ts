// Lots of any shape through a real mount: hierarchies and their caps, objects, paths of every kind, binding over what is there, refusals.
import { mkdir, readdir, readFile, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Lots } from '../../src/client/lots.js';
import { file, NOBODY, type Row, soon } from '../helpers/columns.js';
import {
  addJson,
  CAPACITY,
  codeOf,
  fileOf,
  type LotCase,
  type LotPlace,
  lacksSqlite,
  MOST,
  onEachLotMount,
  ownerOf,
  type T,
  type Terms,
} from '../helpers/lot-mount.js';
import { must } from '../helpers/run.js';

/** `d` holds 300 bytes in d/f, 200 in d/in/g, 50 in d/in/deep/h, and a symlink: 550 bytes, 4 objects. */
const TREE: Row[] = [
  ['mkdir d', 0],
  ['mkdir d/in', 0],
  ['mkdir d/in/deep', 0],
  ...file('d/f', 300),
  ...file('d/in/g', 200),
  ...file('d/in/deep/h', 50),
  ['symlink f d/s', 0],
];

/** Makes lots in their order, each at the path that is said. */
async function make(p: LotPlace, lots: Record<string, Terms>): Promise<void> {
  for (const [name, terms] of Object.entries(lots)) await p.add(name, terms);
}

async function parentsOf(p: LotPlace, name: string): Promise<string[] | undefined> {
  return (await p.seen()).find((lot) => lot.name === name)?.parents;
}

/** Three levels, and who of them refuses: `lands` bytes are written to the lowest. */
const CAPS: readonly { who: string; org: Terms; team: Terms; job: Terms; lands: number; aside?: number }[] = [
  {
    who: 'the child',
    org: { dedicated: 20_000 },
    team: { dedicated: 5000 },
    job: { dedicated: 1000, opportunistic: 3 },
    lands: 1003,
  },
  {
    who: 'the child, nothing dedicated',
    org: { opportunistic: MOST },
    team: { opportunistic: MOST },
    job: { opportunistic: 7 },
    lands: 7,
  },
  {
    who: 'the parent',
    org: { dedicated: 20_000 },
    team: { dedicated: 5000, opportunistic: 7 },
    job: { opportunistic: MOST },
    lands: 5007,
  },
  {
    who: 'the parent, below what the child was promised by itself',
    org: { opportunistic: MOST },
    team: { opportunistic: 8191 },
    job: { dedicated: 4096, opportunistic: MOST },
    lands: 8191,
  },
  {
    who: 'the grandparent',
    org: { dedicated: 9001 },
    team: { opportunistic: MOST },
    job: { opportunistic: 20_000 },
    lands: 9001,
  },
  {
    who: 'the pool',
    org: { opportunistic: MOST },
    team: { opportunistic: MOST },
    job: { dedicated: 5, opportunistic: MOST },
    lands: 3_000_001,
    aside: CAPACITY - 3_000_001,
  },
];

const CAP_CASES = CAPS.map(
  ({ who, org, team, job, lands, aside = 0 }): LotCase => [
    `who refuses is ${who}`,
    async (t, p) => {
      await p.table(t, [
        ['mkdir org', 0],
        ['mkdir org/team', 0],
        ['mkdir org/team/job', 0],
      ]);
      await make(p, {
        org: { ...org, paths: ['org'] },
        team: { ...team, parents: ['org'], paths: ['org/team'] },
        job: { ...job, parents: ['team'], paths: ['org/team/job'] },
        ...(aside === 0 ? {} : { other: { dedicated: aside, paths: ['other'] } }),
      });
      await p.table(t, [
        ['open f org/team/job/f CREAT|RDWR', 0],
        ['open g org/team/job/g CREAT|RDWR', 0],
        ['fill f 3 0', 3],
        ['fill g 2 0', 2],
        [`fill f 4000000 3`, lands - 5],
        [`fill f 1 ${lands - 2}`, 'ENOSPC'],
        [`ftruncate f ${lands - 1}`, 'ENOSPC'],
        [`fallocate f 0 ${lands - 2} 1`, 'ENOSPC'],
        ['fill g 1 2', 'ENOSPC'],
        ['fill f 100 0', Math.min(100, lands - 2)],
        ['used job', lands],
        ['used team', lands],
        ['used org', lands],
        ['ftruncate g 1', 0],
        ['fill g 9 1', 1],
        ['used org', lands],
        ['close f', 0],
        ['close g', 0],
        ['unlink org/team/job/f', 0],
        ['soon used org', 2],
      ]);
    },
  ],
);

const HIERARCHY: LotCase[] = [
  [
    "dedicated bytes of a child come out of its parent's unfilled bytes",
    async (t, p) => {
      await p.table(t, [
        ['mkdir org', 0],
        ['mkdir org/a', 0],
        ['mkdir org/a/job', 0],
        ['mkdir org/b', 0],
      ]);
      await p.add('org', { dedicated: 10_000, opportunistic: 5000, paths: ['org'] });
      await p.table(t, [['aside', 10_000]]);
      await p.add('a', { dedicated: 4000, parents: ['org'], paths: ['org/a'] });
      await p.table(t, [['aside', 10_000]]);
      await p.add('job', { dedicated: 2500, parents: ['a'], paths: ['org/a/job'] });
      await p.table(t, [['aside', 10_000]]);
      await p.add('b', { dedicated: 7000, parents: ['org'], paths: ['org/b'] });
      await p.table(t, [
        ['aside', 11_000],
        ['headroom', CAPACITY - 11_000],
        ...file('org/a/job/f', 2000),
        ['aside', 9000],
        ...file('org/a/f', 1500),
        ['aside', 7500],
        ['headroom', CAPACITY - 11_000],
        ...file('org/f', 100),
        ['aside', 7500],
        ['headroom', CAPACITY - 11_100],
        ...file('org/b/f', 7000),
        ['aside', 500],
        ['used org', 10_600],
        ['unlink org/b/f', 0],
        ['aside', 7500],
        ['headroom', CAPACITY - 11_100],
      ]);
      t.equal(await codeOf(p.update('b', { dedicated: 11_400 })), 'NO_SPACE', 'org can hold 15,000 at most');
      await p.update('b', { dedicated: 10_900 });
      await p.table(t, [['aside', 11_400]]);
      await p.lots.remove('b');
      await p.table(t, [['aside', 6400]]);
    },
  ],
  [
    "a parent's own files never eat a child's promise",
    async (t, p) => {
      await p.table(t, [
        ['mkdir org', 0],
        ['mkdir org/a', 0],
        ['mkdir org/b', 0],
        ['mkdir out', 0],
      ]);
      await make(p, {
        org: { dedicated: 9000, opportunistic: 1000, paths: ['org'] },
        a: { dedicated: 4000, parents: ['org'], paths: ['org/a'] },
        b: { dedicated: 2000, opportunistic: MOST, parents: ['org'], paths: ['org/b'] },
      });
      await p.table(t, [
        ...file('org/a/f', 1500),
        ['open o org/f CREAT|RDWR', 0],
        ['fill o 9000 0', 4000],
        ['fill o 1 4000', 'ENOSPC'],
        ...file('out/f', 1),
        ['rename out/f org/g', 'ENOSPC'],
        ['open b org/b/f CREAT|RDWR', 0],
        ['fill b 9000 0', 2000],
        ['fill b 1 2000', 'ENOSPC'],
        ['open a org/a/f RDWR', 0],
        ['fill a 9000 1500', 2500],
        ['fill a 1 4000', 'ENOSPC'],
        ['used org', 10_000],
        ['aside', 0],
        // What leaves the child is promised to it again.
        ['rename org/a/f org/g', 'ENOSPC'],
        ['ftruncate o 0', 0],
        ['rename org/a/f org/g', 0],
        ['used a', 0],
        ['used org', 6000],
        ['aside', 4000],
        ['fill o 1 0', 'ENOSPC'],
        ['close o', 0],
        ['close a', 0],
        ['close b', 0],
      ]);
    },
  ],
  [
    'two roots above one lot: both count it, the first sets aside',
    async (t, p) => {
      await p.table(t, [
        ['mkdir a', 0],
        ['mkdir b', 0],
        ['mkdir c', 0],
      ]);
      await make(p, {
        a: { dedicated: 5000, paths: ['a'] },
        b: { dedicated: 1000, opportunistic: 2000, paths: ['b'] },
      });
      await p.table(t, [['aside', 6000]]);
      await p.add('c', { dedicated: 2500, opportunistic: MOST, parents: ['a', 'b'], paths: ['c'] });
      await p.table(t, [
        ['aside', 6000],
        // b has promised 2500 of its 3000 bytes.
        ['open b b/f CREAT|RDWR', 0],
        ['fill b 3000 0', 500],
        ['open c c/f CREAT|RDWR', 0],
        ['fill c 1000 0', 1000],
        ['used a', 1000],
        ['used b', 1500],
        ['aside', 4000],
        ['fill c 5000 1000', 1500],
        ['fill c 1 2500', 'ENOSPC'],
        ['ftruncate b 0', 0],
        ['fill c 5000 2500', 500],
        ['fill b 1 0', 'ENOSPC'],
        ['used b', 3000],
        ['open a a/f CREAT|RDWR', 0],
        ['fill a 9000 0', 2000],
        ['used a', 5000],
        ['close a', 0],
        ['close b', 0],
        ['close c', 0],
      ]);
      t.same(await parentsOf(p, 'c'), ['a', 'b']);
      await p.table(t, [
        ['unlink c/f', 0],
        ['soon used a', 2000],
      ]);
      await p.lots.removeParents({ lot_name: 'c', parents: ['a'] });
      t.same(await parentsOf(p, 'c'), ['b']);
      await p.table(t, [['used a', 2000], ['aside', 5500], ...file('c/f', 3000), ['used b', 3000], ['used a', 2000]]);
    },
  ],
  [
    'a diamond counts a byte once',
    async (t, p) => {
      await p.table(t, [
        ['mkdir top', 0],
        ['mkdir top/d', 0],
      ]);
      await make(p, {
        top: { dedicated: 6000, objects: 2, paths: ['top'] },
        left: { opportunistic: MOST, parents: ['top'] },
        right: { opportunistic: 4000, parents: ['top'] },
        d: { dedicated: 1000, opportunistic: MOST, parents: ['left', 'right'], paths: ['top/d'] },
      });
      await p.table(t, [
        ['aside', 6000],
        ['open f top/d/f CREAT|RDWR', 0],
        ['fill f 3000 0', 3000],
        ['used top', 3000],
        ['used left', 3000],
        ['used right', 3000],
        ['objects top', 1],
        ['objects right', 1],
        ['aside', 3000],
        ['fill f 9000 3000', 1000],
        ['fill f 1 4000', 'ENOSPC'],
        ['open g top/f CREAT|RDWR', 0],
        ['open h top/d/h CREAT|RDWR', 'ENOSPC'],
        ['fill g 9000 0', 2000],
        ['used top', 6000],
        ['used left', 4000],
        ['ftruncate f 3000', 0],
        ['fill g 9000 2000', 1000],
        ['close f', 0],
        ['close g', 0],
      ]);
      t.match(await p.lots.usage({ lot_name: 'top', total_GB: true, num_objects: true }), {
        total_GB: { self_contrib: 3e-6, children_contrib: 3e-6, total: 6e-6 },
        num_objects: { total: 2 },
      });
    },
  ],
  [
    'a lot is put between parent and child while they hold data and are written to',
    async (t, p) => {
      await p.table(t, [
        ['mkdir org', 0],
        ['mkdir org/job', 0],
      ]);
      await make(p, {
        org: { dedicated: 20_000, paths: ['org'] },
        job: { dedicated: 4000, opportunistic: MOST, parents: ['org'], paths: ['org/job'] },
      });
      await p.table(t, [
        ['open f org/job/f CREAT|RDWR', 0],
        ['fill f 1000 0', 1000],
      ]);
      const before = await p.state();
      // What the child holds and was promised must fit what comes between.
      t.equal(await codeOf(p.add('mid', { dedicated: 900, parents: ['org'], children: ['job'] })), 'NO_SPACE');
      t.equal(await codeOf(p.add('mid', { dedicated: 3999, parents: ['org'], children: ['job'] })), 'NO_SPACE');
      t.same(await p.state(), before, 'no trace');
      await p.add('mid', { dedicated: 4000, opportunistic: 500, parents: ['org'], children: ['job'] });
      t.same(await parentsOf(p, 'job'), ['mid']);
      t.same(await parentsOf(p, 'mid'), ['org']);
      await p.table(t, [
        ['used mid', 1000],
        ['used org', 1000],
        ['objects mid', 1],
        ['aside', 19_000],
        ['fill f 9000 1000', 3500],
        ['fill f 1 4500', 'ENOSPC'],
        ['used mid', 4500],
      ]);
      t.equal(await codeOf(p.lots.remove('mid')), 'LOT_ORPHANS');
      await p.lots.remove('mid', { assignToOrphans: true });
      t.same(await parentsOf(p, 'job'), ['org']);
      await p.table(t, [
        ['fill f 1 4500', 1],
        ['used org', 4501],
        ['close f', 0],
      ]);
    },
  ],
];

const OBJECTS: LotCase[] = [
  [
    'a lot holds so many objects, whatever makes them',
    async (t, p) => {
      await p.table(t, [['mkdir d', 0], ['mkdir d/sub', 0], ['mkdir out', 0], ...file('out/f', 10), ...file('out/g', 20)]);
      await p.add('d', { dedicated: 10_000, objects: 4, paths: ['d'] });
      const inodes = async () => {
        const { files, ffree } = await statfs(join(p.m.mnt, p.top, 'd'));
        return { files, ffree };
      };
      t.same(await inodes(), { files: 4, ffree: 4 });
      await p.table(t, [
        ...file('d/f', 100),
        ['symlink f d/s', 0],
        ['mknod d/fifo fifo 0600', 0],
        ['mknod d/sub/file file 0600', 0],
        ['objects d', 4],
        ['open g d/g CREAT|RDWR', 'ENOSPC'],
        ['symlink f d/s2', 'ENOSPC'],
        ['mknod d/fifo2 fifo 0600', 'ENOSPC'],
        ['mknod d/sub/socket socket 0600', 'ENOSPC'],
        ['open g d TMPFILE|RDWR', 'ENOSPC'],
        ['rename out/f d/g', 'ENOSPC'],
        // Names, directories and what takes another's place are free.
        ['link d/f d/sub/link', 0],
        ['mkdir d/more', 0],
        ['rename out/f d/s', 0],
        ['objects d', 4],
        ['used d', 110],
        ['rename out/g d/fifo EXCHANGE', 0],
        ['objects d', 4],
        ['used d', 130],
        ['lstat out/g', { type: 'fifo', mode: '600', nlink: 1, uid: 0, gid: 0, size: 0, rdev: '0:0' }],
        ['rename d/sub/file d/fifo', 0],
        ['objects d', 3],
        // One name less of two gives nothing back.
        ['unlink d/f', 0],
        ['objects d', 3],
        ['open g d TMPFILE|RDWR', 0],
        ['objects d', 4],
        ['open h d/h CREAT|RDWR', 'ENOSPC'],
        ['linkproc g d/g', 0],
        ['objects d', 4],
        ['close g', 0],
        ['open h d/h CREAT|RDWR', 'ENOSPC'],
        ['unlink d/g', 0],
        ['open g d TMPFILE|RDWR', 0],
        ['close g', 0],
        ['soon objects d', 3],
        ['open h d/h CREAT|RDWR', 0],
        ['unlink d/h', 0],
        ['objects d', 4],
        ['symlink x d/x', 'ENOSPC'],
        ['close h', 0],
        ['symlink x d/x', 0],
      ]);
      t.same(await inodes(), { files: 4, ffree: 0 });
      const df = await must(p.m.shell(`df --output=itotal,iused,iavail .${p.top}/d | tail -1`));
      t.same(df.stdout.trim().split(/ +/), ['4', '4', '0'], 'df -i');
      await p.update('d', { objects: 2 });
      t.same(await inodes(), { files: 2, ffree: 0 }, 'more than it may hold');
      await p.table(t, [
        ['unlink d/x', 0],
        ['unlink d/s', 0],
        ['symlink x d/x', 'ENOSPC'],
        ['unlink d/fifo', 0],
        ['symlink x d/x', 0],
      ]);
      t.equal((await p.lots.past('obj')).includes('d'), true);
    },
    ['tmpfile', 'rename-flags'],
  ],
  [
    'and a lot above holds those below to its own number',
    async (t, p) => {
      await p.table(t, [
        ['mkdir org', 0],
        ['mkdir org/a', 0],
        ['mkdir org/b', 0],
        ['mkdir out', 0],
      ]);
      await make(p, {
        org: { opportunistic: MOST, objects: 3, paths: ['org'] },
        a: { opportunistic: MOST, objects: 2, parents: ['org'], paths: ['org/a'] },
        b: { opportunistic: MOST, parents: ['org'], paths: ['org/b'] },
      });
      await p.table(t, [
        ['symlink x org/a/1', 0],
        ['symlink x org/a/2', 0],
        ['symlink x org/a/3', 'ENOSPC'],
        ['symlink x org/b/3', 0],
        ['symlink x org/b/4', 'ENOSPC'],
        ['symlink x org/4', 'ENOSPC'],
        ['rename org/b/3 org/a/3', 'ENOSPC'],
        ['rename org/a/2 org/b/2', 0],
        ['objects a', 1],
        ['objects org', 3],
        ['rename org/a/1 out/1', 0],
        ['symlink x org/4', 0],
        ['objects org', 3],
        ['objects b', 2],
      ]);
    },
  ],
];

const MOVING: LotCase[] = [
  [
    'files move between lots of one tree, directories and links do not',
    async (t, p) => {
      await p.table(t, [
        ['mkdir org', 0],
        ['mkdir org/a', 0],
        ['mkdir org/a/dir', 0],
        ['mkdir org/b', 0],
        ['mkdir org/b/dir', 0],
      ]);
      await make(p, {
        org: { dedicated: 10_000, paths: ['org'] },
        a: { opportunistic: 1000, parents: ['org'], paths: ['org/a'] },
        b: { opportunistic: 1000, parents: ['org'], paths: ['org/b'] },
      });
      await p.table(t, [
        ...file('org/a/f', 700),
        ...file('org/b/g', 400),
        ['rename org/a/f org/b/f', 'ENOSPC'],
        ['rename org/a/f org/b/g', 0],
        ['used a', 0],
        ['used b', 700],
        ['used org', 700],
        ['objects org', 1],
        ...file('org/a/f', 900),
        ['rename org/a/f org/b/g EXCHANGE', 0],
        ['used a', 700],
        ['used b', 900],
        ['objects b', 1],
        ...file('org/b/h', 100),
        ['rename org/a/f org/b/h EXCHANGE', 'ENOSPC'],
        ['rename org/a/dir org/b/new', 'EXDEV'],
        ['rename org/a/dir org/new', 'EXDEV'],
        ['rename org/a/dir org/b/dir EXCHANGE', 'EXDEV'],
        ['rename org/a/f org/b/dir EXCHANGE', 'EXDEV'],
        ['link org/a/f org/b/link', 'EXDEV'],
        ['link org/a/f org/link', 'EXDEV'],
        ['link org/a/f org/a/dir/link', 0],
        ['rename org/a/f org/f', 'EXDEV'],
        ['rename org/a/dir/link org/b/f', 'EXDEV'],
        ['rename org/a/f org/a/dir/f', 0],
        ['rename org/a org/c', 'EBUSY'],
        ['used a', 700],
        ['used org', 1700],
        ['unlink org/a/dir/link', 0],
        ['open f org/a/dir/f RDWR', 0],
        ['rename org/a/dir/f org/f', 0],
        ['fill f 9000 700', 8300],
        ['fill f 1 9000', 'ENOSPC'],
        ['used a', 0],
        ['used org', 10_000],
        ['close f', 0],
      ]);
    },
    ['rename-flags'],
  ],
  [
    'several paths of one lot are one lot',
    async (t, p) => {
      await p.table(t, [
        ['mkdir a', 0],
        ['mkdir a/dir', 0],
        ['mkdir b', 0],
        ...file('a/f', 100),
        ...file('a/dir/g', 10),
        ...file('b/f', 1),
        ['mknod single fifo 0600', 0],
      ]);
      await p.add('many', { dedicated: 500, paths: ['a', 'b', 'single', 'later'] });
      await p.table(t, [
        ['used many', 111],
        ['objects many', 4],
        ['link a/f b/link', 0],
        ['rename a/dir b/dir', 0],
        ['rename a/f later', 0],
        ['used many', 111],
        ['objects many', 4],
        ['open f later RDWR', 0],
        ['fill f 900 100', 389],
        ['fill f 1 489', 'ENOSPC'],
        ['close f', 0],
        ['rename a c', 'EBUSY'],
        ['rename single c', 'EBUSY'],
        ['rename b/link outside', 'EXDEV'],
        ['unlink b/link', 0],
        ['rename later outside', 'EBUSY'],
      ]);
      // A directory of one of its paths is one of its own from now on.
      await p.lots.addTo({ lot_name: 'many', paths: [{ path: `${p.top}/b/dir`, recursive: true }] });
      await p.table(t, [
        ['used many', 500],
        ['rename b/dir b/dir2', 'EBUSY'],
        ['access b/dir/.vreserve/report R', 0],
      ]);
    },
  ],
];

const nonRecursive = (path: string) => ({ path, recursive: false });
const excluded = (path: string) => ({ path, recursive: true, exclude: true });

const PATHS: LotCase[] = [
  [
    'a path that is not recursive owns the files in it, and no subdirectory',
    async (t, p) => {
      await p.table(t, TREE);
      await p.add('flat', { dedicated: 1000, paths: [nonRecursive('d')] });
      await p.table(t, [
        ['used flat', 300],
        ['objects flat', 2],
        ['mkdir d/new', 0],
        ...file('d/new/f', 5000),
        ['used flat', 300],
        ...file('d/g', 100),
        ['used flat', 400],
        ['rename d/in/g d/in/x', 0],
        ['rename d/in/x d/x', 0],
        ['used flat', 600],
        ['rename d/new/f d/y', 'ENOSPC'],
        ['rename d/g d/in/g', 0],
        ['used flat', 500],
        ['objects flat', 3],
        ['link d/x d/in/link', 'EXDEV'],
        ['link d/x d/link', 0],
        ['rename d/link d/in/link', 'EXDEV'],
        ['rename d/f d/in/g EXCHANGE', 0],
        ['used flat', 300],
        // Directories in it are not its own: they come and go.
        ['mkdir e', 0],
        ...file('e/f', 7000),
        ['rename e d/e', 0],
        ['rename d/in d/e/in', 0],
        ['rename d/e e', 0],
        ['used flat', 300],
        ['mkdir d/sub', 0],
        ['open t d TMPFILE|RDWR', 0],
        ['objects flat', 4],
        ['open u d/sub TMPFILE|RDWR', 0],
        ['objects flat', 4],
        ['close t', 0],
        ['close u', 0],
        ['soon objects flat', 3],
        ['getxattr d user.vreserve.lot', 'flat'],
        ['getxattr d/sub user.vreserve.lot', 'default'],
        ['getxattr d/x user.vreserve.lot', 'flat'],
        ['rename d c', 'EBUSY'],
        ['access d/.vreserve/report R', 0],
        ['stat d/sub/.vreserve', 'ENOENT'],
      ]);
    },
    ['rename-flags', 'tmpfile'],
  ],
  [
    'not recursive within a recursive one, and below it',
    async (t, p) => {
      await p.table(t, TREE);
      await make(p, {
        all: { opportunistic: MOST, paths: ['d'] },
        flat: { opportunistic: 250, parents: ['all'], paths: [nonRecursive('d/in')] },
        deep: { opportunistic: MOST, paths: ['d/in/deep/lot'] },
      });
      await p.table(t, [
        ['used all', 550],
        ['used flat', 200],
        ['objects flat', 1],
        ['mkdir d/in/deep/lot', 0],
        ...file('d/in/deep/lot/f', 9),
        ['used deep', 9],
        ['used all', 550],
        ['rename d/in/deep/h d/in/h', 0],
        ['used flat', 250],
        ['rename d/f d/in/f', 'ENOSPC'],
        ['rename d/in/h d/h', 0],
        ['rename d/in/deep d/deep', 'EBUSY'],
        ['mkdir d/in/other', 0],
        ['rename d/in/other d/other', 0],
        ['used all', 550],
      ]);
    },
  ],
  [
    'what is excluded belongs to the next shorter path, and can be included again',
    async (t, p) => {
      await p.table(t, [
        ...TREE,
        ['mkdir d/in/deep/again', 0],
        ['mkdir d/in/lot', 0],
        ...file('d/in/deep/again/k', 7),
        ...file('d/in/lot/l', 1000),
      ]);
      const d = `${p.top}/d`;
      await make(p, {
        wide: { opportunistic: MOST, paths: [''] },
        mine: { opportunistic: 10_000, paths: ['d', excluded('d/in'), 'd/in/deep/again'] },
        inner: { opportunistic: MOST, paths: ['d/in/lot'] },
      });
      await p.table(t, [
        ['used mine', 307],
        ['objects mine', 3],
        ['used wide', 250],
        ['objects wide', 2],
        ['used inner', 1000],
        ['getxattr d/in user.vreserve.lot', 'wide'],
        ['getxattr d/in/deep/again user.vreserve.lot', 'mine'],
        ['link d/f d/in/link', 'EXDEV'],
        ['link d/f d/in/deep/again/link', 0],
        ['unlink d/in/deep/again/link', 0],
        ['rename d/in/g d/g', 0],
        ['used mine', 507],
        ['used wide', 50],
        ['rename d/g d/in/deep/again/g', 0],
        ['used mine', 507],
        // Something is bound at the excluded path, or below.
        ['rename d/in d/out', 'EBUSY'],
        ['stat d/in/.vreserve', 'ENOENT'],
        ['access d/in/deep/again/.vreserve/report R', 0],
      ]);
      // Both leave it out: nobody's.
      await p.lots.addTo({ lot_name: 'wide', paths: [{ path: `${d}/in/deep`, recursive: true, exclude: true }] });
      await p.table(t, [
        ['used wide', 0],
        ['used mine', 507],
        ['getxattr d/in/deep/h user.vreserve.lot', 'default'],
        ['getxattr d/in user.vreserve.lot', 'wide'],
        ...file('d/in/deep/h', 60),
        ['used wide', 0],
      ]);
      await p.lots.removePaths({ paths: [`${d}/in`] });
      await p.table(t, [
        ['used mine', 567],
        ['used inner', 1000],
      ]);
      // An exclusion takes a whole tree from its lot, also one that is a file or is not there yet.
      await p.lots.addTo({
        lot_name: 'mine',
        paths: ['f', 'never', 'in/deep/h'].map((path) => ({ path: `${d}/${path}`, recursive: true, exclude: true })),
      });
      await p.table(t, [
        ['used mine', 207],
        ['mkdir d/never', 0],
        ...file('d/never/f', 30),
        ['used mine', 207],
        ['used wide', 330],
      ]);
      for (const path of ['f', 'in', 'in/deep/h', 'in/deep/again/g', 'in/lot/l', 'never/f', 'in/other']) {
        const owner = ownerOf(`${d}/${path}`, await p.seen());
        const isDirectory = path === 'in';
        t.same(await p.lots.which(`${d}/${path}`), [isDirectory ? 'mine' : owner], `which ${path}`);
      }
    },
  ],
  [
    'an exclusion that is not recursive takes the files of a directory, and no subdirectory',
    async (t, p) => {
      await p.table(t, TREE);
      const flat = (path: string) => ({ path, recursive: false, exclude: true });
      await make(p, {
        wide: { opportunistic: MOST, paths: [nonRecursive('d/in')] },
        mine: { opportunistic: MOST, paths: ['d', flat('d/in/deep'), flat('d/f')] },
      });
      await p.table(t, [
        ['used wide', 200],
        ['used mine', 0],
        ['objects mine', 1],
        ['used default', 350],
        ['mkdir d/in/deep/er', 0],
        ...file('d/in/deep/er/k', 7),
        ['used mine', 7],
        ['rename d/in/deep/h d/in/deep/er/h', 0],
        ['used mine', 57],
        ['link d/in/deep/er/h d/in/deep/h', 'EXDEV'],
        ['rename d/in/deep/er d/er', 0],
        ['rename d/in/deep d/deep', 'EBUSY'],
        ['rename d/f d/g', 'EBUSY'],
        ['used mine', 57],
      ]);
    },
  ],
  [
    'two lots exclude different parts of one tree',
    async (t, p) => {
      await p.table(t, [
        ['mkdir x', 0],
        ['mkdir x/a', 0],
        ['mkdir x/a/b', 0],
        ['mkdir x/a/b/c', 0],
      ]);
      await make(p, {
        one: { opportunistic: MOST, paths: ['x', excluded('x/a/b')] },
        two: { opportunistic: MOST, paths: ['x/a', excluded('x/a/b/c')] },
      });
      await p.table(t, [
        ...file('x/1', 1),
        ...file('x/a/2', 20),
        ...file('x/a/b/3', 300),
        ...file('x/a/b/c/4', 4000),
        ['used one', 1],
        ['used two', 320],
        ['used default', 4000],
        ['rename x/a/b/3 x/a/b/c/3', 0],
        ['used two', 20],
        ['used default', 4300],
        ['rename x/a/b x/a/d', 'EBUSY'],
      ]);
    },
  ],
  [
    'bound over what is there; unbound past the grant of who gets it, which then only stops growth',
    async (t, p) => {
      await p.table(t, [
        ['mkdir x', 0],
        ['mkdir x/d', 0],
        ['mkdir e', 0],
        ...file('x/d/f', 600),
        ...file('x/d/g', 300),
        ...file('e/f', 50),
        ...file('x/f', 10),
      ]);
      await p.add('heir', { dedicated: 100, objects: 2, paths: ['x'] }).then(
        () => t.fail('it holds more than that already'),
        (error: unknown) => t.match(error, { code: /NO_SPACE|BELOW_USE/, errno: 'ENOSPC' }),
      );
      await p.add('mine', { dedicated: 1000, paths: ['x/d', 'e'] });
      await p.add('heir', { dedicated: 100, objects: 2, paths: ['x'] });
      await p.table(t, [
        ['used mine', 950],
        ['used heir', 10],
        ['aside', 140],
        ['open f x/d/f RDWR', 0],
        ['fill f 9000 600', 50],
        ['fill f 1 650', 'ENOSPC'],
      ]);
      await p.lots.removePaths({ paths: [`${p.top}/x/d`, `${p.top}/nowhere`] });
      await p.table(t, [
        ['used mine', 50],
        ['used heir', 960],
        ['objects heir', 3],
        ['aside', 950],
        ['fill f 1 650', 'ENOSPC'],
        ['fill f 650 0', 650],
        ['pread f 3 0', 'abc'],
        ['symlink x x/s', 'ENOSPC'],
        ['ftruncate f 90', 0],
        ['fill f 1 90', 'ENOSPC'],
        ['unlink x/d/g', 0],
        ['used heir', 100],
        ['ftruncate f 0', 0],
        ['fill f 900 0', 90],
        ['close f', 0],
        ...file('e/g', 950),
        ['used mine', 1000],
      ]);
      await p.lots.remove('mine');
      await p.table(t, [
        ['used default', 1000],
        ['aside', 0],
      ]);
    },
  ],
  [
    'a path becomes another one, and another kind',
    async (t, p) => {
      await p.table(t, [...TREE, ['mkdir e', 0], ...file('e/f', 1), ...file('e/g', 2), ['open f d/f RDWR', 0]]);
      const path = (name: string) => `${p.top}/${name}`;
      await p.add('lot', { dedicated: 600, opportunistic: 100, paths: ['d'] });
      await p.table(t, [['used lot', 550]]);
      const become = (current: string, next: string, recursive: boolean) =>
        p.lots.update({ lot_name: 'lot', paths: [{ current: path(current), new: path(next), recursive }] });
      await become('d', 'e', true);
      await p.table(t, [
        ['used lot', 3],
        ['objects lot', 2],
        ['aside', 597],
        ['stat d/.vreserve', 'ENOENT'],
        ['access e/.vreserve/report R', 0],
        ['fill f 2000 0', 2000],
        ['rename d c', 0],
        ['rename c d', 0],
        ['rename e c', 'EBUSY'],
        ['used default', 2250],
      ]);
      const before = await p.state();
      t.equal(await codeOf(become('e', 'd', true)), 'BELOW_USE', 'it holds more than the grant by now');
      t.equal(await codeOf(become('d', 'x', true)), 'NO_SUCH_LOT');
      t.same(await p.state(), before, 'no trace');
      await p.table(t, [
        ['ftruncate f 300', 0],
        ['close f', 0],
      ]);
      await become('e', 'd', false);
      await p.table(t, [
        ['used lot', 300],
        ['objects lot', 2],
      ]);
      await become('d', 'd', true);
      await p.table(t, [['used lot', 550], ['objects lot', 4], ...file('d/in/new', 1), ['used lot', 551]]);
      // All in one: another path, other caps, another parent.
      await p.add('above', { dedicated: 1000 });
      await p.lots.update({
        lot_name: 'lot',
        owner: String(NOBODY),
        parents: [{ current: 'lot', new: 'above' }],
        paths: [{ current: path('d'), new: path('d/in'), recursive: true }],
        management_policy_attrs: { dedicated_GB: 251e-9, opportunistic_GB: 0 },
      });
      t.same(await parentsOf(p, 'lot'), ['above']);
      await p.table(t, [
        ['used lot', 251],
        ['used above', 251],
        ['aside', 749],
        ['open f d/in/new WRONLY', 0],
        ['fill f 1 1', 'ENOSPC'],
        ['close f', 0],
      ]);
    },
  ],
];

const SEEN: LotCase[] = [
  [
    'xattrs, statfs and a scoped .vreserve in each directory of a lot',
    async (t, p) => {
      await p.table(t, [
        ['mkdir a', 0],
        ['mkdir a/out', 0],
        ['mkdir b', 0],
        ['mkdir b/kid', 0],
        ['mkdir n', 0],
        ['mkdir n/sub', 0],
        ...file('single', 1000),
        ...file('a/f', 5000),
        ...file('n/f', 96),
      ]);
      await make(p, {
        lot: { dedicated: 40_960, opportunistic: 4096, paths: ['a', 'b', nonRecursive('n'), 'single', excluded('a/out')] },
        kid: { dedicated: 8192, parents: ['lot'], paths: ['b/kid'] },
        stranger: { dedicated: 4096, paths: ['stranger'] },
      });
      await p.table(t, [...file('b/kid/f', 100), ['mkdir stranger', 0], ...file('stranger/f', 1)]);
      const used = 6196;
      const grant = 45_056;
      for (const path of ['a', 'a/f', 'b', 'n', 'n/f', 'single']) {
        await p.table(t, [
          [`getxattr ${path} user.vreserve.lot`, 'lot'],
          [`getxattr ${path} user.vreserve.used`, String(used)],
          [`getxattr ${path} user.vreserve.grant`, String(grant)],
          [`getxattr ${path} user.vreserve.grant 3`, 'ERANGE'],
          [`listxattr ${path}`, []],
        ]);
        // 45,056 less 6,196 used and 8,092 promised to the child, in whole blocks.
        const available = Math.floor((grant - used - 8092) / 4096) * 4096;
        t.same(await p.ops.do(`statfs ${path}`), { size: grant, free: available, available }, `statfs ${path}`);
      }
      await p.table(t, [
        ['getxattr a/out user.vreserve.lot', 'default'],
        ['getxattr n/sub user.vreserve.lot', 'default'],
        ['getxattr b/kid user.vreserve.lot', 'kid'],
        ['getxattr b/kid/f user.vreserve.used', '100'],
        ['statfs b/kid', { size: 8192, free: 4096, available: 4096 }],
      ]);
      for (const directory of ['a', 'b', 'n']) {
        const report = JSON.parse(String(await p.ops.do(`text ${directory}/.vreserve/report.json`)));
        const seen = report.lots as { name: string; paths: { path: string }[]; usedBytes: number }[];
        t.same(seen.map(({ name }) => name).sort(), ['kid', 'lot'], `${directory}: itself and what is below`);
        const lot = seen.find(({ name }) => name === 'lot');
        t.equal(lot?.usedBytes, used);
        const own = ['a', 'b', 'n', 'single', 'a/out'].map((path) => `${p.top}/${path}`);
        const top = `${p.top}/${directory}`;
        t.same(
          lot?.paths.map(({ path }) => path).sort(),
          own.map((path) => (path === top ? '/' : path.startsWith(`${top}/`) ? path.slice(top.length) : path)).sort(),
          'paths are relative to the directory',
        );
        t.notMatch(String(await p.ops.do(`text ${directory}/.vreserve/ledger`)), 'stranger');
        await p.table(t, [
          [`text ${directory}/.vreserve/lots/kid/parents`, 'lot\n'],
          [`text ${directory}/.vreserve/lots/stranger/owner`, 'ENOENT'],
          [`list ${directory}/.vreserve/lots`, ['kid directory', 'lot directory']],
        ]);
      }
      await p.table(t, [
        ['stat a/out/.vreserve', 'ENOENT'],
        ['stat n/sub/.vreserve', 'ENOENT'],
        ['stat single/.vreserve', 'ENOTDIR'],
        ['text b/kid/.vreserve/lots/kid/parents', ''],
      ]);
      // Through its own tree a lot changes only what is below it.
      const inside = new Lots(join(p.m.mnt, p.top, 'b'));
      t.same(await inside.list(), ['kid', 'lot']);
      t.equal(await codeOf(inside.add(addJson('new', { dedicated: 100, parents: ['lot'], paths: ['new'] }))), '');
      t.match(await p.lots.dirs('new'), [{ path: `${p.top}/b/new/` }]);
      t.equal(
        await codeOf(inside.add(addJson('root', { dedicated: 100, paths: ['new2'] }))),
        'NOT_YOURS',
        'a root is not below it',
      );
      t.equal(await codeOf(inside.removeRecursive('lot')), 'NOT_YOURS');
      t.equal(await codeOf(inside.remove('stranger')), 'NO_SUCH_LOT');
      t.equal(await codeOf(inside.add(addJson('up', { dedicated: 1, parents: ['lot'], paths: ['../a/x'] }))), 'BAD_PATH');
    },
  ],
  [
    'names of every kind',
    async (t, p) => {
      const names = [
        'a/b//c/',
        '50% of it',
        '100%25',
        'ü n ï',
        '日本語 😀',
        '.',
        '..',
        `it's "quoted" $HOME \`id\` \\n`,
        '-rf *',
        '--recursive',
        'default ',
        'x'.repeat(300),
        `${'y/'.repeat(200)}end`,
        '__proto__',
        'constructor',
      ];
      for (const [i, name] of names.entries()) {
        await p.table(t, [[`mkdir n${i}`, 0], ...file(`n${i}/f`, i + 1)]);
        await p.add(name, { dedicated: 100 + i, owner: String(NOBODY), paths: [`n${i}`] });
      }
      const lots = join(p.m.mnt, '.vreserve/lots');
      const listed = await readdir(lots);
      t.equal(listed.length, names.length + 1);
      t.equal(new Set(listed).size, listed.length, 'each has a file name of its own');
      for (const [i, name] of names.entries()) {
        const path = `${p.top}/n${i}`;
        t.equal((await p.lot(name)).usedBytes, i + 1, name.slice(0, 40));
        t.match(await p.lots.show(name), { lot_name: name, paths: [{ path: `${path}/`, lot_name: name }] });
        t.same(await p.lots.which(path), [name]);
        t.equal(await p.ops.do(`getxattr n${i} user.vreserve.used`), String(i + 1));
        const found: string[] = [];
        for (const each of listed) {
          if ((await readFile(join(lots, each, 'paths'), 'utf8')) === `${path}\n`) found.push(each);
        }
        t.equal(found.length, 1, 'one directory of its own');
        const [directory = ''] = found;
        t.equal(directory, fileOf(name));
        t.match(JSON.parse(await readFile(join(lots, directory, 'policy.json'), 'utf8')), { dedicatedBytes: 100 + i });
        t.match(await readFile(join(lots, directory, 'owner'), 'utf8'), /^(nobody|65534)\n$/);
      }
      const bad = {
        tab: 'a\tb',
        line: 'a\nb',
        nothing: '',
        nul: 'a\0b',
        long: 'z'.repeat(4096),
        delete: '\x7f',
        path: '/nowhere',
      };
      for (const [what, name] of Object.entries(bad)) {
        t.match(await codeOf(p.add(name, { dedicated: 1 })), /^BAD_(NAME|LOT_JSON)$/, what);
      }
      const cli = await p.m.run(['lot', 'show', '50% of it', '--json', '--mount', p.m.mnt]);
      t.match(JSON.parse(cli.stdout), { lot_name: '50% of it', management_policy_attrs: { dedicated_GB: 101e-9 } });
      t.match(await p.m.run(['lot', 'exists', '..', '--mount', p.m.mnt]), { code: 0, stdout: 'yes\n' });
      t.match(await p.m.run(['lot', 'remove', '..', '--mount', p.m.mnt]), { code: 0, stdout: 'removed ..\n' });
      t.match(await p.m.run(['lot', 'exists', '..', '--mount', p.m.mnt]), { code: 1, stdout: 'no\n' });
    },
  ],
  [
    'reserve with its options makes the same lots',
    async (t, p) => {
      await p.table(t, [['mkdir d', 0]]);
      const path = `${p.m.mnt}${p.top}/d`;
      const words = ['--opportunistic', '500', '--objects', '2', '--owner', String(NOBODY), '--expires', '2h'];
      t.match(await p.m.run(['reserve', path, '1000', ...words]), { code: 0 });
      const { expiresAtMs, ...lot } = (await p.seen()).find(({ name }) => name === `${p.top}/d`) ?? { expiresAtMs: null };
      t.match(lot, {
        dedicatedBytes: 1000,
        opportunisticBytes: 500,
        maxObjects: 2,
        owner: /^(nobody|65534)$/,
        deletesAtMs: null,
      });
      t.ok(Math.abs((expiresAtMs ?? 0) - Date.now() - 7_200_000) < 600_000, 'in two hours');
      await p.table(t, [
        ['open f d/f CREAT|RDWR', 0],
        ['fill f 9000 0', 1500],
        ['symlink x d/1', 0],
        ['symlink x d/2', 'ENOSPC'],
        ['aside', 0],
      ]);
      t.match(await p.m.run(['reserve', path, '2000', '--objects', 'unlimited']), { code: 0 }, 'what is not said stays');
      await p.table(t, [
        ['fill f 9000 1500', 1000],
        ['symlink x d/2', 0],
        ['close f', 0],
      ]);
      t.match(await p.m.run(['reserve', path, '1999']), { code: 1, stderr: /holds 2,?500 B|holds 2.5 kB/ }, 'less than it holds');
      t.match(await p.m.run(['reserve', path, '2000', '--expires', 'soon']), { code: 2, stderr: /'soon' is not a duration/ });
      t.match(await p.m.run(['reserve', path, '2000', '--expires', 'never', '--opportunistic', 'unlimited']), { code: 0 });
      t.match(await p.lot(`${p.top}/d`), { dedicatedBytes: 2000, opportunisticBytes: -1, expiresAtMs: null, usedBytes: 2500 });
      // LotMan's functions see it, and change it.
      t.match(await p.lots.show(`${p.top}/d`), { parents: [`${p.top}/d`], paths: [{ path: `${p.top}/d/`, recursive: true }] });
      await p.update(`${p.top}/d`, { dedicated: 3000, opportunistic: 0 });
      await p.table(t, [['aside', 500]]);
    },
  ],
];

/** What is refused to an administrator, and its code. */
const REFUSED: readonly [what: string, code: string, refused: (p: LotPlace) => Promise<unknown>][] = [
  ['a name that is taken', 'LOT_EXISTS', (p) => p.add('org', { dedicated: 1 })],
  ['a parent that is not there', 'NO_SUCH_LOT', (p) => p.add('new', { parents: ['none'], paths: ['new'] })],
  ['a child that is not there', 'NO_SUCH_LOT', (p) => p.add('new', { parents: ['org'], children: ['none'] })],
  ['a cycle by adding', 'LOT_CYCLE', (p) => p.add('new', { parents: ['job'], children: ['org'] })],
  ['a cycle by more parents', 'LOT_CYCLE', (p) => p.lots.addTo({ lot_name: 'org', parents: ['job'] })],
  [
    'a cycle by another parent',
    'LOT_CYCLE',
    (p) => p.lots.update({ lot_name: 'org', parents: [{ current: 'org', new: 'job' }] }),
  ],
  ['a path that another lot has', 'PATH_TAKEN', (p) => p.add('new', { dedicated: 1, paths: ['fresh', 'org/job'] })],
  ['one path twice', 'PATH_TAKEN', (p) => p.add('new', { dedicated: 1, paths: ['fresh', 'fresh'] })],
  ['more than the pool has', 'NO_SPACE', (p) => p.add('new', { dedicated: CAPACITY, paths: ['fresh'] })],
  ['more than the parent has', 'NO_SPACE', (p) => p.add('new', { dedicated: 7901, parents: ['org'], paths: ['fresh'] })],
  ['more for a child than its parent has', 'NO_SPACE', (p) => p.update('job', { dedicated: 9901 })],
  ['less than the children were promised', 'BELOW_CHILDREN', (p) => p.update('org', { dedicated: 1000, opportunistic: 999 })],
  ['more data than the grant', 'BELOW_USE', (p) => p.add('new', { dedicated: 99, paths: ['full'] })],
  ['names of one file in two lots', 'SPLIT_NAMES', (p) => p.add('new', { dedicated: 5000, paths: ['linked'] })],
  ['a real .vreserve', 'REAL_VRESERVE', (p) => p.add('new', { dedicated: 5000, paths: ['fresh', 'real'] })],
  ['a path with dots', 'BAD_PATH', (p) => p.add('new', { dedicated: 5000, paths: ['fresh/../other'] })],
  ['a path below a file', 'SYSTEM ENOTDIR', (p) => p.add('new', { dedicated: 5000, paths: ['full/f/x'] })],
  ['a path in .vreserve', 'BAD_PATH', (p) => p.lots.add(addJson('new', { dedicated: 5000, paths: ['x'] }, '/.vreserve'))],
  ['an exclusion from nothing', 'BAD_PATH', (p) => p.add('new', { dedicated: 1, paths: ['fresh', excluded('other')] })],
  [
    'an exclusion from files only',
    'BAD_PATH',
    (p) => p.add('new', { dedicated: 1, paths: [nonRecursive('fresh'), excluded('fresh/x')] }),
  ],
  ['bad JSON', 'BAD_LOT_JSON', (p) => p.add('new', { dedicated: -1 })],
  ['an orphan', 'LOT_ORPHANS', (p) => p.lots.removeParents({ lot_name: 'job', parents: ['org'] })],
  ['a root with children that goes', 'LOT_ORPHANS', (p) => p.lots.remove('org', { assignToOrphans: true })],
  ['the default lot that goes', 'LOT_IS_DEFAULT', (p) => p.lots.remove('default')],
  ['a lot that is not there goes', 'NO_SUCH_LOT', (p) => p.lots.remove('none')],
  ['usage of what is measured', 'USAGE_IS_MEASURED', (p) => p.lots.setUsage({ lot_name: 'job', self_GB: 1 })],
  ['negative usage', 'NEGATIVE_USAGE', (p) => p.lots.setUsage({ lot_name: 'far', self_GB: -1 }, { delta: true })],
  [
    'a part of the paths is bad',
    'PATH_TAKEN',
    (p) =>
      p.lots.addTo({
        lot_name: 'job',
        paths: [
          { path: `${p.top}/fresh`, recursive: true },
          { path: `${p.top}/org`, recursive: true },
        ],
      }),
  ],
  [
    'an update of which a part is refused',
    'NO_SPACE',
    (p) =>
      p.lots.update({
        lot_name: 'job',
        owner: String(NOBODY),
        paths: [{ current: `${p.top}/org/job`, new: `${p.top}/fresh`, recursive: false }],
        management_policy_attrs: { dedicated_GB: 1, max_num_objects: 5 },
      }),
  ],
];

/** As NOBODY, who owns none of it. */
const FORBIDDEN: readonly [what: string, request: (p: LotPlace) => object][] = [
  ['a lot below another', () => ({ name: 'add', json: addJson('new', { dedicated: 1, parents: ['org'] }) })],
  ['a lot above another', () => ({ name: 'add', json: addJson('new', { dedicated: 1, children: ['job'] }) })],
  ['a path that is not his', (p) => ({ name: 'add', json: addJson('new', { dedicated: 1, paths: ['fresh'] }, p.top) })],
  ['bytes of the pool, without a path', () => ({ name: 'add', json: addJson('new', { dedicated: 1 }) })],
  ['an update', () => ({ name: 'update', json: { lot_name: 'job', management_policy_attrs: { dedicated_GB: 0 } } })],
  ['a removal', () => ({ name: 'remove', word: 'job', flags: ['recursive'] })],
  ['a path that goes', (p) => ({ name: 'remove-paths', json: { paths: [`${p.top}/org/job`] } })],
  ['reported usage', () => ({ name: 'usage set', json: { lot_name: 'far', self_GB: 1 } })],
];

const REFUSALS: LotCase[] = [
  [
    `what is refused leaves no trace${lacksSqlite === false ? '' : ` (the ledger's rows are not compared: ${lacksSqlite})`}`,
    async (t, p) => {
      await p.table(t, [
        ['mkdir org', 0],
        ['mkdir org/job', 0],
        ['mkdir full', 0],
        ['mkdir linked', 0],
        ['mkdir real', 0],
        ['mkdir real/.vreserve', 0],
        ...file('org/job/f', 100),
        ...file('full/f', 100),
        ...file('linked/f', 100),
        ['link linked/f outside', 0],
      ]);
      await make(p, {
        org: { dedicated: 9000, opportunistic: 900, paths: ['org'] },
        job: { dedicated: 2000, parents: ['org'], paths: ['org/job'] },
        far: { dedicated: 5, paths: ['far://away'] },
      });
      const before = await p.state();
      const events = async () => (await p.text('ledger')).split('\n').filter((line) => !/"event":"(refusal|charge)"/.test(line));
      const linesBefore = await events();
      const refusals = async () => (await p.journal('refusal')).length;
      for (const [what, code, refuse] of REFUSED) {
        const known = await refusals();
        t.equal(await codeOf(refuse(p)), code, what);
        t.same(await p.state(), before, `${what}: no trace`);
        if (code !== 'BAD_LOT_JSON') t.ok((await refusals()) <= known + 1, `${what}: one line of the journal at most`);
        if (/SPACE|BELOW|TAKEN|CYCLE/.test(code)) t.match((await p.journal('refusal')).at(-1), { code });
      }
      const user = await p.another(t, { uid: NOBODY, gid: NOBODY });
      for (const [what, request] of FORBIDDEN) {
        const got = await p.control(JSON.stringify({ cmd: 'lot', ...request(p) }), user);
        t.match(got, { errno: 'EACCES', reply: { code: 'NOT_YOURS' } }, `not his: ${what}`);
      }
      await user.end();
      t.same(await p.state(), before, 'no trace of them either');
      t.same(await events(), linesBefore, 'no other line');
      // And the same lots go on.
      await p.table(t, [
        ['open f org/job/f RDWR', 0],
        ['fill f 9000 100', 1900],
        ['fill f 1 2000', 'ENOSPC'],
        ['close f', 0],
        ['mkdir fresh', 0],
        ...file('fresh/f', 10),
        ['used default', 210],
      ]);
    },
    ['other-users'],
  ],
];

t.test('caps', { timeout: 250_000 }, (t) => onEachLotMount(t, CAP_CASES));
t.test('hierarchy and objects', { timeout: 250_000 }, (t) => onEachLotMount(t, [...HIERARCHY, ...OBJECTS]));
t.test('moving and paths', { timeout: 250_000 }, (t) => onEachLotMount(t, [...MOVING, ...PATHS]));
t.test('views and refusals', { timeout: 250_000 }, (t) => onEachLotMount(t, [...SEEN, ...REFUSALS]));

const FILES = 20_000;
const WRITERS = 4;

/** A tree of 200 directories with 100 files of a few bytes, `t/DDD/NNN`. */
async function plant(data: string): Promise<void> {
  for (let directory = 0; directory < 200; directory++) {
    const top = join(data, 'tree', String(directory));
    await mkdir(top, { recursive: true });
    const names = Array.from({ length: FILES / 200 }, (_, i) => i);
    await Promise.all(names.map((name) => writeFile(join(top, String(name)), 'x'.repeat((directory + name) % 50))));
  }
}

/** Grows and makes files of the tree, one step after the other, until told to end; what each of its files must hold then. */
async function grow(p: LotPlace, t: T, writer: number, isOver: () => boolean): Promise<Map<string, number>> {
  const ops = await p.another(t);
  const sizes = new Map<string, number>();
  const sizeOf = (path: string, directory: number, name: number) => sizes.get(path) ?? (name < 100 ? (directory + name) % 50 : 0);
  const refused: string[] = [];
  for (let step = 0; !isOver() || step < 100; step++) {
    const directory = (step * 37 + writer * 50) % 200;
    // Every fourth of the files that are there, or a new one; no other writer has it.
    const name = ((step * 13) % 40) * WRITERS + writer;
    const path = `${p.m.mnt}/tree/${directory}/${name}`;
    const size = sizeOf(path, directory, name);
    const bytes = 1 + ((step * 101) % 700);
    const [, written] = await ops.all([`open f ${path} CREAT|WRONLY`, `fill f ${bytes} ${size}`, 'close f']);
    if (written !== bytes) refused.push(`${path}: ${String(written)}`);
    sizes.set(path, size + bytes);
  }
  t.same(refused, [], `writer ${writer}: every write was done whole`);
  await ops.end();
  return sizes;
}

const LARGE: LotCase[] = [
  [
    `a lot is bound over ${FILES} files while ${WRITERS} writers grow them: exact, and nothing is lost`,
    async (t, p) => {
      let over = false;
      const writers = Array.from({ length: WRITERS }, (_, i) => grow(p, t, i, () => over));
      const tree = (recursive = true) => [{ path: '/tree', recursive }];
      await p.lots.add({ ...addJson('tree', { dedicated: 40_000_000 }), paths: tree() });
      await p.lots.add({
        ...addJson('half', { opportunistic: MOST, parents: ['tree'] }),
        paths: [{ path: '/tree/7', recursive: true }],
      });
      await p.lots.update({
        lot_name: 'half',
        paths: [{ current: '/tree/7', new: '/tree/8', recursive: true }],
      });
      await p.lots.addTo({ lot_name: 'tree', paths: [{ path: '/tree/9', recursive: true, exclude: true }] });
      await p.lots.removePaths({ paths: ['/tree'] });
      t.ok(
        (
          await soon(
            () => p.lot('default'),
            ({ objects }) => objects > FILES - 300,
          )
        ).objects >
          FILES - 300,
        'unbound',
      );
      await p.lots.addTo({ lot_name: 'tree', paths: tree() });
      over = true;
      const sizes = new Map((await Promise.all(writers)).flatMap((each) => [...each]));
      await p.usageEqualsCount(t, 'exact');
      const { objects } = await p.lot('tree');
      const { objects: outside } = await p.lot('default');
      t.equal(objects + outside, FILES + [...sizes.keys()].filter((path) => Number(path.split('/').at(-1)) >= 100).length);
      const wrong: string[] = [];
      for (const [path, size] of sizes) {
        const is = (await stat(path.replace(p.m.mnt, p.m.data))).size;
        if (is !== size) wrong.push(`${path}: ${is} of ${size}`);
      }
      t.same(wrong, [], `nothing is lost of ${sizes.size} files`);
      t.ok(sizes.size > 300, 'the writers wrote');
      const text = await readFile(join(p.m.data, 'tree/3/3'), 'utf8');
      t.ok(text.startsWith('x'.repeat(6)), 'what was there stays');
    },
  ],
];

t.test('a large tree', { timeout: 250_000 }, (t) => onEachLotMount(t, LARGE, { fill: plant }));
