// The original API on a mount: one volume, whose reservations are those of the mount.

import { MAX_BYTES } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_ID, isReservation } from '../core/lot.js';
import { isWithin, joinBelow, relativeTo } from '../core/paths.js';
import type { HttpHost, Volumes } from './host.js';

/** Errors that say that nothing can be reserved at a path. */
const NO_PLACE = new Set(['BAD_PATH', 'PATH_TOO_LONG', 'PATH_TAKEN']);
const NO_PLACE_ERRNO = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV', 'EINVAL', 'ENAMETOOLONG']);

export class MountedVolume implements Volumes {
  readonly #host: HttpHost;

  constructor(host: HttpHost) {
    this.#host = host;
  }

  async reserve(path: string, bytes: bigint): Promise<void> {
    const { commands, by, roomIn } = this.#host;
    if (!path.startsWith('/')) throw new VreserveError('SYSTEM', { errno: 'ENOENT', reason: 'a path begins with a slash' });
    if (bytes > BigInt(MAX_BYTES)) {
      throw new VreserveError('NO_SPACE', { path, availableBytes: Math.max(0, roomIn(DEFAULT_LOT_ID)) });
    }
    await commands.reserve(this.#inMount(path), Number(bytes), {}, by, null);
  }

  async release(path: string): Promise<void> {
    const { commands, by } = this.#host;
    try {
      if (path.startsWith('/')) await commands.release(this.#inMount(path), by);
    } catch (error) {
      if (!(error instanceof VreserveError)) throw error;
      const isNowhere = NO_PLACE.has(error.code) || (error.code === 'SYSTEM' && NO_PLACE_ERRNO.has(error.errno));
      if (!isNowhere) throw error;
    }
  }

  /** Keys are paths of the host where the path asked about is one. */
  async report(path: string): Promise<Map<string, number>> {
    const { lots, mountpoint } = this.#host;
    const found = new Map<string, number>();
    if (!path.startsWith('/')) return found;
    const above = isWithin(path, mountpoint) ? mountpoint : '/';
    for (const lot of lots()) if (isReservation(lot)) found.set(joinBelow(above, lot.name), lot.policy.dedicatedBytes);
    return found;
  }

  /** A path of the host below the mountpoint is taken as such. */
  #inMount(path: string): string {
    const { mountpoint } = this.#host;
    return isWithin(path, mountpoint) ? relativeTo(path, mountpoint) : path;
  }
}
