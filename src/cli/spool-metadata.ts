// The option --meta: metadata as a word, or from a file.
import { readFileSync } from 'node:fs';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { OptionHelp } from './command.js';

export const META_OPTION: OptionHelp = { type: 'string', unit: 'TEXT', help: 'metadata; @FILE reads it from a file' };

/** Throws USAGE where the file is not UTF-8, and what the system says of it. */
export function metadataOf(word: string): string {
  if (!word.startsWith('@')) return word;
  const file = word.slice(1);
  if (file === '') throw new VreserveError('USAGE', { reason: '--meta @ names no file' });
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw asVreserveError(error);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new VreserveError('USAGE', { reason: `the metadata in '${file}' is not UTF-8` }, { cause: error });
  }
}
