// Set-uid programs on the mount: who may write to one but is not root takes its power away, as executing it shows.
import t from 'tap';
import { type Case, NOBODY, onEachMount, ROOT_COLUMNS, type Row } from '../helpers/columns.js';

/** The user and group that a program runs as. */
const runsAs = (uid: number, gid: number) => `${uid} ${gid}\n`;
const ROOT_POWER = runsAs(0, 0);
const NONE = runsAs(NOBODY, NOBODY);
const user = { uid: NOBODY, gid: NOBODY };

/** What takes the power away. Each leaves a program that still runs: it ends later, or has another byte in the padding of its header. */
const CHANGES: readonly [name: string, steps: readonly Row[]][] = [
  [
    'overwriting a byte',
    [
      ['open f prog WRONLY', 0],
      ['pwrite f x 9', 1],
      ['close f', 0],
    ],
  ],
  ['overwriting a byte with a descriptor that was there before', [['pwrite early x 10', 1]]],
  [
    'appending',
    [
      ['open f prog APPEND|WRONLY', 0],
      ['write f x', 1],
      ['close f', 0],
    ],
  ],
  ['truncate to a greater size', [['truncate prog 2000000', 0]]],
  [
    'ftruncate to a greater size',
    [
      ['open f prog RDWR', 0],
      ['ftruncate f 2000000', 0],
      ['close f', 0],
    ],
  ],
  [
    'fallocate',
    [
      ['open f prog RDWR', 0],
      ['fallocate f 0 0 2000000', 0],
      ['close f', 0],
    ],
  ],
  [
    'punching a hole past the end',
    [
      ['open f prog RDWR', 0],
      ['fallocate f PUNCH|KEEP 3000000 4096', 0],
      ['close f', 0],
    ],
  ],
  [
    'copy_file_range',
    [
      ['open f prog RDWR', 0],
      ['open g other RDONLY', 0],
      ['copy g 0 f 0 16', { copied: 16, in: 16, out: 16 }],
      ['close f', 0],
      ['close g', 0],
    ],
  ],
];

/** What a writer without rights may not do, or does without changing the file. */
const HARMLESS: readonly Row[] = [
  ['chmod prog 04777', 'EPERM'],
  ['open f prog RDWR', 0],
  ['pread f 4 0', '\u007fELF'],
  ['close f', 0],
  ['utimens prog now now', 0],
  ['exec prog', ROOT_POWER],
];

const cases: Case[] = CHANGES.map(([name, rows]) => [
  name,
  async (t, p) => {
    await p.table(t, [
      ['self prog 06777', 0],
      ['self other 0755', 0],
    ]);
    const writer = await p.another(t, user);
    await p.table(
      t,
      [['exec prog', ROOT_POWER], ...HARMLESS, ['open early prog RDWR', 0], ...rows, ['close early', 0], ['exec prog', NONE]],
      writer,
    );
    await writer.end();
    // What is not set any more is not shown either.
    await p.table(t, [['exec prog', ROOT_POWER]]);
    const { mode } = (await p.ops.do('stat prog')) as { mode: string };
    t.equal(mode, '777');
  },
  ['other-users'],
]);

const KEPT: Case = [
  'root keeps it',
  async (t, p) => {
    const other = await p.another(t, user);
    await p.table(t, [
      ['self prog 06755', 0],
      ['open f prog RDWR', 0],
      ['pwrite f x 9', 1],
      ['ftruncate f 2000000', 0],
      ['close f', 0],
    ]);
    t.equal(await other.do('exec prog'), ROOT_POWER);
    t.equal(await other.do('open f prog WRONLY'), 'EACCES');
    await p.table(t, [['chown prog 1 1', 0]]);
    t.equal(await other.do('exec prog'), NONE, 'a new owner takes it away');
    await other.end();
  },
  ['other-users'],
];

const IGNORED: Case = [
  'without -o suid it is ignored',
  async (t, p) => {
    await p.table(t, [['self prog 06755', 0]]);
    const other = await p.another(t, user);
    t.equal(await other.do('exec prog'), NONE);
    await other.end();
  },
  ['other-users'],
];

t.test('set-uid programs', { timeout: 150_000 }, async (t) => {
  await t.test('-o suid', { timeout: 150_000 }, (t) => onEachMount(t, ROOT_COLUMNS, [...cases, KEPT], ['-o', 'suid']));
  await t.test('the default', { timeout: 150_000 }, (t) => onEachMount(t, ROOT_COLUMNS.slice(0, 1), [IGNORED]));
});
