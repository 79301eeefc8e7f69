// The key-value namespaces of a mount, in files of the mount, so that their bytes are charged as any others.

import { join } from 'node:path';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { formatEndpoint, type HttpAddress } from '../core/http-address.js';
import { lotNameOf, NAMESPACES_PATH, type NamespaceInfo, type NamespaceLots, type Namespaces } from '../core/namespace-layout.js';
import { MAIN_POOL_NAME } from '../core/pool.js';
import type { Log } from '../log.js';
import type { Remote } from '../process/calls.js';
import { readVersion } from '../version.js';
import type { Namespace } from '../zdb/namespace.js';
import { NamespaceSet } from '../zdb/namespaces.js';
import { type ZdbOptions, ZdbServer } from '../zdb/server.js';

export interface ServedNamespacesParts {
  mountpoint: string;
  daemon: Remote<NamespaceLots>;
  log: Log;
  /** For how long an address that is in use is tried again. */
  patienceMs: number;
}

export class ServedNamespaces {
  readonly #parts: ServedNamespacesParts;
  #options: ZdbOptions | null = null;
  #server: ZdbServer | null = null;
  #set: NamespaceSet | null = null;

  constructor(parts: ServedNamespacesParts) {
    this.#parts = parts;
  }

  /** Returns where, with the port that the system chose. Throws ZDB_FAILED. */
  async listen(options: ZdbOptions): Promise<HttpAddress> {
    const { log, patienceMs } = this.#parts;
    this.#options = options;
    this.#server = await ZdbServer.listen({ ...options, log, patienceMs, version: readVersion() });
    return this.#server.address;
  }

  /** Why they are not there; null: they are. */
  async open(): Promise<string | null> {
    const { mountpoint, daemon: lots, log } = this.#parts;
    try {
      const host = { directory: join(mountpoint, NAMESPACES_PATH), lots };
      this.#set = await NamespaceSet.open({ host, log, mode: this.#options?.mode ?? 'user' });
      this.#server?.serve(this.#set);
      return null;
    } catch (error) {
      log.error({ err: error }, 'the namespaces could not be opened');
      return `namespaces are not served: ${asVreserveError(error).message}`;
    }
  }

  /** They throw NO_NAMESPACES. */
  readonly methods: Namespaces = {
    reserveNamespace: async (order) => this.#infoOf(await this.#opened.create(order)),
    releaseNamespace: async (name) => {
      const info = await this.#infoOf(this.#opened.must(name));
      await this.#opened.remove(name);
      return info;
    },
    namespaceInfo: async (name) => {
      try {
        return await this.#infoOf(this.#opened.must(name));
      } catch (error) {
        if (!this.#opened.has(name)) throw error;
        return this.#infoOfBroken(name, asVreserveError(error).message);
      }
    },
    namespaceNames: async () => this.#opened.names(),
    namespaceKeys: async (name, most) => {
      const { keys } = this.#opened.must(name);
      return { keys: keys.withPrefix(Buffer.alloc(0), most), entries: keys.totals.entries };
    },
  };

  async close(): Promise<void> {
    const set = this.#set;
    this.#set = null;
    await this.#server?.finish();
    await set?.close();
  }

  get #opened(): NamespaceSet {
    if (this.#set === null) throw new VreserveError('NO_NAMESPACES');
    return this.#set;
  }

  async #infoOf({ name, keys, settings }: Namespace): Promise<NamespaceInfo> {
    const { lot, pool, dedicatedBytes, opportunisticBytes, ...place } = await this.#placeOf(name);
    return {
      ...place,
      mode: settings.mode,
      isPublic: settings.public,
      hasPassword: settings.password !== null,
      isWorm: settings.worm,
      isLocked: settings.lock,
      isFrozen: settings.freeze,
      ...keys.totals,
      maxPayloadBytes: settings.maxsize === 0n ? null : Number(settings.maxsize),
      fileBytes: keys.fileBytes,
      broken: null,
      lot,
      pool,
      dedicatedBytes,
      opportunisticBytes,
    };
  }

  async #infoOfBroken(name: string, broken: string): Promise<NamespaceInfo> {
    const access = { mode: 'user', isPublic: false, hasPassword: true, isWorm: false, isLocked: false, isFrozen: false } as const;
    const holds = { entries: 0, payloadBytes: 0, keyBytes: 0, maxPayloadBytes: null, fileBytes: 0 };
    return { ...access, ...holds, broken, ...(await this.#placeOf(name)) };
  }

  /** Where clients find it, and who pays for it. */
  async #placeOf(name: string) {
    const address = this.#server?.address;
    if (address === undefined) throw new VreserveError('NO_NAMESPACES');
    const lot = (await this.#opened.lotOf(name)) ?? { dedicatedBytes: 0, opportunisticBytes: 0, pool: MAIN_POOL_NAME };
    return {
      name,
      address: formatEndpoint(address),
      host: 'host' in address ? address.host : null,
      port: 'port' in address ? address.port : null,
      lot: lotNameOf(name),
      ...lot,
    };
  }
}
