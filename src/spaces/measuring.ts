// What spaces hold that the kernel enforces: read from the quotas of their filesystems while somebody writes or asks, and told to the data plane.

import type { LotId } from '../core/lot.js';
import type { Space } from '../core/space.js';
import type { SpaceHost } from './host.js';

const TICK_MS = 3000;

/** Ticks after the last change of a space until it is left alone: btrfs commits, and so counts, twice meanwhile. */
const ACTIVE_TICKS = 20;

/** Who looks at a number gets one that is no older, where that takes no longer. */
const FRESH_MS = 1000;
const PATIENCE_MS = 250;

/** A limit may be rounded to blocks of the filesystem. */
const SLACK_BYTES = 65_536;

export interface MeasuringParts {
  host: Pick<SpaceHost, 'measure' | 'bytesOf' | 'onUse'>;
  /** All that there are. */
  spaces: () => Space[];
}

/** One question to a filesystem at a time, for all of its spaces; nobody waits for one that hangs. */
export class Measuring {
  readonly #parts: MeasuringParts;
  /** By name: why the kernel does not hold it to its size. */
  readonly #loose = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #activeTicks = 0;
  #reading: Promise<void> | null = null;
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: MeasuringParts) {
    this.#parts = parts;
  }

  get troubles(): string[] {
    const known = new Set(this.#enforced().map(({ name }) => name));
    return [...this.#loose]
      .filter(([name]) => known.has(name))
      .map(([name, why]) => `space '${name}' is no longer enforced by the kernel: ${why}; 'space create ${name} SIZE' mends it`);
  }

  /** From the mount on. */
  start(): void {
    this.#parts.host.onUse((lot) => this.#used(lot));
    this.#activeTicks = ACTIVE_TICKS;
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** Resolves when nothing is being read, or what hangs is given up. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#atMost(this.#reading);
  }

  /** Reads anew what is old, and waits for that a moment. Never rejects. */
  async refresh(): Promise<void> {
    if (this.#enforced().length === 0 || performance.now() - this.#readAtMs < FRESH_MS) return;
    await this.#atMost(this.read());
  }

  /** Reads anew. Never rejects. */
  read(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#readAtMs = performance.now();
      this.#reading = null;
    });
    return this.#reading;
  }

  #used(lot: LotId): void {
    if (this.#enforced().some(({ lotId }) => lotId === lot)) this.#activeTicks = ACTIVE_TICKS;
  }

  #tick(): void {
    if (this.#activeTicks === 0) return;
    this.#activeTicks -= 1;
    if (this.#enforced().length > 0) void this.read();
  }

  #enforced(): Space[] {
    return this.#parts.spaces().filter(({ enforce, state }) => enforce === 'kernel' && state === 'ready');
  }

  async #read(): Promise<void> {
    const { host } = this.#parts;
    const asked = this.#enforced();
    const found = await host.measure(asked);
    for (const space of asked) {
      const quota = found.get(space.name);
      // Its pool is away, which is told elsewhere.
      if (quota === undefined) continue;
      const sizeBytes = host.bytesOf(space)?.sizeBytes ?? 0;
      if (quota === null) this.#loose.set(space.name, 'the filesystem counts it no more, as where quotas were switched off');
      else if (quota.limitBytes === null) this.#loose.set(space.name, 'its limit was taken away');
      else if (quota.limitBytes > sizeBytes + SLACK_BYTES) this.#loose.set(space.name, 'its limit was raised');
      else this.#loose.delete(space.name);
    }
  }

  async #atMost(reading: Promise<void> | null): Promise<void> {
    if (reading === null) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, PATIENCE_MS);
    });
    await Promise.race([reading, late]);
    clearTimeout(timer);
  }
}
