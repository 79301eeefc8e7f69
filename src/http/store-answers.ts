// Answers of the store over HTTP, to the byte where go-storage-server has them (compat/store.md 2.2).

import { STATUS_CODES } from 'node:http';
import { asVreserveError } from '../core/errors.js';
import { GO_NOT_FOUND, goRedirectBody, goString } from './go.js';

export interface Answer {
  status: number;
  headers: Record<string, string | number>;
  body: string;
}

/** Of a refusal: the code of our table, for programs, since the body is the original's. */
const CODE_HEADER = 'vreserve-code';

const TEXT = 'text/plain; charset=utf-8';

export const HEALTHY: Answer = { status: 200, headers: { 'content-type': TEXT }, body: '"Ok!"\n' };

/** There is no such page, or not with this method. */
export const NO_PAGE: Answer = {
  status: 404,
  headers: { 'content-type': TEXT, 'x-content-type-options': 'nosniff' },
  body: GO_NOT_FOUND,
};

/** There is no such blob. */
export const NO_BLOB: Answer = { status: 404, headers: {}, body: '' };

/** `isRead`: for a GET there is something to read. */
export function movedTo(location: string, isRead: boolean): Answer {
  if (!isRead) return { status: 301, headers: { location }, body: '' };
  return { status: 301, headers: { location, 'content-type': 'text/html; charset=utf-8' }, body: goRedirectBody(location) };
}

/** What went wrong, in the original's shape; what is nobody's fault with its words. */
export function failure(thrown: unknown): Answer {
  const error = asVreserveError(thrown);
  if (error.code === 'STORE_NO_BLOB') return NO_BLOB;
  const { httpStatus: status, message } = error;
  const answer = refusal(status, status === 500 ? `an unexpected internal error has occurred: "${message}"` : message);
  return { ...answer, headers: { ...answer.headers, [CODE_HEADER]: error.code } };
}

/** `{"code":…,"text":…}` and a newline. */
export function refusal(code: number, text: string = STATUS_CODES[code] ?? ''): Answer {
  return { status: code, headers: { 'content-type': TEXT }, body: `{"code":${code},"text":${goString(text)}}\n` };
}
