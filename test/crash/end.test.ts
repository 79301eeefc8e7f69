// How a mount ends and begins: SIGTERM and umount under load, the grace, clean ends, a kill while it starts, two at once, a full disk.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { mountAt } from '../../src/cli/mountinfo.js';
import { lotAt, report } from '../helpers/lots.js';
import { gone, isAlive, type Mounted, mount, temporaryDirectory } from '../helpers/mount.js';
import { MAIN, must, run, vreserve } from '../helpers/run.js';
import { bytesIn, holdings } from '../helpers/tree.js';
import { Load, plainEnvironment } from './load.js';

const rootOnly = process.getuid?.() === 0 ? false : 'needs root';
const ARGS = ['--capacity', '100MB', '--margin', '0'];

/** Resolves when the condition holds; rejects after `timeoutMs`. */
async function until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  for (const endMs = Date.now() + timeoutMs; !(await condition()); await sleep(10)) {
    if (Date.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
  }
}

async function loaded(t: Test, m: Mounted): Promise<Load> {
  const load = new Load();
  t.teardown(() => load.stop());
  for (const name of ['one', 'two']) await mkdir(join(m.mnt, name));
  await must(m.run(['reserve', join(m.mnt, 'one'), '20MB']));
  await load.write([1, 2, 3], [join(m.mnt, 'one'), join(m.mnt, 'two')]);
  return load;
}

/** After a clean end: serves at once with what was saved, and what was saved is what is there. */
async function cleanlyEnded(t: Test, m: Mounted): Promise<void> {
  t.match(await vreserve(['check', m.data]), { code: 0 }, 'usage was saved');
  await m.remount();
  t.equal(m.ready.counted, false, 'the next mount serves at once');
  const held = await holdings(m.data, ['/', '/one']);
  t.equal((await lotAt(m.mnt, '/one')).usedBytes, held['/one']?.bytes);
  t.equal((await lotAt(m.mnt, '/')).usedBytes, held['/']?.bytes);
  t.notMatch(await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8'), /"event":"(recovery|difference)"/);
}

t.test('umount under load', async (t) => {
  const m = await mount(t, { args: ARGS });
  const load = await loaded(t, m);
  // Somebody holds a file at every moment only where one is kept open.
  const file = await open(join(m.mnt, 'two/held'), 'w');
  for (let n = 0; n < 3; n++) {
    const busy = await m.run(['umount', m.mnt]);
    t.match(busy, { code: 1, stdout: '', stderr: /is busy, held by .*\(\d+\): open file / });
    t.match(busy.stderr, new RegExp(`\\(${process.pid}\\)`), 'this process is named');
  }
  t.match(await m.shell('echo served > two/still'), { code: 0 }, 'and it serves on');
  await load.stop();
  t.same(load.failures, [], 'no writer saw an error');
  await file.close();
  await m.umount();
  t.notOk(await isAlive(m.ready.pid));
  await cleanlyEnded(t, m);
});

t.test('SIGTERM under load', async (t) => {
  const m = await mount(t, { args: ARGS });
  const load = await loaded(t, m);
  const file = await open(join(m.mnt, 'one/held'), 'w');
  process.kill(m.ready.pid, 'SIGTERM');
  await until('the mount is detached', () => mountAt(m.mnt) === undefined);
  await file.write('still served');
  await file.truncate(4_000_000);
  t.ok(await isAlive(m.ready.pid));
  // Writers by path meet the directory below the mountpoint now, in which they find nothing.
  await load.stop();
  await file.close();
  await gone(m.ready.pid);
  t.ok((await bytesIn(join(m.data, 'one'))) >= 4_000_000);
  await cleanlyEnded(t, m);
});

t.test('SIGTERM and the grace', async (t) => {
  const m = await mount(t, { args: [...ARGS, '--grace', '700ms'] });
  const file = await open(join(m.mnt, 'held'), 'w');
  await file.write(Buffer.alloc(10_000));
  const beganMs = Date.now();
  process.kill(m.ready.pid, 'SIGTERM');
  await until('the mount is detached', () => mountAt(m.mnt) === undefined);
  await file.write(Buffer.alloc(10_000));
  await gone(m.ready.pid);
  t.ok(Date.now() - beganMs >= 700, 'not before the grace is over');
  await t.rejects(file.write('x'), { code: /^(ENOTCONN|ECONNABORTED|EIO)$/ }, 'then the file is lost to who holds it');
  await file.close().catch(() => {});
  await m.remount(ARGS);
  t.equal(m.ready.counted, true, 'a forced end is not trusted');
  t.equal((await lotAt(m.mnt, '/')).usedBytes, 20_000);
  t.match(await m.run(['check', m.mnt]), { code: 0 });
});

t.test('files without a name, still open when the mount is detached', { skip: rootOnly }, async (t) => {
  const m = await mount(t, { args: ARGS });
  const script = 'for n in $(seq 200); do exec {fd}>u$n; rm u$n; printf %1000d 0 >&$fd; done; umount --lazy .; cd /';
  for (let round = 1; round <= 3; round++) {
    if (round > 1) await m.remount();
    // The end of the shell closes them all, and ends the mount.
    await must(m.shell(script));
    await gone(m.ready.pid);
    const check = await vreserve(['check', m.data]);
    t.equal(check.code, 0, `round ${round}: none of them is charged any more: ${check.stdout}`);
  }
});

t.test('an end that cannot be recorded', { skip: rootOnly }, async (t) => {
  const m = await mount(t, { args: ARGS });
  await must(m.run(['reserve', join(m.mnt, 'job'), '1MB']));
  await writeFile(join(m.mnt, 'job'), Buffer.alloc(1000));
  // From here on neither the ledger nor the log can be written.
  await must(run('prlimit', ['--pid', String(m.ready.pid), '--fsize=1:1']));
  t.match(await m.run(['umount', m.mnt]), { code: 0, stderr: '' }, 'the mount ends all the same');
  await gone(m.ready.pid);
  await m.remount();
  t.equal(m.ready.counted, true, 'and the next one counts');
  t.match(await lotAt(m.mnt, '/job'), { usedBytes: 1000, dedicatedBytes: 1_000_000 });
});

t.test('what changed behind a clean end', async (t) => {
  const m = await mount(t, { args: ARGS });
  await writeFile(join(m.mnt, 'file'), Buffer.alloc(5000));
  await m.umount();
  await truncate(join(m.data, 'file'), 7000);
  await m.remount([...ARGS, '--trust']);
  t.match([m.ready.counted, (await lotAt(m.mnt, '/')).usedBytes], [false, 5000], '--trust: what was saved');
  await m.umount();
  await m.remount();
  t.equal(m.ready.counted, false, 'else it serves at once too');
  await until('verified and corrected', async () => (await lotAt(m.mnt, '/')).usedBytes === 7000);
  const lines = async () => (await readFile(join(m.mnt, '.vreserve/ledger'), 'utf8')).split('\n');
  await until('a line in the journal', async () => (await lines()).some((line) => /"event":"difference"/.test(line)));
  t.match(
    (await lines()).find((line) => /difference/.test(line)),
    /"countedBytes":7000.*"recordedBytes":5000/,
  );
});

/** The daemon that a starting `vreserve mount` has made. */
async function daemonOf(mounting: ChildProcess): Promise<number | null> {
  while (mounting.exitCode === null && mounting.signalCode === null) {
    const children = await readFile(`/proc/${mounting.pid}/task/${mounting.pid}/children`, 'utf8').catch(() => '');
    const [pid] = children.trim().split(' ').filter(Boolean);
    if (pid !== undefined) return Number(pid);
    await sleep(1);
  }
  return null;
}

t.test('killed while it starts', async (t) => {
  if (!existsSync(`/proc/${process.pid}/task/${process.pid}/children`)) {
    t.pass('killed while it starts', { skip: 'this kernel does not list the children of a process in /proc' });
    return;
  }
  for (const [signal, first] of [
    ['SIGKILL', true],
    ['SIGTERM', true],
    ['SIGKILL', false],
    ['SIGTERM', false],
  ] as const) {
    for (let round = 0; round < 2; round++) {
      const top = await temporaryDirectory(t);
      const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
      await mkdir(mnt);
      await mkdir(join(data, 'job'), { recursive: true });
      await writeFile(join(data, 'job/file'), Buffer.alloc(12_345));
      if (!first) {
        const ready = JSON.parse((await must(vreserve(['mount', data, mnt, ...ARGS, '--json']))).stdout);
        await must(vreserve(['reserve', join(mnt, 'job'), '10MB']));
        process.kill(ready.pid, 'SIGKILL');
        await gone(ready.pid);
      }
      const mounting = spawn(process.execPath, [MAIN, 'mount', data, mnt, ...ARGS], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: plainEnvironment(),
      });
      let said = '';
      mounting.stderr.on('data', (part) => {
        said += part;
      });
      const closed = once(mounting, 'close');
      const daemon = await daemonOf(mounting);
      const afterMs = 40 + Math.floor(Math.random() * 260);
      await sleep(afterMs);
      if (daemon !== null && (await isAlive(daemon))) process.kill(daemon, signal);
      if (daemon !== null) await gone(daemon);
      await closed;
      const name = `${signal} after ${afterMs} ms, ${first ? 'no ledger yet' : 'a ledger to recover'}`;
      // It may have been ready before the signal came.
      if (mounting.exitCode !== 0) t.match(said, /the daemon failed: it ended before the mount was usable/, name);
      const again = await vreserve(['mount', data, mnt, ...ARGS, '--json']);
      t.equal(again.code, 0, `${name}: ${again.stderr}`);
      t.equal((await lotAt(mnt, first ? '/' : '/job')).usedBytes, 12_345, name);
      await must(vreserve(['umount', mnt]));
    }
  }
});

t.test('two daemons for one backing', async (t) => {
  for (let round = 0; round < 3; round++) {
    const top = await temporaryDirectory(t);
    for (const name of ['data', 'mnt1', 'mnt2', 'mnt3']) await mkdir(join(top, name));
    const mounts = ['mnt1', 'mnt2', 'mnt3'].map((name) => vreserve(['mount', join(top, 'data'), join(top, name), ...ARGS]));
    const results = await Promise.all(mounts);
    t.same(results.map(({ code }) => code).sort(), [0, 1, 1], 'one wins');
    for (const { code, stderr } of results) if (code !== 0) t.match(stderr, /served by another vreserve daemon/);
    const served = ['mnt1', 'mnt2', 'mnt3'].map((name) => join(top, name)).filter((mnt) => mountAt(mnt) !== undefined);
    t.equal(served.length, 1);
    t.match(await vreserve(['check', join(top, 'data')]), { code: 1, stderr: /served by another vreserve daemon/ });
    await must(vreserve(['umount', served[0] ?? '']));
  }
});

t.test('a full disk', { skip: rootOnly }, async (t) => {
  const m = await mount(t, { args: ['--margin', '0'], on: 'tmpfs', tmpfsSize: '32m' });
  const names = Array.from({ length: 60 }, (_, n) => `job${n}`);
  for (const name of names) await must(m.shell(`echo reserve /${name} 100000 > .vreserve/control`));
  await writeFile(join(m.mnt, 'job0'), Buffer.alloc(50_000));
  const ballast = join(m.data, '.vreserve/ballast');
  t.ok(existsSync(ballast));

  const filler = join(m.data, '../filler');
  const fill = () =>
    must(m.shell(`dd if=/dev/zero of=${filler} bs=4k oflag=append conv=notrunc status=none 2>/dev/null || true`));
  await fill();
  t.match(
    await m.shell('echo reserve /more 100000 > .vreserve/control'),
    { code: 1, stderr: /No space left/ },
    'no more promises',
  );
  t.not((await m.shell('cat .vreserve/health')).stdout, 'ok\n');
  for (const name of names.slice(0, 40)) {
    // Whatever room there is again, somebody else takes.
    await fill();
    t.match(await m.run(['release', join(m.mnt, name)]), { code: 0, stderr: '' });
  }
  t.notOk(existsSync(ballast), 'the ballast was needed');
  await must(m.shell('rm job0'));
  await fill();
  t.match(await m.run(['umount', m.mnt]), { code: 0, stderr: '' });
  await gone(m.ready.pid);
  await must(m.shell(`rm ${filler}`, { cwd: m.data }));
  t.match(await vreserve(['check', m.data]), { code: 0 });
  await m.remount();
  t.equal(m.ready.counted, false, 'a clean end');
  const paths = (await report(m.mnt)).lots.map(({ path }) => path);
  t.same(
    paths.filter((path) => path !== '/').sort(),
    names
      .slice(40)
      .map((name) => `/${name}`)
      .sort(),
    'what was released is gone',
  );
  await until('the ballast is made anew', () => existsSync(ballast));
  t.same((await readdir(m.mnt)).sort(), []);
});
