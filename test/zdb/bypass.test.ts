// Files of namespaces that are written past the daemon: within their size alone without a charge, and exact again whatever was done.
import { join } from 'node:path';
import { test } from 'tap';
import { whyNotRoot } from '../helpers/columns.js';
import { startSteps } from '../helpers/fsop.js';
import { until } from '../helpers/http.js';
import { report } from '../helpers/lots.js';
import { type Mounted, mount } from '../helpers/mount.js';
import { must } from '../helpers/run.js';

const KIB = 1024;

const usedBy = async (m: Mounted, lot: string) => (await report(m.mnt)).lots.find(({ name }) => name === lot)?.usedBytes ?? 0;

test('what is charged beforehand is written past the daemon', { skip: whyNotRoot }, async (t) => {
  const m = await mount(t, { args: ['--zdb', '127.0.0.1:0', '--margin', '0'] });
  if (m.ready.io !== 'passthrough') {
    t.comment('needs passthrough');
    return;
  }
  await must(m.run(['ns', 'reserve', 'mine', '4MB', '--mount', m.mnt]));
  const before = await usedBy(m, 'ns/mine');
  const steps = await startSteps(t, join(m.mnt, '.vreserve/namespaces/mine'));
  t.equal(await steps.do('open 0 other RDWR|CREAT|EXCL|NOATIME 600'), 0);
  t.equal(await steps.do(`ftruncate 0 ${64 * KIB}`), 0);
  t.equal(await usedBy(m, 'ns/mine'), before + 64 * KIB, 'a size is charged when it is set');

  const { pid } = m.ready;
  // The kernel asks once whether there are capabilities that the first write would take away.
  t.equal(await steps.do('pwrite 0 first 0'), 5);
  t.teardown(() => process.kill(pid, 'SIGCONT'));
  process.kill(pid, 'SIGSTOP');
  const written = await steps.do('pwrite 0 hello 1000');
  process.kill(pid, 'SIGCONT');
  t.equal(written, 5, 'a write needs no daemon');
  t.equal(await steps.do('open 1 other RDONLY'), 0);
  t.equal(await steps.do('pread 1 5 1000'), 'hello', 'and readers see it');
  t.equal(await steps.do(`ftruncate 0 ${14 * 1024 * KIB}`), 'ENOSPC', 'nobody gets past the grant');

  // Whoever writes further is not counted at once, but is before the next change of the size, and at the close.
  t.equal(await steps.do(`fill 0 ${32 * KIB} ${64 * KIB}`), 32 * KIB);
  t.equal(await steps.do(`ftruncate 0 ${128 * KIB}`), 0);
  t.equal(await usedBy(m, 'ns/mine'), before + 128 * KIB);
  t.equal(await steps.do(`fill 0 ${32 * KIB} ${128 * KIB}`), 32 * KIB);
  t.equal(await steps.do('close 0'), 0);
  await until(async () => (await usedBy(m, 'ns/mine')) === before + 160 * KIB, 'the close says what there is');
  t.equal(await steps.do('close 1'), 0);
  t.equal(await steps.do('unlink other'), 0);
  await until(async () => (await usedBy(m, 'ns/mine')) === before, 'and all of it is given back');
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });

  // Elsewhere the same flag changes nothing.
  await must(m.run(['reserve', join(m.mnt, 'job'), '64KiB']));
  const outside = await startSteps(t, m.mnt);
  t.equal(await outside.do('mkdir job 755'), 0);
  t.equal(await outside.do('open 0 job/file RDWR|CREAT|NOATIME 600'), 0);
  t.equal(await outside.do(`fill 0 ${96 * KIB} 0`), 64 * KIB, 'no byte past the grant');
  t.equal(await outside.do('close 0'), 0);
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /^no difference/ });
});
