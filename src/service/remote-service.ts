// The service process as the daemon has it: started, started again when it dies, and ended before the mount.

import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../core/clock.js';
import { asVreserveError } from '../core/errors.js';
import type { HttpAddress } from '../core/http-address.js';
import { type Lines, type Log, linesOf } from '../log.js';
import { Calls, type Remote } from '../process/calls.js';
import type { DaemonMethods, Listened, ServiceMethods, Serving, Sockets } from './methods.js';

const NAME = 'the service process';

/** After it has died: twice as long each time, until it has lived for long enough. */
const FIRST_PAUSE_MS = 50;
const SHORT_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
const LONG_ENOUGH_MS = 60_000;

/** How long the process may take for what is done at once, before it is killed. */
const PROMPTLY_MS = 2000;

export interface RemoteServiceParts {
  /** Starts the process, with a channel. */
  fork: () => ChildProcess;
  host: Omit<DaemonMethods, 'log'>;
  sockets: Sockets;
  log: Log;
  clock: Clock;
}

interface Running {
  child: ChildProcess;
  calls: Calls<ServiceMethods>;
  startedAtMs: number;
  /** How it ended. */
  gone: Promise<string>;
}

export class RemoteService {
  readonly #parts: RemoteServiceParts;
  /** The last that was started; it may have died. */
  #running: Running;
  #listened: Listened;
  /** null: the mount is not there yet. */
  #serving: Serving | null = null;
  /** Resolves when the process serves, or cannot. */
  #up: Promise<void> = Promise.resolve();
  /** Why nobody answers; null: all is well. */
  #trouble: string | null = null;
  /** What of the mount it cannot serve. */
  #unserved: string[] = [];
  readonly #ending = new AbortController();
  #ended: Promise<void> | null = null;

  /** Resolves when it listens, where it is to: 503 until `serve`. Throws HTTP_FAILED, PROCESS_GONE. */
  static async start(parts: RemoteServiceParts): Promise<RemoteService> {
    const running = launch(parts);
    try {
      return new RemoteService(parts, running, await running.calls.other.listen(parts.sockets));
    } catch (error) {
      await end(running);
      throw error;
    }
  }

  private constructor(parts: RemoteServiceParts, running: Running, listened: Listened) {
    this.#parts = parts;
    this.#running = running;
    this.#listened = listened;
    void this.#keep();
  }

  /** Where it listens: with the port that the system chose, which it keeps. null: nowhere. */
  get address(): HttpAddress | null {
    return this.#listened.http;
  }

  /** The same for namespaces. */
  get zdbAddress(): HttpAddress | null {
    return this.#listened.zdb;
  }

  /** What is wrong, one sentence each. */
  get troubles(): string[] {
    const dead = this.#trouble === null ? [] : [`the service process does not answer: ${this.#trouble}`];
    return [...dead, ...this.#unserved];
  }

  /** The mount is there. Resolves when it is served, or cannot be. */
  serve(serving: Serving): Promise<void> {
    this.#serving = serving;
    // One that has died is told when there is another.
    this.#up = this.#serve(this.#running, serving).catch(() => {});
    return this.#up;
  }

  /** What it can be asked for, when it serves. What is under way when the process dies rejects with PROCESS_GONE. */
  async methods(): Promise<Remote<ServiceMethods>> {
    await this.#up;
    return this.#running.calls.other;
  }

  /**
   * Ends the process; resolves when it is gone, and holds nothing of the mount. What is under way may take so long. Later calls
   * wait for the first.
   */
  finish(withinMs: number): Promise<void> {
    this.#ended ??= this.#finish(withinMs);
    return this.#ended;
  }

  async #serve(running: Running, serving: Serving): Promise<void> {
    this.#unserved = await running.calls.other.serve(serving);
  }

  async #finish(withinMs: number): Promise<void> {
    this.#ending.abort();
    // One that has died rejects, and one that hangs is not waited for.
    const finished = this.#running.calls.other.finish(withinMs).catch(() => {});
    await within(finished, withinMs + PROMPTLY_MS);
    await end(this.#running);
  }

  /** Starts it again whenever it has died. */
  async #keep(): Promise<void> {
    const { log, clock } = this.#parts;
    const { signal } = this.#ending;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      const how = await this.#running.gone;
      if (signal.aborted) return;
      if (clock() - this.#running.startedAtMs >= LONG_ENOUGH_MS) pauseMs = FIRST_PAUSE_MS;
      this.#trouble ??= `its process has died (${how})`;
      log.error({ reason: this.#trouble, pauseMs }, 'the service process is started again');
      const again = this.#again(pauseMs);
      // Who asks meanwhile waits for it, unless that would be long.
      if (pauseMs <= SHORT_PAUSE_MS) this.#up = again;
      await again;
      if (signal.aborted) return;
    }
  }

  async #again(pauseMs: number): Promise<void> {
    const { signal } = this.#ending;
    await sleep(pauseMs, undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    this.#running = launch(this.#parts);
    await this.#begin(this.#running);
  }

  async #begin(running: Running): Promise<void> {
    const { sockets, log } = this.#parts;
    // Where the system chose the port, it keeps it.
    const http = sockets.http && { ...sockets.http, address: this.#listened.http ?? sockets.http.address };
    const zdb = sockets.zdb && { ...sockets.zdb, address: this.#listened.zdb ?? sockets.zdb.address };
    try {
      const { other } = running.calls;
      this.#listened = await other.listen({ ...sockets, http, zdb });
      if (this.#serving !== null) await this.#serve(running, this.#serving);
      this.#trouble = null;
      log.info({ pid: running.child.pid }, 'the service process serves again');
    } catch (error) {
      this.#trouble = asVreserveError(error).message;
      await end(running);
    }
  }
}

function launch({ fork, host, log, clock }: RemoteServiceParts): Running {
  const child = fork();
  const calls = new Calls<ServiceMethods>(child, NAME);
  const lines: Lines = linesOf(log);
  const methods: DaemonMethods = { ...host, log: (text) => lines.write(text) };
  calls.answer(methods);
  const gone = new Promise<string>((resolve) => {
    child.on('exit', (code, signal) => resolve(signal ?? `exit ${code}`));
    child.on('error', (error) => {
      // It was not even started.
      if (child.pid !== undefined) return;
      calls.end();
      resolve(error.message);
    });
  });
  return { child, calls, startedAtMs: clock(), gone };
}

/** Ends it: it does so by itself when the channel is closed. */
async function end({ child, gone }: Running): Promise<void> {
  if (child.connected) child.disconnect();
  if (await within(gone, PROMPTLY_MS)) return;
  child.kill('SIGKILL');
  // What waits for a backing that hangs is not gone even then.
  await within(gone, PROMPTLY_MS);
}

/** False where it took longer. */
async function within(work: Promise<unknown>, mostMs: number): Promise<boolean> {
  const over = new AbortController();
  const late = sleep(mostMs, false, { signal: over.signal }).catch(() => false);
  const isDone = await Promise.race([work.then(() => true), late]);
  over.abort();
  return isDone;
}
