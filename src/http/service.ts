// The HTTP service: listens, serves, and ends with what it serves.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance, FastifyPluginCallback } from 'fastify';
import { errnoOf, VreserveError } from '../core/errors.js';
import { formatAddress, type HttpAddress } from '../core/http-address.js';
import type { Log } from '../log.js';
import type { Store } from '../store/store.js';
import { removeDeadSocket } from '../system/dead-socket.js';
import type { VolumeDriver } from '../volumes/driver.js';
import { buildApp, type Stage } from './app.js';
import { commandRoutes } from './command-routes.js';
import type { HttpHost, Volumes } from './host.js';
import { lotRoutes } from './lot-routes.js';
import { mountRoutes } from './mount-routes.js';
import { MountedVolume } from './mounted.js';
import { originalRoutes } from './original-routes.js';
import { storeRoutes } from './store-routes.js';
import { UnderWay } from './under-way.js';
import { volumeRoutes } from './volume-routes.js';

/** How often an address that is in use is tried again. */
const AGAIN_MS = 50;

export interface ServiceOptions {
  address: HttpAddress;
  /** Permission bits of a socket. */
  socketMode: number;
  /** null: none is asked for. */
  token: string | null;
  log: Log;
  version: string;
  /** For how long an address that is in use is tried again: its last holder may be about to end. */
  patienceMs?: number;
}

export class HttpService {
  readonly #app: FastifyInstance;
  readonly #ending: AbortController;
  readonly #at: { stage: Stage };
  readonly #underWay: UnderWay;
  /** Where it listens: with the port that the system chose. */
  readonly address: HttpAddress;

  private constructor(app: FastifyInstance, ending: AbortController, at: { stage: Stage }, address: HttpAddress) {
    this.#at = at;
    this.#app = app;
    this.#ending = ending;
    this.#underWay = new UnderWay(app.server);
    this.address = address;
  }

  /** For a mount. Answers 503 until `serve`. `more`: routes of other rooms. Throws HTTP_FAILED. */
  static forMount(
    host: HttpHost,
    options: ServiceOptions & { mountpoint: string },
    more: readonly FastifyPluginCallback[] = [],
  ): Promise<HttpService> {
    const { log, mountpoint } = options;
    const tell = {
      done: (peer: string, text: string) => log.info({ peer }, text),
      failed: (peer: string, text: string) => log.error({ peer }, text),
    };
    const plugins = (signal: AbortSignal) => [
      originalRoutes(new MountedVolume(host, mountpoint), tell),
      commandRoutes(host, mountpoint),
      lotRoutes(host),
      mountRoutes(host, signal),
      ...more,
    ];
    return HttpService.#listen(options, plugins);
  }

  /** For volumes that are not mounted: the original API alone. */
  static forVolumes(volumes: Volumes, tell: Parameters<typeof originalRoutes>[1], options: ServiceOptions): Promise<HttpService> {
    return HttpService.#listen(options, () => [originalRoutes(volumes, tell)]);
  }

  /** For a store that is served alone. The caller closes it afterwards. */
  static forStore(store: Store, options: ServiceOptions): Promise<HttpService> {
    return HttpService.#listen(options, () => [storeRoutes({ store: () => store })]);
  }

  /** For volumes of containers: the plugin protocol alone. `driver` is asked for once it serves, and may throw. */
  static forPlugin(driver: () => VolumeDriver, options: ServiceOptions): Promise<HttpService> {
    const tell = (error: unknown, url: string) => options.log.error({ err: error, url }, 'a call of a container engine failed');
    return HttpService.#listen(options, () => [volumeRoutes(driver, tell)]);
  }

  static async #listen(
    { address, socketMode, patienceMs = 0, ...parts }: ServiceOptions,
    plugins: (signal: AbortSignal) => FastifyPluginCallback[],
  ): Promise<HttpService> {
    const ending = new AbortController();
    const at: { stage: Stage } = { stage: 'starting' };
    const app = buildApp({ ...parts, address, stage: () => at.stage, plugins: plugins(ending.signal) });
    await app.ready();
    try {
      const listens = await listenPatiently(app, address, socketMode, patienceMs);
      // A connection that could not be taken, for want of descriptors: it is lost, and the next may do.
      app.server.on('error', (error) => parts.log.warn({ err: error }, 'a connection could not be accepted'));
      return new HttpService(app, ending, at, listens);
    } catch (error) {
      await app.close();
      const reason =
        errnoOf(error) === 'EADDRINUSE' ? 'the address is in use' : error instanceof Error ? error.message : String(error);
      const errno = errnoOf(error) ?? 'EIO';
      throw new VreserveError('HTTP_FAILED', { address: formatAddress(address), reason, errno }, { cause: error });
    }
  }

  serve(): void {
    this.#at.stage = 'serving';
  }

  /** Breaks off what is under way. */
  close(): Promise<void> {
    return this.finish(AbortSignal.abort());
  }

  /** Takes no more, and closes when what is under way is over, or as soon as the signal comes. Streams end at once. */
  async finish(signal: AbortSignal): Promise<void> {
    this.#at.stage = 'ending';
    const closed = this.#app.close();
    this.#ending.abort();
    await this.#underWay.over(signal);
    this.#app.server.closeAllConnections();
    await closed;
  }
}

async function listenPatiently(
  app: FastifyInstance,
  address: HttpAddress,
  socketMode: number,
  patienceMs: number,
): Promise<HttpAddress> {
  for (let waitedMs = 0; ; waitedMs += AGAIN_MS) {
    try {
      return await listen(app, address, socketMode);
    } catch (error) {
      if (errnoOf(error) !== 'EADDRINUSE' || waitedMs >= patienceMs) throw error;
    }
    await sleep(AGAIN_MS);
  }
}

async function listen({ server }: FastifyInstance, address: HttpAddress, socketMode: number): Promise<HttpAddress> {
  if ('socketPath' in address) await removeDeadSocket(address.socketPath);
  const listening = once(server, 'listening');
  if ('socketPath' in address) {
    // Nobody may connect before the socket has its mode.
    const umask = process.umask(0o777 & ~socketMode);
    try {
      server.listen(address.socketPath);
    } finally {
      process.umask(umask);
    }
    await listening;
    return address;
  }
  server.listen({ ...address, exclusive: true });
  await listening;
  const bound = server.address();
  return { host: address.host, port: typeof bound === 'object' && bound !== null ? bound.port : address.port };
}
