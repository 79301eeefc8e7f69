// What the daemon and the process that uses its mount for it say to each other, over Node's channel between processes.

import { asVreserveError, ERRORS, type ErrorCode, type ErrorDetails, errnoOf, VreserveError } from '../core/errors.js';
import type { RequestBox } from './box.js';

/** All that the daemon does in the spool `requests`. */
export type Box = Pick<RequestBox, keyof RequestBox>;

/** What is called with values, and answered with a value. */
export type BoxMethod = Exclude<keyof Box, 'watch' | 'close'>;

/** To the process. `watch` is answered by each name that is heard of. */
export type BoxCall = { id: number } & ({ method: BoxMethod; args: unknown[] } | { method: 'watch' } | { method: 'close' });

/** From it. */
export type BoxAnswer =
  | { id: number; value: unknown }
  | { id: number; error: PlainError }
  | { heard: string | null }
  | { watchError: PlainError };

/** An error as values: `code` is one of ours, or null where it is the system's. */
export interface PlainError {
  code: ErrorCode | null;
  errno: string | null;
  message: string;
  details: ErrorDetails;
}

export function plainError(error: unknown): PlainError {
  const { code, details, message } = asVreserveError(error);
  return { code: error instanceof VreserveError ? code : null, errno: errnoOf(error), message, details };
}

/** The reverse: an error of ours, or one that carries its errno as those of the system do. */
export function errorOf({ code, errno, message, details }: PlainError): Error {
  if (code !== null && Object.hasOwn(ERRORS, code)) return new VreserveError(code, details);
  const error = new Error(message);
  return errno === null ? error : Object.assign(error, { code: errno });
}
