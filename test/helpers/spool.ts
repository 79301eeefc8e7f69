// For tests of the command `spool`: spools, what lies in them, and commands that go on.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bytesData, textMeta } from '../../src/spool/kind.js';
import { Spool } from '../../src/spool/spool.js';
import { soon } from './columns.js';
import { type Teardown, temporaryDirectory } from './mount.js';
import { MAIN, type Outcome, type RunOptions, run } from './run.js';

const ENV = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS$|TAP|_TAP)/.test(name)));

/** `vreserve spool` with these words. */
export function spool(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return run(process.execPath, [MAIN, 'spool', ...args], options);
}

/** A spool of the test's own with these queues. */
export async function makeSpool(t: Teardown, queues: readonly string[] = ['new', 'failed', 'done']): Promise<string> {
  const dir = join(await temporaryDirectory(t), 's');
  await Spool.create(dir, { queues, meta: textMeta, data: bytesData });
  return dir;
}

export async function put(
  dir: string,
  queue: string,
  name: string,
  meta = `about ${name}`,
  data = `data of ${name}`,
): Promise<void> {
  const there = await Spool.load(dir, { queues: [queue], meta: textMeta, data: bytesData });
  await there.enqueue(queue, meta, Buffer.from(data), { reserve: () => name });
}

/** Everything in the spool but its own directories and its queues', bytewise. */
export async function files(dir: string): Promise<string[]> {
  const all = await readdir(dir, { recursive: true, withFileTypes: true });
  return all
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .sort();
}

/** The three files of an entry, in the order of `files`. */
export const entryFiles = (name: string, place: string) => [`.data/${name}`, `.registry/${name}`, `${place}/${name}`].sort();

/** A command that goes on. Killed with the test. */
export class Running {
  stdout = '';
  stderr = '';
  readonly child: ChildProcess;
  readonly #closed: Promise<void>;
  readonly #exited: Promise<void>;

  constructor(t: Teardown, args: readonly string[]) {
    this.child = spawn(process.execPath, [MAIN, 'spool', ...args], { env: ENV, stdio: 'pipe' });
    this.child.stdout?.on('data', (text) => {
      this.stdout += text;
    });
    this.child.stderr?.on('data', (text) => {
      this.stderr += text;
    });
    this.child.stdin?.on('error', () => {});
    this.#closed = once(this.child, 'close').then(() => {});
    this.#exited = once(this.child, 'exit').then(() => {});
    t.teardown(async () => {
      this.child.kill('SIGKILL');
      await this.#exited;
      // What it has started may still hold them.
      for (const stream of [this.child.stdout, this.child.stderr]) stream?.destroy();
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Waits for it, at most 10 s; the exit code. */
  async end(): Promise<number | null> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await this.#exited;
    // All that it said; not what a command says that has outlived it.
    await Promise.race([this.#closed, sleep(2000, undefined, { ref: false })]);
    clearTimeout(timer);
    return this.child.exitCode;
  }

  /** It has nothing to do, and the kernel will tell it when there is something. */
  async isWaiting(): Promise<boolean> {
    const names = await readdir(`/proc/${this.pid}/fdinfo`).catch(() => []);
    const infos = await Promise.all(names.map((name) => readFile(`/proc/${this.pid}/fdinfo/${name}`, 'utf8').catch(() => '')));
    return infos.some((info) => info.includes('inotify wd:'));
  }

  async untilWaiting(): Promise<void> {
    await soon(() => this.isWaiting(), Boolean);
  }
}

/** Waits until the path is there; whether it is. */
export const exists = (path: string) => soon(async () => existsSync(path), Boolean);
