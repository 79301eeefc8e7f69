// The records of a store: a line of JSON for each change of a name, with a checksum, so that a torn line is no record.

import { crc32 } from 'node:zlib';
import type { Blob } from './blob.js';
import { unpackTransitions } from './status.js';

/** A name gets a content, or loses it. */
export type StoreRecord = { put: Blob } | { remove: string };

/** What the first line says of the file. */
export const FORMAT = 1;

export function headerLine(): Buffer {
  return lineOf({ vreserveStore: FORMAT });
}

export function recordLine(record: StoreRecord): Buffer {
  if ('remove' in record) return lineOf({ remove: record.remove });
  const { name, id, lot, sizeBytes, contentType, modifiedAtMs, transitions } = record.put;
  const whose = lot === '' ? {} : { lot };
  return lineOf({ put: name, id, ...whose, bytes: sizeBytes, type: contentType, atMs: modifiedAtMs, log: transitions });
}

/** A line as JSON; null where its checksum is not its own. */
export function lineJson(line: Uint8Array): Record<string, unknown> | null {
  if (line.length < 10 || line[8] !== 0x20) return null;
  const text = Buffer.from(line.buffer, line.byteOffset, line.length);
  if (text.toString('latin1', 0, 8) !== checksum(text.subarray(9))) return null;
  try {
    const json: unknown = JSON.parse(text.toString('utf8', 9));
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** null where it is none. `same` gives equal texts once only. */
export function asRecord(json: Record<string, unknown>, same: (text: string) => string): StoreRecord | null {
  if (typeof json.remove === 'string') return { remove: json.remove };
  const { put: name, id, lot = '', bytes, type, atMs, log } = json;
  if (typeof name !== 'string' || typeof id !== 'string' || !/^\d{1,20}$/.test(id)) return null;
  if (typeof lot !== 'string' || typeof type !== 'string' || typeof bytes !== 'number' || typeof atMs !== 'number') return null;
  if (typeof log !== 'string' || !isLog(log)) return null;
  const blob: Blob = {
    name,
    id,
    lot: same(lot),
    sizeBytes: bytes,
    contentType: same(type),
    modifiedAtMs: atMs,
    transitions: log,
  };
  return { put: blob };
}

function isLog(packed: string): boolean {
  try {
    unpackTransitions(packed);
    return true;
  } catch {
    return false;
  }
}

function lineOf(json: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(json));
  return Buffer.concat([Buffer.from(`${checksum(text)} `), text, Buffer.from('\n')]);
}

function checksum(bytes: Uint8Array): string {
  return crc32(bytes).toString(16).padStart(8, '0');
}
