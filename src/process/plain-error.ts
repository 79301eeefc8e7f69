// Errors as values, for the channel between two processes.

import { asVreserveError, ERRORS, type ErrorCode, type ErrorDetails, errnoOf, VreserveError } from '../core/errors.js';

/** `code` is one of ours, or null where it is the system's or nobody expected it. */
export interface PlainError {
  code: ErrorCode | null;
  errno: string | null;
  message: string;
  details: ErrorDetails;
  /** Where it comes from, if nobody expected it. */
  stack: string | null;
}

export function plainError(error: unknown): PlainError {
  const code = error instanceof VreserveError ? error.code : null;
  const { details } = asVreserveError(error);
  const errno = errnoOf(error);
  if (!(error instanceof Error)) return { code, errno, message: String(error), details, stack: null };
  return { code, errno, message: error.message, details, stack: code === null && errno === null ? (error.stack ?? null) : null };
}

/** The reverse: an error of ours, or one that carries its errno as those of the system do. */
export function errorOf({ code, errno, message, details, stack }: PlainError): Error {
  if (code !== null && Object.hasOwn(ERRORS, code)) return Object.assign(new VreserveError(code, details), { message });
  const error = new Error(message);
  if (stack !== null) error.stack = stack;
  return errno === null ? error : Object.assign(error, { code: errno });
}
