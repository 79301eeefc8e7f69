// What is to become the content of a blob: a text, bytes, or whatever gives bytes piece by piece.

import { VreserveError } from '../core/errors.js';

type Piece = Uint8Array | string;

/** A `Readable`, a web stream, a generator: taken at the speed at which the pieces go, and ended where that fails. */
export type BlobSource = Piece | AsyncIterable<Piece> | Iterable<Piece>;

/** Beyond this the other side is asked first whether it wants the bytes. */
const LARGE_BYTES = 64 * 1024;

/** Waits for a piece, or throws where it is not to be waited for any more. */
type WaitFor = <T>(next: Promise<T>) => Promise<T>;

/** Is taken once. */
export class BlobBody {
  readonly #source: BlobSource;
  /** null: it ends where the source does. */
  readonly lengthBytes: number | null;
  /** How many bytes it has given. */
  sentBytes = 0;

  /** Throws USAGE. */
  constructor(source: BlobSource, lengthBytes: number | null = null) {
    if (lengthBytes !== null && !(Number.isSafeInteger(lengthBytes) && lengthBytes >= 0)) {
      throw new VreserveError('USAGE', { reason: 'lengthBytes must be a number of bytes' });
    }
    if (!isPiece(source) && !isIterable(source)) {
      throw new VreserveError('USAGE', { reason: 'the content of a blob is a text, bytes, or something that gives them' });
    }
    this.#source = source;
    this.lengthBytes = lengthBytes ?? (isPiece(source) ? bytesOf(source).length : null);
  }

  get isLarge(): boolean {
    return this.lengthBytes === null || this.lengthBytes > LARGE_BYTES;
  }

  /** Of a request that has it as its body. */
  get headers(): Record<string, string | number> {
    const length = this.lengthBytes === null ? { 'transfer-encoding': 'chunked' } : { 'content-length': this.lengthBytes };
    return this.isLarge ? { ...length, expect: '100-continue' } : length;
  }

  /** Throws what the source does, and USAGE where it has not the length that was announced. */
  async *pieces(waitFor: WaitFor): AsyncGenerator<Uint8Array> {
    const from = iteratorOf(this.#source);
    let isOver = false;
    try {
      for (;;) {
        const next = await waitFor(Promise.resolve(from.next()));
        if (next.done === true) break;
        const piece = bytesOf(next.value);
        this.sentBytes += piece.length;
        if (this.lengthBytes !== null && this.sentBytes > this.lengthBytes) throw this.#lengthIs('more');
        if (piece.length > 0) yield piece;
      }
      isOver = true;
      if (this.lengthBytes !== null && this.sentBytes < this.lengthBytes) throw this.#lengthIs('fewer');
    } finally {
      // Not waited for: a source that gives nothing does not end by itself.
      if (!isOver) void Promise.resolve(from.return?.()).catch(() => {});
    }
  }

  #lengthIs(what: string): VreserveError {
    return new VreserveError('USAGE', {
      reason: `the source gave ${what} than the ${this.lengthBytes} bytes that were announced`,
    });
  }
}

function isPiece(value: unknown): value is Piece {
  return typeof value === 'string' || value instanceof Uint8Array;
}

function isIterable(value: unknown): value is AsyncIterable<Piece> | Iterable<Piece> {
  return typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value);
}

function iteratorOf(source: BlobSource): AsyncIterator<Piece> | Iterator<Piece> {
  if (isPiece(source)) return [source][Symbol.iterator]();
  return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
}

function bytesOf(piece: unknown): Uint8Array {
  if (typeof piece === 'string') return Buffer.from(piece);
  if (piece instanceof Uint8Array) return piece;
  throw new VreserveError('USAGE', { reason: 'a piece of a blob is bytes or a text' });
}
