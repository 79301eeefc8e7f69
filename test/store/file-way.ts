// A store through the files of its mount, by processes that do what they are told one after another.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { plainEnvironment } from '../crash/load.js';
import { contentOf } from './contents.js';
import type { FileJob, FileResult } from './file-worker.js';
import { CutOff, type Version, type Way } from './ways.js';

const WORKER = fileURLToPath(new URL('./file-worker.js', import.meta.url));

/** Opens the file, copies stdin into it, and is killed with the file open. */
const DYING = 'exec 5> "$1"; cat >&5; kill -9 $$';

/** What a mount answers whose daemon is gone, and the store whose process is gone or goes. */
const GONE: readonly string[] = ['ENOTCONN', 'ECONNABORTED', 'EIO', 'ESHUTDOWN', 'EAGAIN', 'ENODEV'];

/** What is answered by who is there; while the store is away it says nothing. */
const ABSENT: readonly string[] = ['ENOENT', 'EBUSY'];

/** A process for many clients. */
export class FileWorker {
  readonly #child: ChildProcess;
  readonly #waiting: ((line: string) => void)[] = [];

  constructor(directory: string) {
    this.#child = spawn(process.execPath, [WORKER, directory], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: plainEnvironment(),
      cwd: '/',
    });
    const { stdin, stdout } = this.#child;
    if (stdin === null || stdout === null) throw new Error('no pipes');
    stdin.on('error', () => {});
    createInterface({ input: stdout }).on('line', (line) => this.#waiting.shift()?.(line));
    this.#child.on('close', () => {
      for (const answer of this.#waiting.splice(0)) answer('{"errno":"","version":null,"wrong":"the process has ended"}');
    });
  }

  async do(job: FileJob): Promise<FileResult> {
    const answer = new Promise<string>((resolve) => this.#waiting.push(resolve));
    this.#child.stdin?.write(`${JSON.stringify(job)}\n`);
    return JSON.parse(await answer) as FileResult;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, 'close');
    this.#child.stdin?.end();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await closed;
    clearTimeout(late);
  }
}

export class FileWay implements Way {
  readonly #directory: string;
  readonly #worker: FileWorker;
  readonly #lives: () => number | null;

  /** `lives`: which life of the store it is; null: between two. */
  constructor(directory: string, worker: FileWorker, lives: () => number | null) {
    this.#directory = directory;
    this.#worker = worker;
    this.#lives = lives;
  }

  async read(name: string): Promise<Version> {
    const { errno, version } = await this.#do({ op: 'read', name, version: 0, isNew: false });
    if (ABSENT.includes(errno)) return null;
    if (errno !== '') throw new Error(`reading ${name}: ${errno}`);
    return version;
  }

  async put(name: string, version: number, isNew: boolean): Promise<'done' | 'taken'> {
    const { errno } = await this.#do({ op: 'put', name, version, isNew });
    if (errno === '') return 'done';
    if (isNew && errno === 'EEXIST') return 'taken';
    throw new Error(`writing ${name}: ${errno}`);
  }

  async breakOff(name: string, version: number): Promise<void> {
    const body = contentOf(name, version);
    const child = spawn('/bin/bash', ['-c', DYING, 'bash', `${this.#directory}/${name}`], {
      stdio: ['pipe', 'ignore', 'ignore'],
      cwd: '/',
    });
    const closed = once(child, 'close');
    child.stdin?.on('error', () => {});
    child.stdin?.end(body.subarray(0, body.length >> 1));
    await closed;
  }

  async remove(name: string): Promise<void> {
    const { errno } = await this.#do({ op: 'remove', name, version: 0, isNew: false });
    if (errno !== '') throw new Error(`removing ${name}: ${errno}`);
  }

  async end(): Promise<void> {}

  async #do(job: FileJob): Promise<FileResult> {
    const life = this.#lives();
    const result = await this.#worker.do(job);
    const { errno, wrong } = result;
    if (wrong !== '') throw new Error(wrong);
    const isSameLife = life !== null && this.#lives() === life;
    // Below a mountpoint without a mount there is nothing, whoever asks.
    if (errno !== '' && (GONE.includes(errno) || !isSameLife)) throw new CutOff(errno);
    return result;
  }
}
