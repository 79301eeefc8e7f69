// The pool: what is promised stays there whatever others write, through the mount or behind it; and what statfs says.
import { rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { formatBytes } from '../../src/core/bytes.js';
import { type Case, COLUMNS, file, onEachMount, Place, ROOT_COLUMNS, soon } from '../helpers/columns.js';
import { startSteps } from '../helpers/fsop.js';
import { mount } from '../helpers/mount.js';

const CAPACITY = 20_000_000;
const MARGIN = 1_000_000;
const KEPT = 5_000_000;
const BLOCK = 4096;

const up = (bytes: number) => Math.ceil(bytes / BLOCK) * BLOCK;
const down = (bytes: number) => Math.floor(bytes / BLOCK) * BLOCK;

const POOL: Case[] = [
  [
    'a writer outside fills the pool, and the holder still writes its last byte',
    async (t, p) => {
      const outside = CAPACITY - MARGIN - KEPT;
      await p.table(t, [
        ['mkdir keep', 0],
        [`reserve keep ${KEPT}`, ''],
        ['open f hog CREAT|RDWR', 0],
        ['open g other CREAT|RDWR', 0],
        ['fill f 8000000 0', 8_000_000],
        ['fill f 7000000 8000000', outside - 8_000_000],
        [`fill f 1 ${outside}`, 'ENOSPC'],
        ['fill g 1 0', 'ENOSPC'],
        ['ftruncate g 1', 'ENOSPC'],
        ['fallocate g 0 0 1', 'ENOSPC'],
        ['fill f 1000000 0', 1_000_000],
        [`open h new CREAT|RDWR`, 'ENOSPC'],
        ['symlink x new', 'ENOSPC'],
        ['mknod new fifo 0600', 'ENOSPC'],
        ['mkdir d', 0],
        ['open h . TMPFILE|RDWR', 'ENOSPC'],
        ['reserve more 1', 'ENOSPC'],
        [`reserve keep ${KEPT + 1}`, 'ENOSPC'],
      ]);
      t.match((await p.report()).pool, { headroomBytes: 0, setAsideBytes: KEPT });
      // At headroom 0 a new object must find room for its block in what is promised to its lot.
      const most = KEPT - 2 * BLOCK;
      await p.table(t, [
        ['open k keep/f CREAT|RDWR', 0],
        [`fill k ${most} 0`, most],
        ['open l keep/g CREAT|RDWR', 0],
        ['open m keep/h CREAT|RDWR', 'ENOSPC'],
        [`fill k ${3 * BLOCK} ${most}`, 2 * BLOCK],
        [`fill k 1 ${KEPT}`, 'ENOSPC'],
        ['used keep', KEPT],
        ['fill g 1 0', 'ENOSPC'],
        [`ftruncate f ${outside - 1}`, 0],
        ['fill g 2 0', 1],
        ['used keep', KEPT],
        ['close f', 0],
        ['close g', 0],
        ['close k', 0],
        ['close l', 0],
        ['unlink hog', 0],
        ['unlink other', 0],
        ['unlink keep/f', 0],
        ['unlink keep/g', 0],
      ]);
    },
  ],
  [
    'statfs shows the lot: its grant, and what can be written',
    async (t, p) => {
      const all = CAPACITY - MARGIN;
      await p.table(t, [
        ['mkdir a', 0],
        ['mkdir b', 0],
        ['reserve a 5000000', ''],
        ['reserve b 4096', ''],
        ['statfs a', { size: up(5e6), free: down(5e6), available: down(5e6) }],
        ['statfs b', { size: 4096, free: 4096, available: 4096 }],
        ...file('a/f', 1_000_001),
        ['statfs a', { size: up(5e6), free: down(3_999_999), available: down(3_999_999) }],
        ['statfs a/f', { size: up(5e6), free: down(3_999_999), available: down(3_999_999) }],
        ...file('b/f', 4096),
        ['statfs b', { size: 4096, free: 0, available: 0 }],
        ['statfs .', { size: up(CAPACITY), free: down(all - 5_004_096), available: down(all - 5_004_096) }],
        ['mkdir a/sub', 0],
        ['reserve a/sub 2000000', ''],
        ['statfs a/sub', { size: up(2e6), free: down(2e6), available: down(2e6) }],
        ['unlink a/f', 0],
        ['unlink b/f', 0],
      ]);
    },
  ],
];

t.test('the pool', { timeout: 200_000 }, (t) =>
  onEachMount(t, COLUMNS, POOL, ['--capacity', String(CAPACITY), '--margin', String(MARGIN)]),
);

const MB = 1 << 20;

for (const column of ROOT_COLUMNS.filter(({ on }) => on === 'tmpfs')) {
  t.test(`others use the disk: ${column.name}`, { skip: column.skip }, async (t) => {
    const m = await mount(t, { ...column, tmpfsSize: '32m', args: [...(column.args ?? []), '--margin', '0'] });
    const p = new Place(m, await startSteps(t, m.mnt));
    const behind = join(dirname(m.data), 'behind');
    const promised = 8 * MB;
    await p.table(t, [
      ['mkdir lot', 0],
      [`reserve lot ${promised}`, ''],
      ['open f lot/f CREAT|RDWR', 0],
      ['open g outside CREAT|RDWR', 0],
      ['fill f 1m 0', MB],
      ['fill g 1m 0', MB],
    ]);
    t.equal((await p.report()).health, 'ok');

    // What they take is nobody's any more.
    await writeFile(behind, Buffer.alloc(16 * MB));
    t.equal(await p.reserve('more', 12 * MB), 'ENOSPC');
    const pool = (await p.report()).pool;
    t.ok(pool.headroomBytes < 6 * MB && pool.headroomBytes > 0, `headroom is ${pool.headroomBytes}`);

    // They fill it: the promise cannot be kept, and that is said.
    await writeFile(behind, Buffer.alloc(64 * MB)).catch((error: NodeJS.ErrnoException) => t.equal(error.code, 'ENOSPC'));
    const before = await p.report();
    t.ok(before.pool.shortBytes > 4 * MB, `short by ${before.pool.shortBytes}`);
    t.equal(before.pool.shortBytes, before.pool.setAsideBytes - before.pool.freeBytes);
    const landed = Number(
      await soon(
        () => p.ops.do('fill f 4m 1048576'),
        (done) => done === 'ENOSPC',
      ).then(() => p.ops.do('lseek f 0 END')),
    );
    t.ok(landed < 5 * MB, 'a write within the grant failed');
    await p.table(t, [
      ['used lot', landed],
      ['fill g 1 1048576', 'ENOSPC'],
      ['used ', MB],
      ['fill f 1000 0', 1000],
    ]);
    const { shortBytes } = (await p.report()).pool;
    t.match(
      await p.text('health'),
      `short of ${formatBytes(shortBytes)} (${shortBytes.toLocaleString('en')} bytes) that are promised`,
    );
    await soon(
      () => p.journal('shortage'),
      (lines) => lines.length > 0,
    );
    t.ok(Number((await p.journal('shortage')).at(-1)?.shortBytes) > 4 * MB, 'a line of the journal');
    await p.usageEqualsCount(t);

    // A full disk does not block freeing.
    t.equal(await p.release('lot'), '');
    await rm(behind);
    t.equal(await p.reserve('lot', promised), '');
    await p.table(t, [
      [`fill f ${promised} ${landed}`, promised - landed],
      [`fill f 1 ${promised}`, 'ENOSPC'],
      ['used lot', promised],
      ['close f', 0],
      ['close g', 0],
    ]);
    t.match(
      await soon(
        () => p.text('health'),
        (text) => text === 'ok\n',
      ),
      'ok\n',
    );
    await p.usageEqualsCount(t);
  });
}
