// Which lot owns what, what binding and unbinding move, and which reservations are admitted.
import t from 'tap';
import { type Case, COLUMNS, file, onEachMount, type Place, type Row } from '../helpers/columns.js';

type Test = Parameters<Case[1]>[0];

/** `d` holds 300 bytes in d/f, 200 in d/in/g, and a symlink. */
const TREE: Row[] = [['mkdir d', 0], ['mkdir d/in', 0], ...file('d/f', 300), ...file('d/in/g', 200), ['symlink f d/s', 0]];

async function reply(p: Place, command: string): Promise<unknown> {
  const { errno, reply } = await p.control(command);
  return { errno, ...reply };
}

const OWNING: Case[] = [
  [
    'the longest bound prefix by whole components owns',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/in', 0],
        ['mkdir d/in2', 0],
        ['mkdir dd', 0],
        ['reserve d 10000', ''],
        ['reserve d/in 1000', ''],
        ...file('d/in/f', 100),
        ...file('d/in2/f', 10),
        ...file('dd/f', 1000),
        ...file('d/ini', 1),
        ['used d/in', 100],
        ['used d', 111],
        ['objects d', 3],
        ['objects d/in', 1],
      ]);
    },
  ],
  [
    'symlinks are resolved when binding; dots are refused',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir real', 0],
        ['symlink real link', 0],
        ['reserve link/new 1000', ''],
      ]);
      t.equal((await p.lot('real/new')).dedicatedBytes, 1000);
      await p.table(t, [
        ['mkdir real/new', 0],
        ...file('link/new/f', 600),
        ['used real/new', 600],
        ['reserve link/new 2000', ''],
        ['reserve real/../d 10', 'EINVAL'],
        ['reserve ./d 10', 'EINVAL'],
        ['symlink /etc out', 0],
        ['reserve out/d 10', 'EXDEV'],
        ['symlink loop loop', 0],
        ['reserve loop/d 10', 'ELOOP'],
        ...file('f', 1),
        ['reserve f/d 10', 'ENOTDIR'],
        ['reserve f 0', 'ENOSPC'],
        ['reserve f 1', ''],
        ['used f', 1],
        ['open g f WRONLY', 0],
        ['pwrite g x 1', 'ENOSPC'],
        ['close g', 0],
      ]);
    },
  ],
  [
    'binding a tree moves its charge, unbinding moves it back, even past the grant of who gets it',
    async (t: Test, p: Place) => {
      await p.table(t, [...TREE, ['reserve . 0', 'EINVAL']]);
      t.match(await reply(p, `reserve ${p.top}/d 499`), { errno: 'ENOSPC', askedBytes: 499, heldBytes: 500 });
      await p.table(t, [
        ['reserve d 500', ''],
        ['used d', 500],
        ['objects d', 3],
        ['open f d/f WRONLY', 0],
        ['pwrite f x 300', 'ENOSPC'],
        ['reserve d 1000', ''],
        ['reserve d/in 400', ''],
        ['used d/in', 200],
        ['used d', 500],
        ['objects d', 3],
        ['reserve d 499', 'ENOSPC'],
        ['reserve d 700', ''],
        ['release d/in', ''],
        ['used d', 500],
        ['pwrite f x 499', 1],
        ['used d', 700],
        ['pwrite f x 500', 'ENOSPC'],
        ['close f', 0],
      ]);
    },
  ],
  [
    'a lot that gets more than its grant only stops growing',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/in', 0],
        ['reserve d 1000', ''],
        ['reserve d/in 900', ''],
        ...file('d/in/f', 900),
        ...file('d/f', 100),
        ['release d/in', ''],
        ['used d', 1000],
        ['open f d/f RDWR', 0],
        ['pwrite f x 100', 'ENOSPC'],
        ['pwrite f x 99', 1],
        ['close f', 0],
        ['truncate d/in/f 800', 0],
        ...file('d/g', 100),
        ['used d', 1000],
      ]);
    },
  ],
  [
    'a hard link with a name outside is in the way, and named',
    async (t: Test, p: Place) => {
      await p.table(t, [...TREE, ['link d/in/g outside', 0]]);
      const refused = await reply(p, `reserve ${p.top}/d 1000`);
      t.match(refused, { errno: 'EXDEV', code: 'SPLIT_NAMES' });
      t.match(JSON.stringify(refused), /case\d+\/(outside|d\/in\/g)/);
      t.match((await p.journal('refusal')).at(-1), { path: `${p.top}/d` });
      await p.table(t, [
        ['rename outside d/again', 0],
        ['reserve d 1000', ''],
        ['used d', 500],
        ['objects d', 3],
      ]);
    },
  ],
  [
    'a file that is open under a name which is gone is where its other name is',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir d', 0],
        ...file('f', 100),
        ['link f d/g', 0],
        ['open g d/g RDWR', 0],
        ['unlink f', 0],
        ['reserve d 1000', ''],
        ['used d', 100],
        ['fill g 600 100', 600],
        ['used d', 700],
        ['ftruncate g 300', 0],
        ['used d', 300],
        ['fill g 800 300', 700],
        ['fill g 1 1000', 'ENOSPC'],
        ['unlink d/g', 0],
        ['close g', 0],
        ['soon used d', 0],
        ['soon objects d', 0],
      ]);
    },
  ],
  [
    'an open unlinked file goes with its directory when the lot goes',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/in', 0],
        ['reserve d 2000', ''],
        ['reserve d/in 1000', ''],
        ['open f d/in/f CREAT|RDWR', 0],
        ['fill f 600 0', 600],
        ['unlink d/in/f', 0],
        ['used d/in', 600],
        ['release d/in', ''],
        ['used d', 600],
        ['objects d', 1],
        ['fill f 2000 600', 1400],
        ['fill f 1 2000', 'ENOSPC'],
        ['close f', 0],
        ['soon used d', 0],
        ['soon objects d', 0],
      ]);
    },
  ],
  [
    'a real .vreserve is in the way',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/.vreserve', 0],
        ['reserve d 10', 'EEXIST'],
        ['rmdir d/.vreserve', 0],
        ['reserve d 10', ''],
      ]);
    },
  ],
];

const ADMISSION: Case[] = [
  [
    'more than is available is refused, with no trace but a line of the journal',
    async (t: Test, p: Place) => {
      const before = await p.report();
      t.match(await reply(p, `reserve ${p.top}/x ${65e6}`), {
        errno: 'ENOSPC',
        code: 'NO_SPACE',
        askedBytes: 65e6,
        availableBytes: before.pool.headroomBytes,
      });
      const after = await p.report();
      t.same(after.lots, before.lots);
      t.equal(after.pool.setAsideBytes, before.pool.setAsideBytes);
      t.match((await p.journal('refusal')).at(-1), { path: `${p.top}/x`, askedBytes: 65e6 });
      t.equal(await p.ops.do('stat x'), 'ENOENT');
      t.equal(await p.reserve('x', before.pool.headroomBytes), '', 'exactly what is available');
      t.equal(await p.reserve('y', 1), 'ENOSPC', 'first come, first served');
      t.equal((await p.report()).pool.headroomBytes, 0);
      t.equal(await p.reserve('x', before.pool.headroomBytes + 1), 'ENOSPC', 'growth is admitted like a new grant');
      t.equal(await p.reserve('x', before.pool.headroomBytes - 5), '');
      t.equal(await p.reserve('y', 5), '');
      t.equal(await p.reserve('y', 6), 'ENOSPC');
    },
  ],
  [
    'asked by many at once, what is there is given once',
    async (t: Test, p: Place) => {
      const { headroomBytes } = (await p.report()).pool;
      const each = Math.floor(headroomBytes / 4);
      const askers = await Promise.all(Array.from({ length: 6 }, () => p.another(t)));
      const answers = await Promise.all(askers.map((ops, i) => p.reserve(`many${i}`, each, ops)));
      t.same(answers.sort(), ['', '', '', '', 'ENOSPC', 'ENOSPC']);
      await Promise.all(askers.map((ops) => ops.end()));
    },
  ],
  [
    'a reservation below another is its child',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/in', 0],
        ['reserve d 1000', ''],
      ]);
      const before = await p.report();
      await p.table(t, [['reserve d/in 600', '']]);
      t.equal((await p.report()).pool.setAsideBytes, before.pool.setAsideBytes, 'out of what the parent has');
      t.match(JSON.parse(JSON.stringify((await p.journal('grant')).at(-1))), { path: `${p.top}/d/in`, parent: `${p.top}/d` });
      await p.table(t, [
        ...file('d/in/f', 600),
        ['used d', 600],
        ...file('d/f', 400),
        ['used d', 1000],
        ['open f d/f WRONLY', 0],
        ['pwrite f x 400', 'ENOSPC'],
        ['close f', 0],
        ['open f d/in/f WRONLY', 0],
        ['pwrite f x 600', 'ENOSPC'],
        ['close f', 0],
        ['truncate d/in/f 599', 0],
        ['used d', 999],
      ]);
    },
  ],
  [
    'what is promised to a child is neither taken by its parent nor promised twice',
    async (t: Test, p: Place) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/in', 0],
        ['reserve d 1000', ''],
        ['reserve d/in 600', ''],
        ['open f d/f CREAT|RDWR', 0],
        ['open g d/in/f CREAT|RDWR', 0],
        ['fill f 300 0', 300],
        ['reserve d/other 101', 'ENOSPC'],
        ['reserve d/in 701', 'ENOSPC'],
        ['fill f 700 300', 100],
        ['fill f 1 400', 'ENOSPC'],
        ['used d', 400],
        ['reserve d 999', 'ENOSPC'],
        ['fill g 700 0', 600],
        ['fill g 1 600', 'ENOSPC'],
        ['used d', 1000],
        ['close f', 0],
        ['close g', 0],
      ]);
      t.equal((await p.lot('d')).dedicatedBytes, 1000);
    },
  ],
];

t.test('owning', { timeout: 200_000 }, (t) => onEachMount(t, COLUMNS, [...OWNING, ...ADMISSION]));
