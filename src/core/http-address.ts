// Where the HTTP service listens: from text, and into text.

import { VreserveError } from './errors.js';

/** A TCP port of an address or name of the machine, or a Unix socket. */
export type HttpAddress = { host: string; port: number } | { socketPath: string };

/** What sockaddr_un has room for, in bytes. */
const MOST_SOCKET_PATH = 107;

const UNIX = 'unix:';

const HOST_AND_PORT = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s/]+)):([0-9]{1,5})$/;

/** `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`. Throws USAGE. */
export function parseHttpAddress(text: string): HttpAddress {
  if (text.startsWith(UNIX)) return { socketPath: parseSocketPath(text) };
  const [, ipv6, name, digits] = HOST_AND_PORT.exec(text) ?? [];
  const host = ipv6 ?? name;
  const port = Number(digits);
  if (host !== undefined && port <= 65_535) return { host, port };
  throw new VreserveError('USAGE', {
    reason: `'${text}' is no address: write 127.0.0.1:8188, [::1]:8188 or unix:/run/vreserve.sock`,
  });
}

/** `PATH` or `unix:PATH`. Throws USAGE. */
export function parseSocketPath(text: string): string {
  const path = text.startsWith(UNIX) ? text.slice(UNIX.length) : text;
  const bytes = Buffer.byteLength(path);
  if (bytes > 0 && bytes <= MOST_SOCKET_PATH && !path.includes('\0')) return path;
  throw new VreserveError('USAGE', { reason: `a socket needs a path of at most ${MOST_SOCKET_PATH} bytes` });
}

/** Whether only the machine itself can connect. */
export function isLoopback(address: HttpAddress): boolean {
  if ('socketPath' in address) return true;
  return address.host === 'localhost' || address.host === '::1' || /^127(\.[0-9]{1,3}){3}$/.test(address.host);
}

/** `http://127.0.0.1:8188` or `unix:/run/vreserve.sock`. */
export function formatAddress(address: HttpAddress): string {
  if ('socketPath' in address) return `unix:${address.socketPath}`;
  return `http://${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** `127.0.0.1:9900` or `unix:/run/zdb.sock`: of what is not HTTP. */
export function formatEndpoint(address: HttpAddress): string {
  return formatAddress(address).replace(/^http:\/\//, '');
}
