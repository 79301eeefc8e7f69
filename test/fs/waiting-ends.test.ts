// The waiting line through a real mount, under load and at its ends: many commands, many requests, a full spool, mounts that end.
import { open, readFile, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { bytesData, Spool, textMeta } from '../../src/spool/index.js';
import { whyNotRoot } from '../helpers/columns.js';
import { type ControlOutcome, startSteps } from '../helpers/fsop.js';
import { gone, isAlive, mount } from '../helpers/mount.js';
import { ALICE, BOB, MB, QUEUES, RequestSpool, ROOM, until, type WaitingWorld, waitingWorld } from '../helpers/requests.js';
import { must, shell, vreserve } from '../helpers/run.js';

const entry = RequestSpool.entry;

/** A command that waits holds up nobody else. */
async function manyCommands(t: Test, { m, s }: WaitingWorld): Promise<void> {
  await s.reserve('/full', ROOM);
  const paths = Array.from({ length: 50 }, (_, i) => `/u/m${i}`);
  const running = paths.map((path) => s.control(`reserve ${path} 1MB wait`, BOB));
  await until('all wait', async () => (await s.waiting()).length === 50);
  const steps = await startSteps(t, m.mnt);
  for (const [command, errno] of [
    ['extend /full 1', 'ENOSPC'],
    ['reserve /new 1', 'ENOSPC'],
    ['lot list', ''],
    ['check', ''],
    ['release /nothing', ''],
    ['reserve /full 59MB', ''],
  ] as const) {
    const { errno: got } = (await steps.do(`control .vreserve/control ${command}`)) as ControlOutcome;
    t.equal(got, errno, command);
  }
  await until('one has its turn', async () => (await s.waiting()).length === 49);
  t.match(await m.shell('cat .vreserve/report > /dev/null; mkdir u/d; rmdir u/d; getfattr -n user.vreserve.used u'), {
    code: 0,
  });
  t.notOk(running.every(({ isOver }) => isOver));
  await s.release('/full');
  for (const each of running) t.match(await each.done, { code: 0, stdout: '', stderr: '' });
  t.same(await s.reserved(), [...paths].sort());
  await until('no entries are left', async () => (await s.files()).length === 0);

  await t.test('several lines in one write, and one open file', async (t) => {
    await s.reserve('/full', 10 * MB);
    const batch = s.control('reserve /u/b1 1MB wait\nreserve /u/b2 1MB wait\nreserve /u/b3 1', BOB);
    await s.waits('/u/b1');
    t.equal((await s.waiting()).length, 1, 'the lines of a write run one after the other');
    await s.release('/full');
    t.match(await batch.done, { code: 0 });
    t.same(
      (await s.reserved()).filter((path) => path.startsWith('/u/b')),
      ['/u/b1', '/u/b2', '/u/b3'],
    );
  });
  await shell(`printf 'release %s\n' ${(await s.reserved()).join(' ')} > '${m.mnt}/.vreserve/control'`);
  t.same(await s.reserved(), []);
  await s.sound(t);
}

/** The lot of the spool is full. */
async function fullSpool(t: Test): Promise<void> {
  const m = await mount(t, { on: 'tmpfs', args: ['--capacity', '64MB', '--margin', '0', '--spool-grant', '100kB'] });
  const s = new RequestSpool(t, m);
  await must(m.shell('mkdir u; chmod 777 u .vreserve/spool; mkdir .vreserve/spool/fill'));
  const fill = join(m.mnt, '.vreserve/spool/fill/.data/fill');
  const full = async () => {
    const { usedBytes, dedicatedBytes } = (await s.lots()).find(({ name }) => name === 'spool') ?? {
      usedBytes: 0,
      dedicatedBytes: 0,
    };
    const size = (await open(fill, 'a').then(async (file) => [await file.stat(), await file.close()] as const))[0].size;
    await truncate(fill, size + dedicatedBytes - usedBytes);
  };
  await s.reserve('/full', 60 * MB);
  await s.put('file', { path: '/u/file', bytes: 10 * MB }, ALICE);
  await s.waits('/u/file');
  const before = s.control('reserve /u/before 10MB wait', BOB);
  await s.waits('/u/before');
  await full();
  t.match(
    await s.control('reserve /u/after 10MB wait', BOB).done,
    { code: 1, stderr: /No space left/ },
    'a request that cannot be written',
  );
  t.match(await s.tryPut('after', { path: '/u/after', bytes: MB }, ALICE), { code: 1, stderr: /No space left/ });
  await must(s.shell('rm -f .registry/after .data/after .tmp/after', ALICE));
  t.same(await s.waitingFor('/u/file', '/u/before'), ['/u/file', '/u/before'], 'is not in line');
  t.equal(await s.health(), 'ok');
  await s.release('/full');
  await until('the grant', async () => (await s.reserved()).includes('/u/file'));
  await until('health says so', async () => /ENOSPC|no space/i.test(await s.health()));
  t.match(await before.done, { code: 0 }, 'who waits by command is not held up by it');
  t.same(await s.waiting(), []);
  await rm(fill);
  t.match(await s.end('file'), { queue: 'granted', uid: 3001 }, 'there is room: the outcome comes');
  await until('health is good again', async () => (await s.health()) === 'ok');
  t.equal((await s.grants()).filter((path) => path === '/u/file').length, 1);
  t.same(await s.files(), entry('granted', 'file'));
  await must(m.shell('rm -r .vreserve/spool/fill'));
  await s.sound(t);
}

/** What a process and its children have used: CPU in ms, memory in bytes. */
async function spent(pid: number): Promise<{ cpuMs: number; rssBytes: number }> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
  const pages = Number((await readFile(`/proc/${pid}/statm`, 'utf8')).split(' ')[1]);
  const sum = { cpuMs: (Number(fields[11]) + Number(fields[12])) * 10, rssBytes: pages * 4096 };
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  for (const child of children.split(' ').filter(Boolean)) {
    const more = await spent(Number(child));
    sum.cpuMs += more.cpuMs;
    sum.rssBytes += more.rssBytes;
  }
  return sum;
}

async function multitude(t: Test): Promise<void> {
  const COUNT = 2000;
  const m = await mount(t, { on: 'tmpfs', args: ['--capacity', '128MB', '--margin', '0', '--spool-grant', '64MB'] });
  const s = new RequestSpool(t, m);
  await s.reserve('/full', 64 * MB);
  const before = await spent(m.ready.pid);
  const spool = await Spool.load(s.dir, { queues: QUEUES, meta: textMeta, data: bytesData });
  const name = (i: number) => `n${String(i).padStart(4, '0')}`;
  for (let i = 0; i < COUNT; i += 50) {
    const some = Array.from({ length: Math.min(50, COUNT - i) }, (_, k) => name(i + k));
    await Promise.all(
      some.map((each) =>
        spool.enqueue('pending', JSON.stringify({ path: `/x/${each}`, bytes: 1000 }), new Uint8Array(), { reserve: () => each }),
      ),
    );
  }
  await until('all are in line', async () => (await s.waiting()).length === COUNT, 120_000);
  const waiting = await s.waiting();
  t.same(
    waiting.map(({ position }) => position),
    waiting.map((_, i) => i + 1),
  );
  t.equal(
    (await readFile(join(m.mnt, '.vreserve/report'), 'utf8')).split('\n').filter((line) => line.includes('/x/n')).length,
    COUNT,
  );
  const filled = await spent(m.ready.pid);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const idle = await spent(m.ready.pid);
  t.comment(
    `${COUNT} requests: ${filled.cpuMs - before.cpuMs} ms of CPU to take them in, ${idle.cpuMs - filled.cpuMs} ms in a second of idleness`,
  );
  t.comment(
    `${Math.round((idle.rssBytes - before.rssBytes) / 1024)} KiB more memory, ${Math.round(idle.rssBytes / 1024 / 1024)} MiB in all`,
  );
  await s.release('/full');
  await until('all are granted', async () => (await s.names('granted')).length === COUNT, 120_000);
  const after = await spent(m.ready.pid);
  t.comment(`${after.cpuMs - idle.cpuMs} ms of CPU to grant them`);
  t.same(
    await s.grants(),
    waiting.map(({ path }) => path),
    'all, in order, each once',
  );
  t.equal((await s.files()).length, 3 * COUNT);
  await s.sound(t);
}

/** The end of a mount while requests wait. */
async function ends(t: Test, { m, s }: WaitingWorld): Promise<void> {
  await s.reserve('/full', ROOM);
  await s.put('one', { path: '/u/one', bytes: MB }, ALICE);
  await s.put('two', { path: '/u/two', bytes: MB, wait: '10m' }, BOB);
  t.same(await s.waitingFor('/u/one', '/u/two'), ['/u/one', '/u/two']);
  const { deadlineMs } = await s.waits('/u/two');
  for (let round = 0; round < 8; round++) {
    await m.umount();
    await gone(m.ready.pid);
    t.match(await vreserve(['check', m.data]), { code: 0 });
    await m.remount();
    t.equal(m.ready.counted, false, "requests by file are in nobody's way");
    t.same(await s.waitingFor('/u/one', '/u/two'), ['/u/one', '/u/two'], 'and wait on');
  }
  t.equal((await s.waits('/u/two')).deadlineMs, deadlineMs, 'until the same time');
  t.same(
    (await s.journal()).filter(({ event }) => event === 'withdrawal'),
    [],
    'nobody has withdrawn anything',
  );
  // What is put in while nothing is mounted is found; what is taken away is gone.
  await m.umount();
  const own = join(m.data, '.vreserve/spool/requests');
  await must(
    shell(
      `cd '${own}'; : > .registry/three; : > .data/three; echo '{"path":"/u/three","bytes":1000}' > pending/three; chown 3001:3001 */three .*/three; rm */one .*/one`,
    ),
  );
  await m.remount();
  t.same(await s.waitingFor('/u/two', '/u/three'), ['/u/two', '/u/three']);
  t.match((await s.journal()).filter(({ request }) => request === 'one').at(-1), { event: 'withdrawal' });

  const command = s.control('reserve /u/cmd 1MB wait', ALICE);
  const cli = s.start(['reserve', join(m.mnt, 'u/cli'), '1MB', '--wait'], BOB);
  await s.waits('/u/cmd');
  await s.waits('/u/cli');
  const busy = await m.run(['umount', m.mnt]);
  t.match(busy, { code: 1, stderr: /busy/ }, 'who waits by command has control open');
  t.match(busy.stderr, new RegExp(`\\(${command.pid}\\)`));
  t.same((await s.waiting()).length, 4, 'and waits on');
  process.kill(m.ready.pid, 'SIGTERM');
  t.match(await command.done, { code: 1, stderr: /Cannot send after transport endpoint shutdown/ }, 'ESHUTDOWN');
  t.match(await cli.done, { code: 1, stderr: /the mount is ending/ });
  await gone(m.ready.pid);
  await m.remount();
  t.equal(m.ready.counted, false, 'a clean end');
  t.same(await s.waitingFor('/u/two', '/u/three'), ['/u/two', '/u/three'], 'their requests are withdrawn');
  t.same(await s.files(), entry('pending', 'two', 'three'));
  await s.release('/full');
  for (const name of ['two', 'three']) t.match(await s.end(name), { queue: 'granted' });
  t.ok(await isAlive(m.ready.pid));
  t.same(await s.reserved(), ['/u/three', '/u/two']);

  await t.test('and when the deadline comes meanwhile', async (t) => {
    await s.reserve('/full', 50 * MB);
    await s.put('brief', { path: '/u/brief', bytes: 40 * MB, wait: '1s' }, ALICE);
    const { deadlineMs } = await s.waits('/u/brief');
    await m.umount();
    await until('the time has come', async () => Date.now() > (deadlineMs ?? 0));
    await m.remount();
    t.match(await s.end('brief'), { queue: 'refused', outcome: { code: 'WAITED_FOR_NOTHING' } });
  });
  await t.test('without a spool', async (t) => {
    await must(s.shell('rm -f granted/* refused/* .data/* .registry/*'));
    await m.umount();
    await rm(join(m.data, '.vreserve/spool'), { recursive: true });
    await m.remount(['--capacity', '64MB', '--margin', '0', '--spool-grant', '0']);
    await s.reserve('/more', 10 * MB);
    t.match(await m.run(['reserve', join(m.mnt, 'x'), '30MB', '--wait']), { code: 1, stderr: /no spool/ });
    t.match(await m.run(['reserve', join(m.mnt, 'x'), '1MB', '--wait']), { code: 0 }, 'what is there need not wait');
  });
}

/** The daemon's own process that uses the mount dies, or hangs while the daemon is killed. */
async function boxProcess(t: Test, { m, s }: WaitingWorld): Promise<void> {
  const boxPid = async () => Number(await readFile(`/proc/${m.ready.pid}/task/${m.ready.pid}/children`, 'utf8'));
  await s.reserve('/full', ROOM);
  await s.put('file', { path: '/u/file', bytes: MB }, ALICE);
  const command = s.control('reserve /u/command 1MB wait', BOB);
  await s.waits('/u/file');
  await s.waits('/u/command');
  for (let n = 0; n < 3; n++) {
    const pid = await boxPid();
    process.kill(pid, 'SIGKILL');
    await gone(pid);
    await s.put(`more${n}`, { path: `/u/more${n}`, bytes: MB }, ALICE);
    await s.waits(`/u/more${n}`);
    t.not(await boxPid(), pid, 'there is another');
  }
  await until('health is good again', async () => (await s.health()) === 'ok');
  await s.release('/full');
  for (const name of ['file', 'more0', 'more1', 'more2']) t.match(await s.end(name), { queue: 'granted' });
  t.match(await command.done, { code: 0 });
  t.same(
    (await s.journal()).filter(({ event }) => event === 'withdrawal'),
    [],
  );

  await s.reserve('/full', 50 * MB);
  await s.put('late', { path: '/u/late', bytes: 40 * MB }, ALICE);
  await s.waits('/u/late');
  const stopped = await boxPid();
  process.kill(stopped, 'SIGSTOP');
  // What is to be done for this one waits in the stopped process.
  const released = s.release('/full').catch(() => {});
  await until('it is released', async () => !(await s.reserved()).includes('/full'));
  await m.kill();
  await released;
  await m.remount();
  process.kill(stopped, 'SIGCONT');
  await gone(stopped);
  t.match(await s.end('late'), { queue: 'granted' });
  t.equal((await s.grants()).filter((path) => path === '/u/late').length, 1, 'once');
  await until('all is moved', async () => (await s.files()).length === 15);
  t.same(await s.files(), entry('granted', 'file', 'more0', 'more1', 'more2', 'late'));
  await s.sound(t);
}

t.test('waiting, many and at the end', { skip: whyNotRoot, timeout: 300_000 }, async (t) => {
  await t.test('fifty commands', async (t) => manyCommands(t, await waitingWorld(t)));
  await t.test('the spool is full', (t) => fullSpool(t));
  await t.test('two thousand', (t) => multitude(t));
  await t.test('the process that uses the mount', async (t) => boxProcess(t, await waitingWorld(t)));
  await t.test('ends', async (t) => ends(t, await waitingWorld(t)));
});
