// Volumes of containers on their socket: it is there before the mount, and they are opened in it.

import { asVreserveError, VreserveError } from '../core/errors.js';
import { HttpService, type ServiceOptions } from '../http/service.js';
import { VolumeDriver, type VolumeDriverParts } from '../volumes/driver.js';

/** Whoever may use it may have any volume made and removed. */
const SOCKET_MODE = 0o600;

export class VolumePlugin {
  readonly #http: HttpService;
  readonly #open: { driver: VolumeDriver | null };

  private constructor(http: HttpService, open: { driver: VolumeDriver | null }) {
    this.#http = http;
    this.#open = open;
  }

  /** Throws HTTP_FAILED. */
  static async listen(
    socketPath: string,
    options: Pick<ServiceOptions, 'log' | 'version' | 'patienceMs'>,
  ): Promise<VolumePlugin> {
    const open: { driver: VolumeDriver | null } = { driver: null };
    const driver = () => {
      if (open.driver === null) throw new VreserveError('ENDING');
      return open.driver;
    };
    const where = { address: { socketPath }, socketMode: SOCKET_MODE, token: null };
    return new VolumePlugin(await HttpService.forPlugin(driver, { ...options, ...where }), open);
  }

  /** Why there are no volumes; null: there are. */
  async serve(parts: VolumeDriverParts): Promise<string | null> {
    try {
      this.#open.driver = await VolumeDriver.open(parts);
      this.#http.serve();
      return null;
    } catch (error) {
      parts.log.error({ err: error }, 'the volumes of containers could not be opened');
      return `there are no volumes for containers: ${asVreserveError(error).message}`;
    }
  }

  async finish(late: AbortSignal): Promise<void> {
    await this.#http.finish(late);
    await this.#open.driver?.close();
  }
}
