// Reclaiming in each of several pools: by its own fill, what lies in it, on command and by itself.
import { mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { sendControl } from '../../src/client/control.js';
import type { ReclaimReport } from '../../src/views/host.js';
import { soon, whyNotRoot } from '../helpers/columns.js';
import { makeDisk } from '../helpers/disks.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { must } from '../helpers/run.js';

const MB = 1_000_000;
const CAPACITY = 40 * MB;

const skip = whyNotRoot;

/** Two pools of the same capacity, in each a lot that has expired, with two files of 15 MB, one of them older. */
async function start(t: Test, ...args: string[]): Promise<Mounted> {
  const disk = await makeDisk(t, await temporaryDirectory(t), 'disk', 'tmpfs', 64);
  const own = [`--pool=fast=${disk.at},capacity=40MB,margin=0`, '--capacity=40MB', '--margin=0'];
  const m = await mount(t, { on: 'tmpfs', args: [...own, ...args] });
  await sendControl<object>(m.mnt, { cmd: 'pool', name: 'graft', words: ['/fast', 'fast', String(35 * MB)] });
  await mkdir(join(m.mnt, 'main'));
  await must(m.run(['reserve', join(m.mnt, 'main'), '35MB']));
  return m;
}

async function fill(m: Mounted, at: string): Promise<void> {
  // Before it is full: what finds nothing to delete leaves the pool alone for a minute.
  const past = Date.now() - 1000;
  const change = { lot_name: `/${at}`, management_policy_attrs: { expiration_time: past } };
  await must(m.run(['lot', 'update', JSON.stringify(change), '--mount', m.mnt]));
  for (const name of ['old', 'new']) {
    await writeFile(join(m.mnt, at, name), '');
    await truncate(join(m.mnt, at, name), 15 * MB);
  }
  await must(m.shell(`touch -a -d 2020-01-01 ${at}/old`));
}

const reclaim = async (m: Mounted, ...words: string[]) =>
  JSON.parse((await must(m.run(['reclaim', m.mnt, '--json', ...words]))).stdout) as ReclaimReport;

test('on command', { skip, timeout: 120_000 }, async (t) => {
  const m = await start(t);
  await fill(m, 'fast');
  await fill(m, 'main');
  const plan = await reclaim(m, '--plan', '--pool', 'fast', '--low-watermark', '40%');
  t.match(plan, { pool: 'fast', applied: false, fillBefore: (30 * MB) / CAPACITY, files: 1, bytes: 15 * MB });
  t.same(
    plan.list.map(({ path }) => path),
    ['/fast/old'],
  );
  t.match(await reclaim(m, '--apply', '--pool', 'fast', '--low-watermark', '40%'), { pool: 'fast', files: 1, bytes: 15 * MB });
  t.same(await readdir(join(m.mnt, 'fast')), ['new']);
  t.same((await readdir(join(m.mnt, 'main'))).sort(), ['new', 'old'], 'the main pool is left as it is');
  t.match(await reclaim(m, '--apply', '--low-watermark', '0'), { pool: 'main', files: 2 });
  t.same(await readdir(join(m.mnt, 'fast')), ['new'], 'and the other way round');
  t.match(await m.run(['reclaim', m.mnt, '--plan', '--pool', 'none']), {
    code: 1,
    stderr: /no pool 'none'; there are main, fast/,
  });
  t.match((await m.run(['reclaim', m.mnt, '--plan', '--pool', 'fast'])).stdout, /pool fast filled 37\.5%/);
  t.equal((await m.run(['check', m.mnt])).code, 0);
});

test('by itself', { skip, timeout: 120_000 }, async (t) => {
  const m = await start(t, '--high-watermark', '70%', '--low-watermark', '50%');
  await fill(m, 'fast');
  const left = await soon(
    () => readdir(join(m.mnt, 'fast')),
    (names) => names.length < 2,
  );
  t.same(left, ['new']);
  t.equal((await stat(join(m.mnt, 'fast/new'))).size, 15 * MB);
  t.match(await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8'), /"event":"reclaim".*"path":"\/fast\/old"/);
});
