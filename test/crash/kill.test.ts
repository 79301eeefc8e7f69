// kill -9 of the daemon at random moments under write load: every acknowledged grant is there, and usage equals a full count.
// Rounds: 10, or VRESERVE_ROUNDS of the environment; scripts/stress asks for 50.
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { report } from '../helpers/lots.js';
import { type Mounted, mount } from '../helpers/mount.js';
import { must } from '../helpers/run.js';
import { holdings } from '../helpers/tree.js';
import { Load } from './load.js';

const rounds = Number(process.env.VRESERVE_ROUNDS ?? 10);

/** Lots that stay, where the writers are; `free` is in no reservation. */
const FIXED = { '/w0': 30_000_000, '/w1': 6_000_000, '/w2': 40_000_000 };
const WRITTEN = [...Object.keys(FIXED).map((path) => path.slice(1)), 'free'];

/** What each reserver has for itself: paths that may not exist, and paths below lots that writers fill. */
const RESERVED = [
  ['/r/a', '/r/b/c', '/w0/sub', '/free/sub'],
  ['/s/a', '/s/b', '/w1/sub', '/w2/sub/f1'],
];

async function begin(t: Test, inPlace: boolean): Promise<{ m: Mounted; load: Load }> {
  const m = await mount(t, { args: ['--capacity', '200MB', '--margin', '0'], inPlace });
  const load = new Load();
  t.teardown(() => load.stop());
  for (const name of WRITTEN) await mkdir(join(m.mnt, name, 'sub'), { recursive: true });
  for (const [path, bytes] of Object.entries(FIXED)) {
    await must(m.run(['reserve', join(m.mnt, path), String(bytes)]));
    load.promised.set(path, bytes);
  }
  return { m, load };
}

async function startLoad(m: Mounted, load: Load, round: number): Promise<void> {
  const directories = WRITTEN.map((name) => join(m.mnt, name));
  for (const [n, paths] of RESERVED.entries()) load.reserve(round * 10 + n + 1, m.mnt, paths);
  await load.write(
    [1, 2, 3, 4].map((n) => round * 100 + n),
    directories,
  );
}

/** Takes over, of what was asked and not answered, what came to be. Returns what is wrong with the rest. */
function compareGrants(load: Load, found: ReadonlyMap<string, number>): string[] {
  const wrong: string[] = [];
  const open = new Map(load.unanswered.splice(0).map(({ path, bytes }) => [path, bytes]));
  for (const path of new Set([...found.keys(), ...load.promised.keys()])) {
    const [was, is] = [load.promised.get(path) ?? 0, found.get(path) ?? 0];
    if (is !== was && !(open.has(path) && open.get(path) === is)) wrong.push(`${path}: promised ${was}, found ${is}`);
    if (is === 0) load.promised.delete(path);
    else load.promised.set(path, is);
  }
  return wrong;
}

/** The lots as reported, the promises kept, and usage as a full count of the tree has it. */
async function verify(t: Test, m: Mounted, load: Load, name: string): Promise<void> {
  const { lots } = await report(m.mnt);
  const reserved = lots.flatMap(({ path, ...lot }) => (path === null || path === '/' ? [] : [{ ...lot, path }]));
  const wrong = compareGrants(load, new Map(reserved.map(({ path, dedicatedBytes }) => [path, dedicatedBytes])));
  t.same(wrong, [], `${name}: every acknowledged grant, and no other`);
  const counted = await holdings(m.mnt, ['/', ...reserved.map(({ path }) => path)]);
  const recorded = Object.fromEntries(lots.map(({ path, usedBytes, objects }) => [path, { bytes: usedBytes, objects }]));
  t.same(recorded, counted, `${name}: usage is what find counts`);
  const check = await m.run(['check', m.mnt]);
  t.equal(check.code, 0, `${name}: check ${check.stdout}${check.stderr}`);
  for (const { path, usedBytes, dedicatedBytes } of reserved) {
    // Child lots count in their parents, and a binding moves what was there, even past the grant of where it goes.
    if (usedBytes > dedicatedBytes) t.comment(`${name}: ${path} holds ${usedBytes} of ${dedicatedBytes}`);
  }
}

async function killRounds(t: Test, inPlace: boolean, count: number): Promise<void> {
  const { m, load } = await begin(t, inPlace);
  for (let round = 1; round <= count; round++) {
    const afterMs = Math.floor(Math.random() * 700);
    const name = `round ${round}, after ${afterMs} ms`;
    await startLoad(m, load, round);
    await sleep(afterMs);
    await m.kill();
    await load.stop();
    t.same(load.failures.splice(0), [], `${name}: no writer saw an error that is none`);
    await m.remount(['--capacity', '200MB', '--margin', '0', ...(round % 3 === 0 ? ['--no-passthrough'] : [])]);
    t.equal(m.ready.counted, true, `${name}: counted anew`);
    await verify(t, m, load, name);
    await must(m.shell(`echo works > probe; [ "$(cat probe)" = works ]; rm probe`));
  }
  t.comment(`${load.acknowledged} acknowledged commands, ${load.refused} refused`);
  t.ok(load.acknowledged > count, 'there were promises to keep');
  const journal = await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8');
  t.equal(journal.match(/"event":"recovery"/g)?.length, count, 'every recovery is in the journal');
  await m.umount();
}

t.test(`kill -9, ${rounds} rounds`, (t) => killRounds(t, false, rounds));

t.test('kill -9 of a mount in place', (t) => killRounds(t, true, Math.ceil(rounds / 5)));

t.test('kill -9 while a count runs', async (t) => {
  const { m, load } = await begin(t, false);
  await must(
    m.shell('cd w2; for d in $(seq 40); do mkdir c$d; (cd c$d; for n in $(seq 150); do printf "%0*d" $n 0 > $n; done); done'),
  );
  for (const [round, arg] of [
    [1, '--repair'],
    [2, '--json'],
    [3, '--repair'],
  ] as const) {
    await startLoad(m, load, 900 + round);
    const checks = [1, 2, 3].map(() => m.run(['check', m.mnt, arg], { timeoutMs: 30_000 }));
    await sleep(150 + Math.floor(Math.random() * 150));
    await m.kill();
    for (const check of await Promise.all(checks)) {
      t.equal(check.signal, null, 'a check whose daemon dies does not hang');
      if (check.code !== 0) t.match(check, { code: 1, stderr: /./ });
    }
    await load.stop();
    t.same(load.failures.splice(0), []);
    await m.remount();
    await verify(t, m, load, `count ${round}`);
  }
});
