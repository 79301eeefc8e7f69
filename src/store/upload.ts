// A content that is on its way: written to a temporary file, then it becomes what its name has, or nothing of it stays.

import type { FileHandle } from 'node:fs/promises';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import type { Blob } from './blob.js';
import { shown } from './names.js';
import type { PayloadPlace, Payloads } from './payloads.js';
import { SNIFFED_BYTES, sniffContentType } from './sniff.js';
import { PHRASES, packTransitions, type Transition } from './status.js';

/** Whether there must be a content before: none, one, or either; `make`: none when it begins, and what came since then is replaced. */
export type UploadKind = 'create' | 'update' | 'replace' | 'make';

/** Throws where the content that the name has (null: none) is not what the upload is to take the place of. */
export type Expectation = (current: Blob | null) => void;

/** Of a content that was elsewhere before: what became of it there, oldest first, and since when it is what it is. */
export interface Past {
  transitions: readonly Transition[];
  modifiedAtMs: number;
}

/** What an upload asks of its store. */
export interface UploadHost {
  clock: () => number;
  payloads: Payloads;
  /** Makes it the content of its name, durably. */
  commit(upload: Upload, blob: Blob): Promise<void>;
  /** It came to nothing, and its file could not be removed where `left` is its path. */
  failed(upload: Upload, left: string | null): void;
  /** Frees what nobody needs any more; true where that was something. */
  makeRoom(): Promise<boolean>;
}

/** Bytes are gathered until there are so many: a write costs about the same for all lengths up to this. */
const WRITE_BYTES = 256 * 1024;

/** How often it is looked for. */
const ROOM_TRIES = 3;

export class Upload implements PayloadPlace {
  readonly name: string;
  readonly kind: UploadKind;
  readonly lot: string;
  readonly id: string;
  /** The temporary file, for those who write it by themselves: all that is in it when `commit` is called is the content. */
  readonly path: string;
  readonly expect: Expectation | null;
  readonly #host: UploadHost;
  readonly #contentType: string | null;
  readonly #past: Past | null;
  readonly #transitions: Transition[] = [];
  readonly #stop = new AbortController();
  #opening: Promise<FileHandle> | null = null;
  #file: FileHandle | null = null;
  #sizeBytes = 0;
  /** The first bytes of what is written here, which tell the type. */
  #start: Uint8Array = new Uint8Array();
  #state: 'open' | 'committing' | 'settled' = 'open';
  /** Resolves when it is the content of its name, or nothing of it is left. Never rejects. */
  readonly settled: Promise<void>;
  #settle: () => void = () => {};

  /** Made by a store. */
  constructor(
    host: UploadHost,
    what: {
      name: string;
      kind: UploadKind;
      lot: string;
      id: string;
      contentType: string | null;
      expect: Expectation | null;
      past: Past | null;
    },
  ) {
    this.#host = host;
    this.name = what.name;
    this.kind = what.kind;
    this.lot = what.lot;
    this.id = what.id;
    this.expect = what.expect;
    this.#contentType = what.contentType;
    this.#past = what.past;
    this.path = host.payloads.temporaryPath(this);
    this.settled = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#log(this.isCreation ? PHRASES.created : PHRASES.updated);
    this.#log(PHRASES.starting);
  }

  /** The name is taken by it. */
  get isCreation(): boolean {
    return this.kind === 'create' || this.kind === 'make';
  }

  /** Oldest first. */
  get transitions(): readonly Transition[] {
    return this.#transitions;
  }

  /** Makes the temporary file. Called by the store. */
  async open(): Promise<void> {
    this.#checkState();
    this.#opening = this.#withRoom(() => this.#host.payloads.begin(this));
    this.#file = await this.#opening;
    // It may have failed meanwhile.
    this.#checkState();
  }

  /** Appends. Throws STORE_FULL, or the system's error; then `fail` is what is left to do. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#remember(bytes);
    await this.#append(bytes);
  }

  async #append(bytes: Uint8Array): Promise<void> {
    const file = this.#opened();
    for (let written = 0; written < bytes.length; ) {
      // A write may be cut short at the edge of a grant: the next one says why.
      written += await this.#withRoom(async () => {
        const { bytesWritten } = await file.write(bytes, written, bytes.length - written, this.#sizeBytes);
        this.#sizeBytes += bytesWritten;
        return bytesWritten;
      });
    }
  }

  /**
   * Writes all that the source gives, and commits. Where the source fails, the signal is aborted or the store is closed, nothing
   * of it stays: STORE_BROKEN_OFF, STORE_FULL, or the system's error.
   */
  async pour(source: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<Blob> {
    try {
      await this.#take(source, signal);
    } catch (error) {
      await this.fail(error);
      throw error;
    }
    return await this.commit();
  }

  /** On the disk, and what is read under its name, when it resolves. Throws as `pour`, and what the name's content is refused with. */
  async commit(): Promise<Blob> {
    const file = this.#opened();
    this.#state = 'committing';
    try {
      this.#stop.signal.throwIfAborted();
      const { sizeBytes, start } = await this.#finish(file);
      const modifiedAtMs = this.#log(PHRASES.complete);
      const blob: Blob = {
        name: this.name,
        id: this.id,
        lot: this.lot,
        sizeBytes,
        contentType: this.#contentType ?? sniffContentType(start),
        modifiedAtMs: this.#past?.modifiedAtMs ?? modifiedAtMs,
        transitions: packTransitions(this.#past?.transitions ?? this.#transitions),
      };
      await this.#host.commit(this, blob);
      this.#state = 'settled';
      this.#settle();
      return blob;
    } catch (error) {
      const reason = this.#full(error);
      if (this.#transitions.at(-1)?.state === 'OK') this.#transitions.pop();
      await this.#undo(reason);
      throw reason;
    }
  }

  /** Nothing of it stays. Does nothing where it is settled, or about to be. */
  async fail(reason: unknown): Promise<void> {
    if (this.#state === 'open') await this.#undo(reason);
  }

  /** Breaks off what is being poured, soon. */
  stop(reason: Error): void {
    this.#stop.abort(reason);
  }

  async #undo(reason: unknown): Promise<void> {
    this.#state = 'settled';
    this.#log({ state: 'Failure', message: oneLine(asVreserveError(reason).message) });
    const file = await this.#opening?.catch(() => null);
    await file?.close().catch(() => {});
    let left: string | null = null;
    for (const path of [this.path, this.#host.payloads.path(this)]) {
      await this.#host.payloads.remove(path).catch(() => {
        left = path;
      });
    }
    this.#host.failed(this, left);
    this.#settle();
  }

  /** Its bytes are on the disk under its own name. */
  async #finish(file: FileHandle): Promise<{ sizeBytes: number; start: Uint8Array }> {
    const start = await this.#startOf(file);
    // Never a second time: what a sync could not write, the next one says nothing of.
    await file.sync();
    const { size } = await file.stat();
    if (this.#sizeBytes > 0 && size !== this.#sizeBytes) {
      const reason = `its file has ${size} bytes, and ${this.#sizeBytes} were written`;
      throw new VreserveError('STORE_PAYLOAD_DAMAGED', { name: shown(this.name), reason });
    }
    await file.close();
    await this.#host.payloads.finish(this);
    return { sizeBytes: size, start };
  }

  /** Not asked of the file where it was written here: a request more for every small one. */
  async #startOf(file: FileHandle): Promise<Uint8Array> {
    if (this.#contentType !== null || this.#sizeBytes > 0) return this.#start;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(SNIFFED_BYTES), 0, SNIFFED_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  }

  #remember(bytes: Uint8Array): void {
    const missing = SNIFFED_BYTES - this.#start.length;
    if (this.#contentType !== null || missing === 0 || bytes.length === 0) return;
    this.#start = Buffer.concat([this.#start, bytes.subarray(0, missing)]);
  }

  async #take(source: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): Promise<void> {
    const from = source[Symbol.asyncIterator]();
    const stoppable = new Stoppable(signal === undefined ? [this.#stop.signal] : [this.#stop.signal, signal]);
    let gathered: Uint8Array[] = [];
    let bytes = 0;
    let isEnd = false;
    try {
      while (!isEnd) {
        const next = await stoppable.wait(from.next()).catch((error: unknown) => {
          throw this.#brokenOff(error);
        });
        isEnd = next.done === true;
        if (next.done !== true) {
          this.#remember(next.value);
          gathered.push(next.value);
          bytes += next.value.length;
        }
        if (bytes < WRITE_BYTES && !isEnd) continue;
        await this.#writeAll(gathered, bytes);
        gathered = [];
        bytes = 0;
      }
    } finally {
      stoppable.forget();
      // Not waited for: a source that gives nothing does not end by itself.
      if (!isEnd) void from.return?.().catch(() => {});
    }
  }

  async #writeAll(pieces: readonly Uint8Array[], bytes: number): Promise<void> {
    if (bytes === 0) return;
    const file = this.#opened();
    const { bytesWritten } = await this.#withRoom(() => file.writev(pieces, this.#sizeBytes));
    this.#sizeBytes += bytesWritten;
    if (bytesWritten < bytes) await this.#append(Buffer.concat(pieces).subarray(bytesWritten));
  }

  #brokenOff(error: unknown): VreserveError {
    if (error instanceof VreserveError) return error;
    const reason = error instanceof Error ? oneLine(error.message) : String(error);
    return new VreserveError('STORE_BROKEN_OFF', { name: shown(this.name), reason }, { cause: error });
  }

  /** Again where there was no room and some could be made. */
  async #withRoom<Result>(job: () => Promise<Result>): Promise<Result> {
    for (let tries = 1; ; tries++) {
      try {
        return await job();
      } catch (error) {
        if (tries === ROOM_TRIES || !isLackOfSpace(error) || !(await this.#host.makeRoom())) throw this.#full(error);
      }
    }
  }

  #full(error: unknown): unknown {
    if (error instanceof VreserveError || !isLackOfSpace(error)) return error;
    return new VreserveError('STORE_FULL', { name: shown(this.name) }, { cause: error });
  }

  #opened(): FileHandle {
    this.#checkState();
    if (this.#file === null) throw new VreserveError('STORE_CLOSED');
    return this.#file;
  }

  #checkState(): void {
    if (this.#state !== 'open') throw new VreserveError('STORE_CLOSED');
  }

  #log(phrase: Omit<Transition, 'atMs'>): number {
    const atMs = this.#host.clock();
    this.#transitions.push({ ...phrase, atMs });
    return atMs;
  }
}

/** Waits for promises, one at a time, until a signal is aborted. Holds nothing of those that are over. */
class Stoppable {
  readonly #signals: readonly AbortSignal[];
  #reject: (reason: unknown) => void = () => {};
  readonly #onAbort = () => {
    for (const signal of this.#signals) if (signal.aborted) this.#reject(signal.reason);
  };

  constructor(signals: readonly AbortSignal[]) {
    this.#signals = signals;
    for (const signal of signals) signal.addEventListener('abort', this.#onAbort);
  }

  wait<Value>(promise: Promise<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      promise.then(resolve, reject);
      this.#onAbort();
    });
  }

  forget(): void {
    for (const signal of this.#signals) signal.removeEventListener('abort', this.#onAbort);
  }
}

function isLackOfSpace(error: unknown): boolean {
  return errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT';
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
