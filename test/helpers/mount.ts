// Starts a real mount on a fresh temporary directory, and guarantees that nothing of it outlives the test.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReadyMessage } from '../../src/cli/messages.js';
import { must, type Outcome, type RunOptions, run, shell, vreserve } from './run.js';
import { mountpointsBelow } from './session.js';

/** Part of tap's test object; a hook is run when the test has ended, also after a failure. */
export interface Teardown {
  teardown(hook: () => Promise<void>): void;
}

export interface MountOptions {
  /** Options of `vreserve mount`, such as ['--capacity', '64MB']. */
  args?: readonly string[];
  /** Makes the directory `pool` in the test's own, with whatever is mounted there, in place of `on`. */
  under?: (top: string) => Promise<unknown>;
  /** disk: in os.tmpdir(); tmpfs: one made for the test, of `tmpfsSize` (root only). */
  on?: 'disk' | 'tmpfs';
  /** Such as '256m'. */
  tmpfsSize?: string;
  /** With a spool, or a store, although no option says so: with the grant that `mount` takes by itself. */
  spool?: boolean;
  store?: boolean;
  /** The mount covers its own backing directory. */
  inPlace?: boolean;
  /** Called with the backing directory before it is mounted. */
  fill?: (data: string) => Promise<void>;
  /** Mounts as this user, by fusermount3. */
  uid?: number;
  /** Which data plane; else what VRESERVE_TEST_ENGINE says, or vreserve itself. */
  engine?: string;
}

/** A live mount. */
export interface Mounted {
  /** The backing directory. */
  data: string;
  mnt: string;
  /** Options it was asked with. */
  args: readonly string[];
  /** What `mount --json` said. */
  ready: ReadyMessage;
  /** `vreserve` with these words. */
  run(args: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Who mounted, and where that is seen: for `startSteps` and `run`. */
  identity: RunOptions;
  /** A shell script, in the mountpoint. */
  shell(script: string, options?: RunOptions): Promise<Outcome>;
  /** Mounts the same directories again, after `umount` or a kill. */
  remount(args?: readonly string[]): Promise<void>;
  /** `kill -9` of the daemon; resolves when it is gone. */
  kill(): Promise<void>;
  /** Throws where it fails. */
  umount(): Promise<void>;
}

/**
 * Where the tests of the mount put the backing: on both, or where VRESERVE_TEST_BACKINGS says (a comma list). Whatever is
 * named there beside tmpfs is the filesystem of os.tmpdir(): scripts/stress makes one and sets TMPDIR.
 */
export function testBackings(names = process.env.VRESERVE_TEST_BACKINGS): readonly ('disk' | 'tmpfs')[] {
  if (names === undefined || names === '') return ['disk', 'tmpfs'];
  return [...new Set(names.split(',').map((name) => (name === 'tmpfs' ? 'tmpfs' : 'disk')))];
}

async function killDaemon(pid: number): Promise<void> {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    return;
  }
  await gone(pid);
}

/** False for a zombie, which nobody may have waited for yet. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat !== '' && !stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
}

/** Resolves when the process is gone or a zombie; rejects after 30 s. */
export async function gone(pid: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < 30_000; waitedMs += 20) {
    if (!(await isAlive(pid))) return;
    await sleep(20);
  }
  throw new Error(`process ${pid} did not end`);
}

/** Daemons whose log lies below the directory, in whatever mount namespace. */
async function daemonsBelow(top: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (!command.includes('cli/main.js\0daemon')) continue;
    const log = await readlink(`/proc/${name}/fd/2`).catch(() => '');
    if (log.startsWith(`${top}/`)) pids.push(Number(name));
  }
  return pids;
}

/** A directory of the test's own outside tap's testdir; whatever is mounted in it is detached when the test ends. */
export async function temporaryDirectory(t: Teardown): Promise<string> {
  const top = await mkdtemp(join(tmpdir(), 'vreserve-test-'));
  t.teardown(async () => {
    for (const mountpoint of await mountpointsBelow(top)) await run('umount', ['--lazy', mountpoint]);
    // One that a mount namespace of its own has hidden, or that a test which failed has forgotten.
    for (const pid of await daemonsBelow(top)) await killDaemon(pid);
    if ((await mountpointsBelow(top)).length > 0) throw new Error(`still mounted below ${top}`);
    await rm(top, { recursive: true, force: true });
  });
  return top;
}

/**
 * How to run as a user who may use fusermount3. It opens /dev/fuse with the user's rights; where only root may (as in
 * some virtual machines), the user gets a mount namespace in which everybody may, as the distribution has it.
 */
async function asUser(t: Teardown, top: string, uid: number): Promise<RunOptions> {
  if (((await stat('/dev/fuse')).mode & 0o006) === 0o006) return { uid, gid: uid };
  const device = join(top, 'fuse');
  const script = 'mknod -m 666 "$0" c 10 229; mount --bind "$0" /dev/fuse; echo ready; read -r';
  const keeper = spawn('unshare', ['--mount', '/bin/bash', '-ec', script, device], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(async () => {
    if (keeper.exitCode !== null) return;
    const closed = once(keeper, 'close');
    keeper.stdin.end();
    await closed;
  });
  await once(keeper.stdout, 'data');
  const user = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  return { within: ['nsenter', `--mount=/proc/${keeper.pid}/ns/mnt`, ...user] };
}

/** Mounts. The daemon is ended and everything is removed when the test ends, however it ends. */
export async function mount(t: Teardown, options: MountOptions = {}): Promise<Mounted> {
  const top = await temporaryDirectory(t);
  if (options.uid !== undefined) await must(run('chown', [`${options.uid}:${options.uid}`, top]));
  // Others than who mounts may pass, for what they may do on the mount.
  await chmod(top, 0o711);
  const pool = join(top, 'pool');
  await (options.under?.(top) ?? mkdir(pool));
  if (options.on === 'tmpfs') {
    await must(run('mount', ['-t', 'tmpfs', '-o', `size=${options.tmpfsSize ?? '256m'}`, 'vreserve-test', pool]));
  }
  const data = join(pool, 'data');
  const mnt = options.inPlace ? data : join(top, 'mnt');
  await mkdir(data);
  if (!options.inPlace) await mkdir(mnt);
  if (options.uid !== undefined) await must(run('chown', ['-R', `${options.uid}:${options.uid}`, pool, mnt]));
  await options.fill?.(data);
  const identity = options.uid === undefined ? {} : await asUser(t, top, options.uid);

  const pids = new Set<number>();
  // Registered after the directory's own: tap runs the last one first.
  t.teardown(async () => {
    await vreserve(['umount', mnt], identity);
    for (const pid of pids) await killDaemon(pid);
  });

  const start = async (args: readonly string[]): Promise<ReadyMessage> => {
    const words = options.inPlace ? ['mount', data] : ['mount', data, mnt];
    // Tests compute headroom and name every lot: only those of the spool and the store have one.
    const none = (['spool', 'store'] as const).flatMap((what) => {
      const option = `--${what}-grant`;
      return args.some((arg) => arg.startsWith(option)) || options[what] === true ? [] : [option, '0'];
    });
    const engine = options.engine ?? process.env.VRESERVE_TEST_ENGINE;
    const by = engine === undefined || args.some((arg) => arg.startsWith('--engine')) ? [] : ['--engine', engine];
    const { stdout } = await must(vreserve([...words, '--json', ...by, ...none, ...args], identity));
    const ready = JSON.parse(stdout) as ReadyMessage;
    pids.add(ready.pid);
    return ready;
  };
  const mounted: Mounted = {
    data,
    mnt,
    args: options.args ?? [],
    ready: await start(options.args ?? []),
    identity,
    run: (args, runOptions) => vreserve(args, { ...identity, ...runOptions }),
    shell: (script, runOptions) => shell(`cd '${mnt}'; ${script}`, { ...identity, ...runOptions }),
    async remount(args = options.args ?? []) {
      mounted.ready = await start(args);
    },
    kill: () => killDaemon(mounted.ready.pid),
    async umount() {
      await must(vreserve(['umount', mnt], identity));
    },
  };
  return mounted;
}
