// Times of lots through a real mount: what begins, expires and is past its deletion does so by itself, and what comes back is admitted anew.
import t from 'tap';
import { file, type Row, soon } from '../helpers/columns.js';
import {
  CAPACITY,
  codeOf,
  LOT_COLUMNS,
  type LotCase,
  type LotPlace,
  lotMount,
  MOST,
  onEachLotMount,
  type T,
} from '../helpers/lot-mount.js';

/** Soon enough to be waited for. */
const SOON_MS = 400;
const HOUR_MS = 3_600_000;

const inAWhile = () => Date.now() + SOON_MS;
const inAnHour = () => Date.now() + HOUR_MS;

/** Waits until the clock is past it. */
async function past(atMs: number): Promise<void> {
  await soon(
    async () => Date.now(),
    (nowMs) => nowMs > atMs,
  );
}

/** How many lines of an event each of the lots has, once each has so many as it should. */
async function lines(p: LotPlace, event: string, lots: readonly string[], least = 1): Promise<Record<string, number>> {
  const count = async () => {
    const found = await p.journal(event);
    return Object.fromEntries(lots.map((name) => [name, found.filter(({ lot }) => lot === name).length]));
  };
  return soon(count, (counts) => Object.values(counts).every((number) => number >= least));
}

/** Writes bytes one by one from `from` on until one is refused; how large the file is then. */
async function growUntilRefused(t: T, p: LotPlace, slot: string, from: number): Promise<number> {
  let end = from;
  const answer = await soon(
    async () => {
      const written = await p.ops.do(`fill ${slot} 1 ${end}`);
      if (written === 1) end += 1;
      return written;
    },
    (written) => written !== 1,
  );
  t.equal(answer, 'ENOSPC', 'then it is refused');
  return end;
}

/** What is left to a lot that may not grow. */
const noGrowth = (directory: string): Row[] => [
  [`open x ${directory}/new CREAT|RDWR`, 'ENOSPC'],
  [`open x ${directory} TMPFILE|RDWR`, 'ENOSPC'],
  [`symlink x ${directory}/new`, 'ENOSPC'],
  [`mknod ${directory}/new fifo 0600`, 'ENOSPC'],
  [`mkdir ${directory}/directory`, 0],
  [`rmdir ${directory}/directory`, 0],
];

const TIMES: LotCase[] = [
  [
    'a lot expires by itself: nothing is set aside, what it holds stays, and others get the bytes',
    async (t, p) => {
      await p.table(t, [['mkdir d', 0]]);
      await p.add('d', { dedicated: 40_000_000, paths: ['d'], expiresAtMs: inAnHour() });
      await p.table(t, [
        ...file('d/f', 1_000_000),
        ['aside', 39_000_000],
        ['headroom', CAPACITY - 40_000_000],
        ['reserve other 40000000', 'ENOSPC'],
      ]);
      await p.update('d', { expiresAtMs: inAWhile() });
      await p.table(t, [
        ['soon aside', 0],
        ['headroom', CAPACITY - 1_000_000],
        ['used d', 1_000_000],
        ['reserve other 40000000', ''],
        ['soon aside', 40_000_000],
      ]);
      t.match(await p.text('report'), /^d .*expired$/m);
      t.same(await p.lots.past('exp'), ['d']);
      t.same(await lines(p, 'expiration', ['d']), { d: 1 });
      await p.table(t, [
        ['cat d/none', 'ENOENT'],
        ['open f d/f RDWR', 0],
        ['pread f 3 0', 'abc'],
        ['fill f 23000000 1000000', CAPACITY - 41_000_000],
        ['close f', 0],
      ]);
    },
  ],
  [
    'who is writing across the expiry goes on while there is headroom',
    async (t, p) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['open o other CREAT|RDWR', 0],
      ]);
      await p.add('d', { dedicated: 1_000_000, opportunistic: 1000, paths: ['d'], expiresAtMs: inAnHour() });
      await p.table(t, [
        ['open f d/f CREAT|RDWR', 0],
        ['fill f 1000 0', 1000],
      ]);
      await p.update('d', { expiresAtMs: inAWhile() });
      let end = 1000;
      await soon(
        async () => {
          t.equal(await p.ops.do(`fill f 10 ${end}`), 10);
          end += 10;
          return (await p.report()).pool.setAsideBytes;
        },
        (aside) => aside === 0,
      );
      await p.table(t, [
        ['aside', 0],
        [`fill f 1000 ${end}`, 1000],
        ['used d', end + 1000],
      ]);
      // Somebody takes all but 100 bytes: there is no promise any more.
      const rest = CAPACITY - end - 1000;
      await p.table(t, [
        [`fill o ${rest - 100} 0`, rest - 100],
        [`fill f 1000 ${end + 1000}`, 100],
        [`fill f 1 ${end + 1100}`, 'ENOSPC'],
        [`ftruncate f ${end + 1101}`, 'ENOSPC'],
        [`fill f ${end + 1100} 0`, end + 1100],
        ['ftruncate o 0', 0],
        // Its grant still holds.
        ['headroom', CAPACITY - end - 1100],
        [`fill f 2000000 ${end + 1100}`, 1_001_000 - end - 1100],
        ['fill f 1 1001000', 'ENOSPC'],
        ['close f', 0],
        ['close o', 0],
      ]);
    },
  ],
  [
    'past its deletion a lot does not grow, and may be read, overwritten and emptied',
    async (t, p) => {
      await p.table(t, [['mkdir d', 0], ['mkdir d/low', 0], ...file('d/old', 500), ['symlink x d/s', 0]]);
      await p.add('d', { dedicated: 1_000_000, paths: ['d'], expiresAtMs: inAnHour(), deletesAtMs: inAnHour() });
      await p.add('low', { dedicated: 1000, parents: ['d'], paths: ['d/low'] });
      await p.table(t, [
        ['open f d/f CREAT|RDWR', 0],
        ['fill f 1000 0', 1000],
        ['open g d/low/g CREAT|RDWR', 0],
        ['fill g 100 0', 100],
      ]);
      const end = inAWhile();
      await p.update('d', { expiresAtMs: end, deletesAtMs: end });
      const size = await growUntilRefused(t, p, 'f', 1000);
      t.ok(Date.now() >= end, 'not before');
      t.same(await lines(p, 'deletion', ['d']), { d: 1 });
      t.same(await p.lots.past('del'), ['d']);
      await p.table(t, [
        ['aside', 0],
        ...noGrowth('d'),
        ...noGrowth('d/low'),
        ['fill g 1 100', 'ENOSPC'],
        [`ftruncate f ${size + 1}`, 'ENOSPC'],
        [`fallocate f 0 ${size} 1`, 'ENOSPC'],
        [`fill f ${size} 0`, size],
        ['pread f 3 0', 'abc'],
        ['rename d/f d/g', 0],
        ['link d/g d/h', 0],
        ['rename d/low/g d/low/h', 0],
        // Its bytes are no growth of its own where they come from below.
        ['ftruncate f 10', 0],
        ['fill f 1 10', 'ENOSPC'],
        ['unlink d/h', 0],
        ['unlink d/s', 0],
        ['symlink x d/s', 'ENOSPC'],
        ['used d', 610],
        ['close f', 0],
        ['close g', 0],
        // Out it may go, in nothing may come.
        ['rename d/g out', 0],
        ['rename out d/g', 'ENOSPC'],
        ['open f out2 CREAT|WRONLY', 0],
        ['fill f 501 0', 501],
        ['close f', 0],
        ['rename out2 d/old', 'ENOSPC'],
        ['truncate out2 500', 0],
        ['rename out2 d/old', 0],
        ['rename out d/old EXCHANGE', 0],
        ['used d', 110],
      ]);
      await p.update('d', { expiresAtMs: inAnHour(), deletesAtMs: inAnHour() });
      await p.table(t, [...file('d/new', 10), ...file('d/low/new', 10), ['aside', 999_870]]);
    },
    ['rename-flags'],
  ],
  [
    'before its creation bytes are set aside and growth is refused; then it begins by itself',
    async (t, p) => {
      await p.table(t, [['mkdir later', 0], ['mkdir soon', 0], ...file('later/old', 100)]);
      await p.add('later', { dedicated: 1_000_000, paths: ['later'], createdAtMs: inAnHour() });
      await p.add('below', { dedicated: 1000, parents: ['later'], paths: ['later/below'] });
      await p.table(t, [
        ['mkdir later/below', 0],
        ['aside', 999_900],
        ['used later', 100],
        ...noGrowth('later'),
        ...noGrowth('later/below'),
        ['open f later/old RDWR', 0],
        ['fill f 1 100', 'ENOSPC'],
        ['fill f 100 0', 100],
        ['ftruncate f 50', 0],
        ['ftruncate f 100', 'ENOSPC'],
        ['close f', 0],
        ['unlink later/old', 0],
        ['aside', 1_000_000],
      ]);
      const beginMs = inAWhile();
      await p.add('soon', { dedicated: 1000, paths: ['soon'], createdAtMs: beginMs });
      await p.table(t, [['aside', 1_001_000]]);
      const opened = await soon(
        async () => {
          const answer = await p.ops.do('open f soon/f CREAT|RDWR');
          if (answer === 0) t.ok(Date.now() >= beginMs, 'not before');
          return answer;
        },
        (answer) => answer === 0,
      );
      t.equal(opened, 0, 'it begins');
      await p.table(t, [
        ['fill f 2000 0', 1000],
        ['used soon', 1000],
        ['aside', 1_000_000],
        ['close f', 0],
      ]);
      t.same(await lines(p, 'creation', ['soon']), { soon: 1 });
      t.same(
        (await p.journal('creation')).filter(({ lot }) => lot === 'later'),
        [],
      );
    },
  ],
  [
    "the earliest expiration and deletion of the lots above are a lot's own",
    async (t, p) => {
      await p.table(t, [
        ['mkdir d', 0],
        ['mkdir d/a', 0],
        ['mkdir d/a/b', 0],
      ]);
      await p.add('top', { opportunistic: MOST, paths: ['d'], expiresAtMs: inAnHour() });
      await p.add('side', { opportunistic: MOST });
      await p.add('a', { dedicated: 5000, parents: ['top'], paths: ['d/a'] });
      await p.add('b', { dedicated: 3000, opportunistic: MOST, parents: ['side', 'a'], paths: ['d/a/b'], expiresAtMs: MOST });
      await p.table(t, [['aside', 8000], ...file('d/a/b/f', 100), ['aside', 7800]]);
      await p.update('top', { expiresAtMs: inAWhile() });
      await p.table(t, [
        ['soon aside', 0],
        ['open f d/a/b/f RDWR', 0],
        ['fill f 1 100', 1],
        ['close f', 0],
      ]);
      t.same(await lines(p, 'expiration', ['top']), { top: 1 });
      t.same(await p.lots.past('exp', { recursiveChildren: true }), ['a', 'b', 'top']);
      const least = await p.lots.policy({ lot_name: 'b', expiration_time: true });
      t.equal(least.expiration_time?.lot_name, 'top');
      // Out of its reach it is alive again, which takes bytes.
      await p.lots.removeParents({ lot_name: 'b', parents: ['a'] });
      await p.table(t, [['aside', 2899]]);
      await p.lots.addTo({ lot_name: 'b', parents: ['a'] });
      await p.table(t, [['aside', 0]]);
      await p.update('top', { expiresAtMs: inAnHour() });
      await p.table(t, [['aside', 7798]]);
      // And the deletion, of a lot that has none itself.
      await p.update('top', { deletesAtMs: inAWhile() });
      await p.table(t, [['open f d/a/b/f RDWR', 0]]);
      await growUntilRefused(t, p, 'f', 101);
      await p.table(t, [['close f', 0], ...noGrowth('d/a')]);
    },
  ],
  [
    'an expired lot comes back only if what it is promised can be had again',
    async (t, p) => {
      await p.table(t, [['mkdir d', 0]]);
      await p.add('top', { dedicated: 40_000_000, expiresAtMs: inAnHour() });
      await p.add('d', { dedicated: 30_000_000, parents: ['top'], paths: ['d'] });
      await p.table(t, [...file('d/f', 1_000_000), ['aside', 39_000_000]]);
      await p.update('top', { expiresAtMs: inAWhile() });
      await p.table(t, [
        ['soon aside', 0],
        [`reserve other ${CAPACITY - 40_000_000 + 1}`, ''],
      ]);
      const before = await p.state();
      t.equal(await codeOf(p.update('top', { expiresAtMs: inAnHour() })), 'NO_SPACE', 'a byte is missing');
      t.same(await p.state(), before, 'no trace');
      await p.table(t, [
        ['aside', CAPACITY - 40_000_000 + 1],
        [`reserve other ${CAPACITY - 40_000_000}`, ''],
      ]);
      await p.update('top', { expiresAtMs: inAnHour() });
      await p.table(t, [
        ['aside', CAPACITY - 1_000_000],
        ['headroom', 0],
        ['open f d/f RDWR', 0],
        ['fill f 30000000 1000000', 29_000_000],
        ['fill f 1 30000000', 'ENOSPC'],
        ['close f', 0],
      ]);
    },
  ],
  [
    'the same for a reservation, by reserve --expires',
    async (t, p) => {
      const path = `${p.m.mnt}${p.top}/d`;
      await p.table(t, [['mkdir d', 0]]);
      t.match(await p.m.run(['reserve', path, '40MB', '--expires', '300ms']), { code: 0 });
      await p.table(t, [['soon aside', 0]]);
      await p.add('other', { dedicated: 30_000_000 });
      t.match(await p.m.run(['reserve', path, '40MB', '--expires', '1h']), { code: 1, stderr: /34 MB available/ });
      t.match(await p.m.run(['reserve', path, '34MB', '--expires', '1h']), { code: 0 });
      await p.table(t, [['aside', CAPACITY]]);
      t.match(await p.m.run(['reserve', path, '34MB', '--expires', '100ms']), { code: 0 });
      await p.table(t, [['soon aside', 30_000_000]]);
      t.match(await p.m.run(['reserve', path, '34MB', '--expires', 'never']), { code: 0 });
      await p.table(t, [['aside', CAPACITY]]);
      t.match(await lines(p, 'expiration', [`${p.top}/d`]), { [`${p.top}/d`]: 2 });
    },
  ],
  [
    'an update that lengthens takes the old time away, one that shortens takes effect at once',
    async (t, p) => {
      await p.add('long', { dedicated: 1000, expiresAtMs: inAnHour() });
      await p.add('short', { dedicated: 20, expiresAtMs: inAnHour() });
      const oldMs = inAWhile();
      await p.update('long', { expiresAtMs: oldMs, deletesAtMs: oldMs });
      await p.update('long', { expiresAtMs: inAnHour(), deletesAtMs: MOST });
      // A watch that ends after the time that was taken away.
      await p.add('watch', { dedicated: 300, expiresAtMs: oldMs + 200 });
      await p.table(t, [['soon aside', 1020]]);
      await past(oldMs);
      t.same(await lines(p, 'expiration', ['watch']), { watch: 1 });
      t.same(
        (await p.journal('expiration')).filter(({ lot }) => lot === 'long'),
        [],
      );
      t.same(
        (await p.journal('deletion')).filter(({ lot }) => lot === 'long'),
        [],
      );
      // Into the past.
      await p.update('short', { expiresAtMs: Date.now() - 1000 });
      await p.table(t, [['aside', 1000]]);
      await p.update('long', { expiresAtMs: inAWhile() });
      await p.update('long', { expiresAtMs: inAWhile() });
      await p.table(t, [['soon aside', 0]]);
      t.same(await lines(p, 'expiration', ['long']), { long: 1 });
    },
  ],
];

t.test('times', { timeout: 250_000 }, (t) => onEachLotMount(t, TIMES));

/** What a mount must have of the lots whose times are to come, however it began. */
async function kept(t: T, p: LotPlace, times: Record<string, number | null>, name: string): Promise<void> {
  const lots = await p.seen();
  for (const [lot, expiresAtMs] of Object.entries(times)) {
    t.match(
      lots.find((each) => each.name === lot),
      { expiresAtMs },
      `${name}: ${lot} has its times`,
    );
  }
  await p.usageEqualsCount(t, `${name}: usage and what is set aside`);
  t.equal((await p.report()).health, 'ok', `${name}: health`);
}

for (const column of LOT_COLUMNS) {
  t.test(`times survive the end of a mount: ${column.name}`, { skip: column.skip }, async (t) => {
    const { m, p } = await lotMount(t, column, ['--capacity', String(CAPACITY)]);
    await p.ops.all(['alive', 'begun', 'gone', 'future'].map((name) => `mkdir ${m.mnt}/${name}`));
    const hourMs = inAnHour();
    await p.add('alive', { dedicated: 10_000, paths: ['alive'], expiresAtMs: hourMs, deletesAtMs: hourMs + 1 });
    await p.add('below', { dedicated: 2000, parents: ['alive'], paths: ['alive/below'] });
    await p.add('future', { dedicated: 400, paths: ['future'], createdAtMs: hourMs });
    await p.table(t, file(`${m.mnt}/alive/f`, 1000));
    const wholeMs = { alive: hourMs, below: null, future: null };
    let rounds = 0;
    for (const how of ['umount', 'kill -9'] as const) {
      // Three that come about while nobody serves, and two just after.
      const nowMs = Date.now();
      await p.add('gone', { dedicated: 30_000, paths: ['gone'], expiresAtMs: nowMs + 600, deletesAtMs: nowMs + 600 });
      await p.add('begun', { dedicated: 5000, paths: ['begun'], createdAtMs: nowMs + 600 });
      await p.add('after', { dedicated: 600_000, expiresAtMs: nowMs + 2500 });
      await p.table(t, [['aside', 10_000 - 1000 + 400 + 30_000 + 5000 + 600_000]]);
      if (how === 'umount') await m.umount();
      else await m.kill();
      await past(nowMs + 600);
      await m.remount();
      await kept(t, p, { ...wholeMs, gone: nowMs + 600, begun: null, after: nowMs + 2500 }, how);
      await p.table(t, [
        [`open x ${m.mnt}/future/f CREAT|RDWR`, 'ENOSPC'],
        [`open x ${m.mnt}/gone/f CREAT|RDWR`, 'ENOSPC'],
        ...file(`${m.mnt}/begun/f`, 1000),
        ['soon aside', 10_000 - 1000 + 400 + 4000],
      ]);
      // Who was told when is another matter than what holds; each once, also what came about while nobody served.
      rounds += 1;
      t.same(await lines(p, 'expiration', ['gone', 'after'], rounds), { gone: rounds, after: rounds }, `${how}: told once`);
      t.same(await lines(p, 'deletion', ['gone'], rounds), { gone: rounds }, `${how}: told once`);
      t.same(await lines(p, 'creation', ['begun'], rounds), { begun: rounds }, `${how}: told once`);
      await p.usageEqualsCount(t, `${how}: after the last of them`);
      for (const name of ['gone', 'begun', 'after']) await p.lots.remove(name);
      await p.table(t, [[`unlink ${m.mnt}/begun/f`, 0]]);
    }
    // Nothing that came about is told again by a mount to come.
    await p.update('alive', { expiresAtMs: inAWhile() });
    t.same(await lines(p, 'expiration', ['alive']), { alive: 1 });
    await m.umount();
    await m.remount();
    await p.table(t, [['aside', 400]]);
    await p.add('last', { dedicated: 1, expiresAtMs: inAWhile() });
    t.same(await lines(p, 'expiration', ['alive', 'last', 'after']), { alive: 1, last: 1, after: 2 });
    t.same(
      (await p.journal('expiration')).filter(({ lot }) => lot === 'below'),
      [],
      'it has no time of its own',
    );
    await p.usageEqualsCount(t);
  });
}
