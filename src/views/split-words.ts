// Words of a line as a shell splits them.

import { VreserveError } from '../core/errors.js';

/**
 * Words of a line as a shell splits them: blanks between, "…" and '…' keep blanks, a backslash takes the next character
 * as it is (within "…" only a quote or a backslash). Throws BAD_COMMAND for a quote that is not closed.
 */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  const part = /\s+|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s'"\\]+)/gsy;
  let word: string | null = null;
  while (part.lastIndex < text.length) {
    const match = part.exec(text);
    if (match === null) throw new VreserveError('BAD_COMMAND', { reason: 'a quote or a backslash has no end' });
    const [, single, double, escaped, plain] = match;
    const piece = single ?? double?.replace(/\\(["\\])/g, '$1') ?? escaped ?? plain;
    if (piece !== undefined) word = (word ?? '') + piece;
    else if (word !== null) {
      words.push(word);
      word = null;
    }
  }
  if (word !== null) words.push(word);
  return words;
}
