// Starts the service process of a mount, where it is to listen.

import type { MountConfig } from '../config.js';
import { VreserveError } from '../core/errors.js';
import { formatAddress, type HttpAddress, isLoopback } from '../core/http-address.js';
import { isWithin } from '../core/paths.js';
import { RemoteService } from '../service/remote-service.js';
import { type MountHostParts, mountHost } from './mount-host.js';
import { forkService } from './service.js';
import { readToken } from './token-file.js';

export interface MountHttpParts extends MountHostParts {
  config: MountConfig;
  address: HttpAddress;
}

/** Listens, and answers 503 until it is told to serve. Throws HTTP_FAILED, TOKEN_FAILED. */
export async function mountHttp({ config, address, ...parts }: MountHttpParts): Promise<RemoteService> {
  const { mountpoint, logLevel, httpMode: socketMode, httpTokenFile } = config;
  if ('socketPath' in address && isWithin(address.socketPath, mountpoint)) {
    throw new VreserveError('HTTP_FAILED', { address: formatAddress(address), errno: 'EINVAL', reason: 'it lies in the mount' });
  }
  const token = httpTokenFile === null ? null : readToken(httpTokenFile);
  const { log, clock } = parts.keeper.parts;
  const service = await RemoteService.start({
    fork: () => forkService(mountpoint, logLevel),
    host: mountHost(parts),
    listening: { address, socketMode, token },
    log,
    clock,
  });
  if (token === null && !isLoopback(address)) log.warn({ http: service.address }, 'the HTTP service asks nobody who they are');
  return service;
}
