// A long run that mounts things: its commands are stopped by Ctrl-C, and all it made is undone however it ends.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from './run.js';

export interface CommandOptions {
  cwd?: string;
  /** Added to the environment. */
  env?: NodeJS.ProcessEnv;
  /** What it says goes to the terminal, and is not returned. */
  shown?: boolean;
  timeoutMs?: number;
}

/** Where something is mounted at the directory or below it, the last mounted first. */
export async function mountpointsBelow(top: string): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  const mountpoints = lines.map((line) => line.split(' ')[4] ?? '').filter((m) => m === top || m.startsWith(`${top}/`));
  return mountpoints.reverse();
}

/** Unmounts; what is still busy after two seconds is detached. */
export async function unmount(mountpoint: string): Promise<void> {
  for (let tries = 0; tries < 10; tries++) {
    const { code, stderr } = await run('umount', [mountpoint]);
    if (code === 0 || /not mounted|no mount point/.test(stderr)) return;
    await sleep(200);
  }
  await run('umount', ['--lazy', mountpoint]);
}

/** What a run has made and must undo, and the commands it waits for. */
export class Session {
  readonly #undo: { what: string; undo: () => Promise<void> }[] = [];
  readonly #stop = new AbortController();

  /** Aborted by Ctrl-C. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  interrupt(signal: NodeJS.Signals): void {
    this.#stop.abort(new Error(`stopped by ${signal}`));
  }

  /** Undone at the end, the last one first. */
  defer(what: string, undo: () => Promise<void>): void {
    this.#undo.push({ what, undo });
  }

  /** A fresh directory; whatever is mounted in it at the end is unmounted, and it is removed. */
  async directory(parent = tmpdir()): Promise<string> {
    const top = await mkdtemp(join(parent, 'vreserve-run-'));
    this.defer(top, async () => {
      for (const mountpoint of await mountpointsBelow(top)) await unmount(mountpoint);
      if ((await mountpointsBelow(top)).length > 0) throw new Error('something is still mounted below it');
      await rm(top, { recursive: true, force: true });
    });
    return top;
  }

  /** Runs a command and returns what it printed; throws with what it said where it fails. */
  async command(file: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
    this.signal.throwIfAborted();
    const { shown = false, env, timeoutMs = 600_000, ...rest } = options;
    const output = shown ? 'inherit' : 'pipe';
    const child = spawn(file, args, { ...rest, env: { ...process.env, ...env }, stdio: ['ignore', output, output] });
    const said: Buffer[] = [];
    const complained: Buffer[] = [];
    child.stdout?.on('data', (part: Buffer) => said.push(part));
    child.stderr?.on('data', (part: Buffer) => complained.push(part));
    const kill = () => child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    this.signal.addEventListener('abort', kill);
    try {
      const ended = await new Promise<number | string | null>((done, failed) => {
        child.on('error', failed);
        child.on('close', (code, signal) => done(code ?? signal));
      });
      this.signal.throwIfAborted();
      if (ended === 0) return Buffer.concat(said).toString();
      const why = Buffer.concat([...complained, ...said]).toString();
      throw new Error(`${file} ${args.join(' ')}: ended with ${ended}${why === '' ? '' : `\n${why.trimEnd()}`}`);
    } finally {
      clearTimeout(timer);
      this.signal.removeEventListener('abort', kill);
    }
  }

  /** Undoes everything so far; returns what could not be undone. */
  async end(): Promise<string[]> {
    const failures: string[] = [];
    for (let step = this.#undo.pop(); step !== undefined; step = this.#undo.pop()) {
      try {
        await step.undo();
      } catch (error) {
        failures.push(`${step.what}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return failures;
  }
}

/** Does the work in a session and sets the exit code to what it returns; 1 where it throws, 128 + the signal where stopped. */
export async function inSession(name: string, work: (session: Session) => Promise<number>): Promise<void> {
  const session = new Session();
  let stoppedBy: NodeJS.Signals | null = null;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stoppedBy === null) process.stderr.write(`\n${name}: ${signal}, cleaning up\n`);
      stoppedBy ??= signal;
      session.interrupt(signal);
    });
  }
  let code = 1;
  try {
    code = await work(session);
  } catch (error) {
    if (stoppedBy === null) process.stderr.write(`${name}: ${error instanceof Error ? error.message : String(error)}\n`);
  }
  const failures = await session.end();
  for (const failure of failures) process.stderr.write(`${name}: not cleaned up: ${failure}\n`);
  if (stoppedBy !== null) code = 128 + constants.signals[stoppedBy];
  else if (failures.length > 0) code ||= 1;
  process.exitCode = code;
}
