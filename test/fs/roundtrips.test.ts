// How many requests the kernel sends for what users do all day: each costs a round trip, so their number is held.
import t from 'tap';
import { type Case, COLUMNS, file, onEachMount, type Place, type Row } from '../helpers/columns.js';
import { must, shell } from '../helpers/run.js';

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
      const table = (rows: readonly Row[]) => cost(p, () => p.table(t, rows));
      // Through the cache the kernel asks once a file whether it has capabilities, before it is written.
      const make = { CREATE: 1, GETATTR: 1, LOOKUP: 1, WRITE: 1, ...(io === 'cached' && { GETXATTR: 1 }) };
      t.same(await table(file('d/second', 100)), make, 'a new small file, written and closed');
      t.same(await table(file('d/third', 100)), make, 'and another');

      await p.table(t, read('d/second'));
      t.same(await table(read('d/second')), { OPEN: 1 }, 'a known file is opened, read and closed');

      await p.ops.do('stat known/f1');
      t.same(await cost(p, () => p.ops.do('stat known/f1')), {}, 'fstatat of a known file that nobody read');
      t.same(await cost(p, () => p.ops.do('stat none')), { LOOKUP: 1 }, 'a name that is not there');
      t.same(await cost(p, () => p.ops.do('stat none')), {}, 'is known not to be there');

      // The first listing makes the directory's atime uncertain, and the second asks for it.
      await p.ops.all(['list known', 'list known']);
      t.same(await cost(p, () => p.ops.do('list known')), {}, 'listing a known directory again');

      const list = () => must(shell(`ls -l '${p.m.mnt}${p.top}/known'`, p.m.identity));
      await list();
      const again = await cost(p, list);
      t.ok((again.GETXATTR ?? 0) <= 1, `ls -l: ${JSON.stringify(again)}`);
      t.same(
        Object.keys(again).filter((name) => name !== 'GETXATTR'),
        [],
        'and nothing else',
      );

      await p.table(t, [
        ['open f d/third RDWR', 0],
        ['fill f 100 0', 100],
      ]);
      const writes = await table([
        ['fill f 50 0', 50],
        ['fill f 50 50', 50],
      ]);
      t.same(writes, { WRITE: 2 }, 'nothing but the writes');
      await p.ops.do('close f');
    },
  ],
];

t.test('requests', { timeout: 100_000 }, (t) => onEachMount(t, COLUMNS, CASES));
