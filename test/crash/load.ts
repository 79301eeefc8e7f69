// Writers and reservers on a mount, and what they were promised: the load under which the daemon is killed.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { gone } from '../helpers/mount.js';
import type { ReserverLine } from './reserver.js';

const program = (name: string) => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

export class Load {
  /** What is reserved by what was acknowledged: bytes by path. */
  readonly promised = new Map<string, number>();
  /** Commands that were asked and not answered: what they would have made of the path. */
  readonly unanswered: ReserverLine[] = [];
  acknowledged = 0;
  refused = 0;
  /** What went wrong in a process of the load. */
  readonly failures: string[] = [];
  #processes: { child: ChildProcess; closed: Promise<unknown> }[] = [];

  /** Starts a writer for each seed in the directories; resolves when all have begun. */
  async write(seeds: readonly number[], directories: readonly string[]): Promise<void> {
    const started = seeds.map(async (seed) => {
      const child = this.#start('writer', [String(seed), ...directories]);
      if (child.stdout !== null) await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
    });
    await Promise.all(started);
  }

  /** Starts a reserver of these paths, which no other may have. */
  reserve(seed: number, mnt: string, paths: readonly string[]): void {
    const child = this.#start('reserver', [String(seed), join(mnt, '.vreserve/control'), ...paths]);
    if (child.stdout === null) return;
    let asked: ReserverLine | undefined;
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (text) => {
      const line = JSON.parse(text) as ReserverLine;
      if (line.is === 'asks') asked = line;
      else if (line.is !== 'gone') {
        asked = undefined;
        if (line.is === 'acknowledged') this.#promise(line);
        else this.refused++;
      }
    });
    lines.on('close', () => asked && this.unanswered.push(asked));
  }

  /** Ends what has not ended by itself; everything that was printed has been read then. */
  async stop(): Promise<void> {
    const processes = this.#processes;
    this.#processes = [];
    for (const { child } of processes) child.kill('SIGKILL');
    for (const { child, closed } of processes) {
      await closed;
      if (child.pid !== undefined) await gone(child.pid);
    }
  }

  #promise({ path, bytes }: ReserverLine): void {
    this.acknowledged++;
    if (bytes === 0) this.promised.delete(path);
    else this.promised.set(path, bytes);
  }

  #start(name: 'writer' | 'reserver', words: readonly string[]): ChildProcess {
    const child = spawn(process.execPath, [program(name), ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: plainEnvironment(),
    });
    let said = '';
    child.stderr?.on('data', (part) => {
      said += part;
    });
    const closed = once(child, 'close').then(([code, signal]) => {
      if (code !== 0 && signal !== 'SIGKILL') this.failures.push(`${name} ${words[0]}: exit ${code ?? signal}\n${said}`);
    });
    this.#processes.push({ child, closed });
    return child;
  }
}

/** The environment without what tap adds for itself: it would load tap into every `node` that is started. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS$|TAP|_TAP)/.test(name)));
}
