// A store on a disk that is full, and how it comes out of it: on a tmpfs of its own (root only).
import { mkdir, rm, stat, statfs, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Store } from '../../src/store/store.js';
import { type Teardown, temporaryDirectory } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';
import { codeOf, payloadFiles, pieces, textOf } from './blobs.js';

const KIB = 1024;
const skip = process.getuid?.() === 0 ? false : 'a tmpfs of a size needs root';

/** A store on a disk of 1 MiB, and the file that fills the disk. */
async function smallDisk(
  t: Teardown,
): Promise<{ dir: string; store: Store; fill(leftBytes: number): Promise<void>; free(): Promise<number> }> {
  const top = await temporaryDirectory(t);
  await must(run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'vreserve-test', top]));
  const dir = join(top, 'store');
  await mkdir(dir);
  const store = await Store.open(dir, { gcIntervalMs: null });
  t.teardown(() => store.close());
  const free = async () => {
    const { bavail, bsize } = await statfs(top);
    return bavail * bsize;
  };
  const fill = async (leftBytes: number) => {
    const filler = join(top, 'filler');
    await rm(filler, { force: true });
    await writeFile(filler, Buffer.alloc((await free()) - leftBytes));
  };
  return { dir, store, fill, free };
}

t.test('what does not fit is refused, leaves nothing, and the old content stays', { skip }, async (t) => {
  const { dir, store, free } = await smallDisk(t);
  await store.create('a', pieces('old'));
  const before = await free();
  const big = async function* () {
    for (let i = 0; i < 64; i++) yield Buffer.alloc(64 * KIB, 'x');
  };
  await t.rejects(store.create('big', big()), { code: 'STORE_FULL', httpStatus: 507 });
  await t.rejects(store.update('a', big()), { code: 'STORE_FULL' });
  t.equal(await codeOf(store.update('a', big(), { announcedBytes: 64 * 64 * KIB })), 'STORE_FULL');
  t.equal(await textOf(store, 'a'), 'old');
  t.equal(await free(), before, 'all bytes are free again at once');
  t.equal(store.status('big')?.state, 'Failure');
  t.equal((await payloadFiles(dir)).length, 1);
});

t.test('what was removed or replaced makes room at once, without waiting for the collection', { skip }, async (t) => {
  const { store } = await smallDisk(t);
  const large = (letter: string) => pieces(...Array.from({ length: 9 }, () => Buffer.alloc(64 * KIB, letter)));
  await store.create('a', large('a'));
  await store.remove('a');
  await store.create('b', large('b'));
  t.equal(store.stat('b')?.sizeBytes, 9 * 64 * KIB);
  await store.remove('b');
  await store.create('c', large('c'), { announcedBytes: 9 * 64 * KIB });
  t.equal((await textOf(store, 'c'))?.length, 9 * 64 * KIB);
});

t.test('what records take that count no more is room too, for what is announced', { skip }, async (t) => {
  const { dir, store, free } = await smallDisk(t);
  await store.create('a', pieces());
  for (let i = 0; i < 500; i++) await store.update('a', pieces());
  await store.collect();
  const before = (await stat(join(dir, 'records'))).size;
  const bytes = (await free()) + Math.floor(before / 2);
  const source = pieces(...Array.from({ length: 64 }, () => Buffer.alloc(Math.floor(bytes / 64))));
  await store.create('big', source, { announcedBytes: bytes });
  t.ok((await stat(join(dir, 'records'))).size < before / 4);
  t.equal(await textOf(store, 'a'), '');
});

t.test('on a disk without a byte left: nothing is lost, removing works, and is remembered', { skip }, async (t) => {
  const { dir, store, fill } = await smallDisk(t);
  for (const name of ['a', 'b', 'c']) await store.create(name, pieces(Buffer.alloc(4 * KIB, name)));
  await store.update('a', pieces(Buffer.alloc(4 * KIB, 'A')));
  // The last page of the records is filled too: not a byte more fits.
  const records = join(dir, 'records');
  await fill(0);
  const { size } = await stat(records);
  const pages = Math.ceil(size / (4 * KIB)) * 4 * KIB;
  while ((await stat(records)).size < pages - 300)
    await store.update('none', pieces()).catch(() => store.create('none', pieces()).catch(() => {}));
  const codes = new Set<string | null>();
  for (let i = 0; i < 40; i++) codes.add(await codeOf(store.create(`n${i}`, pieces())));
  t.ok(codes.has('STORE_FULL'), 'a record that does not fit is refused');
  t.equal(await codeOf(store.update('b', pieces('x'))), 'STORE_FULL');
  t.equal((await textOf(store, 'b'))?.[0], 'b');
  await fill(0);
  const names = store.list().entries.filter(({ blob }) => blob !== null);
  for (const { name } of names.filter(({ name }) => name !== 'c')) t.equal(await store.remove(name), true, name);
  await store.close();
  const again = await Store.open(dir, { gcIntervalMs: null });
  t.same(
    again.list().entries.map(({ name }) => name),
    ['c'],
    'neither does what was removed come back, nor what it had replaced',
  );
  t.equal((await textOf(again, 'c'))?.length, 4 * KIB);
  await truncate(join(dir, '..', 'filler'), 0);
  await again.create('a', pieces('anew'));
  await again.close();
});
