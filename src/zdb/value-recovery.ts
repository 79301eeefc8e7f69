// What a process has left that was killed: the records behind those that the index knows, up to the first that is not whole.

import { readSync, writeSync } from 'node:fs';
import { type FileState, type FoundRecord, HEADER_BYTES, isWhole, placeAt, readHeader, recordBytes } from './record.js';

/** Read at a time, where a record is no longer. */
const WINDOW_BYTES = 256 * 1024;

/** Tells each of them, in order, and notes in `state` where they end. What lies behind is zeros then. Throws the system's error. */
export function recover(
  fd: number,
  sizeBytes: number,
  number: number,
  state: FileState,
  onRecord: (record: FoundRecord) => void,
): void {
  let bytes: Buffer = Buffer.alloc(0);
  let from = 0;
  /** Bytes of the file at an offset; fewer where it ends. */
  const bytesAt = (offset: number, length: number): Buffer => {
    if (offset + length > from + bytes.length) {
      const window = Buffer.allocUnsafe(Math.max(length, Math.min(WINDOW_BYTES, sizeBytes - offset)));
      bytes = window.subarray(0, readSync(fd, window, 0, window.length, offset));
      from = offset;
    }
    return bytes.subarray(offset - from, offset - from + length);
  };
  for (;;) {
    const header = readHeader(bytesAt(state.endBytes, HEADER_BYTES), 0);
    if (header === null) break;
    const length = recordBytes(header);
    const whole = bytesAt(state.endBytes, length);
    if (whole.length < length || !isWhole(whole)) break;
    const key = Buffer.from(whole.subarray(HEADER_BYTES, HEADER_BYTES + header.keyBytes));
    onRecord({ ...header, place: placeAt(number, state.endBytes), key });
    state.lastBytes = length;
    state.endBytes += length;
  }
  // What a process was writing when it ended must not be taken for a record once others lie before it.
  for (let at = state.endBytes; at < sizeBytes; ) {
    const zeros = Buffer.alloc(Math.min(WINDOW_BYTES, sizeBytes - at));
    at += writeSync(fd, zeros, 0, zeros.length, at);
  }
}
