// The service process of a mount: started where it is to listen, or with the first use of the store.

import type { MountConfig } from '../config.js';
import type { ImportProgress, ImportReport } from '../core/blob-import.js';
import { VreserveError } from '../core/errors.js';
import { formatAddress, type HttpAddress, isLoopback } from '../core/http-address.js';
import type { NamespaceInfo, Namespaces } from '../core/namespace-layout.js';
import { isWithin } from '../core/paths.js';
import { type BlobFiles, blobFilesOf } from '../core/store-files.js';
import type { NamespaceLots } from '../engine/namespace-lots.js';
import type { StoreLots } from '../engine/store-lots.js';
import type { Remote } from '../process/calls.js';
import type { Listening, ServiceMethods, Serving, Sockets } from '../service/methods.js';
import { RemoteService } from '../service/remote-service.js';
import type { SpaceDirectories } from '../spaces/host.js';
import type { By, NamespaceCommand } from '../views/host.js';
import type { ZdbOptions } from '../zdb/server.js';
import { type MountHostParts, mountHost } from './mount-host.js';
import { readPassword } from './password-file.js';
import { forkService } from './service.js';
import { readToken } from './token-file.js';

export interface MountServiceParts extends MountHostParts {
  config: MountConfig;
  storeLots: StoreLots;
  namespaceLots: NamespaceLots;
}

export class MountService {
  readonly #parts: MountServiceParts;
  #starting: Promise<RemoteService> | null = null;
  #service: RemoteService | null = null;
  /** null: the mount is not there yet. */
  #serving: Serving | null = null;
  #isEnding = false;
  #onImport: (progress: ImportProgress) => void = () => {};
  #importing: Promise<unknown> = Promise.resolve();

  constructor(parts: MountServiceParts) {
    this.#parts = parts;
  }

  /** null: it listens nowhere. */
  get address(): HttpAddress | null {
    return this.#service?.address ?? null;
  }

  get troubles(): string[] {
    return this.#service?.troubles ?? [];
  }

  /** Before anything else is begun: listens where it is to, and answers 503. Throws HTTP_FAILED, TOKEN_FAILED. */
  async listen(): Promise<void> {
    const { config, keeper } = this.#parts;
    const { http: address, volumePlugin } = config;
    const http = address === null ? null : this.#listening(address);
    const zdb = this.#zdb();
    if (volumePlugin !== null) this.#refuseInMount({ socketPath: volumePlugin });
    if (http === null && volumePlugin === null && zdb === null) return;
    await this.#start({ http, volumePlugin, zdb });
    if (http === null || http.token !== null || isLoopback(http.address)) return;
    keeper.parts.log.warn({ http: this.address }, 'the HTTP service asks nobody who they are');
  }

  #listening(address: HttpAddress): Listening {
    const { httpTokenFile, httpMode: socketMode } = this.#parts.config;
    this.#refuseInMount(address);
    return { address, socketMode, token: httpTokenFile === null ? null : readToken(httpTokenFile) };
  }

  #zdb(): ZdbOptions | null {
    const { zdb: address, zdbAdminFile, zdbMode: mode, zdbProtect: isProtected, zdbSync: isSynced } = this.#parts.config;
    if (address === null) return null;
    this.#refuseInMount(address);
    return { address, adminPassword: zdbAdminFile === null ? null : readPassword(zdbAdminFile), mode, isProtected, isSynced };
  }

  #refuseInMount(address: HttpAddress): void {
    if (!('socketPath' in address) || !isWithin(address.socketPath, this.#parts.config.mountpoint)) return;
    throw new VreserveError('HTTP_FAILED', { address: formatAddress(address), errno: 'EINVAL', reason: 'it lies in the mount' });
  }

  /** The mount is there. A store that holds something is opened at once: what a crash has left of it goes. */
  async serve(serving: Serving, isFilled: boolean): Promise<void> {
    this.#serving = serving;
    if (this.#service !== null) await this.#service.serve(serving);
    else if (serving.store !== null && isFilled) await this.#methods();
  }

  /** The store as files. */
  readonly blobs: BlobFiles = blobFilesOf(() => this.#methods());

  /** What spaces have done in the mount. Throws ENDING, STARTING. */
  spaceDirectories(): Promise<Remote<SpaceDirectories>> {
    return this.#methods();
  }

  /** One after the other. Throws NOT_YOURS, READ_ONLY, NO_STORE, and what the import does. */
  async importBlobs(dir: string, by: By, onProgress: (progress: ImportProgress) => void): Promise<ImportReport> {
    const { rights, readOnly } = this.#parts.keeper.parts;
    rights.checkKnown(by.caller);
    rights.checkAdministrator(by.caller, 'import blobs');
    rights.checkWhole(by, 'import');
    if (readOnly) throw new VreserveError('READ_ONLY');
    const imported = this.#importing.then(async () => {
      this.#onImport = onProgress;
      return (await this.#methods()).importBlobs(dir);
    });
    this.#importing = imported.catch(() => {});
    return imported;
  }

  /** Where namespaces are; null: nowhere. */
  get zdbAddress(): HttpAddress | null {
    return this.#service?.zdbAddress ?? null;
  }

  /** What is told of namespaces as files. */
  readonly namespaceReader: Pick<Namespaces, 'namespaceInfo' | 'namespaceNames' | 'namespaceKeys'> = {
    namespaceInfo: async (name) => (await this.#methods()).namespaceInfo(name),
    namespaceNames: async () => (await this.#methods()).namespaceNames(),
    namespaceKeys: async (name, most) => (await this.#methods()).namespaceKeys(name, most),
  };

  /** Throws NOT_YOURS, READ_ONLY, NO_NAMESPACES and what the namespaces do. */
  async namespaces(command: NamespaceCommand, by: By): Promise<NamespaceInfo | NamespaceInfo[]> {
    const { keeper, config, namespaceLots } = this.#parts;
    const { rights } = keeper.parts;
    rights.checkKnown(by.caller);
    rights.checkWhole(by, `ns ${command.action}`);
    if (config.zdb === null) throw new VreserveError('NO_NAMESPACES');
    if (command.action === 'reserve') await keeper.places.checkReserve(null, by);
    const methods = await this.#methods();
    switch (command.action) {
      case 'list':
        return Promise.all((await methods.namespaceNames()).map((name) => methods.namespaceInfo(name)));
      case 'info':
        return methods.namespaceInfo(command.namespace);
      case 'release': {
        const lot = namespaceLots.lotOf(command.namespace);
        if (lot === undefined) throw new VreserveError('NAMESPACE_UNKNOWN', { name: command.namespace });
        rights.checkChange(by.caller, lot, `namespace '${command.namespace}'`, keeper.book);
        return methods.releaseNamespace(command.namespace);
      }
      case 'reserve': {
        const { namespace: name, bytes: sizeBytes, mode, password, isPublic, policy } = command;
        if (config.zdbMode !== null && mode !== config.zdbMode) {
          const reason = `all namespaces of this mount have the mode ${config.zdbMode} (--zdb-mode)`;
          throw new VreserveError('NOT_SUPPORTED', { reason });
        }
        return methods.reserveNamespace({ name, sizeBytes, mode, password, isPublic, policy, owner: String(by.caller.uid) });
      }
    }
  }

  /** Lets go of the mount: what is under way may take so long. */
  async finish(withinMs: number): Promise<void> {
    this.#isEnding = true;
    await (await this.#starting?.catch(() => null))?.finish(withinMs);
  }

  /** Starts it where it is not there yet. */
  async #methods(): Promise<Remote<ServiceMethods>> {
    if (this.#isEnding) throw new VreserveError('ENDING');
    if (this.#serving === null) throw new VreserveError('STARTING');
    return (await this.#start({ http: null, volumePlugin: null, zdb: null })).methods();
  }

  #start(sockets: Sockets): Promise<RemoteService> {
    this.#starting ??= this.#launch(sockets);
    return this.#starting;
  }

  async #launch(sockets: Sockets): Promise<RemoteService> {
    const { config, storeLots, namespaceLots, ...parts } = this.#parts;
    const { mountpoint, logLevel } = config;
    const { log, clock } = parts.keeper.parts;
    try {
      const service = await RemoteService.start({
        fork: () => forkService(mountpoint, logLevel),
        host: {
          ...mountHost(parts),
          ...storeLots.host,
          ...namespaceLots.host,
          importProgress: (progress) => this.#onImport(progress),
        },
        sockets,
        log,
        clock,
      });
      if (this.#serving !== null) await service.serve(this.#serving);
      this.#service = service;
      return service;
    } catch (error) {
      this.#starting = null;
      throw error;
    }
  }
}
