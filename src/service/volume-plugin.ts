// Volumes of containers on their socket: it is there before the mount, and they are opened in it.

import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { formatAddress } from '../core/http-address.js';
import { HttpService, type ServiceOptions } from '../http/service.js';
import { VolumeDriver, type VolumeDriverParts } from '../volumes/driver.js';

/** Whoever may use it may have any volume made and removed. */
const SOCKET_MODE = 0o600;

/** The volumes, or what is said where there are none. */
interface Opened {
  driver: VolumeDriver | null;
  refusal: VreserveError;
}

export class VolumePlugin {
  readonly #http: HttpService;
  readonly #opened: Opened;

  private constructor(http: HttpService, opened: Opened) {
    this.#http = http;
    this.#opened = opened;
  }

  /** Makes the socket, and its directory where that is missing, as after a boot without Docker. Throws HTTP_FAILED. */
  static async listen(
    socketPath: string,
    options: Pick<ServiceOptions, 'log' | 'version' | 'patienceMs'>,
  ): Promise<VolumePlugin> {
    const address = { socketPath };
    await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 }).catch((error: unknown) => {
      const { errno, message: reason } = asVreserveError(error);
      throw new VreserveError('HTTP_FAILED', { address: formatAddress(address), reason, errno }, { cause: error });
    });
    const opened: Opened = { driver: null, refusal: new VreserveError('STARTING') };
    const driver = () => {
      if (opened.driver === null) throw opened.refusal;
      return opened.driver;
    };
    const where = { address, socketMode: SOCKET_MODE, token: null };
    return new VolumePlugin(await HttpService.forPlugin(driver, { ...options, ...where }), opened);
  }

  /** Why there are no volumes, as every call is told then; null: there are. */
  async serve(parts: VolumeDriverParts): Promise<string | null> {
    let trouble: string | null = null;
    try {
      this.#opened.driver = await VolumeDriver.open(parts);
    } catch (error) {
      parts.log.error({ err: error }, 'the volumes of containers could not be opened');
      this.#opened.refusal = asVreserveError(error);
      trouble = `there are no volumes for containers: ${this.#opened.refusal.message}`;
    }
    this.#http.serve();
    return trouble;
  }

  /** What is under way may take until `late`. Then nothing in the mount is in use any more. */
  async finish(late: AbortSignal): Promise<void> {
    await Promise.all([this.#http.finish(late), this.#opened.driver?.close()]);
  }
}
