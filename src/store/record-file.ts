// The file of records as it is read when a store is opened.

import type { FileHandle } from 'node:fs/promises';
import { VreserveError } from '../core/errors.js';
import { asRecord, FORMAT, lineJson, type StoreRecord } from './records.js';

const PIECE_BYTES = 1 << 20;
const NEWLINE = 0x0a;

export interface RecordsRead {
  /** Where the last whole record ends. What is behind it was being written when a process ended. */
  endBytes: number;
  /** Lines, the first one too. */
  lines: number;
  /** Lines before `endBytes` that are no records: the disk has changed them, or somebody. */
  damagedLines: number;
}

/** Gives each record to `each`, in their order. Throws STORE_FOREIGN, STORE_NEWER. */
export async function readRecords(file: FileHandle, path: string, each: (record: StoreRecord) => void): Promise<RecordsRead> {
  const read: RecordsRead = { endBytes: 0, lines: 0, damagedLines: 0 };
  const texts = new Map<string, string>();
  const same = (text: string) => {
    const known = texts.get(text);
    if (known === undefined) texts.set(text, text);
    return known ?? text;
  };
  let bad = 0;
  for await (const { line, endBytes } of linesOf(file)) {
    const json = lineJson(line);
    if (read.lines === 0) {
      checkHeader(json, path);
      read.endBytes = endBytes;
      read.lines = 1;
      continue;
    }
    const record = json === null ? null : asRecord(json, same);
    if (record === null) {
      bad += 1;
      continue;
    }
    each(record);
    read.lines += 1;
    read.endBytes = endBytes;
    read.damagedLines = bad;
  }
  if (read.lines === 0) throw new VreserveError('STORE_FOREIGN', { path, reason: 'its records have no first line' });
  return read;
}

function checkHeader(json: Record<string, unknown> | null, path: string): void {
  const found = json?.vreserveStore;
  if (typeof found !== 'number')
    throw new VreserveError('STORE_FOREIGN', { path, reason: 'its records begin with something else' });
  if (found > FORMAT) throw new VreserveError('STORE_NEWER', { path, found, known: FORMAT });
}

/** Whole lines without their newline, and where each ends. */
async function* linesOf(file: FileHandle): AsyncGenerator<{ line: Buffer; endBytes: number }> {
  let rest = Buffer.alloc(0);
  let restAt = 0;
  for (;;) {
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, restAt + rest.length);
    if (bytesRead === 0) return;
    const bytes = Buffer.concat([rest, piece.subarray(0, bytesRead)]);
    let from = 0;
    for (let end = bytes.indexOf(NEWLINE, from); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
      yield { line: bytes.subarray(from, end), endBytes: restAt + end + 1 };
      from = end + 1;
    }
    rest = bytes.subarray(from);
    restAt += from;
  }
}
