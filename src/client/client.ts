// The client: one interface to a mount, over HTTP or through the mount itself.

import { checkBytes, parseBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import type { ReserveOptions as Limits } from '../views/host.js';
import type { LotJson, Report } from '../views/json.js';
import { badAnswer, isObject } from './answers.js';
import { HttpTransport } from './http-transport.js';
import { LotCalls, type LotCommand, type LotFunctions } from './lot-calls.js';
import { MountTransport } from './mount-transport.js';
import { type CallOptions, checkTimeout, Stop } from './stop.js';
import { BlobStore } from './store.js';
import { parseTarget } from './target.js';
import type { CommandJson, Transport } from './transport.js';

const DEFAULT_TIMEOUT_MS = 60_000;

export interface ClientOptions {
  /** Of each call that names none; 60 s without it. See CallOptions. */
  timeoutMs?: number;
  /** Of a service with `--http-token-file`. */
  token?: string;
  /** Ends all calls. */
  signal?: AbortSignal;
}

/** What is left out stays as it is. -1 is unlimited, for `opportunisticBytes` and `maxObjects`. */
export interface ReserveOptions extends Limits, CallOptions {
  /**
   * Waits in line until the bytes are there, at most so long, or for ever (null). Through a mount only. `timeoutMs`, where it is given,
   * and `signal` end the wait: the request leaves the line.
   */
  waitMs?: number | null;
}

/** A number of bytes, or text such as '500GB' (decimal) and '20GiB' (binary). */
export type Bytes = number | string;

/**
 * Asks a service over HTTP or a mount. Paths are those in the mount ('/job1'); one of the host that lies below the mountpoint is taken as
 * such. Over HTTP one acts as the daemon's user, through a mount as the user that one is.
 *
 * Everything throws VreserveError with the code that the daemon gave, or UNREACHABLE (nothing was done), BROKEN_OFF and NO_ANSWER (it may
 * have been done), BAD_ANSWER, CLIENT_CLOSED; and the reason of a signal. Nothing is tried twice.
 */
export class VreserveClient {
  /** As it was given. */
  readonly target: string;
  /** LotMan's functions. */
  readonly lots: LotFunctions;
  /** Blobs by name. */
  readonly store: BlobStore;
  readonly #transport: Transport;
  readonly #where: string;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal | undefined;
  readonly #closing = new AbortController();

  /**
   * `http://HOST:PORT`, `https://…`, `unix:PATH` (a socket), or a directory: the mountpoint, or a lot's own directory in a mount.
   * Nothing is asked yet. Throws USAGE.
   */
  constructor(target: string | URL, { timeoutMs = DEFAULT_TIMEOUT_MS, token, signal }: ClientOptions = {}) {
    const parsed = parseTarget(target);
    this.target = String(target);
    this.#where = parsed.kind === 'mount' ? `'${parsed.where}'` : parsed.where;
    this.#timeoutMs = checkTimeout(timeoutMs);
    this.#signal = signal;
    this.#transport = parsed.kind === 'mount' ? new MountTransport(parsed) : new HttpTransport(parsed, checkToken(token));
    this.lots = new ClientLots((command, options) => this.#command(command, options));
    this.store = new BlobStore(this.#transport.store, (options) => this.#begin(options));
  }

  /** Returns when who serves has answered. */
  ping(options: CallOptions = {}): Promise<void> {
    return this.#call(options, (stop) => this.#transport.ping(stop));
  }

  /**
   * Reserves bytes for a path, which need not exist, or sets those of its reservation anew; on the disk when it returns. null: the service
   * has the original API alone, and tells no more. Throws NO_SPACE with `details.availableBytes`, OTHERS_WAIT, BELOW_USE, NOT_YOURS,
   * BAD_PATH; with `waitMs` NEVER_FITS and WAITED_FOR_NOTHING.
   */
  async reserve(path: string, bytes: Bytes, options: ReserveOptions = {}): Promise<LotJson | null> {
    const { expiresInMs, owner, opportunisticBytes, maxObjects, waitMs, timeoutMs, signal } = options;
    const command = { cmd: 'reserve', path: checkedPath(path), bytes: checkedBytes(bytes) };
    const limits = { expires: expiresInMs, owner, opportunistic: opportunisticBytes, objects: maxObjects };
    const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
    // A wait takes its time; what is late is the answer after it.
    const whole = waitMs === undefined ? this.#timeoutMs : waitMs === null ? Number.POSITIVE_INFINITY : waitMs + this.#timeoutMs;
    const call = { timeoutMs: timeoutMs ?? whole, ...(signal === undefined ? {} : { signal }) };
    return this.#lotIn(await this.#send({ ...command, ...given }, call, waitMs));
  }

  /** Adds bytes to a reservation. Throws NO_SUCH_LOT where there is none, and as `reserve`. */
  async extend(path: string, addBytes: Bytes, options: CallOptions = {}): Promise<LotJson | null> {
    const command = { cmd: 'extend', path: checkedPath(path), bytes: checkedBytes(addBytes) };
    return this.#lotIn(await this.#send(command, options));
  }

  /** Gives a reservation back; its files stay. null: there was none, which is no error, or it is not told. Throws NOT_YOURS. */
  async release(path: string, options: CallOptions = {}): Promise<LotJson | null> {
    return this.#lotIn(await this.#send({ cmd: 'release', path: checkedPath(path) }, options));
  }

  /** `report.json`: the daemon, the pool, all lots and what they hold, and who waits. */
  report(options: CallOptions = {}): Promise<Report> {
    return this.#call(options, (stop) => this.#transport.report(stop));
  }

  /**
   * All reservations of the volume that a path is on, and their bytes, as the original's report. Where the path is one of the host below
   * the mountpoint, so are those of the answer.
   */
  async reservations(path = '/', options: CallOptions = {}): Promise<Map<string, number>> {
    return this.#call(options, (stop) => this.#transport.reservations(checkedPath(path), stop));
  }

  /** Ends what is under way with CLIENT_CLOSED, and lets go of all connections. A client that does nothing keeps no process alive. */
  async close(): Promise<void> {
    this.#closing.abort(new VreserveError('CLIENT_CLOSED'));
    this.#transport.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #command(command: LotCommand, options: CallOptions): Promise<unknown> {
    const { result } = await this.#send({ ...command }, options);
    return result;
  }

  #send(command: CommandJson, options: CallOptions, waitMs?: number | null): Promise<Record<string, unknown>> {
    return this.#call(options, (stop) => this.#transport.command(command, waitMs, stop));
  }

  #lotIn({ lot }: Record<string, unknown>): LotJson | null {
    if (lot === null || (isObject(lot) && typeof lot.name === 'string')) return lot as LotJson | null;
    throw badAnswer(this.#where, 'it tells of no lot');
  }

  #begin({ timeoutMs = this.#timeoutMs, signal }: CallOptions): Stop {
    return new Stop(this.#where, timeoutMs, [this.#closing.signal, this.#signal, signal]);
  }

  async #call<T>(options: CallOptions, ask: (stop: Stop) => Promise<T>): Promise<T> {
    const stop = this.#begin(options);
    try {
      return await ask(stop);
    } finally {
      stop.end();
    }
  }
}

class ClientLots extends LotCalls {
  readonly #ask: (command: LotCommand, options: CallOptions) => Promise<unknown>;

  constructor(ask: (command: LotCommand, options: CallOptions) => Promise<unknown>) {
    super();
    this.#ask = ask;
  }

  protected send(command: LotCommand, options: CallOptions): Promise<unknown> {
    return this.#ask(command, options);
  }
}

/** What no transport could say as it was meant is refused here; the rest is whoever serves's to judge. */
function checkedPath(path: string): string {
  if (typeof path !== 'string' || path === '') throw new VreserveError('BAD_PATH', { path: '', reason: 'it is empty' });
  if (!/\p{Surrogate}/u.test(path)) return path;
  throw new VreserveError('BAD_PATH', { path: path.slice(0, 100), reason: 'it is not valid UTF-8' });
}

function checkedBytes(bytes: Bytes): number {
  const number = typeof bytes === 'string' ? parseBytes(bytes) : checkBytes(bytes);
  if (number > 0) return number;
  throw new VreserveError('BAD_BYTES', { text: String(bytes), reason: 'it must be at least one byte' });
}

function checkToken(token: string | undefined): string | null {
  if (token === undefined) return null;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new VreserveError('USAGE', { reason: 'a token is a text of visible ASCII letters' });
}
