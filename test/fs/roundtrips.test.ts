// How many requests the kernel sends for what users do all day: each costs a round trip, so their number is held.
import t from 'tap';
import { type Case, COLUMNS, type Column, file, onEachMount, type Place, type Row } from '../helpers/columns.js';
import { must, shell } from '../helpers/run.js';

type Test = Parameters<Case[1]>[0];
type Counts = Record<string, number>;

/** Sent when the kernel pleases; nobody waits for them. */
const ASYNCHRONOUS = ['RELEASE', 'FORGET', 'BATCH_FORGET'];

async function requests(p: Place): Promise<Counts> {
  const lines = (await p.text('metrics')).matchAll(/^vreserve_requests_total\{operation="(\w+)"\} (\d+)$/gm);
  return Object.fromEntries([...lines].map(([, name, count]) => [name, Number(count)]));
}

function less(a: Counts, b: Counts): Counts {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((name) => !ASYNCHRONOUS.includes(name));
  const rest = names.map((name): [string, number] => [name, (a[name] ?? 0) - (b[name] ?? 0)]);
  return Object.fromEntries(rest.filter(([, count]) => count !== 0).sort());
}

/** What `work` asks of the daemon, without what reading the metrics asks. */
async function cost(p: Place, work: () => Promise<unknown>): Promise<Counts> {
  const first = await requests(p);
  const second = await requests(p);
  await work();
  return less(less(await requests(p), second), less(second, first));
}

/**
 * Holds what `work`, done for the `i`th time, asks of the daemon. Reading the metrics may ask for attributes once more
 * when the clock ticks meanwhile, so the best of a few tries counts.
 */
async function costs(t: Test, p: Place, expected: Counts, name: string, work: (i: number) => Promise<unknown>): Promise<void> {
  let found: Counts = {};
  for (let i = 0; i < 8; i++) {
    found = await cost(p, () => work(i));
    if (JSON.stringify(found) === JSON.stringify(expected)) break;
  }
  t.same(found, expected, name);
}

const FILES = Array.from({ length: 20 }, (_, i) => `known/f${i}`);

/** In a directory that is named by its whole path, or with '' where the process stands. */
async function roundTrips(t: Test, p: Place, { io }: Column, directory: string): Promise<void> {
  const at = (path: string) => (directory === '' ? path : `${directory}/${path}`);
  const read = (path: string): Row[] => [
    [`open f ${at(path)} RDONLY`, 0],
    ['pread f 3 0', 'abc'],
    ['close f', 0],
  ];
  await p.table(t, [[`mkdir ${at('d')}`, 0], [`mkdir ${at('known')}`, 0], ...file(at('d/first'), 100)]);
  for (const path of FILES) await p.table(t, file(at(path), 3));
  // Through the cache the kernel asks once a file whether it has capabilities, before it is written.
  const make = { CREATE: 1, GETATTR: 1, ...(io === 'cached' && { GETXATTR: 1 }), LOOKUP: 1, WRITE: 1 };
  await costs(t, p, make, 'a new small file, written and closed', (i) => p.table(t, file(at(`d/new${i}`), 100)));

  await p.table(t, read('d/first'));
  await costs(t, p, { OPEN: 1 }, 'a known file is opened, read and closed', () => p.table(t, read('d/first')));

  await p.ops.do(`stat ${at('known/f1')}`);
  await costs(t, p, {}, 'fstatat of a known file that nobody read', () => p.ops.do(`stat ${at('known/f1')}`));
  await costs(t, p, { LOOKUP: 1 }, 'a name that is not there', (i) => p.ops.do(`stat ${at(`none${i}`)}`));
  await costs(t, p, {}, 'is known not to be there', () => p.ops.do(`stat ${at('none0')}`));

  // The kernel asks again for both directories, which have changed, and looks the new name up.
  const move = { GETATTR: 2, LOOKUP: 1, RENAME2: 1 };
  const names = (i: number) => [`rename ${at(`d/new${i}`)} ${at(`known/moved${i}`)} NOREPLACE`];
  await p.ops.all(Array.from({ length: 8 }, (_, i) => `open m ${at(`d/new${i}`)} CREAT|WRONLY`).flatMap((s) => [s, 'close m']));
  await costs(t, p, move, 'a file is moved to another directory', (i) => p.ops.all(names(i)));

  // The first listing makes the directory's atime uncertain, and the second asks for it.
  await p.ops.all([`list ${at('known')}`, `list ${at('known')}`]);
  await costs(t, p, {}, 'listing a known directory again', () => p.ops.do(`list ${at('known')}`));

  const list = () => must(shell(`ls -l '${directory === '' ? p.m.mnt + p.top : directory}/known'`, p.m.identity));
  await list();
  const again = await cost(p, list);
  if (again.GETXATTR === 1) await costs(t, p, { GETXATTR: 1 }, 'ls -l', list);
  else await costs(t, p, {}, 'ls -l', list);

  await p.table(t, [
    [`open f ${at('d/first')} RDWR`, 0],
    ['fill f 100 0', 100],
  ]);
  await costs(t, p, { WRITE: 2 }, 'nothing but the writes', () => p.ops.all(['fill f 50 0', 'fill f 50 50']));
  await p.ops.do('close f');
}

const CASES: Case[] = [
  ['round trips', (t, p, column) => roundTrips(t, p, column, '')],
  ['by whole paths', (t, p, column) => roundTrips(t, p, column, p.m.mnt + p.top)],
  [
    'in a queue of a spool',
    async (t, p, column) => {
      const spool = `${p.m.mnt}/.vreserve/spool/x`;
      await p.table(t, [[`mkdir ${spool}`, 0]]);
      await roundTrips(t, p, column, `${spool}/new`);
      await costs(t, p, {}, 'the way to a queue', () => p.ops.do(`stat ${spool}/new`));
      await costs(t, p, {}, "vreserve's own directory is listed", () => p.ops.do(`list ${p.m.mnt}/.vreserve`));
      await costs(t, p, { GETATTR: 1, LOOKUP: 1, MKDIR: 1 }, 'a whole spool is made', (i) => p.ops.do(`mkdir ${spool}${i}`));
    },
  ],
];

const ARGS = ['--capacity', '64MB', '--margin', '0', '--spool-grant', '1MB'];

/** What is counted are the native engine's own requests. */
const NATIVE = COLUMNS.filter(({ engine }) => engine === undefined);

t.test('requests', { timeout: 100_000 }, (t) => onEachMount(t, NATIVE, CASES, ARGS));
