// From what a service or `control` answered to a value of the right shape, or the error that it was there.

import { ERRORS, type ErrorCode, type ErrorDetails, VreserveError } from '../core/errors.js';

/** A whole answer over HTTP. */
export interface HttpAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

type Json = Record<string, unknown>;

/** Of the store's refusals, whose bodies are those of go-storage-server: the code of our table. */
const CODE_HEADER = 'vreserve-code';

/** What a status means where nothing says more. */
const CODES: Record<number, ErrorCode> = { 400: 'BAD_REQUEST', 401: 'NO_TOKEN', 403: 'FOREIGN_PAGE', 503: 'STARTING' };

const SHOWN_LETTERS = 100;

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function badAnswer(where: string, reason: string, cause?: unknown): VreserveError {
  return new VreserveError('BAD_ANSWER', { where, reason }, { cause });
}

/** The members of a JSON object. Throws BAD_ANSWER. */
export function objectIn(text: string, where: string): Json {
  const value = valueIn(text);
  if (isObject(value)) return value;
  throw badAnswer(where, `'${start(text)}' is no JSON object`);
}

/** A refusal in our words, `{"code","errno","message", …}`, as the error that it was there; a code that is not known is SYSTEM. */
export function refusalIn(reply: Json): VreserveError {
  const code = codeOf(reply.code) ?? 'SYSTEM';
  const { code: _, message, cmd, errno, ...rest } = reply;
  const details: ErrorDetails = {};
  for (const [name, value] of Object.entries(errno === ERRORS[code].errno ? rest : { ...rest, errno })) {
    if (typeof value === 'string' || typeof value === 'number') details[name] = value;
  }
  return said(code, details, typeof message === 'string' ? message : '');
}

/** The error of an answer whose status is none of success. */
export function refusalOf({ status, headers, text }: HttpAnswer, where: string): VreserveError {
  const json = text === '' ? {} : valueIn(text);
  if (isObject(json)) {
    const named = codeOf(headers[CODE_HEADER]);
    if (named !== null) return said(named, {}, String(json.text ?? ''));
    if (typeof json.code === 'string') return refusalIn(json);
    if (typeof json.ErrorMessage === 'string') return said(codeOfStatus(status), {}, json.ErrorMessage);
    if (typeof json.text === 'string') return said(codeOfStatus(status), {}, json.text);
    // HEAD has no body.
    if (text === '' && CODES[status] !== undefined) return new VreserveError(CODES[status]);
  }
  return badAnswer(where, `HTTP ${status}${text === '' ? '' : `: '${start(text)}'`}`);
}

/** Whether the service has no such path or method, whoever it is. */
export function isNoRoute({ status, text }: HttpAnswer): boolean {
  if (status !== 404 && status !== 405) return false;
  const json = valueIn(text);
  return !isObject(json) || json.code === 'NO_SUCH_ROUTE';
}

function said(code: ErrorCode, details: ErrorDetails, message: string): VreserveError {
  const error = new VreserveError(code, details);
  if (message !== '') error.message = message;
  return error;
}

function codeOf(text: unknown): ErrorCode | null {
  return typeof text === 'string' && Object.hasOwn(ERRORS, text) ? (text as ErrorCode) : null;
}

function codeOfStatus(status: number): ErrorCode {
  return CODES[status] ?? 'SYSTEM';
}

function valueIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** On one line. */
function start(text: string): string {
  const shown = text.slice(0, SHOWN_LETTERS).replace(/\s+/g, ' ').trim();
  return text.length > SHOWN_LETTERS ? `${shown}…` : shown;
}
