// A password from the file in which it is.

import { readFileSync } from 'node:fs';
import { errnoOf, VreserveError } from '../core/errors.js';

/** What one argument of AUTH may have. */
const PASSWORD = /^[\x21-\x7e]{1,128}$/;

/** The one line of the file. Throws PASSWORD_FAILED. */
export function readPassword(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    const errno = errnoOf(error) ?? 'EIO';
    throw new VreserveError('PASSWORD_FAILED', { path, errno, reason: `it cannot be read: ${errno}` }, { cause: error });
  }
  if (PASSWORD.test(text)) return text;
  const reason = 'it must hold one line of 1 to 128 letters, digits and signs of ASCII, without blanks';
  throw new VreserveError('PASSWORD_FAILED', { path, errno: 'EINVAL', reason });
}
