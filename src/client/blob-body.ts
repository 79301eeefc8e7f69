// What is to become the content of a blob: a text, bytes, or whatever gives bytes piece by piece.

import { Readable } from 'node:stream';
import { ReadableStream } from 'node:stream/web';
import { VreserveError } from '../core/errors.js';

type Piece = Uint8Array | string;
type PieceIterator = AsyncIterator<Piece> | Iterator<Piece>;

/** A `Readable`, a web stream, a generator: taken at the speed at which the pieces go, and ended where that fails or is refused. */
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
  #from: PieceIterator | null = null;
  #isOver = false;

  /** Throws USAGE. */
  constructor(source: BlobSource, lengthBytes: number | null = null) {
    if (lengthBytes !== null && !(Number.isSafeInteger(lengthBytes) && lengthBytes >= 0)) {
      throw new VreserveError('USAGE', { reason: 'lengthBytes must be a number of bytes' });
    }
    if (!isPiece(source) && !isIterable(source)) {
      throw new VreserveError('USAGE', { reason: 'the content of a blob is a text, bytes, or something that gives them' });
    }
    this.#source = source instanceof ReadableStream ? Readable.fromWeb(source) : source;
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
    this.#from = from;
    for (;;) {
      const next = await waitFor(Promise.resolve(from.next()));
      if (next.done === true) break;
      const piece = bytesOf(next.value);
      this.sentBytes += piece.length;
      if (this.lengthBytes !== null && this.sentBytes > this.lengthBytes) throw this.#lengthIs('more');
      if (piece.length > 0) yield piece;
    }
    this.#isOver = true;
    if (this.lengthBytes !== null && this.sentBytes < this.lengthBytes) throw this.#lengthIs('fewer');
  }

  /** Ends a source of which not all was taken. Not waited for: one that gives nothing does not end by itself. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#source instanceof Readable) this.#source.destroy();
    else void Promise.resolve(endOf(this.#from ?? this.#source)).catch(() => {});
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

function iteratorOf(source: BlobSource): PieceIterator {
  if (isPiece(source)) return [source][Symbol.iterator]();
  return Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
}

/** What ending it gives; a generator that was never asked is its own iterator. */
function endOf(source: BlobSource | PieceIterator): unknown {
  return typeof source === 'object' && 'return' in source ? source.return?.() : undefined;
}

function bytesOf(piece: unknown): Uint8Array {
  if (typeof piece === 'string') return Buffer.from(piece);
  if (piece instanceof Uint8Array) return piece;
  throw new VreserveError('USAGE', { reason: 'a piece of a blob is bytes or a text' });
}
