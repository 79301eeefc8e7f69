// The blobs of a service or a mount, for programs.

import { Readable } from 'node:stream';
import { VreserveError } from '../core/errors.js';
import { checkBlobName } from '../store/names.js';
import { BlobBody, type BlobSource } from './blob-body.js';
import type { CallOptions, Stop } from './stop.js';
import type {
  BlobEntry,
  BlobInfo,
  MatchOptions,
  OpenBlob,
  RangeOptions,
  StoredBlob,
  StoreTransport,
  WriteKind,
  WriteOptions,
} from './transport.js';

export interface UploadOptions extends WriteOptions, CallOptions {
  /** Of a source that does not tell it: what has no room is then refused before anything of it is sent. Bytes. */
  lengthBytes?: number;
}

export interface ReadOptions extends RangeOptions, CallOptions {}

export interface ChangeOptions extends MatchOptions, CallOptions {}

export interface ListOptions extends CallOptions {
  /** Names behind this one, bytewise. */
  after?: string;
  /** How many names are asked for at once; 1,000 without it, at most 10,000. */
  pageSize?: number;
}

/** What the service gives at once. */
const MOST_LISTED = 10_000;

/** The bytes of a blob, and what it is. Destroyed before its end it lets go of the connection. */
export type BlobStream = Readable & { readonly blob: BlobInfo };

/**
 * Contents by name; each is there whole or not at all. Names have 1 to 255 bytes of UTF-8, without `/`; others are STORE_BAD_NAME. What
 * is acknowledged is on the disk.
 */
export class BlobStore {
  readonly #transport: StoreTransport;
  readonly #begin: (options: CallOptions) => Stop;

  /** Made by a client. */
  constructor(transport: StoreTransport, begin: (options: CallOptions) => Stop) {
    this.#transport = transport;
    this.#begin = begin;
  }

  /** A new name. Throws STORE_EXISTS, STORE_FULL, and what the source throws: then nothing of it is there. */
  create(name: string, content: BlobSource, options: UploadOptions = {}): Promise<StoredBlob> {
    return this.#write('create', name, content, options);
  }

  /** Another content: the one before is read until this one is whole, and stays where it fails. Throws STORE_NO_BLOB, STORE_CHANGED. */
  update(name: string, content: BlobSource, options: UploadOptions = {}): Promise<StoredBlob> {
    return this.#write('update', name, content, options);
  }

  /** The content of the name, whether there was one or not. */
  put(name: string, content: BlobSource, options: UploadOptions = {}): Promise<StoredBlob> {
    return this.#write('put', name, content, options);
  }

  /** All of it, or a part, in memory. Throws STORE_NO_BLOB, STORE_BAD_RANGE, STORE_CHANGED. */
  async read(name: string, options: ReadOptions = {}): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of await this.stream(name, options)) pieces.push(piece as Buffer);
    return Buffer.concat(pieces);
  }

  /** The same piece by piece. What is replaced or removed meanwhile is read to its end. */
  async stream(name: string, options: ReadOptions = {}): Promise<BlobStream> {
    const { start = 0, end = Number.MAX_SAFE_INTEGER } = options;
    checkBlobName(name);
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end <= start) {
      throw new VreserveError('USAGE', { reason: 'a part of a blob has at least one byte: 0 <= start < end' });
    }
    const stop = this.#begin(options);
    let open: OpenBlob;
    try {
      open = await this.#transport.open(name, options, stop);
    } catch (error) {
      stop.end();
      throw error;
    }
    const { blob, pieces, close } = open;
    const stream = Readable.from(pieces, { objectMode: false });
    stream.once('close', () => {
      stop.end();
      close();
    });
    return Object.assign(stream, { blob });
  }

  /** What is read under the name; null: nothing. */
  stat(name: string, options: CallOptions = {}): Promise<BlobInfo | null> {
    return this.#call(name, options, (stop) => this.#transport.stat(name, stop));
  }

  /** False: there was nothing. Who reads it reads on. Throws STORE_CHANGED. */
  remove(name: string, options: ChangeOptions = {}): Promise<boolean> {
    return this.#call(name, options, (stop) => this.#transport.remove(name, options, stop));
  }

  /** Names in bytewise order, also of what is on its way or has just failed. */
  async *list({ after, pageSize = 1000, ...options }: ListOptions = {}): AsyncGenerator<BlobEntry, void, void> {
    if (!Number.isSafeInteger(pageSize) || pageSize < 1 || pageSize > MOST_LISTED) {
      throw new VreserveError('USAGE', { reason: `pageSize must be a number from 1 to ${MOST_LISTED}` });
    }
    for await (const page of this.#transport.list(after ?? null, pageSize, () => this.#begin(options))) yield* page;
  }

  async #write(kind: WriteKind, name: string, content: BlobSource, options: UploadOptions): Promise<StoredBlob> {
    const body = new BlobBody(content, options.lengthBytes ?? null);
    try {
      return await this.#call(name, options, (stop) => this.#transport.write(kind, name, body, options, stop));
    } finally {
      body.end();
    }
  }

  async #call<T>(name: string, options: CallOptions, ask: (stop: Stop) => Promise<T>): Promise<T> {
    checkBlobName(name);
    const stop = this.#begin(options);
    try {
      return await ask(stop);
    } finally {
      stop.end();
    }
  }
}
