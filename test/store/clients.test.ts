// 64 clients on 2,000 names, and `kill -9` of the server in between. VRESERVE_KILLS and VRESERVE_SEED take other numbers.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { temporaryDirectory } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';
import { hammer } from './hammer.js';
import { serverTarget } from './server-target.js';

const KILLS = Number(process.env.VRESERVE_KILLS ?? 5);
const SEED = Number(process.env.VRESERVE_SEED ?? Date.now() % 100_000);

t.test('what was acknowledged is there, whole, and nobody ever saw half a blob', { timeout: 3_600_000 }, async (t) => {
  const top = await temporaryDirectory(t);
  // A tmpfs where that can be: what a disk takes for its syncs is no matter here.
  if (process.getuid?.() === 0) await must(run('mount', ['-t', 'tmpfs', '-o', 'size=1g', 'vreserve-test', top]));
  await mkdir(join(top, 'store'));
  const report = await hammer({
    target: serverTarget(top),
    clients: 64,
    names: 2000,
    kills: KILLS,
    answers: [200, 1200],
    seed: SEED,
  });
  t.same(report.wrong, [], `seed ${SEED}`);
  t.equal(report.kills, KILLS);
  t.ok(report.blobs > 0 && report.cut > 0 && report.reads > 0);
  t.comment(JSON.stringify(report));
});
