// How many requests the kernel sends for what users do all day: each costs a round trip, so their number is held.
import t from 'tap';
import { type Case, COLUMNS, file, onEachMount, type Place, type Row } from '../helpers/columns.js';
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
const read = (path: string): Row[] => [
  [`open f ${path} RDONLY`, 0],
  ['pread f 3 0', 'abc'],
  ['close f', 0],
];

const CASES: Case[] = [
  [
    'round trips',
    async (t, p, { io }) => {
      await p.table(t, [['mkdir d', 0], ['mkdir known', 0], ...file('d/first', 100), ...FILES.flatMap((path) => file(path, 3))]);
      // Through the cache the kernel asks once a file whether it has capabilities, before it is written.
      const make = { CREATE: 1, GETATTR: 1, ...(io === 'cached' && { GETXATTR: 1 }), LOOKUP: 1, WRITE: 1 };
      await costs(t, p, make, 'a new small file, written and closed', (i) => p.table(t, file(`d/new${i}`, 100)));

      await p.table(t, read('d/first'));
      await costs(t, p, { OPEN: 1 }, 'a known file is opened, read and closed', () => p.table(t, read('d/first')));

      await p.ops.do('stat known/f1');
      await costs(t, p, {}, 'fstatat of a known file that nobody read', () => p.ops.do('stat known/f1'));
      await costs(t, p, { LOOKUP: 1 }, 'a name that is not there', (i) => p.ops.do(`stat none${i}`));
      await costs(t, p, {}, 'is known not to be there', () => p.ops.do('stat none0'));

      // The first listing makes the directory's atime uncertain, and the second asks for it.
      await p.ops.all(['list known', 'list known']);
      await costs(t, p, {}, 'listing a known directory again', () => p.ops.do('list known'));

      const list = () => must(shell(`ls -l '${p.m.mnt}${p.top}/known'`, p.m.identity));
      await list();
      const again = await cost(p, list);
      if (again.GETXATTR === 1) await costs(t, p, { GETXATTR: 1 }, 'ls -l', list);
      else await costs(t, p, {}, 'ls -l', list);

      await p.table(t, [
        ['open f d/first RDWR', 0],
        ['fill f 100 0', 100],
      ]);
      await costs(t, p, { WRITE: 2 }, 'nothing but the writes', () => p.ops.all(['fill f 50 0', 'fill f 50 50']));
      await p.ops.do('close f');
    },
  ],
];

t.test('requests', { timeout: 100_000 }, (t) => onEachMount(t, COLUMNS, CASES));
