// Producers and consumers as processes on one spool: started, stopped, killed; and what their logs say that they did.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, readlink, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { plainEnvironment } from '../crash/load.js';
import { type Teardown, temporaryDirectory } from '../helpers/mount.js';
import { ROOT, run } from '../helpers/run.js';
import type { ConsumeJob, ProduceJob } from './work.js';

/** Who does the work: the library, or the other implementation of the protocol. */
export const SIDES = ['ours', 'other'] as const;
export type Side = (typeof SIDES)[number];

const PROGRAMS: Readonly<Record<Side, readonly string[]>> = {
  ours: [process.execPath, fileURLToPath(new URL('./worker.js', import.meta.url))],
  // No compiled Python is left beside the source.
  other: ['python3', '-B', join(ROOT, 'test/compat/multispool/other.py')],
};

/** Why the other implementation cannot run; false where it can. */
export async function whyNotOther(): Promise<string | false> {
  const { code } = await run('python3', ['-c', 'import ctypes']).catch(() => ({ code: null }));
  return code === 0 ? false : 'there is no python3, which the other implementation is written in';
}

const POLL_MS = 10;

export interface Consumer {
  id: string;
  pid: number;
  /** Ends when it is at rest; rejects where it failed. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
}

/** What one consumer logged. */
export interface Handled {
  begun: string[];
  done: string[];
  /** Entries that somebody before it had saved or removed by half. */
  halved: string[];
}

/** Processes of one test; all end with it. Locks and logs are in a temporary directory, outside the spool. */
export class Crew {
  readonly #top: string;
  readonly #children = new Set<ChildProcess>();
  /** What ended a process that was to go on. */
  readonly failures: string[] = [];

  private constructor(top: string) {
    this.#top = top;
  }

  static async start(t: Teardown): Promise<Crew> {
    const crew = new Crew(await temporaryDirectory(t));
    await mkdir(crew.#logs);
    t.teardown(() => crew.#end());
    return crew;
  }

  /** Resolves when all is enqueued. */
  async produce(side: Side, job: ProduceJob): Promise<void> {
    await this.#launch(side, 'produce', job).ended;
  }

  /** Resolves when it begins to wait for entries. */
  async consume(side: Side, job: Omit<ConsumeJob, 'locks' | 'log'>): Promise<Consumer> {
    const log = join(this.#logs, job.id);
    const locks = this.#locks(job.queue);
    await mkdir(locks, { recursive: true });
    const { child, ended } = this.#launch(side, 'consume', { ...job, locks, log });
    ended.catch(() => {});
    if (child.stdout !== null) await Promise.race([once(child.stdout, 'data'), ended]);
    const signalled = async (signal: NodeJS.Signals) => {
      child.kill(signal);
      await ended;
    };
    return { id: job.id, pid: child.pid ?? 0, stop: () => signalled('SIGTERM'), kill: () => signalled('SIGKILL') };
  }

  /** Waits until it is true. Rejects as soon as a process has failed, and after the deadline. */
  async until(what: string, isTrue: () => Promise<boolean>, deadlineMs: number): Promise<void> {
    const endMs = performance.now() + deadlineMs;
    while (!(await isTrue())) {
      if (this.failures.length > 0) throw new Error(this.failures.join('\n'));
      if (performance.now() > endMs) throw new Error(`after ${deadlineMs} ms still not: ${what}`);
      await sleep(POLL_MS);
    }
  }

  /** Bytes of all logs: how far they are. */
  async logBytes(): Promise<number> {
    const sizes = (await readdir(this.#logs)).map(async (id) => (await stat(join(this.#logs, id))).size);
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  }

  /** By consumer. */
  async handled(): Promise<Map<string, Handled>> {
    const all = new Map<string, Handled>();
    for (const id of await readdir(this.#logs)) {
      const lines = (await readFile(join(this.#logs, id), 'utf8')).split('\n').map((line) => line.split(' '));
      const of = (word: string) => lines.flatMap(([first, name = '']) => (first === word ? [name] : []));
      all.set(id, { begun: of('begin'), done: of('done'), halved: of('halved') });
    }
    return all;
  }

  /** Names of a queue that are locked by a consumer, or by anyone. */
  async locked(queue: string, id?: string): Promise<string[]> {
    const names = await readdir(this.#locks(queue));
    if (id === undefined) return names;
    const owners = await Promise.all(names.map((name) => readlink(join(this.#locks(queue), name)).catch(() => null)));
    return names.filter((_, i) => owners[i] === id);
  }

  unlock(queue: string, name: string): Promise<void> {
    return unlink(join(this.#locks(queue), name));
  }

  #locks(queue: string): string {
    return join(this.#top, 'locks', queue);
  }

  get #logs(): string {
    return join(this.#top, 'logs');
  }

  /** `ended` resolves with exit code 0, and where SIGKILL was meant. */
  #launch(side: Side, word: 'produce' | 'consume', job: ProduceJob | ConsumeJob): { child: ChildProcess; ended: Promise<void> } {
    const [program = '', ...words] = PROGRAMS[side];
    const child = spawn(program, [...words, word, JSON.stringify(job)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: plainEnvironment(),
    });
    this.#children.add(child);
    let said = '';
    child.stderr?.on('data', (part) => {
      said += part;
    });
    const ended = new Promise<void>((done, failed) => {
      child.on('error', failed);
      child.on('close', (code, signal) => {
        this.#children.delete(child);
        if (code === 0 || (signal === 'SIGKILL' && child.killed)) done();
        else failed(new Error(`${side} ${word} ${job.id}: ended with ${code ?? signal}\n${said}`));
      });
    });
    ended.catch((error: Error) => this.failures.push(error.message));
    return { child, ended };
  }

  async #end(): Promise<void> {
    const closed = [...this.#children].map(async (child) => {
      const gone = once(child, 'close');
      child.kill('SIGKILL');
      await gone;
    });
    await Promise.all(closed);
  }
}

/** Names in a directory of the spool; of a queue, without its checkouts. */
export async function namesIn(spool: string, place: string): Promise<string[]> {
  return (await readdir(join(spool, place))).filter((name) => name !== '.checkout').sort();
}
