// One command for one entry: the metadata on its standard input, the rest in its environment.
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { Held } from './spool-held.js';

/** How a command ended: `reason` is empty where it ended with 0. */
export interface Ending {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  reason: string;
}

export class CommandRun {
  /** Null where it could not be started. */
  readonly #child: ChildProcess | null;
  /** Never rejects: a command that cannot be started has failed. */
  readonly ended: Promise<Ending>;

  /** `outputTo` is the descriptor that its standard output goes to. */
  constructor(command: readonly string[], dir: string, held: Held, outputTo: 1 | 2) {
    try {
      if (!existsSync(held.dataFile.path)) throw new VreserveError('SPOOL_DATA_GONE', { name: held.name });
      this.#child = start(command, dir, held, outputTo);
      this.ended = ending(this.#child);
    } catch (error) {
      this.#child = null;
      this.ended = Promise.resolve(notRun(error));
    }
  }

  /** To the command and all that it started. */
  kill(signal: NodeJS.Signals): void {
    const child = this.#child;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    try {
      process.kill(-child.pid, signal);
    } catch {
      // It has just ended.
    }
  }
}

function start([program = '', ...args]: readonly string[], dir: string, held: Held, outputTo: 1 | 2): ChildProcess {
  const { queue, name, dataFile, contents } = held;
  const own = { VRESERVE_SPOOL: dir, VRESERVE_QUEUE: queue, VRESERVE_NAME: name, VRESERVE_DATA: dataFile.path };
  // A group of its own: Ctrl-C at the terminal is for the watch, which lets its commands end.
  const child = spawn(program, args, { env: { ...process.env, ...own }, detached: true, stdio: ['pipe', outputTo, 2] });
  // Who does not read its metadata has not failed.
  child.stdin?.on('error', () => {});
  child.stdin?.end(contents);
  return child;
}

function ending(child: ChildProcess): Promise<Ending> {
  return new Promise((done) => {
    child.on('error', (error) => done(notRun(error)));
    child.on('exit', (exitCode, signal) => {
      child.stdin?.destroy();
      const reason = signal === null ? `exit code ${exitCode}` : `killed by ${signal}`;
      done({ exitCode, signal, reason: exitCode === 0 ? '' : reason });
    });
  });
}

function notRun(error: unknown): Ending {
  return { exitCode: null, signal: null, reason: asVreserveError(error).message };
}

/** Throws SPOOL_NO_COMMAND where the program is not there, as the shell finds it: a mistyped word must not fail every entry. */
export function checkCommand(program: string): void {
  const places = program.includes('/') ? [program] : (process.env.PATH ?? '').split(delimiter).map((dir) => join(dir, program));
  if (!places.some(isProgram)) throw new VreserveError('SPOOL_NO_COMMAND', { command: program });
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
