// The original API without a mount: a record of who wants how many bytes where, which nothing enforces.

import { VreserveError } from '../core/errors.js';
import type { Volumes } from './host.js';

/** A filesystem of the machine. */
export interface Volume {
  /** The same for all paths on it. */
  device: string;
  /** What an ordinary user could still write; bytes. */
  freeBytes(): Promise<number>;
}

export interface Promised {
  path: string;
  bytes: number;
}

interface Claim {
  bytes: number;
  device: string;
}

export interface AdvisoryParts {
  /** Where a path, which need not exist, is. Throws VreserveError. */
  volumeOf(path: string): Promise<Volume>;
  /** Records all that is promised; where it fails the change is undone. */
  keep(promised: readonly Promised[]): Promise<void>;
}

/** A path holds one claim, on the volume where it was when it was reserved. */
export class Advisory implements Volumes {
  readonly #parts: AdvisoryParts;
  readonly #claims = new Map<string, Claim>();
  readonly #claimed = new Map<string, number>();
  /** Changes are made one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(parts: AdvisoryParts) {
    this.#parts = parts;
  }

  /** What was promised before, whatever is free now. */
  async resume(promised: readonly Promised[]): Promise<void> {
    for (const { path, bytes } of promised) {
      const { device } = await this.#parts.volumeOf(path);
      this.#set(path, { bytes, device });
    }
  }

  reserve(path: string, bytes: bigint): Promise<void> {
    return this.#inTurn(async () => {
      const { device, freeBytes } = await this.#parts.volumeOf(path);
      const before = this.#claims.get(path);
      const own = before?.device === device ? before.bytes : 0;
      const availableBytes = Math.max(0, (await freeBytes()) - ((this.#claimed.get(device) ?? 0) - own));
      if (bytes > BigInt(availableBytes)) throw new VreserveError('NO_SPACE', { path, availableBytes });
      await this.#change(path, { bytes: Number(bytes), device });
    });
  }

  release(path: string): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#claims.has(path)) await this.#change(path, undefined);
    });
  }

  async report(path: string): Promise<Map<string, number>> {
    try {
      const { device } = await this.#parts.volumeOf(path);
      const here = [...this.#claims].filter(([, claim]) => claim.device === device);
      return new Map(here.map(([each, { bytes }]) => [each, bytes]));
    } catch {
      return new Map();
    }
  }

  async #change(path: string, claim: Claim | undefined): Promise<void> {
    const before = this.#claims.get(path);
    this.#set(path, claim);
    try {
      await this.#parts.keep([...this.#claims].map(([each, { bytes }]) => ({ path: each, bytes })));
    } catch (error) {
      this.#set(path, before);
      throw error;
    }
  }

  #set(path: string, claim: Claim | undefined): void {
    const before = this.#claims.get(path);
    if (before !== undefined) this.#claimed.set(before.device, (this.#claimed.get(before.device) ?? 0) - before.bytes);
    if (claim === undefined) {
      this.#claims.delete(path);
      return;
    }
    this.#claims.set(path, claim);
    this.#claimed.set(claim.device, (this.#claimed.get(claim.device) ?? 0) + claim.bytes);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}
