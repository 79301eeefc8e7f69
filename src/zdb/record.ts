// What the files of a namespace are made of: records, one for each value that was ever set and each key that was deleted.

import { crc32 } from 'node:zlib';

/**
 * A record: 24 bytes, the key, the value. Little-endian:
 *   0  u32  CRC-32 of all that follows
 *   4  u24  length of the value
 *   7  u8   kind: 1 a value, 2 a deletion
 *   8  u32  when it was set, Unix seconds
 *  12  u48  where the version before is, plus 1; 0: there is none
 *  18  u24  length of the record before it in the file, 0 at the start
 *  21  u8   length of the key
 *  22  u16  0
 */
export const HEADER_BYTES = 24;

export const VALUE = 1;
export const DELETION = 2;

/** Where a record is, in one number: its file and its place there. */
export type Place = number;

/** No file is as large. */
export const FILE_SPAN = 2 ** 27;

export function placeAt(file: number, offsetBytes: number): Place {
  return file * FILE_SPAN + offsetBytes;
}

export function fileOf(place: Place): number {
  return Math.floor(place / FILE_SPAN);
}

export function offsetOf(place: Place): number {
  return place % FILE_SPAN;
}

export interface RecordHeader {
  kind: number;
  valueBytes: number;
  keyBytes: number;
  timeS: number;
  /** null: there is none. */
  before: Place | null;
  /** Of the record before it in the file; 0: it is the first. */
  backBytes: number;
}

export function recordBytes({ keyBytes, valueBytes }: Pick<RecordHeader, 'keyBytes' | 'valueBytes'>): number {
  return HEADER_BYTES + keyBytes + valueBytes;
}

/** Writes a record into `into`, which has room for it; returns where it ends. */
export function writeRecord(
  into: Buffer,
  at: number,
  key: Buffer,
  value: Buffer,
  { kind, timeS, before, backBytes }: Pick<RecordHeader, 'kind' | 'timeS' | 'before' | 'backBytes'>,
): number {
  const end = at + HEADER_BYTES + key.length + value.length;
  into.writeUIntLE(value.length, at + 4, 3);
  into[at + 7] = kind;
  into.writeUInt32LE(timeS, at + 8);
  into.writeUIntLE(before === null ? 0 : before + 1, at + 12, 6);
  into.writeUIntLE(backBytes, at + 18, 3);
  into[at + 21] = key.length;
  into[at + 22] = 0;
  into[at + 23] = 0;
  key.copy(into, at + HEADER_BYTES);
  value.copy(into, at + HEADER_BYTES + key.length);
  into.writeUInt32LE(crc32(into.subarray(at + 4, end)), at);
  return end;
}

/** What the first 24 bytes say; null: they begin no record. Whether the rest is right, only `isWhole` tells. */
export function readHeader(from: Buffer, at: number): RecordHeader | null {
  if (from.length - at < HEADER_BYTES) return null;
  const kind = from[at + 7] ?? 0;
  if ((kind !== VALUE && kind !== DELETION) || from[at + 22] !== 0 || from[at + 23] !== 0) return null;
  const before = from.readUIntLE(at + 12, 6);
  return {
    kind,
    valueBytes: from.readUIntLE(at + 4, 3),
    keyBytes: from[at + 21] ?? 0,
    timeS: from.readUInt32LE(at + 8),
    before: before === 0 ? null : before - 1,
    backBytes: from.readUIntLE(at + 18, 3),
  };
}

/** True for the bytes of one record as it was written. */
export function isWhole(record: Buffer): boolean {
  return record.length >= HEADER_BYTES && record.readUInt32LE(0) === crc32(record.subarray(4));
}

/** A record as it is found: without its value. */
export interface FoundRecord extends RecordHeader {
  place: Place;
  key: Buffer;
}

/** What a file is as far as the index remembers it. */
export interface FileState {
  /** Where its records end. */
  endBytes: number;
  /** The length of its last record. */
  lastBytes: number;
  /** Of its records, those that are somebody's value now. */
  liveBytes: number;
}
