// Who may ask: with a token whoever has it; without one whoever can connect, but no page of another site in a browser.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { VreserveError } from '../core/errors.js';
import { type HttpAddress, isLoopback } from '../core/http-address.js';

export interface Guard {
  /** null: none is asked for. */
  token: string | null;
  address: HttpAddress;
}

/** Throws NO_TOKEN or FOREIGN_PAGE. `isOpen`: a path for which no token is asked. */
export function checkAsker(request: FastifyRequest, { token, address }: Guard, isOpen: boolean): void {
  if (token !== null) {
    if (!isOpen && !hasToken(request.headers.authorization, token)) throw new VreserveError('NO_TOKEN');
    return;
  }
  // Browsers do not reach Unix sockets.
  if (!('socketPath' in address)) checkPage(request, address);
}

function hasToken(authorization: string | undefined, token: string): boolean {
  const [, given] = /^bearer +(\S+)$/i.exec(authorization ?? '') ?? [];
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/**
 * A page may not make a browser of this machine ask: neither from its own site, nor by a name of its own that it has given
 * our address.
 */
function checkPage({ headers }: FastifyRequest, address: HttpAddress): void {
  const { host = '', origin } = headers;
  const refuse = (reason: string) => new VreserveError('FOREIGN_PAGE', { reason });
  if (origin !== undefined && origin.toLowerCase() !== `http://${host}`.toLowerCase()) throw refuse('by its Origin');
  const site = headers['sec-fetch-site'];
  if (site === 'cross-site' || site === 'same-site') throw refuse('by its Sec-Fetch-Site');
  if (host !== '' && isLoopback(address) && !isLocalName(host, address)) throw refuse('by its Host');
}

function isLocalName(host: string, address: HttpAddress): boolean {
  const name = host.replace(/:[0-9]*$/, '').toLowerCase();
  if (name === 'localhost' || /^[0-9.]+$/.test(name) || /^\[[0-9a-f:.]+\]$/.test(name)) return true;
  return 'host' in address && name === address.host.toLowerCase();
}
