// The original API on a mount: one volume, whose reservations are those of the mount.

import { MAX_BYTES } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_NAME } from '../core/lot.js';
import { isWithin, joinBelow, relativeTo } from '../core/paths.js';
import { SharedRun } from '../core/shared-run.js';
import type { HttpHost, Volumes } from './host.js';

/** Errors that say that nothing can be reserved at a path. */
const NO_PLACE = new Set(['BAD_PATH', 'PATH_TOO_LONG', 'PATH_TAKEN']);
const NO_PLACE_ERRNO = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EXDEV', 'EINVAL', 'ENAMETOOLONG']);

export class MountedVolume implements Volumes {
  readonly #host: HttpHost;
  readonly #mountpoint: string;
  readonly #reservations: SharedRun<ReadonlyMap<string, number>>;

  constructor(host: HttpHost, mountpoint: string) {
    this.#host = host;
    this.#mountpoint = mountpoint;
    this.#reservations = new SharedRun(() => host.reservations());
  }

  async reserve(path: string, bytes: bigint): Promise<void> {
    if (!path.startsWith('/')) throw new VreserveError('SYSTEM', { errno: 'ENOENT', reason: 'a path begins with a slash' });
    if (bytes > BigInt(MAX_BYTES)) {
      const room = await this.#host.room(DEFAULT_LOT_NAME);
      throw new VreserveError('NO_SPACE', { path, availableBytes: Math.max(0, room.bytes) });
    }
    await this.#host.reserve(pathInMount(path, this.#mountpoint), Number(bytes), {});
  }

  async release(path: string): Promise<void> {
    try {
      if (path.startsWith('/')) await this.#host.release(pathInMount(path, this.#mountpoint));
    } catch (error) {
      if (!(error instanceof VreserveError)) throw error;
      const isNowhere = NO_PLACE.has(error.code) || (error.code === 'SYSTEM' && NO_PLACE_ERRNO.has(error.errno));
      if (!isNowhere) throw error;
    }
  }

  /** Keys are paths of the host where the path asked about is one. */
  async report(path: string): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    if (!path.startsWith('/')) return found;
    const above = isWithin(path, this.#mountpoint) ? this.#mountpoint : '/';
    for (const [name, bytes] of await this.#reservations.run()) found.set(joinBelow(above, name), bytes);
    return found;
  }
}

/** A path of the host below the mountpoint is taken as such. */
export function pathInMount(path: string, mountpoint: string): string {
  return isWithin(path, mountpoint) ? relativeTo(path, mountpoint) : path;
}
