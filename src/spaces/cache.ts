// The cache of a mount: a space of its own that grows when it fills up and shrinks when it is empty, and that can be seen elsewhere.

import { asVreserveError } from '../core/errors.js';
import { CACHE_NAME, cacheSize, cacheStep } from '../core/space.js';
import type { SpaceLog } from './host.js';
import type { Spaces } from './spaces.js';

/** How often it is looked whether the mount is still there. */
const WATCH_MS = 500;

/** Where the cache is to be seen besides the mount, by a bind mount. */
export interface CachePlace {
  readonly path: string;
  /** Shows the directory there; what an earlier daemon has left there is taken away. Throws SYSTEM. */
  show(): Promise<void>;
  /** Takes it away, also where it is in use; nothing where it is not there. */
  hide(): Promise<void>;
  /** Whether the mount itself is still at its mountpoint. Does not touch it. */
  isMounted(): boolean;
}

export interface CacheParts {
  spaces: Spaces;
  log: SpaceLog;
  /** What was asked for. */
  bytes: number;
  intervalMs: number;
  /** null: in the mount alone. */
  place: CachePlace | null;
}

export class Cache {
  readonly #parts: CacheParts;
  readonly #stepBytes: number;
  #timer: NodeJS.Timeout | undefined;
  #watch: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #isShown = false;
  #hiding: Promise<void> | null = null;
  /** Why it is not there, or not to be seen at its place. */
  #trouble: string | null = null;
  /** Why it cannot grow. */
  #fullness: string | null = null;

  constructor(parts: CacheParts) {
    this.#parts = parts;
    this.#stepBytes = cacheStep(parts.bytes);
  }

  get troubles(): string[] {
    return [this.#trouble, this.#fullness].filter((trouble) => trouble !== null);
  }

  /** After the mount: makes it where it is missing. Never rejects. */
  async start(): Promise<void> {
    const { spaces, log, bytes, intervalMs, place } = this.#parts;
    try {
      const made = await spaces.makeOwn(CACHE_NAME, bytes);
      if (!made.hidden) throw new Error(`there is a space '${CACHE_NAME}' that the mount did not make`);
      spaces.hold(CACHE_NAME, 'mount without --cache first');
      this.#timer = setInterval(() => this.#look(), intervalMs);
      await place?.show();
      this.#isShown = place !== null;
      if (place !== null) this.#watch = setInterval(() => void (place.isMounted() || this.#hide()), WATCH_MS);
    } catch (error) {
      log.error({ err: error }, 'the cache is not there');
      const where = this.#timer === undefined ? 'there is no cache' : `the cache cannot be seen at ${place?.path}`;
      this.#trouble = `${where}: ${asVreserveError(error).message}`;
    }
  }

  /** Before the mount goes. Resolves when it is to be seen nowhere else. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
    await this.#hide();
  }

  #look(): void {
    this.#looking = this.#looking.then(() => this.#resize());
  }

  async #resize(): Promise<void> {
    const { spaces, log } = this.#parts;
    try {
      const cache = spaces.own(CACHE_NAME);
      if (cache === null) return;
      const { sizeBytes, usedBytes } = cache;
      const bytes = cacheSize(sizeBytes, usedBytes, this.#stepBytes);
      if (bytes === sizeBytes) return;
      await spaces.resizeOwn(CACHE_NAME, bytes);
      log.info({ sizeBytes: bytes, beforeBytes: sizeBytes, usedBytes }, 'the cache has another size');
      this.#fullness = null;
    } catch (error) {
      const { code, message } = asVreserveError(error);
      // It was written to in between, and is looked at again.
      if (code === 'SPACE_SHRINK' || code === 'ENDING') return;
      if (this.#fullness === null) log.warn({ err: error }, 'the cache cannot grow');
      this.#fullness = `the cache cannot grow: ${message}`;
    }
  }

  #hide(): Promise<void> {
    clearInterval(this.#watch);
    if (this.#isShown) this.#hiding ??= this.#takeAway();
    return this.#hiding ?? Promise.resolve();
  }

  async #takeAway(): Promise<void> {
    const { place, log } = this.#parts;
    await place
      ?.hide()
      .catch((error: unknown) => log.error({ err: error, path: place.path }, 'the cache could not be taken away'));
  }
}
