// The spaces of a mount: each is a lot with its size dedicated on a directory of its own. Commands, one at a time for a name, and mending.

import { compareBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { NameTurns } from '../core/name-turns.js';
import type { Space, SpacePool } from '../core/space.js';
import type { By, SpaceJson, SpaceRequest, SpaceResult } from '../views/host.js';
import { SpaceChanges } from './changes.js';
import type { SpaceHost, SpaceLog } from './host.js';
import { Measuring } from './measuring.js';

/** How long the answer to a removal waits until its bytes are free again. */
const CLEARING_MS = 3000;

type Creating = Extract<SpaceRequest, { do: 'create' }>;
type Updating = Extract<SpaceRequest, { do: 'update' }>;

export interface SpacesParts {
  host: SpaceHost;
  log: SpaceLog;
  /** The daemon itself, which mends. */
  self: By;
}

export class Spaces {
  readonly #parts: SpacesParts;
  readonly #changes: SpaceChanges;
  readonly #measuring: Measuring;
  readonly #turns = new NameTurns();
  /** By name: why it can be neither changed nor removed now. */
  readonly #held = new Map<string, string>();
  /** What a crash has left is mended. Commands wait for it. */
  #isRecovered = () => {};
  readonly #recovered = new Promise<void>((resolve) => {
    this.#isRecovered = resolve;
  });
  #isClosed = false;

  constructor(parts: SpacesParts) {
    this.#parts = parts;
    this.#changes = new SpaceChanges(parts);
    this.#measuring = new Measuring({ host: parts.host, spaces: () => this.#changes.all() });
  }

  /** What is wrong, one sentence each. */
  get troubles(): string[] {
    return [...this.#changes.troubles, ...this.#measuring.troubles];
  }

  /** Before the mount: what the ledger has. */
  load(): Promise<void> {
    return this.#changes.load();
  }

  /** After it: what a crash has left half is undone, or gone on with. Never rejects. */
  async recover(): Promise<void> {
    if (!this.#parts.host.readOnly) await this.#changes.recover();
    this.#measuring.start();
    this.#isRecovered();
  }

  /** No command is taken any more; resolves when none is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#turns.idle();
    await this.#measuring.stop();
    await this.#parts.host.close();
  }

  /** A command. Throws NOT_YOURS, READ_ONLY, ENDING, SPACE_…, what admission refuses; then nothing is changed. */
  async run(request: SpaceRequest, by: By): Promise<SpaceResult> {
    switch (request.do) {
      case 'create':
        return this.#change(request.name, by, () => this.#create(request, by, false));
      case 'update':
        return this.#change(request.name, by, () => this.#update(request, by));
      case 'delete':
        return this.#change(request.name, by, () => this.#delete(request, by));
      case 'lookup':
        this.#parts.host.checkMaySee(by, 'look up a space');
        this.#must(request.name);
        await this.#measuring.refresh();
        return this.#show(this.#must(request.name));
      case 'list':
        this.#parts.host.checkMaySee(by, 'list spaces');
        await this.#measuring.refresh();
        return this.#list(request.all);
    }
  }

  /** For what the mount makes by itself: a space that is there is left as it is. */
  async makeOwn(name: string, bytes: number): Promise<SpaceJson> {
    const { self } = this.#parts;
    const request = { do: 'create', name, bytes, policy: 'ssd-first', enforce: 'mount', at: null } as const;
    return this.#turn(name, () => this.#create(request, self, true));
  }

  /** What the kernel counts is as new as can be had within a moment. Never rejects. */
  refresh(): Promise<void> {
    return this.#measuring.refresh();
  }

  /** What it holds and may hold; null: it is not there. */
  own(name: string): SpaceJson | null {
    const space = this.#changes.get(name);
    return space?.state === 'ready' ? this.#show(space) : null;
  }

  /** Sets its size, as the daemon. Throws SPACE_UNKNOWN, NO_SPACE, SPACE_SHRINK. */
  resizeOwn(name: string, bytes: number): Promise<void> {
    return this.#turn(name, () => this.#changes.resize(this.#must(name), bytes, this.#parts.self));
  }

  /** From now on commands neither change nor remove it, for this reason; null: they do again. */
  hold(name: string, reason: string | null): void {
    if (reason === null) this.#held.delete(name);
    else this.#held.set(name, reason);
  }

  async #create({ name, bytes, policy, enforce, at }: Omit<Creating, 'do'>, by: By, isHidden: boolean): Promise<SpaceJson> {
    await this.#changes.settle(name);
    const known = this.#changes.get(name);
    const space = known ?? (await this.#changes.create({ name, bytes, policy, enforce, at, isHidden }, by));
    if (known !== undefined) await this.#changes.mend(known);
    return this.#show(space);
  }

  async #update({ name, bytes }: Updating, by: By): Promise<SpaceJson> {
    this.#refuseHeld(name);
    await this.#changes.settle(name);
    const space = this.#must(name);
    await this.#changes.resize(space, bytes, by);
    return this.#show(space);
  }

  async #delete({ name }: { name: string }, by: By): Promise<{ deleted: boolean }> {
    this.#refuseHeld(name);
    const deleted = await this.#changes.remove(name, by);
    if (deleted) await this.#changes.cleared(CLEARING_MS);
    return { deleted };
  }

  #change<T>(name: string, by: By, work: () => Promise<T>): Promise<T> {
    const { host } = this.#parts;
    return this.#turn(name, async () => {
      host.checkMayChange(by, 'make, change and delete spaces');
      if (host.readOnly) throw new VreserveError('READ_ONLY');
      return work();
    });
  }

  #turn<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.#turns.run(name, async () => {
      await this.#recovered;
      if (this.#isClosed) throw new VreserveError('ENDING');
      return work();
    });
  }

  #refuseHeld(name: string): void {
    const reason = this.#held.get(name);
    if (reason !== undefined) throw new VreserveError('SPACE_IS_CACHE', { name, reason });
  }

  #must(name: string): Space {
    const space = this.#changes.get(name);
    if (space === undefined || space.state === 'creating') throw new VreserveError('SPACE_UNKNOWN', { name });
    return space;
  }

  #list(all: boolean): SpaceJson[] {
    const wanted = this.#changes.all().filter(({ isHidden, state }) => state !== 'creating' && (all || !isHidden));
    const pools = this.#parts.host.pools();
    return wanted.sort((a, b) => compareBytes(a.name, b.name)).map((space) => this.#show(space, pools));
  }

  #show(space: Space, pools: readonly SpacePool[] = this.#parts.host.pools()): SpaceJson {
    const { name, path, pool, policy, enforce, isHidden: hidden, state } = space;
    const { sizeBytes, usedBytes } = this.#parts.host.bytesOf(space) ?? { sizeBytes: 0, usedBytes: 0 };
    const found = pools.find(({ id }) => id === pool);
    const where = { pool: found?.name ?? String(pool), type: found?.type ?? null };
    return { name, path, sizeBytes, usedBytes, ...where, policy, enforce, state, hidden };
  }
}
