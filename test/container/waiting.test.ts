// The line of requests as containers see it: through the `.vreserve` of their own lot, and where they see the whole mount.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { type ControlOutcome, Steps } from '../helpers/fsop.js';
import { type Mounted, mount, type Teardown } from '../helpers/mount.js';
import { RequestSpool, until } from '../helpers/requests.js';
import { must, shell } from '../helpers/run.js';
import { Podman, whyNoContainers } from './podman.js';

const MB = 1_000_000;
const ARGS = ['--capacity', '64MB', '--margin', '0', '--spool-grant', '4MB'];

interface World {
  m: Mounted;
  s: RequestSpool;
  podman: Podman;
}

async function world(t: Test): Promise<World> {
  const podman = await Podman.create(t);
  const m = await mount(t, { args: ARGS });
  const s = new RequestSpool(t, m);
  await must(m.shell('mkdir -p job/out other u; chmod 777 u; ln -s ../other job/link'));
  await s.reserve('/job', 20 * MB);
  await s.reserve('/other', 10 * MB);
  return { m, s, podman };
}

/** A command to control that waits: what came of it. */
function asking(steps: Steps, command: string, directory = '/data'): Promise<string> {
  return steps
    .do(`control ${directory}/.vreserve/control ${command}`)
    .then((outcome) => (outcome as ControlOutcome).errno ?? String(outcome))
    .catch((error: Error) => error.message);
}

/** The host's pid of the process that waits for the path. */
async function pidOf(s: RequestSpool, path: string): Promise<number> {
  return Number((await s.journal()).findLast((line) => line.event === 'waiting' && line.path === path)?.pid);
}

/** A container that sees nothing but the directory of its lot. */
async function ownLot(t: Test, { s }: World, start: (t: Teardown) => Promise<Steps>): Promise<void> {
  const steps = await start(t);
  for (const step of [
    'stat /data/.vreserve/spool',
    'list /data/.vreserve/spool/requests/pending',
    'open f /data/.vreserve/spool/requests/pending/x CREAT|RDWR',
  ]) {
    t.equal(await steps.do(step), 'ENOENT', step);
  }
  t.notOk(
    ((await steps.do('list /data/.vreserve')) as string[]).some((name) => name.startsWith('spool')),
    'it has no spool',
  );
  await s.reserve('/job/hosts', 15 * MB);
  for (const [command, errno] of [
    ['reserve /../x 1MB wait', 'EINVAL'],
    ['reserve / 1MB wait', 'EINVAL'],
    ['reserve x 1MB wait', 'EINVAL'],
    ['reserve /link/x 1MB wait', 'EXDEV'],
    ['reserve /hosts 19MB wait', 'EACCES'],
    ['reserve /out/x 21MB wait', 'ENOSPC'],
    ['{"cmd":"reserve","path":"/../other/x","bytes":1,"wait":null}', 'EINVAL'],
    ['reserve /out/x 6MB', 'ENOSPC'],
    ['reserve /out/x 6MB wait=50ms', 'ENOSPC'],
  ] as const) {
    t.equal(await asking(steps, command), errno, command);
  }
  const granted = asking(steps, 'reserve /out/x 10MB wait');
  t.match(await s.waits('/job/out/x'), { lot: '/job', owner: 'root', position: 1 }, 'the host sees it where it is');
  const second = await start(t);
  const own = JSON.parse(JSON.stringify(await second.do('text /data/.vreserve/report.json'))) as string;
  t.match(JSON.parse(own), { waiting: [{ path: '/out/x', lot: '/' }] }, 'it sees itself below its own directory');
  const { name } = await s.waits('/job/out/x');
  t.match(await lstat(join(s.dir, 'pending', name)), { uid: 0 });
  await s.release('/job/hosts');
  t.equal(await granted, '');
  t.match(
    (await s.lots()).find(({ path }) => path === '/job/out/x'),
    { dedicatedBytes: 10 * MB },
  );
  await s.release('/job/out/x');
  await until('its entry is gone', async () => (await s.files()).length === 0);
  for (const each of [steps, second]) await each.end();
}

/** A container that is killed wants nothing any more. */
async function killed(t: Test, { s }: World, start: (t: Teardown) => Promise<Steps>): Promise<void> {
  await s.reserve('/job/hosts', 15 * MB);
  const steps = await start(t);
  const waits = asking(steps, 'reserve /out/killed 10MB wait');
  await s.waits('/job/out/killed');
  const pid = await pidOf(s, '/job/out/killed');
  t.ok(pid > 1, `the journal knows its process: ${pid}`);
  process.kill(pid, 'SIGKILL');
  t.match(await waits, /the process ended/);
  t.same(await s.waitingFor(), [], 'its request is withdrawn');
  await until('its entry is gone', async () => (await s.files()).length === 0);
  await s.release('/job/hosts');
  t.notOk((await s.reserved()).includes('/job/out/killed'));
}

/** Root in a container that sees the whole mount, and puts files into the spool. */
async function wholeMount(t: Test, { m, s }: World, steps: Steps, uid: number): Promise<void> {
  await must(m.shell('mkdir -p roots; chmod 755 roots'));
  const spool = '/data/.vreserve/spool/requests';
  const put = async (name: string, path: string) => {
    const text = `{"path":"${path}","bytes":1000}`;
    for (const step of [
      `open f ${spool}/.registry/${name} CREAT|EXCL|WRONLY`,
      `open f ${spool}/.data/${name} CREAT|EXCL|WRONLY`,
      `open f ${spool}/.tmp/${name} CREAT|EXCL|WRONLY`,
    ]) {
      t.equal(await steps.do(step), 0);
    }
    t.equal(await steps.do(`write f ${text}`), text.length);
    t.equal(await steps.do(`rename ${spool}/.tmp/${name} ${spool}/pending/${name}`), 0);
    return s.end(name);
  };
  t.match(await put('hosts', '/other'), { queue: 'refused', uid, outcome: { code: 'NOT_YOURS' } }, "not another's lot");
  t.match(await put('below', '/job/x'), { queue: uid === 0 ? 'granted' : 'refused' }, 'what its uid may write to, and no more');
  t.match(await put('roots', '/roots/x'), { queue: uid === 0 ? 'granted' : 'refused' });
  t.match(await put('open', '/u/x'), { queue: 'granted', uid });
  t.equal((await s.lots()).find(({ path }) => path === '/other')?.dedicatedBytes, 10 * MB);
  if (uid === 0) {
    t.match(await steps.do(`mknod ${spool}/pending/device character 0666`), /^(0|EPERM|EACCES)$/, 'a device');
    await s.put('after', { path: '/u/after', bytes: 1 }, { uid: 3001, gid: 3001 });
    t.match(await s.end('after'), { queue: 'granted' });
    // It may remove what is there, as root where it may write; what it decides it may not.
    t.match(await steps.do(`rename ${spool}/granted/after ${spool}/refused/after`), /^(0|EPERM|EACCES)$/);
  }
  await steps.end();
  await s.clear();
  await s.reserve('/job', 20 * MB);
  await s.reserve('/other', 10 * MB);
}

/** A container by bubblewrap: root of a user namespace, with all its capabilities. */
async function startBwrap(t: Teardown, program: string, directory: string): Promise<Steps> {
  const words = ['--bind', dirname(dirname(program)), '/', '--bind', directory, '/data', '--proc', '/proc', '--dev', '/dev'];
  const rights = ['--unshare-all', '--uid', '0', '--gid', '0', '--cap-add', 'ALL'];
  const child = spawn('bwrap', [...words, ...rights, '/bin/fsop', '/data'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child, 'spawn');
  const steps = new Steps(child);
  t.teardown(() => steps.end());
  return steps;
}

t.test('waiting in containers', { skip: await whyNoContainers(), timeout: 240_000 }, async (t) => {
  const w = await world(t);
  const { m, s, podman } = w;
  const mapped = ['--uidmap', '0:300000:65536', '--gidmap', '0:300000:65536'];
  const job = join(m.mnt, 'job');
  await t.test('who sees only a lot', (t) => ownLot(t, w, (t) => podman.start(t, job)));
  await t.test('who is killed', (t) => killed(t, w, (t) => podman.start(t, job)));
  await t.test('root, who sees the whole mount', async (t) => wholeMount(t, w, await podman.start(t, m.mnt), 0));
  await t.test('root of a user namespace, who sees the whole mount', async (t) =>
    wholeMount(t, w, await podman.start(t, m.mnt, '0', mapped), 300_000),
  );
  const noBwrap = (await shell('command -v bwrap')).code === 0 ? false : 'bubblewrap is not installed';
  await t.test('by bubblewrap', { skip: noBwrap }, async (t) => {
    const program = await podman.stepProgram();
    await t.test('who sees only a lot', (t) => ownLot(t, w, (t) => startBwrap(t, program, job)));
    await t.test('who is killed', (t) => killed(t, w, (t) => startBwrap(t, program, job)));
    await t.test('who sees the whole mount', async (t) => wholeMount(t, w, await startBwrap(t, program, m.mnt), 0));
  });
  await s.sound(t);
});
