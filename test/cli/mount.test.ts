// The commands on a real mount: from mount to umount, with what is refused, who is busy, and what is recovered.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { findHolders } from '../../src/cli/holders.js';
import { mountAt } from '../../src/cli/mountinfo.js';
import { gone, isAlive, mount, temporaryDirectory } from '../helpers/mount.js';
import { MAIN, must, ROOT, run, vreserve } from '../helpers/run.js';

const SMALL = ['--capacity', '100MB', '--margin', '0'];

t.test('reserve, extend, report, release', async (t) => {
  const m = await mount(t, { args: SMALL });
  const granted = await m.run(['reserve', `${m.mnt}/job1`, '40MB']);
  t.match(granted, { code: 0, stdout: 'reserved 40 MB for /job1, 0 B used\n', stderr: '' });
  t.match(await m.run(['reserve', '/job2', '10MB', '--mount', m.mnt]), { code: 0, stdout: /for \/job2/ });

  const refused = await m.run(['reserve', `${m.mnt}/job3`, '60MB']);
  t.match(refused, { code: 1, stdout: '', stderr: /60 MB asked for \/job3, 50 MB available/ });
  const json = await m.run(['reserve', `${m.mnt}/job3`, '60MB', '--json']);
  t.match(JSON.parse(json.stdout), { ok: false, code: 'NO_SPACE', errno: 'ENOSPC', askedBytes: 60e6, availableBytes: 50e6 });

  t.match(await m.run(['extend', `${m.mnt}/job1`, '5MB']), { code: 0, stdout: /extended to 45 MB for \/job1/ });
  t.match(await m.run(['extend', `${m.mnt}/none`, '5MB']), { code: 1, stderr: /no reservation at '\/none'/ });
  t.match(await m.run(['reserve', `${m.mnt}/job1`, '20MB']), { code: 0, stdout: /reserved 20 MB/ }, 'set anew');

  await mkdir(join(m.mnt, 'job1'));
  await writeFile(join(m.mnt, 'job1/file'), Buffer.alloc(1_000_000));
  t.match(await m.run(['reserve', `${m.mnt}/job1`, '999999']), { code: 1, stderr: /holds 1 MB already/ });

  t.match(await m.run(['report', m.mnt]), {
    code: 0,
    stdout: await readFile(join(m.mnt, '.vreserve/report'), 'utf8').then(heading),
  });
  const all = JSON.parse((await m.run(['report', m.mnt, '--json'])).stdout);
  t.match(all, { daemon: { pid: m.ready.pid }, pool: { capacityBytes: 100e6 } });
  const lot = JSON.parse((await m.run(['report', `${m.mnt}/job1/file`, '--json'])).stdout);
  t.match(lot, { lot: { name: '/job1', usedBytes: 1_000_000, dedicatedBytes: 20e6 } });
  t.match(await m.run(['report', `${m.mnt}/job1`]), { code: 0, stdout: /used +1 MB\ngrant +20 MB/ });
  t.match((await m.run(['report', '--json'])).stdout, `"mountpoint":"${m.mnt}"`, 'all mounts');

  t.match(await m.run(['release', `${m.mnt}/job1`]), { code: 0, stdout: /released 20 MB of \/job1/ });
  t.match(await m.run(['release', `${m.mnt}/job1`]), { code: 0, stdout: /was not reserved/ });
  t.equal((await stat(join(m.mnt, 'job1/file'))).size, 1_000_000, 'the files stay');
});

function heading(text: string): RegExp {
  return new RegExp((text.split('\n')[0] ?? '').replace(/[()[\]./]/g, '\\$&'));
}

t.test('ledger', async (t) => {
  const m = await mount(t, { args: SMALL });
  await must(m.run(['reserve', `${m.mnt}/a b`, '1MB']));
  const text = await m.run(['ledger', m.mnt]);
  t.match(text, { code: 0, stderr: '', stdout: /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}mount / });
  t.match(text.stdout, /grant +.*\/a b/);
  const json = await m.run(['ledger', m.mnt, '--json']);
  const events = json.stdout.trim().split('\n');
  t.match(JSON.parse(events.at(-1) ?? ''), { event: 'grant', path: '/a b', bytes: 1_000_000 });

  const follower = spawn(process.execPath, [MAIN, 'ledger', m.mnt, '-f']);
  t.teardown(() => follower.kill('SIGKILL'));
  let followed = '';
  follower.stdout.on('data', (part) => {
    followed += part;
  });
  await once(follower.stdout, 'data');
  await must(m.run(['reserve', `${m.mnt}/later`, '1MB']));
  for (let i = 0; i < 100 && !followed.includes('/later'); i++) await new Promise((done) => setTimeout(done, 50));
  t.match(followed, /grant +.*\/later/, 'what is added is followed');
  follower.kill();
  await once(follower, 'exit');
});

t.test('umount: busy, lazy, and the end', async (t) => {
  const m = await mount(t, { args: SMALL });
  const holder = spawn('sleep', ['60'], { cwd: m.mnt });
  await once(holder, 'spawn');
  const busy = await m.run(['umount', m.mnt]);
  t.equal(busy.code, 1);
  t.match(busy.stderr, new RegExp(`is busy, held by sleep \\(${holder.pid}\\): working directory ${m.mnt}`));
  await writeFile(join(m.mnt, 'still'), 'served');
  const entry = mountAt(m.mnt);
  t.match(entry && findHolders(entry), [{ pid: holder.pid, command: 'sleep', what: 'working directory' }]);

  t.match(await m.run(['umount', m.mnt, '--lazy']), { code: 0, stderr: /serves .* until the last file is closed/ });
  t.equal(mountAt(m.mnt), undefined, 'detached');
  holder.kill();
  await gone(m.ready.pid);
  t.equal(await readFile(join(m.data, 'still'), 'utf8'), 'served');

  await m.remount();
  t.match(await m.run(['umount', m.mnt, '--json']), { code: 0 });
  t.notOk(await isAlive(m.ready.pid), 'the daemon is gone when umount returns');
  t.match(await m.run(['umount', m.mnt]), { code: 1, stderr: /is not a vreserve mount/ });
  t.match(await m.run(['umount', join(m.mnt, 'below')]), { code: 1, stderr: /is not a vreserve mount/ });
});

t.test('a mount that lost its daemon is recovered', async (t) => {
  for (const inPlace of [false, true]) {
    const m = await mount(t, { args: SMALL, inPlace });
    await must(m.run(['reserve', `${m.mnt}/job1`, '40MB']));
    await m.kill();
    t.match(await m.run(['reserve', `${m.mnt}/job1`, '1MB']), { code: 1, stderr: /its daemon is gone/ }, `in place: ${inPlace}`);
    const again = await vreserve(inPlace ? ['mount', m.data, ...SMALL] : ['mount', m.data, m.mnt, ...SMALL]);
    t.match(again, { code: 0, stderr: /had lost its daemon; it was detached and is mounted anew/, stdout: /reservations +1/ });
    t.match(await m.run(['report', `${m.mnt}/job1`]), { code: 0, stdout: /grant +40 MB/ });
    await m.umount();
  }
});

t.test('what is served already is not served twice', async (t) => {
  const m = await mount(t, { args: SMALL });
  const other = await temporaryDirectory(t);
  t.match(await vreserve(['mount', m.data, other]), { code: 1, stderr: /served by another vreserve daemon/ });
  t.match(await vreserve(['mount', m.data, m.mnt]), { code: 1, stderr: /served by another vreserve daemon/ });
  t.match(await vreserve(['mount', other, m.mnt]), { code: 1, stderr: /is there already/ });
  t.match(await m.run(['report', m.mnt]), { code: 0 }, 'nothing was changed');
});

t.test('check', async (t) => {
  const m = await mount(t, { args: SMALL });
  await mkdir(join(m.mnt, 'dir'));
  await writeFile(join(m.mnt, 'dir/file'), Buffer.alloc(5000));
  t.match(await m.run(['check', m.mnt]), { code: 0, stdout: /no difference: 5 kB, 1 objects/ });
  await m.umount();
  t.match(await vreserve(['check', m.data]), { code: 0, stdout: /no difference: 5 kB, 1 objects/ }, 'at rest');
  await truncate(join(m.data, 'dir/file'), 7000);
  const differs = await vreserve(['check', m.data, '--json']);
  t.equal(differs.code, 1);
  t.match(JSON.parse(differs.stdout), { differences: 1, lots: [{ recordedBytes: 5000, countedBytes: 7000 }] });
  t.match(await vreserve(['check', m.data]), { code: 1, stdout: /5,000 +7,000/ }, 'nothing was changed');
  t.match(await vreserve(['check', m.data, '--repair']), { code: 1, stdout: /recorded now/ });
  t.match(await vreserve(['check', m.data]), { code: 0 });
  t.match(await vreserve(['check', await temporaryDirectory(t)]), { code: 1, stderr: /has no ledger/ });
});

t.test('the foreground, and SIGTERM', async (t) => {
  const top = await temporaryDirectory(t);
  const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
  await mkdir(data);
  await mkdir(mnt);
  const child = spawn(process.execPath, [MAIN, 'mount', data, mnt, '-f', '--json', ...SMALL]);
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout, 'data');
  const ready = JSON.parse(String(line));
  t.match(ready, { type: 'ready', mountpoint: mnt, capacityBytes: 100e6 });
  await writeFile(join(mnt, 'file'), 'x');
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  t.equal(code, 0, 'a clean end');
  await gone(ready.pid);
  t.equal(mountAt(mnt), undefined);
  t.match(await vreserve(['check', data]), { code: 0 }, 'usage was saved');
});

t.test('mount(8) and an fstab line', { skip: process.getuid?.() === 0 ? false : 'mount(8) needs root' }, async (t) => {
  const top = await temporaryDirectory(t);
  for (const name of ['data', 'mnt', 'sbin']) await mkdir(join(top, name));
  await symlink(join(ROOT, 'scripts/vreserve'), join(top, 'sbin/mount.fuse.vreserve'));
  await writeFile(join(top, 'fstab'), `${top}/data ${top}/mnt fuse.vreserve rw,nofail,capacity=100M,margin=0 0 0\n`);
  // In a mount namespace of its own: nobody else sees the helper in /sbin.
  const script = `
    mount -t overlay -o lowerdir=${top}/sbin:/usr/sbin overlay /usr/sbin
    mount --fstab ${top}/fstab ${top}/mnt
    cat ${top}/mnt/.vreserve/report
    mount -t fuse.vreserve -o remount,ro ${top}/data ${top}/mnt 2>&1 && exit 3
    ${ROOT}/scripts/vreserve umount ${top}/mnt`;
  const got = await run('unshare', ['--mount', '/bin/bash', '-ec', script], { timeoutMs: 120_000 });
  t.match(got, { code: 0, stdout: /capacity +100 MB/ }, got.stderr);
  t.match(got.stdout, /unmounted/);
});

t.test('demo', async (t) => {
  const top = await temporaryDirectory(t);
  const got = await vreserve(['demo', '--fast'], { env: { ...process.env, TMPDIR: top }, timeoutMs: 100_000 });
  t.match(got, { code: 0, stderr: '' });
  t.match(got.stdout, /No space left on device/);
  t.match(got.stdout, /\$ vreserve umount MNT\nunmounted/);
  t.match(await run('ls', ['-A', top]), { stdout: '' }, 'nothing is left');

  const child = spawn(process.execPath, [MAIN, 'demo'], { env: { ...process.env, TMPDIR: top } });
  let said = '';
  while (!said.includes('reserve MNT/job1')) said += String((await once(child.stdout, 'data'))[0]);
  child.kill('SIGINT');
  await once(child, 'exit');
  t.match(await run('ls', ['-A', top]), { stdout: '' }, 'nor after Ctrl-C');
  await run('/bin/bash', ['-c', `"$0" "$1" demo --fast | head -n 3; wait`, process.execPath, MAIN], {
    env: { ...process.env, TMPDIR: top },
  });
  for (let i = 0; i < 100 && (await readdir(top)).length > 0; i++) await sleep(100);
  t.same(await readdir(top), [], 'nor when nobody reads on');
});
