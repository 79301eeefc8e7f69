// Runs a command and collects what it said; never blocks the event loop, and never outlives its time.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface Outcome {
  /** Exit code; null where a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  cwd?: string;
  /** In place of the environment. */
  env?: NodeJS.ProcessEnv;
  /** Sent to stdin, which is closed then; without it stdin is /dev/null. */
  input?: string | Buffer;
  /** After this the command is killed, and the outcome has the signal. */
  timeoutMs?: number;
  uid?: number;
  gid?: number;
  /** Words in front of the command, such as ['nsenter', …]. */
  within?: readonly string[];
}

/** The project's directory, as seen from build/test/helpers. */
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');

/** How many times as long everything may take: an emulated machine is slow. */
export const PATIENCE = process.env.VRESERVE_VM === '1' ? 10 : 1;

/** The compiled command line. */
export const MAIN = `${ROOT}/build/src/cli/main.js`;

/** The environment without what tap adds for itself: it would load tap into every `node` that a test starts. */
function plainEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS$|TAP|_TAP)/.test(name)));
}

/** Rejects only where the command cannot be started (ENOENT, EACCES). */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const { input, timeoutMs = 60_000 * PATIENCE, within = [], ...rest } = options;
  const [program = command, ...words] = [...within, command, ...args];
  const spawnOptions = { env: plainEnvironment(), ...rest };
  return new Promise((done, failed) => {
    const child = spawn(program, words, { ...spawnOptions, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout?.on('data', (part: Buffer) => stdout.push(part));
    child.stderr?.on('data', (part: Buffer) => stderr.push(part));
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    child.on('error', (error) => {
      clearTimeout(timer);
      failed(error);
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      done({ code, signal, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() });
    });
    // A command that does not read its input is no failure of the test.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** Runs a shell script, which stops at the first command that fails. */
export function shell(script: string, options: RunOptions = {}): Promise<Outcome> {
  return run('/bin/bash', ['-e', '-c', script], options);
}

/** Runs `vreserve` with these words. */
export function vreserve(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return run(process.execPath, [MAIN, ...args], options);
}

/** The outcome, thrown with all it said where the exit code is not 0. */
export async function must(outcome: Promise<Outcome>): Promise<Outcome> {
  const result = await outcome;
  if (result.code === 0) return result;
  throw new Error(`exit ${result.code ?? result.signal}\n${result.stdout}${result.stderr}`);
}
