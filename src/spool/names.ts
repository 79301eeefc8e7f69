// Names of entries and queues: what may be one, and how the bytes of a directory become one.

import { VreserveError } from '../core/errors.js';

/** The directory inside a queue that holds the entries that are checked out. */
export const CHECKOUT = '.checkout';

declare const reserved: unique symbol;

/** A name that `reserveName` has made: its registry file exists. */
export type UniqueName = string & { readonly [reserved]: true };

const MOST_BYTES = 255;

/** Throws SPOOL_BAD_NAME unless a file of that name can be an entry. */
export function checkEntryName(name: string): void {
  const reason = whyNoComponent(name) ?? (name === CHECKOUT ? 'it is a directory of the queue' : null);
  if (reason !== null) throw new VreserveError('SPOOL_BAD_NAME', { name: printable(name), reason });
}

/** Throws SPOOL_BAD_QUEUE unless each can be a queue's directory beside the spool's own, which begin with a dot. */
export function checkQueueNames(queues: readonly string[]): void {
  const seen = new Set<string>();
  for (const queue of queues) {
    const reason =
      whyNoComponent(queue) ?? (queue.startsWith('.') ? 'it begins with a dot' : seen.has(queue) ? 'it is named twice' : null);
    if (reason !== null) throw new VreserveError('SPOOL_BAD_QUEUE', { queue: printable(queue), reason });
    seen.add(queue);
  }
}

/** The name as text; null where its bytes are not UTF-8. */
export function decodeName(bytes: Uint8Array): string | null {
  try {
    return decodeUtf8(bytes);
  } catch {
    return null;
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Throws a TypeError where the bytes are not UTF-8. Nothing is taken away, a byte order mark neither. */
export function decodeUtf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Whether the text can be written as UTF-8 and read back. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

/** For one line of text: control characters as `%XX`. */
export function printable(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return name.replace(/[\u0000-\u001f\u007f]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
}

function whyNoComponent(name: string): string | null {
  if (name === '') return 'it is empty';
  if (name === '.' || name === '..') return 'it is a directory';
  if (name.includes('/')) return 'it contains a slash';
  if (name.includes('\0')) return 'it contains a NUL';
  if (!isWellFormed(name)) return 'it is not valid UTF-8';
  return Buffer.byteLength(name) > MOST_BYTES ? `it is longer than ${MOST_BYTES} bytes` : null;
}
