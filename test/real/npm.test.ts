// npm ci of this project itself, inside a reservation.
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { lotAt, usedAt } from '../helpers/lots.js';
import { mount } from '../helpers/mount.js';
import { must, ROOT, run } from '../helpers/run.js';
import { bytesIn } from '../helpers/tree.js';

t.test('npm ci of this project', async (t) => {
  const m = await mount(t, { args: ['--capacity', '2GB', '--margin', '0'] });
  const app = join(m.mnt, 'app');
  await mkdir(app);
  await must(m.run(['reserve', app, '1GB']));
  for (const name of ['package.json', 'package-lock.json']) await cp(join(ROOT, name), join(app, name));
  const words = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  const got = await run('npm', words, { cwd: app, timeoutMs: 240_000 });
  if (/\b(ENOTFOUND|ECONNREFUSED|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ECONNRESET)\b/.test(got.stderr)) {
    t.pass('npm ci', { skip: 'the npm registry cannot be reached, and what npm ci needs is not in its cache' });
    return;
  }
  t.equal(got.code, 0, got.stderr);
  t.match(await run('npm', ['ls', '--all', '--silent'], { cwd: app }), { code: 0 }, 'npm finds everything');
  t.match(await run('node_modules/.bin/tsc', ['--version'], { cwd: app }), { code: 0, stdout: /^Version 6/ });
  const installed = ['node_modules/typescript', 'node_modules/pino'];
  for (const name of installed)
    t.match(await run('diff', ['-r', join(ROOT, name), join(app, name)]), { code: 0, stdout: '' }, name);
  const thereBytes = await bytesIn(app);
  t.equal(await usedAt(m.mnt, '/app', thereBytes), thereBytes, 'charged what is there');
  await must(run('rm', ['-rf', join(app, 'node_modules')]));
  t.equal((await lotAt(m.mnt, '/app')).objects, 2, 'and refunded');
  t.match(await m.run(['check', m.mnt]), { code: 0 });
});
