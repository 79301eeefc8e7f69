// Volumes that are made and removed by many at once, by processes that are killed, and until the mount ends.
// Rounds of killing: 4, or VRESERVE_ROUNDS of the environment.
import t from 'tap';
import { until } from '../helpers/http.js';
import { Random } from '../helpers/random.js';
import { must } from '../helpers/run.js';
import { mountVolumes, nothingIsLeft, volumesOf } from '../helpers/volumes.js';

const MB = 1_000_000;
const ROUNDS = Number(process.env.VRESERVE_ROUNDS ?? 4);

t.test('many at once', async (t) => {
  const { m, plugin } = await mountVolumes(t);

  const same = await Promise.all(Array.from({ length: 64 }, () => plugin.create('one', { size: '30MB' })));
  t.same(new Set(same), new Set(['']), '64 creations of one volume');
  t.same(await volumesOf(m), { directories: ['one'], lots: { one: 30 * MB }, work: [] });
  t.equal(await plugin.remove('one'), '');

  const names = Array.from({ length: 64 }, (_, n) => `v${n}`);
  const racing = await Promise.all(names.map((name) => plugin.create(name, { size: '7MB' })));
  t.equal(racing.filter((err) => err === '').length, 14, '14 times 7 MB are in 100 MB, and no 15th time');
  t.same(
    new Set(racing.filter((err) => err !== '').map((err) => err?.replace(/v\d+/, 'v'))),
    new Set(['7 MB asked for /volumes/v, 2 MB available']),
  );
  const made = names.filter((_, n) => racing[n] === '').sort();
  t.same(await volumesOf(m), { directories: made, lots: Object.fromEntries(made.map((name) => [name, 7 * MB])), work: [] });
  const gone = await Promise.all([...made, ...made].map((name) => plugin.remove(name)));
  t.equal(gone.filter((err) => err === '').length, 14, 'each is removed once');
  t.equal(gone.filter((err) => err?.startsWith('there is no volume')).length, 14);
  await nothingIsLeft(t, m);

  const turns = await Promise.all(
    Array.from({ length: 60 }, (_, n) =>
      [
        () => plugin.create('x', { size: '9MB' }),
        () => plugin.remove('x'),
        () => plugin.mount('x', 'a'),
        () => plugin.unmount('x', 'a'),
      ][n % 4]?.(),
    ),
  );
  t.notOk(
    turns.some((err) => err !== '' && !/no volume|in use/.test(err ?? 'none')),
    'calls for one volume in any order',
  );
  const { directories, lots, work } = await volumesOf(m);
  t.same(work, []);
  t.same(directories, Object.keys(lots), 'leave it whole, or not there');
  await plugin.unmount('x', 'a');
  await plugin.remove('x');
  await nothingIsLeft(t, m);
});

t.test('what is freed can be had at once', async (t) => {
  const { m, plugin } = await mountVolumes(t);
  for (let round = 0; round < 2; round++) {
    t.equal(await plugin.create(`r${round}`, { size: '90MB' }), '');
    await must(
      m.shell(`cd volumes/r${round}; head -c 80000000 /dev/zero > big; mkdir d; cd d; for n in $(seq 300); do echo x > $n; done`),
    );
    // Nobody waits for the answer to the removal before the next creation.
    const removal = plugin.remove(`r${round}`);
    await until(async () => !(await plugin.list()).includes(`r${round}`), 'it is out of sight');
    t.equal(await plugin.create('next', { size: '90MB' }), '', 'a volume of the same size');
    t.equal(await removal, '');
    t.equal(await plugin.remove('next'), '');
  }
  await nothingIsLeft(t, m);
});

t.test('processes that are killed', async (t) => {
  const { m, plugin } = await mountVolumes(t);
  const random = new Random(7);
  for (let round = 0; round < ROUNDS; round++) {
    const before = new Set(await plugin.list());
    const answers = new Map<string, string | null>();
    const isDaemon = round % 2 === 1;
    let left = random.between(1, 24);
    const names = Array.from({ length: 24 }, (_, n) => `v${n}`);
    const calls = names.map(async (name) => {
      const err = await (before.has(name) ? plugin.remove(name) : plugin.create(name, { size: '1MB' }));
      answers.set(name, err);
      left -= 1;
      if (left === 0) await (isDaemon ? m.kill() : plugin.kill());
    });
    await Promise.all(calls);
    if (isDaemon) await m.remount();
    await plugin.isUp();

    const { directories, lots, work } = await volumesOf(m);
    const what = `round ${round}, of the ${isDaemon ? 'daemon' : 'service process'}`;
    t.same(directories, Object.keys(lots).sort(), `${what}: each has a directory and a reservation, or neither`);
    t.same(await plugin.list(), directories);
    t.notOk(
      Object.values(lots).some((bytes) => bytes !== MB),
      'of the size asked for',
    );
    t.same(
      work.filter((each) => !each.startsWith('removed')),
      [],
      'nothing is half done',
    );
    const isThere = (name: string) => directories.includes(name);
    t.same(
      names.filter((name) => answers.get(name) === '' && isThere(name) === before.has(name)),
      [],
      'and what was answered is done',
    );
  }
  for (const name of await plugin.list()) t.equal(await plugin.remove(name), '');
  await nothingIsLeft(t, m);
});

t.test('the end of a mount while volumes are made and removed', async (t) => {
  const { m, plugin } = await mountVolumes(t);
  for (let round = 0; round < 2; round++) {
    const names = Array.from({ length: 12 }, (_, n) => `v${n}`);
    await Promise.all(names.map((name) => plugin.create(name, { size: '1MB' })));
    await must(m.shell('for n in $(seq 0 11); do mkdir -p volumes/v$n/{a,b,c}/{d,e,f}/{g,h,i}; done'));
    const calls = Promise.all([
      ...names.map((name) => plugin.remove(name)),
      ...names.map((name) => plugin.create(`w${name}`, { size: '1MB' })),
    ]);
    await m.umount();
    const answers = await calls;
    t.notOk(
      answers.some((err) => err !== null && err !== '' && !/ending/.test(err)),
      `answered, told that the mount is ending, or broken off: ${answers.find(Boolean) ?? ''}`,
    );
    await m.remount();
    await plugin.isUp();
    const { directories, lots, work } = await volumesOf(m);
    t.same(directories, Object.keys(lots).sort());
    t.same(
      work.filter((each) => !each.startsWith('removed')),
      [],
    );
    for (const name of directories) t.equal(await plugin.remove(name), '');
    await nothingIsLeft(t, m);
  }
});
