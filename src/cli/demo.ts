// `vreserve demo`: shows in about 20 seconds, on a temporary directory, what a reservation is worth.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { formatBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import type { Command } from './command.js';
import { isVreserve, mountAt } from './mountinfo.js';
import { print, printJson } from './output.js';

const MB = 1_000_000;

export const demo: Command = {
  usage: 'demo [--fast]',
  description: [
    'Mounts a temporary directory, reserves, lets another writer fill the pool, overruns the reservation, shows the report,',
    'and cleans up. It needs some hundred MB in the temporary directory (TMPDIR) and changes nothing else.',
  ],
  examples: ['vreserve demo'],
  options: { fast: { type: 'boolean', help: 'without pauses for reading' } },
  words: [0, 0],
  async run({ flag, json }) {
    const stage = new Stage(!flag('fast') && process.stdout.isTTY === true && !json, json);
    try {
      await play(stage);
    } finally {
      await stage.cleanUp();
    }
    if (json) printJson({ ok: true });
    return 0;
  },
};

/** The temporary directories, and how a command is shown and run in them. */
class Stage {
  readonly top = mkdtempSync(join(tmpdir(), 'vreserve-demo-'));
  readonly #pauses: boolean;
  readonly #quiet: boolean;
  #child: ChildProcess | null = null;
  #stopped = false;
  #cleaned = false;
  readonly #stop = (signal: NodeJS.Signals) => {
    this.#stopped = true;
    this.#child?.kill(signal);
  };

  constructor(pauses: boolean, quiet: boolean) {
    this.#pauses = pauses;
    this.#quiet = quiet;
    process.on('SIGINT', this.#stop).on('SIGTERM', this.#stop).on('SIGHUP', this.#stop);
    // `vreserve demo | head` must clean up too.
    process.stdout.removeAllListeners('error').on('error', () => this.#stop('SIGTERM'));
  }

  /** A line between the commands: what comes next, and why. */
  async tell(text: string): Promise<void> {
    this.#check();
    if (!this.#quiet) process.stdout.write(`\n# ${text}\n`);
    if (this.#pauses) await sleep(1_300);
    this.#check();
  }

  /** Shows the line as a user would type it, runs it with the shell in the temporary directory, and shows what it said. */
  async type(line: string, expected: 'works' | 'fails'): Promise<void> {
    this.#check();
    if (!this.#quiet) print(`$ ${line}`);
    const code = await this.#shell(line);
    this.#check();
    if ((code === 0) !== (expected === 'works')) {
      const reason = `demo: '${line}' ${code === 0 ? 'should have been refused' : `failed with ${code}`}`;
      throw new VreserveError('INTERNAL', { reason });
    }
    if (this.#pauses) await sleep(500);
  }

  #shell(line: string): Promise<number> {
    const main = fileURLToPath(new URL('./main.js', import.meta.url));
    // `vreserve` in the lines is this very program.
    const script = `vreserve() { "$VRESERVE_NODE" "$VRESERVE_MAIN" "$@"; }\n{ ${line}\n} 2>&1`;
    return new Promise((done, failed) => {
      const child = spawn('/bin/sh', ['-c', script], {
        cwd: this.top,
        env: { ...process.env, LC_ALL: 'C', VRESERVE_NODE: process.execPath, VRESERVE_MAIN: main },
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      this.#child = child;
      child.stdout.on('data', (text: Buffer) => {
        if (!this.#quiet) process.stdout.write(text);
      });
      child.on('error', failed);
      child.on('close', (code) => {
        this.#child = null;
        done(code ?? 1);
      });
    });
  }

  #check(): void {
    if (this.#stopped) throw new VreserveError('SYSTEM', { reason: 'the demo was interrupted', errno: 'EINTR' });
  }

  async cleanUp(): Promise<void> {
    if (this.#cleaned) return;
    this.#cleaned = true;
    const mnt = join(this.top, 'MNT');
    const mounted = () => {
      const mount = mountAt(mnt);
      return mount !== undefined && isVreserve(mount);
    };
    if (mounted()) await this.#shell('vreserve umount MNT || vreserve umount MNT --lazy');
    // Never a removal through a mount that is still there.
    if (!mounted()) rmSync(this.top, { recursive: true, force: true });
    process.off('SIGINT', this.#stop).off('SIGTERM', this.#stop).off('SIGHUP', this.#stop);
  }
}

async function play(stage: Stage): Promise<void> {
  // Real input that every installation has: the program of Node.js itself.
  const input = process.execPath;
  const inputBytes = statSync(input).size;
  const grantMb = Math.ceil((inputBytes * 1.25) / MB);
  const capacityMb = grantMb + 60;
  const { bavail, bsize } = statfsSync(stage.top);
  if (bavail * bsize < (capacityMb + 50) * MB) {
    const reason = `the demo needs ${formatBytes((capacityMb + 50) * MB)} free in ${tmpdir()}; TMPDIR names another place`;
    throw new VreserveError('SYSTEM', { reason, errno: 'ENOSPC' });
  }
  await mkdir(join(stage.top, 'DATA'));
  await mkdir(join(stage.top, 'MNT'));
  const restBytes = grantMb * MB - inputBytes;

  await stage.tell(`A directory, mounted; the pool may hold ${capacityMb} MB.`);
  await stage.type(`vreserve mount DATA MNT --capacity ${capacityMb}MB --margin 0`, 'works');
  await stage.tell(`A job wants to be sure of ${grantMb} MB.`);
  await stage.type(`vreserve reserve MNT/job1 ${grantMb}MB`, 'works');
  await stage.tell('Somebody else writes as much as can be had. It ends where the reservation begins.');
  await stage.type('head -c 2G /dev/zero > MNT/other', 'fails');
  await stage.type('ls -l MNT/other', 'works');
  await stage.tell('The pool is full, and yet the job writes: these bytes were set aside for it.');
  await stage.type(`mkdir MNT/job1 && cp ${input} MNT/job1/program && cmp ${input} MNT/job1/program && echo equal`, 'works');
  await stage.tell('Past its grant the job is stopped as well.');
  await stage.type(`cp ${input} MNT/job1/second`, 'fails');
  await stage.tell('It may hold its grant to the last byte, and not one more.');
  await stage.type(`rm MNT/job1/second && head -c ${restBytes} /dev/zero > MNT/job1/rest && echo written`, 'works');
  await stage.type('head -c 1 /dev/zero >> MNT/job1/rest', 'fails');
  await stage.tell('Who holds what:');
  await stage.type('cat MNT/.vreserve/report', 'works');
  await stage.tell('The reservation goes back; its files stay. Then all is cleaned up.');
  await stage.type('vreserve release MNT/job1', 'works');
  await stage.type('vreserve umount MNT', 'works');
}
