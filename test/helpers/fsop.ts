// A process that does file operations on a mount, one after another, and keeps its descriptors: for what Node.js cannot express.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable, Writable } from 'node:stream';
import type { Teardown } from './mount.js';
import { must, ROOT, type RunOptions, run } from './run.js';

const SOURCES = ['conformance/steps_file.c', 'conformance/steps_names.c', 'conformance/steps_shared.c', 'helpers/fsop.c'];
const PARTS = [...SOURCES, 'conformance/posixcase.c', 'conformance/posixcase.h'];

/** What a step gave: its value, or the name of the errno that it failed with. */
export type Outcome = number | string | object;

/** What `control` gave: '' or the errno of the write, and the JSON that was read from the same open file. */
export interface ControlOutcome {
  errno: string;
  reply: Record<string, unknown> | null;
}

/** Compiles a program of the tests into the build directory, unless what is there is newer than its sources. */
export async function compileProgram(name: string, sources: readonly string[], parts = sources): Promise<string> {
  const directory = join(ROOT, 'build/test/programs');
  const program = join(directory, name);
  const built = await stat(program).catch(() => null);
  const changes = await Promise.all(parts.map((part) => stat(join(ROOT, 'test', part))));
  if (built !== null && changes.every(({ mtimeMs }) => mtimeMs < built.mtimeMs)) return program;
  await mkdir(directory, { recursive: true });
  const fresh = `${program}.${process.pid}`;
  const paths = sources.map((source) => join(ROOT, 'test', source));
  await must(run('cc', ['-std=gnu17', '-O1', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE', '-o', fresh, ...paths]));
  await rename(fresh, program);
  return program;
}

/** Does steps; see test/conformance/steps_*.c for the words. */
export class Steps {
  readonly #child: ChildProcess;
  readonly #to: Writable;
  readonly #waiting: ((line: string) => void)[] = [];
  #ended = '';

  constructor(child: ChildProcess) {
    this.#child = child;
    const { stdin, stdout } = child;
    if (!(stdin instanceof Writable) || !(stdout instanceof Readable)) throw new Error('no pipes');
    this.#to = stdin;
    // The process is gone: the steps that wait say so.
    stdin.on('error', () => {});
    createInterface(stdout).on('line', (line) => this.#waiting.shift()?.(line));
    child.on('close', (code, signal) => {
      this.#ended = `the process ended (${code ?? signal})`;
      for (const answer of this.#waiting.splice(0)) answer(JSON.stringify({ wrong: this.#ended }));
    });
  }

  async do(step: string): Promise<Outcome> {
    if (this.#ended !== '') throw new Error(`${step}: ${this.#ended}`);
    const answer = new Promise<string>((resolve) => this.#waiting.push(resolve));
    this.#to.write(`${step}\n`);
    const result = JSON.parse(await answer) as { value?: Outcome; error?: string; wrong?: string };
    if (result.wrong !== undefined) throw new Error(`${step}: ${result.wrong}`);
    return result.error ?? result.value ?? 0;
  }

  /** All steps one right after the other, with no pause between them. */
  all(steps: readonly string[]): Promise<Outcome[]> {
    return Promise.all(steps.map((step) => this.do(step)));
  }

  /** Ends the process; what it has open is closed. */
  async end(): Promise<void> {
    if (this.#ended !== '') return;
    const closed = once(this.#child, 'close');
    this.#to.end();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await closed;
    clearTimeout(late);
  }
}

/** A process in `directory`; it ends with the test at the latest. */
export async function startSteps(t: Teardown, directory: string, options: RunOptions = {}): Promise<Steps> {
  const program = await compileProgram('fsop', SOURCES, PARTS);
  const { within = [], uid, gid } = options;
  const [command = program, ...words] = [...within, program, directory];
  const identity = uid === undefined || within.length > 0 ? {} : { uid, gid: gid ?? uid };
  const child = spawn(command, words, { stdio: ['pipe', 'pipe', 'inherit'], ...identity });
  await once(child, 'spawn');
  const steps = new Steps(child);
  t.teardown(() => steps.end());
  return steps;
}
