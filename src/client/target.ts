// Where a client asks: from text.

import { resolve } from 'node:path';
import { VreserveError } from '../core/errors.js';
import { parseHttpAddress } from '../core/http-address.js';

/** A service over HTTP, or a mount. `where` is its name in messages. */
export type Target =
  | { kind: 'http'; where: string; isSecure: boolean; address: HttpPlace; prefix: string }
  | { kind: 'mount'; where: string; mountpoint: string };

export type HttpPlace = { host: string; port: number } | { socketPath: string };

/**
 * `http://HOST:PORT`, `https://HOST`, either with a path that goes before all paths; `unix:PATH`, a socket; or a directory: the
 * mountpoint, or that of a lot in a mount. Throws USAGE.
 */
export function parseTarget(given: string | URL): Target {
  const text = String(given);
  if (text.startsWith('unix:')) {
    return { kind: 'http', where: text, isSecure: false, address: parseHttpAddress(text) as HttpPlace, prefix: '' };
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return parseUrl(text);
  if (text === '' || text.includes('\0')) throw usage(`'${text.slice(0, 60)}' is no directory`);
  return { kind: 'mount', where: text, mountpoint: resolve(text) };
}

function parseUrl(text: string): Target {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isSecure = url?.protocol === 'https:';
  if (url === null || (url.protocol !== 'http:' && !isSecure)) {
    throw usage(`'${text.slice(0, 60)}' is no address: write http://127.0.0.1:8188, unix:/run/vreserve.sock or /mnt/data`);
  }
  const { hostname, pathname, port, origin, username, password, search } = url;
  if (username !== '' || password !== '' || search !== '')
    throw usage('an address has no user and no query; a token is an option');
  const prefix = pathname.replace(/\/+$/, '');
  const address = { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port === '' ? (isSecure ? 443 : 80) : Number(port) };
  return { kind: 'http', where: origin + prefix, isSecure, address, prefix };
}

function usage(reason: string): VreserveError {
  return new VreserveError('USAGE', { reason });
}
