// The HTTP service of a mount: what it asks of the keeper, and the token that it asks for.

import { readFileSync } from 'node:fs';
import type { FastifyPluginCallback } from 'fastify';
import type { MountConfig } from '../config.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import { formatAddress, type HttpAddress, isLoopback } from '../core/http-address.js';
import { DEFAULT_LOT_ID } from '../core/lot.js';
import { isWithin } from '../core/paths.js';
import type { Snapshot } from '../core/snapshot.js';
import type { Keeper } from '../engine/keeper.js';
import type { HttpHost } from '../http/host.js';
import { HttpService } from '../http/service.js';
import { readVersion } from '../version.js';
import type { By, Commands } from '../views/host.js';
import { reportText } from '../views/json.js';
import { renderMetrics } from '../views/metrics.js';
import type { Users } from '../views/users.js';

export interface MountHttpParts {
  config: MountConfig;
  address: HttpAddress;
  keeper: Keeper;
  commands: Commands;
  users: Users;
  uid: number;
  /** As seen from the root of the mount. */
  snapshot: () => Snapshot;
  /** Of other rooms. They are asked once the mount serves, by whoever may. */
  routes?: readonly FastifyPluginCallback[];
}

/** Listens, and answers 503 until it is told to serve. Throws HTTP_FAILED, TOKEN_FAILED. */
export async function mountHttp(parts: MountHttpParts): Promise<HttpService> {
  const { config, address, keeper } = parts;
  if ('socketPath' in address && isWithin(address.socketPath, config.mountpoint)) {
    throw new VreserveError('HTTP_FAILED', { address: formatAddress(address), errno: 'EINVAL', reason: 'it lies in the mount' });
  }
  const token = config.httpTokenFile === null ? null : readToken(config.httpTokenFile);
  const { log } = keeper.parts;
  const options = { address, socketMode: config.httpMode, token, log, version: readVersion() };
  const service = await HttpService.forMount(hostOf(parts), options, parts.routes);
  if (token === null && !isLoopback(address)) log.warn({ http: service.address }, 'the HTTP service asks nobody who they are');
  return service;
}

function hostOf({ config, keeper, commands, users, uid, snapshot }: MountHttpParts): HttpHost {
  const { engine, ledger, clock } = keeper.parts;
  const { book } = keeper;
  return {
    commands,
    by: administrator(uid),
    journal: ledger,
    clock,
    mountpoint: config.mountpoint,
    lots: () => book.all(),
    lotNamed: (name) => book.named(name),
    lotOf: (id) => book.get(id),
    userName: users.name,
    roomIn: (id) => (id === DEFAULT_LOT_ID ? engine.pool().headroomBytes : engine.room(id)),
    report: () => reportText(snapshot(), users.name),
    metrics: () => renderMetrics(snapshot()),
  };
}

/** Nothing tells who is at the other end: whoever may connect, or has the token, acts as the user of the daemon. */
function administrator(uid: number): By {
  const groups = process.getgroups?.() ?? [];
  const gid = process.getgid?.() ?? 0;
  const caller = { pid: process.pid, uid, gid, groups, home: true, sysAdmin: uid === 0, dacOverride: uid === 0 };
  return { caller, scope: DEFAULT_LOT_ID, directory: '/' };
}

/** What a header can carry, and nobody guesses. */
const TOKEN = /^[A-Za-z0-9._~+/=-]{16,4096}$/;

/** The one line of the file. Throws TOKEN_FAILED. */
export function readToken(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    const errno = errnoOf(error) ?? 'EIO';
    throw new VreserveError('TOKEN_FAILED', { path, errno, reason: `it cannot be read: ${errno}` }, { cause: error });
  }
  if (TOKEN.test(text)) return text;
  const reason = 'it must hold one line of 16 or more letters, digits and ._~+/=-';
  throw new VreserveError('TOKEN_FAILED', { path, errno: 'EINVAL', reason });
}
