// Requests that wait for bytes, on a real mount: put in as files by any user, or by commands that block; and what becomes of them.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { Report } from '../../src/cli/live.js';
import { sendControl } from '../../src/client/control.js';
import type { WaitingJson } from '../../src/views/json.js';
import { report } from './lots.js';
import { type Mounted, type MountOptions, mount, type Teardown } from './mount.js';
import { MAIN, must, type Outcome, type RunOptions, run } from './run.js';

export type Queue = 'pending' | 'granted' | 'refused';
export const QUEUES: readonly Queue[] = ['pending', 'granted', 'refused'];

/** What the metadata of a decided request says of its end. */
export interface Decided {
  decision: 'granted' | 'refused';
  at: string;
  lot?: string;
  code?: string;
  errno?: string;
  message?: string;
}

export type JournalLine = Record<string, unknown> & { event: string };

/** Before a Node.js program that another user runs: what tap adds to it would write into the project when it ends. */
export const WITHOUT_TAP = ['env', '-u', 'NODE_OPTIONS'] as const;

/** The user, for `vreserve`. */
export const asUser = (who: RunOptions): RunOptions => ({ ...who, within: [...(who.within ?? []), ...WITHOUT_TAP] });

const DEADLINE_MS = 30_000;

/** Asks until there is an answer that is not null or false; rejects with what was waited for. */
export async function until<T>(what: string, ask: () => Promise<T | null | false>, timeoutMs = DEADLINE_MS): Promise<T> {
  for (const endMs = performance.now() + timeoutMs; ; await sleep(5)) {
    const answer = await ask();
    if (answer !== null && answer !== false) return answer;
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
  }
}

/** A command that is under way, and may have to wait. */
export class Running {
  readonly #child: ChildProcess;
  readonly done: Promise<Outcome>;
  /** What it has said on stderr so far. */
  said = '';

  constructor(t: Teardown, command: string, words: readonly string[], options: RunOptions = {}) {
    const { uid, gid = uid, within = [], cwd } = options;
    const [program = command, ...args] = [...within, command, ...words];
    const identity = uid === undefined ? {} : { uid, gid };
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS$|TAP|_TAP)/.test(name)));
    const child = spawn(program, args, { ...identity, cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    child.stdout.on('data', (part) => {
      stdout += part;
    });
    child.stderr.on('data', (part) => {
      this.said += part;
    });
    this.#child = child;
    this.done = once(child, 'close').then(([code, signal]) => ({ code, signal, stdout, stderr: this.said }));
    const late = setTimeout(() => child.kill('SIGKILL'), 2 * DEADLINE_MS);
    child.on('close', () => clearTimeout(late));
    t.teardown(async () => {
      child.kill('SIGKILL');
      await this.done;
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isOver(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  kill(signal: NodeJS.Signals): Promise<Outcome> {
    this.#child.kill(signal);
    return this.done;
  }
}

/** The spool `requests` of a mount. */
export class RequestSpool {
  constructor(
    readonly t: Teardown,
    readonly m: Mounted,
  ) {}

  get dir(): string {
    return join(this.m.mnt, '.vreserve/spool/requests');
  }

  /** Puts an entry into `pending` by the steps of every spool, as system calls of a shell. */
  async put(name: string, meta: object | string, who: RunOptions = {}): Promise<void> {
    await must(this.tryPut(name, meta, who));
  }

  tryPut(name: string, meta: object | string, who: RunOptions = {}): Promise<Outcome> {
    const script = `set -eC; cd "$0"; : > ".registry/$1"; printf %s "$2" > ".tmp/$1"; : > ".data/$1"; mv ".tmp/$1" "pending/$1"`;
    const text = typeof meta === 'string' ? meta : JSON.stringify(meta);
    return run('/bin/bash', ['-c', script, this.dir, name, text], who);
  }

  /** A shell script in the spool. */
  shell(script: string, who: RunOptions = {}): Promise<Outcome> {
    return run('/bin/bash', ['-ec', `cd "$0"; ${script}`, this.dir], who);
  }

  /** `vreserve` with these words, which may have to wait. */
  start(args: readonly string[], who: RunOptions = {}): Running {
    return new Running(this.t, process.execPath, [MAIN, ...args], asUser(who));
  }

  /** A line that is written to control, by a process that waits in its write; `directory`: whose `.vreserve`. */
  control(line: string, who: RunOptions = {}, directory = ''): Running {
    const control = `${this.m.mnt}${directory}/.vreserve/control`;
    return new Running(this.t, '/bin/bash', ['-c', 'printf "%s\\n" "$1" > "$0"', control, line], who);
  }

  async names(queue: Queue): Promise<string[]> {
    return (await readdir(join(this.dir, queue))).filter((name) => name !== '.checkout').sort();
  }

  /** Every file in the spool but directories, sorted: `pending/NAME`. */
  async files(): Promise<string[]> {
    const found: string[] = [];
    const directories = [
      '.registry',
      '.tmp',
      '.data',
      '.claimed',
      '.deciding',
      ...QUEUES.flatMap((queue) => [queue, `${queue}/.checkout`]),
    ];
    for (const directory of directories) {
      for (const entry of await readdir(join(this.dir, directory), { withFileTypes: true })) {
        if (!entry.isDirectory()) found.push(`${directory}/${entry.name}`);
      }
    }
    return found.sort();
  }

  /** The files of an entry in a queue. */
  static entry(queue: Queue | 'pending/.checkout', ...names: string[]): string[] {
    return names.flatMap((name) => [`.data/${name}`, `.registry/${name}`, `${queue}/${name}`]).sort();
  }

  /** What a request became; null while it is not decided. */
  async decided(name: string): Promise<{ queue: Queue; outcome: Decided; text: string; uid: number; gid: number } | null> {
    for (const queue of ['granted', 'refused'] as const) {
      const path = join(this.dir, queue, name);
      // Others may have put anything there, also what is never read to its end.
      const status = await lstat(path).catch(() => null);
      if (status?.isFile() !== true) continue;
      const { uid, gid } = status;
      const text = await readFile(path, 'utf8').catch(() => null);
      if (text === null) continue;
      const { outcome } = JSON.parse(text) as { outcome: Decided };
      return { queue, outcome, text, uid, gid };
    }
    return null;
  }

  /** The same, when it is decided. */
  async end(name: string) {
    return until(`${name} is decided`, () => this.decided(name));
  }

  async waiting(): Promise<WaitingJson[]> {
    return (await report(this.m.mnt)).waiting;
  }

  /** The paths that wait, in the order of the report, when it is `expected`; else what there is after all. */
  async waitingFor(...expected: string[]): Promise<string[]> {
    let seen: string[] = [];
    await until('the line', async () => {
      seen = (await this.waiting()).map(({ path }) => path);
      return seen.join() === expected.join();
    }).catch(() => {});
    return seen;
  }

  /** The report when the request for the path stands in it. */
  async waits(path: string): Promise<WaitingJson> {
    return until(`${path} waits`, async () => (await this.waiting()).find((each) => each.path === path) ?? null);
  }

  /** When it has been tried, and lacked so many bytes. */
  async lacks(path: string, bytes: number): Promise<WaitingJson> {
    return until(`${path} lacks ${bytes}: ${JSON.stringify(await this.waiting())}`, async () => {
      const found = (await this.waiting()).find((each) => each.path === path);
      return found?.missingBytes === bytes ? found : null;
    });
  }

  async journal(): Promise<JournalLine[]> {
    const text = await readFile(join(this.m.mnt, '.vreserve/ledger'), 'utf8');
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as JournalLine);
  }

  /** Paths in the order in which requests for them were granted. */
  async grants(): Promise<string[]> {
    const lines = await this.journal();
    return lines.flatMap(({ event, request, path }) => (event === 'grant' && request !== undefined ? [String(path)] : []));
  }

  /** As the administrator. */
  async reserve(path: string, bytes: number | string, options: Record<string, unknown> = {}): Promise<void> {
    await sendControl(this.m.mnt, { cmd: 'reserve', path, bytes, ...options });
  }

  async release(...paths: string[]): Promise<void> {
    for (const path of paths) await sendControl(this.m.mnt, { cmd: 'release', path });
  }

  async lots(): Promise<Report['lots']> {
    return (await report(this.m.mnt)).lots;
  }

  /** Paths of the reservations, sorted. */
  async reserved(): Promise<string[]> {
    const all = (await this.lots()).flatMap(({ path }) =>
      path === null || path === '/' || path.startsWith('/.vreserve') ? [] : [path],
    );
    return all.sort();
  }

  async health(): Promise<string> {
    return (await readFile(join(this.m.mnt, '.vreserve/health'), 'utf8')).trim();
  }

  /** Nothing is left in the spool, and nothing reserved. */
  async clear(): Promise<void> {
    await must(this.shell('rm -rf {pending,granted,refused}{,/.checkout}/* .data/* .registry/* .tmp/*'));
    for (const path of await this.reserved()) await this.release(path);
    await until('nobody waits', async () => (await this.waiting()).length === 0);
  }

  /** Nothing is wrong in the spool, with the usage, and with the mount. */
  async sound(t: Test, name = ''): Promise<void> {
    const monitor = await this.m.run(['spool', 'monitor', this.dir, '--once']);
    t.equal(monitor.code, 0, `${name}: the spool's monitor: ${monitor.stdout}${monitor.stderr}`);
    const check = await this.m.run(['check', this.m.mnt]);
    t.equal(check.code, 0, `${name}: check: ${check.stdout}${check.stderr}`);
    t.equal(await this.health(), 'ok', `${name}: health`);
  }
}

export const MB = 1_000_000;
const CAPACITY = 64 * MB;
const SPOOL = 4 * MB;
/** What can be reserved: the capacity less the grant of the spool. */
export const ROOM = CAPACITY - SPOOL;

export const ALICE: RunOptions = { uid: 3001, gid: 3001 };
export const BOB: RunOptions = { uid: 3002, gid: 3002 };

export interface WaitingWorld {
  m: Mounted;
  s: RequestSpool;
}

/** A mount of ROOM bytes with /u, in which everybody may reserve. */
export async function waitingWorld(t: Test, args: readonly string[] = [], options: MountOptions = {}): Promise<WaitingWorld> {
  const pool = ['--capacity', String(CAPACITY), '--margin', '0', '--spool-grant', String(SPOOL)];
  const m = await mount(t, { on: 'tmpfs', ...options, args: [...pool, ...args] });
  await must(m.shell('mkdir u; chmod 777 u'));
  return { m, s: new RequestSpool(t, m) };
}
