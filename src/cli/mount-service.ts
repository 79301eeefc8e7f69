// The service process of a mount: started where it is to listen, or with the first use of the store.

import type { MountConfig } from '../config.js';
import type { ImportProgress, ImportReport } from '../core/blob-import.js';
import { VreserveError } from '../core/errors.js';
import { formatAddress, type HttpAddress, isLoopback } from '../core/http-address.js';
import { isWithin } from '../core/paths.js';
import { type BlobFiles, blobFilesOf } from '../core/store-files.js';
import type { StoreLots } from '../engine/store-lots.js';
import type { Remote } from '../process/calls.js';
import type { Listening, ServiceMethods, Serving, Sockets } from '../service/methods.js';
import { RemoteService } from '../service/remote-service.js';
import type { SpaceDirectories } from '../spaces/host.js';
import type { By } from '../views/host.js';
import { type MountHostParts, mountHost } from './mount-host.js';
import { forkService } from './service.js';
import { readToken } from './token-file.js';

export interface MountServiceParts extends MountHostParts {
  config: MountConfig;
  storeLots: StoreLots;
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
    if (volumePlugin !== null) this.#refuseInMount({ socketPath: volumePlugin });
    if (http === null && volumePlugin === null) return;
    await this.#start({ http, volumePlugin });
    if (http === null || http.token !== null || isLoopback(http.address)) return;
    keeper.parts.log.warn({ http: this.address }, 'the HTTP service asks nobody who they are');
  }

  #listening(address: HttpAddress): Listening {
    const { httpTokenFile, httpMode: socketMode } = this.#parts.config;
    this.#refuseInMount(address);
    return { address, socketMode, token: httpTokenFile === null ? null : readToken(httpTokenFile) };
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

  /** Lets go of the mount: what is under way may take so long. */
  async finish(withinMs: number): Promise<void> {
    this.#isEnding = true;
    await (await this.#starting?.catch(() => null))?.finish(withinMs);
  }

  /** Starts it where it is not there yet. */
  async #methods(): Promise<Remote<ServiceMethods>> {
    if (this.#isEnding) throw new VreserveError('ENDING');
    if (this.#serving === null) throw new VreserveError('STARTING');
    return (await this.#start({ http: null, volumePlugin: null })).methods();
  }

  #start(sockets: Sockets): Promise<RemoteService> {
    this.#starting ??= this.#launch(sockets);
    return this.#starting;
  }

  async #launch(sockets: Sockets): Promise<RemoteService> {
    const { config, storeLots, ...parts } = this.#parts;
    const { mountpoint, logLevel } = config;
    const { log, clock } = parts.keeper.parts;
    try {
      const service = await RemoteService.start({
        fork: () => forkService(mountpoint, logLevel),
        host: { ...mountHost(parts), ...storeLots.host, importProgress: (progress) => this.#onImport(progress) },
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
