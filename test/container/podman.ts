// Real containers: a podman of the test's own with runc, on a root directory that holds BusyBox and the step interpreter.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Steps } from '../helpers/fsop.js';
import { type Teardown, temporaryDirectory } from '../helpers/mount.js';
import { must, type Outcome, ROOT, run, shell } from '../helpers/run.js';

const SOURCES = ['conformance/steps_file.c', 'conformance/steps_names.c', 'conformance/steps_shared.c', 'helpers/fsop.c'];

/** Where a container finds the step interpreter. */
const FSOP = '/bin/fsop';

/** A podman of the test's own: its state, its locks and its cgroups are removed with it. */
export class Podman {
  readonly #top: string;
  readonly #cgroup = `vreserve-test-${process.pid}`;
  readonly #root: string;
  /** podman takes no path of more than 50 characters for what it keeps at run time. */
  readonly #state: string;

  private constructor(top: string, state: string) {
    this.#top = top;
    this.#state = state;
    this.#root = join(top, 'rootfs');
  }

  /** `plugins`: sockets of volume plugins, by the name of their driver. */
  static async create(t: Teardown, plugins: Readonly<Record<string, string>> = {}): Promise<Podman> {
    const state = await mkdtemp('/run/vreserve-podman-');
    t.teardown(() => rm(state, { recursive: true, force: true }));
    const podman = new Podman(await temporaryDirectory(t), state);
    // Root of a user namespace passes to the root directory as anybody else.
    await chmod(podman.#top, 0o711);
    t.teardown(() => podman.#removeCgroups());
    await podman.#makeRoot();
    const settings = '[engine]\nlock_type = "file"\nevents_logger = "none"\ncgroup_manager = "cgroupfs"\n';
    const drivers = Object.entries(plugins).map(([name, socket]) => `${name} = "${socket}"\n`);
    await writeFile(join(podman.#top, 'containers.conf'), `${settings}[engine.volume_plugins]\n${drivers.join('')}`);
    return podman;
  }

  /** The static step interpreter, for other ways to a container than podman. */
  async stepProgram(): Promise<string> {
    const program = join(this.#root, FSOP);
    if ((await run('test', ['-x', program])).code !== 0) {
      const paths = SOURCES.map((source) => join(ROOT, 'test', source));
      await must(run('cc', ['-std=gnu17', '-O0', '-w', '-static', '-D_GNU_SOURCE', '-o', program, ...paths]));
    }
    return program;
  }

  /** `podman volume` with these words. */
  volume(...words: string[]): Promise<Outcome> {
    return run('podman', [...this.#own(), 'volume', ...words], { env: this.#env() });
  }

  /** Runs a script of BusyBox's shell with `directory`, or the volume of that name, as /data; ended after a minute. */
  run(directory: string, script: string, user = '0'): Promise<Outcome> {
    return run('podman', this.#words(directory, user, ['/bin/sh', '-c', script]), { env: this.#env() });
  }

  /** A container that has `directory` as /data and does steps there, as `user`; it ends with the test at the latest. */
  async start(t: Teardown, directory: string, user = '0', options: readonly string[] = []): Promise<Steps> {
    await this.stepProgram();
    const words = this.#words(directory, user, [FSOP, '/data'], ['-i', ...options]);
    const child = spawn('podman', words, { env: this.#env(), stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child, 'spawn');
    const steps = new Steps(child);
    t.teardown(() => steps.end());
    return steps;
  }

  #env(): NodeJS.ProcessEnv {
    return { ...process.env, CONTAINERS_CONF: join(this.#top, 'containers.conf') };
  }

  #words(directory: string, user: string, command: readonly string[], options: readonly string[] = []): string[] {
    const limits = [
      '--ulimit',
      'nofile=20000:20000',
      '--ulimit',
      'nproc=1000:1000',
      '--network=none',
      `--cgroup-parent=/${this.#cgroup}`,
    ];
    const what = [...options, '--user', user, '-v', `${directory}:/data`, '--rootfs', this.#root, ...command];
    return [...this.#own(), 'run', '--rm', ...limits, ...what];
  }

  #own(): string[] {
    const top = this.#top;
    const state = this.#state;
    const places = ['--root', `${top}/root`, '--runroot', `${state}/run`, '--tmpdir', `${state}/tmp`, '--storage-driver', 'vfs'];
    return [...places, '--runtime', 'runc', '--runtime-flag', `root=${state}/runc`];
  }

  async #makeRoot(): Promise<void> {
    for (const name of ['bin', 'proc', 'dev', 'sys', 'tmp', 'etc', 'run', 'data'])
      await mkdir(join(this.#root, name), { recursive: true });
    await cp('/bin/busybox', join(this.#root, 'bin/busybox'));
    const { stdout } = await must(run('/bin/busybox', ['--list']));
    const applets = stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
    for (const name of applets) await symlink('busybox', join(this.#root, 'bin', name));
  }

  /** podman leaves its parent group; conmon, which may still be ending, is in it. */
  async #removeCgroups(): Promise<void> {
    const remove = `find /sys/fs/cgroup -depth -type d -path '*/${this.#cgroup}*' -exec rmdir {} + 2>/dev/null
      [ -z "$(find /sys/fs/cgroup -type d -name '${this.#cgroup}')" ]`;
    for (let tries = 0; tries < 100; tries++) {
      if ((await run('/bin/bash', ['-c', remove])).code === 0) return;
      await sleep(50);
    }
    throw new Error('podman left control groups behind');
  }
}

/** Why containers cannot be run here; false where they can. */
export async function whyNoContainers(): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'podman with runc needs root here';
  const { stdout } = await shell('for c in podman runc /bin/busybox; do command -v $c >/dev/null || echo $c; done');
  if (stdout !== '') return `not installed: ${stdout.trim().replaceAll('\n', ', ')}`;
  const hooks: (() => Promise<void>)[] = [];
  const probe = await Podman.create({ teardown: (next) => hooks.unshift(next) });
  try {
    const got = await probe.run('/tmp', 'true');
    return got.code === 0 ? false : `podman does not run a container here: ${got.stderr.trim().split('\n').at(-1)}`;
  } finally {
    for (const next of hooks) await next();
  }
}
