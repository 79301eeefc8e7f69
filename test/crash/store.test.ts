// 64 clients at work on the store of a mount, over HTTP and as files, while its daemon is killed, and while its service process is.
// VRESERVE_KILLS and VRESERVE_SEED take other numbers.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Place, soon, whyNotRoot } from '../helpers/columns.js';
import { startSteps } from '../helpers/fsop.js';
import { until } from '../helpers/http.js';
import { type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { hammer } from '../store/hammer.js';
import { heldPayloads, mountTarget, servicePid } from '../store/mount-target.js';

const KILLS = Number(process.env.VRESERVE_KILLS ?? 4);
const SEED = Number(process.env.VRESERVE_SEED ?? Date.now() % 100_000);

/** Neither process holds what is gone, and no process of an earlier life is left. */
async function nothingLeaks(t: Test, m: Mounted): Promise<void> {
  const service = await servicePid(m);
  if (service === null) throw new Error('there is no service process');
  const held = await soon(
    async () => [...(await heldPayloads(m.ready.pid)), ...(await heldPayloads(service))],
    (found) => found.length === 0,
  );
  t.same(held, [], 'no descriptor of what is gone');
}

for (const victim of ['daemon', 'service'] as const) {
  t.test(`kill -9 of the ${victim}`, { skip: whyNotRoot, timeout: 3_600_000 }, async (t) => {
    const socketPath = join(await temporaryDirectory(t), 'socket');
    const args = ['--capacity', '900MB', '--margin', '0', '--http', `unix:${socketPath}`, '--gc-interval', '200ms'];
    const m = await mount(t, { on: 'tmpfs', tmpfsSize: '1g', store: true, args });
    const target = mountTarget(m, socketPath, victim);
    const report = await hammer({ target, clients: 64, names: 2000, kills: KILLS, answers: [200, 1200], seed: SEED });
    t.same(report.wrong, [], `seed ${SEED}`);
    t.equal(report.kills, KILLS);
    t.ok(report.blobs > 0 && report.cut > 0 && report.reads > 0);
    t.comment(JSON.stringify(report));

    // The hammer's end has killed once more.
    if (victim === 'daemon') await m.remount();
    await until(async () => (await m.shell('ls .vreserve/store')).code === 0, 'the store is served');
    const p = new Place(m, await startSteps(t, m.mnt));
    await p.usageEqualsCount(t);
    t.match(await m.run(['check', m.mnt]), { code: 0 });
    const { lots } = await p.report();
    t.match(
      lots.find(({ name }) => name === 'store'),
      { pendingBytes: 0, pendingObjects: 0, objects: report.blobs + 1 },
      'a file a blob, and the records',
    );
    await nothingLeaks(t, m);
    await p.ops.end();
    await m.umount();
    t.match(await m.run(['check', m.data]), { code: 0 });
  });
}
