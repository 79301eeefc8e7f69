// The cache of a mount: it grows and shrinks by itself, and is to be seen elsewhere for as long as the mount is there.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { mountAt } from '../../src/cli/mountinfo.js';
import { until } from '../helpers/http.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';
import { ask, listed, space } from '../helpers/spaces.js';

const MB = 1_000_000;
const needsRoot = process.getuid?.() === 0 ? false : 'needs root';

async function size(m: Mounted): Promise<number | undefined> {
  return (await listed(m)).find(({ name }) => name === 'cache')?.sizeBytes;
}

async function becomes(m: Mounted, bytes: number): Promise<void> {
  await until(async () => (await size(m)) === bytes, `the cache has ${bytes} bytes`);
}

const ARGS = ['--capacity', '100MB', '--margin', '0', '--cache-interval', '100ms'];

t.test('its size', async (t) => {
  const m = await mount(t, { args: [...ARGS, '--cache', '10MB'] });
  t.match(m.ready.cache, { path: join(m.mnt, 'spaces/cache'), sizeBytes: 10 * MB, shownAt: null });
  t.match(await space(m, 'list'), { stdout: 'no spaces\n' }, 'it is not listed');
  t.match(await space(m, 'list', '--all'), { stdout: /^cache +10 MB/m });
  const write = (name: string, bytes: number) => must(m.shell(`head -c ${bytes} /dev/zero > spaces/cache/${name}`));
  await write('a', 6 * MB - 1);
  t.equal(await size(m), 10 * MB);
  await write('b', 1);
  await becomes(m, 20 * MB);
  await write('c', 14 * MB);
  await becomes(m, 40 * MB);
  await must(m.shell('rm spaces/cache/c'));
  await becomes(m, 20 * MB);
  await must(m.shell('rm spaces/cache/a'));
  await becomes(m, 10 * MB);

  await ask(m, { do: 'create', name: 'rest', bytes: 85 * MB });
  await write('d', 6 * MB);
  await until(
    async () => (await readFile(join(m.mnt, '.vreserve/health'), 'utf8')).includes('the cache cannot grow'),
    'health tells',
  );
  t.equal(await size(m), 10 * MB);
  await ask(m, { do: 'delete', name: 'rest' });
  await becomes(m, 20 * MB);
  t.equal(await readFile(join(m.mnt, '.vreserve/health'), 'utf8'), 'ok\n');

  t.match(await ask(m, { do: 'delete', name: 'cache' }), /^SPACE_IS_CACHE/);
  t.match(await ask(m, { do: 'update', name: 'cache', bytes: 50 * MB }), /^SPACE_IS_CACHE/);
  t.match(await ask(m, { do: 'create', name: 'cache', bytes: 50 * MB }), { sizeBytes: 20 * MB }, 'it is there already');
  await m.umount();
  await m.remount(['--capacity', '100MB', '--margin', '0']);
  t.equal(await size(m), 20 * MB, 'without --cache it is a space that is not listed');
  t.same(await ask(m, { do: 'delete', name: 'cache' }), { deleted: true });
});

t.test('a space of that name', async (t) => {
  const m = await mount(t, { args: ARGS });
  await ask(m, { do: 'create', name: 'cache', bytes: 5 * MB });
  await m.umount();
  await m.remount([...ARGS, '--cache', '10MB']);
  t.match(m.ready, { cache: null, cacheTroubles: [/that the mount did not make$/] });
  t.match(await readFile(join(m.mnt, '.vreserve/health'), 'utf8'), /there is no cache/);
  t.equal(await size(m), 5 * MB, 'is left alone');
});

t.test('options', async (t) => {
  const top = await temporaryDirectory(t);
  const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
  await mkdir(data);
  await mkdir(mnt);
  const cases: [words: string[], code: number, says: RegExp][] = [
    [['--cache', '0'], 2, /invalid size/],
    [['--cache', 'much'], 2, /not a number of bytes/],
    [['--cache', '1GB:'], 2, /needs a value/],
    [['--cache-interval', '1ms'], 2, /at least 100ms/],
    [['--cache', `1GB:${mnt}/in`], 1, /which lies in it/],
    [['--type', 'tape'], 2, /must be one of ssd, hdd/],
  ];
  for (const [words, code, says] of cases) {
    t.match(
      await run('node', [join(process.cwd(), 'build/src/cli/main.js'), 'mount', data, mnt, ...words]),
      { code, stderr: says },
      words.join(' '),
    );
  }
});

t.test('to be seen elsewhere', { skip: needsRoot }, async (t) => {
  const where = join(await temporaryDirectory(t), 'var cache');
  await mkdir(where);
  const m = await mount(t, { args: [...ARGS, '--cache', `10MB:${where}`] });
  t.equal(m.ready.cache?.shownAt, where);
  await writeFile(join(where, 'f'), 'x');
  t.match(await m.shell('cat spaces/cache/f'), { stdout: 'x' });
  t.match(await run('df', ['-P', '-B1', where]), { stdout: / 10002432 / }, 'df shows its size, in blocks');
  t.match(await m.run(['umount', m.mnt]), { code: 0 }, 'it goes with the mount');
  t.equal(mountAt(where), undefined);

  await m.remount();
  await m.kill();
  await m.remount();
  t.match(await run('cat', [join(where, 'f')]), { code: 0, stdout: 'x' }, 'after kill -9 it is there again');
  await must(run('umount', [m.mnt]));
  await until(() => mountAt(where) === undefined, 'it goes with a mount that somebody else has ended');

  await m.remount();
  const open = run('sh', [
    '-c',
    `exec 3< '${where}/f'; touch '${where}/open'; while [ -e '${where}/../wait' ] || [ ! -e '${where}/../go' ]; do sleep 0.05; done; cat <&3`,
  ]);
  await until(async () => (await run('test', ['-e', join(where, 'open')])).code === 0, 'a file of it is open');
  process.kill(m.ready.pid, 'SIGTERM');
  await until(() => mountAt(where) === undefined, 'it goes all the same');
  await writeFile(join(where, '../go'), '');
  t.match(await open, { code: 0, stdout: 'x' }, 'what is open is served to its end');
});
