// The original API: what it can be asked, and its refusals, which are texts.

import { VreserveError } from '../core/errors.js';
import { type HttpAnswer, isNoRoute, refusalOf } from './answers.js';
import type { HttpRequest } from './http-connection.js';
import type { CommandJson } from './transport.js';

const NO_SPACE = /^Could not reserve (\d+) bytes for file '(.*)': requested \d+ bytes on volume, but only (\d+) are available$/s;

/** Throws NOT_SUPPORTED for what it does not know. */
export function originalRequest({ cmd, path, bytes, ...options }: CommandJson): HttpRequest {
  const [option] = Object.keys(options);
  const isKnown = cmd === 'reserve' || cmd === 'release';
  if (!isKnown || option !== undefined) {
    const what = isKnown ? `'${option}' of ${cmd}` : `'${cmd}'`;
    throw new VreserveError('NOT_SUPPORTED', {
      reason: `${what}: the service has the original API alone; that of a mount (vreserve mount --http) has it`,
    });
  }
  const form = new URLSearchParams({ path: String(path), ...(bytes === undefined ? {} : { bytes: String(bytes) }) });
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  return { method: 'POST', path: `/${cmd}/`, headers, body: form.toString() };
}

/** NO_SPACE with `availableBytes`, NO_SUCH_ROUTE where there is no such service, and what else a text can be understood as. */
export function originalErrorOf(answer: HttpAnswer, where: string): VreserveError {
  if (isNoRoute(answer)) {
    return new VreserveError('NOT_SUPPORTED', { reason: `${where} is no service of reservations`, errno: 'ENOENT' });
  }
  const error = refusalOf(answer, where);
  const [, asked, path = '', available] = NO_SPACE.exec(error.message) ?? [];
  if (available !== undefined) {
    const details = { path, askedBytes: Number(asked), availableBytes: Number(available) };
    return Object.assign(new VreserveError('NO_SPACE', details), { message: error.message });
  }
  if (error.message.endsWith(': no such file or directory')) {
    return Object.assign(new VreserveError('SYSTEM', { errno: 'ENOENT' }), { message: error.message });
  }
  return error;
}
