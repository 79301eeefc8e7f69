// Names of blobs and of the lots that pay for them: what may be one, and the directory that a lot's name becomes.

import { VreserveError } from '../core/errors.js';
import { MAX_BLOB_NAME_BYTES } from '../core/store-layout.js';

const SHOWN_LETTERS = 80;

/** Throws STORE_BAD_NAME unless the text can be the name of a blob: 1 to 255 bytes of UTF-8, no `/`, no NUL, not `.` or `..`. */
export function checkBlobName(name: string): void {
  const reason = whyNoName(name);
  if (reason !== null) throw new VreserveError('STORE_BAD_NAME', { name: shown(name), reason });
}

/** For one line of text: control characters as `%XX`, and what is very long cut. */
export function shown(name: string): string {
  const letters = [...name];
  const start = letters.slice(0, SHOWN_LETTERS).join('') + (letters.length > SHOWN_LETTERS ? '…' : '');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return start.replace(/[\u0000-\u001f\u007f]/g, (c) => percent(c));
}

/** The name of a lot's directory: `%XX` for what a file's name cannot hold, for `%` and for a dot at the start. Throws STORE_BAD_LOT. */
export function lotDirectoryName(lot: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  const name = lot.replace(/[\u0000-\u001f\u007f%/]|^\./g, (c) => percent(c));
  const reason = lot === '' ? 'it has no name' : whyNoName(name);
  if (reason !== null) throw new VreserveError('STORE_BAD_LOT', { lot: shown(lot), reason });
  return name;
}

function whyNoName(name: string): string | null {
  if (name === '') return 'it is empty';
  if (name === '.' || name === '..') return 'it is a directory';
  if (name.includes('/')) return 'it contains a slash';
  if (name.includes('\0')) return 'it contains a NUL';
  if (/\p{Surrogate}/u.test(name)) return 'it is not valid UTF-8';
  return Buffer.byteLength(name) > MAX_BLOB_NAME_BYTES ? `it is longer than ${MAX_BLOB_NAME_BYTES} bytes` : null;
}

function percent(c: string): string {
  return `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}
