// Places in a namespace as clients get them: bytes that mean nothing to them, and are given back.

import type { Place } from './record.js';

const BYTES = 8;

export function placeBytes(place: Place): Buffer {
  const bytes = Buffer.allocUnsafe(BYTES);
  bytes.writeBigUInt64BE(BigInt(place));
  return bytes;
}

/** null: it is not of this form. */
export function placeIn(bytes: Buffer): Place | null {
  if (bytes.length !== BYTES) return null;
  const place = bytes.readBigUInt64BE();
  return place <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(place) : null;
}
