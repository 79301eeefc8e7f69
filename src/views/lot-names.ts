// Names of lots as names of files in /.vreserve/lots.

import { createHash } from 'node:crypto';

const MAX_NAME_BYTES = 255;

/** Nothing to encode but slashes. */
const PLAIN = /^[A-Za-z0-9_/-][A-Za-z0-9._/-]*$/;

/**
 * The name with `/`, `%` and control characters percent-encoded, so that any lot has a file name. One that would be
 * longer than 255 bytes is cut, and ends in `~` and 16 digits of its SHA-256.
 */
export function fileNameOf(lotName: string): string {
  // Most names are like this, and there may be many.
  if (PLAIN.test(lotName)) {
    const encoded = lotName.replaceAll('/', '%2F');
    if (encoded.length <= MAX_NAME_BYTES) return encoded;
  }
  const encoded = lotName.replace(/[/%\p{Cc}]|^\.+$/gu, (text) =>
    [...Buffer.from(text)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
  if (Buffer.byteLength(encoded) <= MAX_NAME_BYTES) return encoded;
  const mark = `~${createHash('sha256').update(lotName).digest('hex').slice(0, 16)}`;
  let cut = '';
  let bytes = mark.length;
  for (const letter of encoded) {
    bytes += Buffer.byteLength(letter);
    if (bytes > MAX_NAME_BYTES) break;
    cut += letter;
  }
  return cut + mark;
}

/** The lot's name from that of its file; null where the file's name is a cut one, and '' where no lot has such a file. */
export function nameOfFile(file: string): string | null {
  if (/~[0-9a-f]{16}$/.test(file) && Buffer.byteLength(file) > MAX_NAME_BYTES - 4) return null;
  let name: string;
  try {
    name = decodeURIComponent(file);
  } catch {
    return '';
  }
  return fileNameOf(name) === file ? name : '';
}
