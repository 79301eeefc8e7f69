// A mount by fuse-native over the addon's engine: who may use it, mounting, and the end.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { VreserveError } from '../../core/errors.js';
import type { EngineOptions, VirtualRequest } from '../engine.js';
import type { Portable, PortableClass } from './addon.js';
import { type Binding, MOST_TEXT_BYTES } from './binding.js';
import { fuseHandlers } from './handlers.js';
import { loadFuseNative } from './load.js';
import { mountText } from './mount-text.js';

/** Name of this data plane in reports and on the command line. */
export const FUSE_NATIVE = 'fuse-native';

const DEVICE = '/dev/fuse';

/** Where the bundled libfuse looks first, and then in PATH. */
const HELPER_DIRECTORY = '/usr/local/bin';

/** One mount. */
export class FuseNativeMount {
  readonly #options: EngineOptions;
  readonly #binding: Binding;
  readonly #portable: Portable;
  readonly #thread: Buffer;
  /** What belongs to libfuse's threads, which hold it by its address. */
  readonly #held: Buffer[] = [];

  /** Throws ENGINE_NOT_LOADED, or OTHERS_REFUSED where others were asked in. */
  static check(portable: PortableClass, options: EngineOptions): void {
    if (options.othersAsked && !options.trustAllUsers) throw new VreserveError('OTHERS_REFUSED', { engine: FUSE_NATIVE });
    loadFuseNative(portable);
  }

  /** `engine` is the addon's, with its backing open. Throws as `check`. */
  constructor(engine: object, portable: PortableClass, options: EngineOptions) {
    FuseNativeMount.check(portable, options);
    this.#options = options;
    this.#binding = loadFuseNative(portable);
    this.#portable = new portable(engine);
    this.#thread = Buffer.alloc(this.#binding.sizeof_fuse_thread_t);
  }

  /** Mounts and serves. Throws Error with the reason. */
  async mount(onVirtual: (request: VirtualRequest) => void, onEnd: () => void): Promise<void> {
    const { mountpoint, allowOther, trustAllUsers } = this.#options;
    const isRoot = process.geteuid?.() === 0;
    const text = mountText(this.#options, allowOther && trustAllUsers, isRoot);
    checkReach(isRoot, mountpoint, text);
    this.#portable.serve(onVirtual, () => {
      this.#binding.fuse_native_unmount(mountpoint, this.#thread);
      onEnd();
    });
    await new Promise<void>((mounted) => {
      const { handlers, implemented } = fuseHandlers(this.#binding, this.#portable, mounted);
      const allocate = (sizeBytes: number) => {
        const buffer = Buffer.alloc(sizeBytes);
        this.#held.push(buffer);
        return buffer;
      };
      try {
        this.#binding.fuse_native_mount(mountpoint, text, this.#thread, {}, allocate, handlers, implemented);
      } catch (error) {
        throw new Error('libfuse could not mount; what it said is in the log', { cause: error });
      }
    });
    // With libfuse's own threads the mount would become slower and slower.
    if (!this.#portable.runs()) throw new Error('libfuse does not take its requests from the addon');
  }

  /** Ends serving at once. */
  stop(): void {
    this.#portable.stop();
  }

  /** After the engine has stopped. */
  release(): void {
    this.#portable.release();
  }
}

/** Throws what libfuse would only print. */
function checkReach(isRoot: boolean, mountpoint: string, text: string): void {
  try {
    accessSync(DEVICE, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw new Error(`${DEVICE} cannot be opened`, { cause: error });
  }
  if (Buffer.byteLength(text) > MOST_TEXT_BYTES || Buffer.byteLength(mountpoint) > MOST_TEXT_BYTES) {
    throw new Error('the paths of backing and mountpoint are too long for it');
  }
  if (isRoot) return;
  const places = [HELPER_DIRECTORY, ...(process.env.PATH ?? '').split(delimiter)];
  const found = places.some((place) => {
    try {
      accessSync(join(place, 'fusermount'), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error('an ordinary user needs fusermount (install the package fuse3)');
}
