// The way through the files of values: record after record, forward or backward.

import {
  type FileState,
  type FoundRecord,
  fileOf,
  HEADER_BYTES,
  offsetOf,
  type Place,
  placeAt,
  readHeader,
  recordBytes,
} from './record.js';

/** What is walked through. */
export interface Walked {
  readonly files: ReadonlyMap<number, Readonly<FileState>>;
  read(place: Place, into: Buffer, at: number, length: number): void;
  /** Length of the record that ends there; 0: none does. */
  backAt(file: number, offset: number): number;
}

const WINDOW_BYTES = 64 * 1024;

/** In order. Files that come or go meanwhile are no trouble. */
export function* walkForward(log: Walked, from: Place): Generator<FoundRecord> {
  const window = new Window(log);
  let file = fileOf(from);
  let offset = offsetOf(from);
  for (;;) {
    const state = log.files.get(file);
    if (state === undefined || offset + HEADER_BYTES > state.endBytes) {
      const next = after(log, file);
      if (next === null) return;
      file = next;
      offset = 0;
      continue;
    }
    const record = window.recordAt(file, offset, state.endBytes);
    if (record === null) offset = state.endBytes;
    else {
      yield record;
      offset += recordBytes(record);
    }
  }
}

export function* walkBackward(log: Walked, from: Place): Generator<FoundRecord> {
  const window = new Window(log);
  let file = fileOf(from);
  let offset = offsetOf(from);
  let backBytes = log.backAt(file, offset);
  for (;;) {
    while (backBytes === 0 || !log.files.has(file)) {
      const next = before(log, file);
      if (next === null) return;
      file = next;
      offset = endOf(log, file);
      backBytes = log.backAt(file, offset);
    }
    offset -= backBytes;
    const record = window.recordAt(file, offset, endOf(log, file));
    if (record === null) return;
    yield record;
    backBytes = record.backBytes;
  }
}

function endOf(log: Walked, file: number): number {
  return log.files.get(file)?.endBytes ?? 0;
}

function after(log: Walked, file: number): number | null {
  const behind = [...log.files.keys()].filter((number) => number > file);
  return behind.length === 0 ? null : Math.min(...behind);
}

function before(log: Walked, file: number): number | null {
  const ahead = [...log.files.keys()].filter((number) => number < file);
  return ahead.length === 0 ? null : Math.max(...ahead);
}

/** Headers and keys on the way through a file, read many at a time. */
class Window {
  readonly #log: Walked;
  #file = -1;
  #at = 0;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(log: Walked) {
    this.#log = log;
  }

  recordAt(file: number, offset: number, endBytes: number): FoundRecord | null {
    const head = this.#slice(file, offset, Math.min(HEADER_BYTES + 255, endBytes - offset), endBytes);
    const header = readHeader(head, 0);
    if (header === null || offset + recordBytes(header) > endBytes) return null;
    const key = Buffer.from(head.subarray(HEADER_BYTES, HEADER_BYTES + header.keyBytes));
    return { ...header, place: placeAt(file, offset), key };
  }

  #slice(file: number, offset: number, length: number, endBytes: number): Buffer {
    const isThere = file === this.#file && offset >= this.#at && offset + length <= this.#at + this.#bytes.length;
    if (!isThere) {
      // Backward the next ones lie before it.
      const from = file === this.#file && offset < this.#at ? Math.max(0, offset + length - WINDOW_BYTES) : offset;
      const bytes = Buffer.allocUnsafe(Math.min(WINDOW_BYTES, endBytes - from));
      this.#log.read(placeAt(file, from), bytes, 0, bytes.length);
      this.#file = file;
      this.#at = from;
      this.#bytes = bytes;
    }
    return this.#bytes.subarray(offset - this.#at, offset - this.#at + length);
  }
}
