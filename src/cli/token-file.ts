// The token that the HTTP service asks for, from the file in which it is.

import { readFileSync } from 'node:fs';
import { errnoOf, VreserveError } from '../core/errors.js';

/** What a header can carry, and nobody guesses. */
const TOKEN = /^[A-Za-z0-9._~+/=-]{16,4096}$/;

/** The one line of the file. Throws TOKEN_FAILED. */
export function readToken(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    const errno = errnoOf(error) ?? 'EIO';
    throw new VreserveError('TOKEN_FAILED', { path, errno, reason: `it cannot be read: ${errno}` }, { cause: error });
  }
  if (TOKEN.test(text)) return text;
  const reason = 'it must hold one line of 16 or more letters, digits and ._~+/=-';
  throw new VreserveError('TOKEN_FAILED', { path, errno: 'EINVAL', reason });
}
