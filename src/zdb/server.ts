// The server: listens, hands each connection its commands, and ends.

import { once } from 'node:events';
import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, VreserveError } from '../core/errors.js';
import { formatEndpoint, type HttpAddress } from '../core/http-address.js';
import { DEFAULT_NAMESPACE, type NamespaceMode } from '../core/namespace-layout.js';
import { removeDeadSocket } from '../system/dead-socket.js';
import { mayWriteDefault } from './commands/access.js';
import { type Call, NOT_SUPPORTED } from './commands/command.js';
import type { Server } from './commands/server-parts.js';
import { commandNamed } from './commands/table.js';
import type { NamespaceSet } from './namespaces.js';
import { failure } from './resp.js';
import { type Answer, Session } from './session.js';
import { Turn, type TurnLog } from './turn.js';
import { Watchers } from './watchers.js';

export interface ZdbOptions {
  address: HttpAddress;
  /** null: everybody is an administrator. */
  adminPassword: string | null;
  /** null: each namespace has its own. */
  mode: NamespaceMode | null;
  isProtected: boolean;
  isSynced: boolean;
}

export interface ServerParts extends ZdbOptions {
  log: TurnLog & { error(fields: object, text: string): void };
  version: string;
  /** For how long an address that is in use is tried again: its last holder may be about to end. */
  patienceMs: number;
}

/** What all connections together may have sent of commands that are not whole. */
const MOST_HELD_BYTES = 256 * 1024 * 1024;

/** How long half a command may lie, and a connection that is to end. */
const STUCK_MS = 60_000;
const ENDING_MS = 5000;
const SWEEP_MS = 2000;

const AGAIN_MS = 50;

/** Permission bits of a socket. */
const SOCKET_MODE = 0o600;

/** Connections that wait to be accepted. */
const BACKLOG = 4096;

const NOT_YET = failure('The mount is not served yet');
const NO_COMMAND = failure('This is not a valid command');
const GONE = failure('Your active namespace is not available anymore (probably removed).');
const INTERNAL = failure('Internal Error');

export class ZdbServer {
  readonly #parts: ServerParts;
  readonly #net: NetServer;
  readonly #sessions = new Set<Session>();
  readonly #turn: Turn;
  readonly #watchers = new Watchers();
  readonly #counts = { commands: 0, clients: 0, refused: 0 };
  readonly #startedAtS = Math.floor(Date.now() / 1000);
  #heldBytes = 0;
  /** null: they are not there yet, or no longer. */
  #server: Server | null = null;
  readonly #sweep: NodeJS.Timeout;
  /** With the port that the system chose. */
  address: HttpAddress;

  /** Until `serve` who connects is told that there is nothing yet. Throws ZDB_FAILED. */
  static async listen(parts: ServerParts): Promise<ZdbServer> {
    const server = new ZdbServer(parts);
    try {
      await server.#listen();
      return server;
    } catch (error) {
      clearInterval(server.#sweep);
      const errno = errnoOf(error) ?? 'EIO';
      const reason = errno === 'EADDRINUSE' ? 'the address is in use' : error instanceof Error ? error.message : String(error);
      throw new VreserveError('ZDB_FAILED', { address: formatEndpoint(parts.address), reason, errno }, { cause: error });
    }
  }

  private constructor(parts: ServerParts) {
    this.#parts = parts;
    this.address = parts.address;
    this.#turn = new Turn(parts.isSynced, parts.log);
    this.#net = createServer({ allowHalfOpen: true, noDelay: true, highWaterMark: 64 * 1024 }, (socket) => this.#accept(socket));
    this.#net.on('error', (error) => parts.log.warn({ err: error }, 'a connection could not be accepted'));
    this.#sweep = setInterval(() => this.#sweepUp(), SWEEP_MS);
  }

  get isServing(): boolean {
    return this.#server !== null;
  }

  serve(namespaces: NamespaceSet): void {
    const { adminPassword, mode: onlyMode, isProtected, version } = this.#parts;
    this.#server = {
      namespaces,
      adminPassword,
      onlyMode,
      isProtected,
      version,
      nowS: () => Math.floor(Date.now() / 1000),
      startedAtS: this.#startedAtS,
      counts: this.#counts,
      watchers: this.#watchers,
      connections: () => this.#sessions.size,
      commandNamed,
      commit: () => this.#turn.commit(),
    };
  }

  /** Takes no more, and sends everybody away; what was answered is written. */
  async finish(): Promise<void> {
    clearInterval(this.#sweep);
    const closed = new Promise<void>((resolve) => this.#net.close(() => resolve()));
    this.#server = null;
    this.#turn.commit();
    await new Promise((resolve) => setImmediate(resolve));
    for (const session of this.#sessions) session.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    const server = this.#server;
    const namespace = server?.namespaces.get(DEFAULT_NAMESPACE) ?? null;
    if (server === null || namespace === null) {
      socket.on('error', () => {});
      socket.end(NOT_YET);
      return;
    }
    this.#counts.clients += 1;
    const isAdmin = server.adminPassword === null;
    namespace.users += 1;
    const session: Session = new Session({
      socket,
      turn: this.#turn,
      namespace,
      isAdmin,
      isWritable: mayWriteDefault({ isAdmin }, server),
      run: (who, args) => this.#run(who, args),
      onHeld: (moreBytes) => {
        this.#heldBytes += moreBytes;
        return moreBytes <= 0 || this.#heldBytes <= MOST_HELD_BYTES;
      },
    });
    this.#sessions.add(session);
    socket.on('close', () => {
      this.#sessions.delete(session);
      session.namespace.users -= 1;
    });
  }

  #run(session: Session, args: Buffer[]): Answer {
    const server = this.#server;
    const { namespace } = session;
    if (server === null) return NOT_YET;
    if (namespace.isGone) {
      session.end();
      return GONE;
    }
    const word = args[0];
    if (word === undefined || word.length === 0) return NO_COMMAND;
    const command = word.length > 16 ? undefined : commandNamed(word.toString('latin1'));
    if (command === undefined) {
      this.#counts.refused += 1;
      return word.length === 1 && word[0] === 0x2a ? NO_COMMAND : NOT_SUPPORTED;
    }
    this.#counts.commands += 1;
    const call: Call = { args, session, namespace, server };
    const once = (): Answer => {
      try {
        return command.run(call);
      } catch (error) {
        this.#parts.log.error({ err: error, command: command.name, namespace: namespace.name }, 'a command failed');
        return INTERNAL;
      }
    };
    const answer = once();
    if (command.writes === true && namespace.keys.isDirty) session.write = { namespace, again: () => once() as Buffer };
    if (!this.#watchers.isEmpty && command.name !== 'WAIT') this.#watchers.ran(session, namespace, command.name);
    return answer;
  }

  #sweepUp(): void {
    const nowMs = performance.now();
    for (const session of this.#sessions) {
      const { endingSinceMs } = session;
      if (endingSinceMs !== null && nowMs - endingSinceMs > ENDING_MS) session.destroy();
      else if (session.isStuck && nowMs - session.activeAtMs > STUCK_MS) session.destroy();
    }
    this.#server?.namespaces.leaveBroken();
    for (const namespace of this.#server?.namespaces.opened() ?? []) namespace.upkeep.look();
  }

  async #listen(): Promise<void> {
    const { address, patienceMs } = this.#parts;
    for (let waitedMs = 0; ; waitedMs += AGAIN_MS) {
      try {
        await this.#listenOnce(address);
        return;
      } catch (error) {
        if (errnoOf(error) !== 'EADDRINUSE' || waitedMs >= patienceMs) throw error;
      }
      await sleep(AGAIN_MS);
    }
  }

  async #listenOnce(address: HttpAddress): Promise<void> {
    if ('socketPath' in address) await removeDeadSocket(address.socketPath);
    const listening = once(this.#net, 'listening');
    if ('socketPath' in address) {
      // Nobody may connect before the socket has its mode.
      const umask = process.umask(0o777 & ~SOCKET_MODE);
      try {
        this.#net.listen({ path: address.socketPath, backlog: BACKLOG });
      } finally {
        process.umask(umask);
      }
      await listening;
      return;
    }
    this.#net.listen({ ...address, exclusive: true, backlog: BACKLOG });
    await listening;
    const bound = this.#net.address();
    if (typeof bound === 'object' && bound !== null) this.address = { host: address.host, port: bound.port };
  }
}
