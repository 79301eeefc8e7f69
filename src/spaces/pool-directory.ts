// The directories of spaces in one pool that are grafted, behind the mount: what is not served at a path of the mount is nobody's, and
// nothing there is charged.

import { randomUUID } from 'node:crypto';
import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { OWN_DIRECTORY } from '../core/paths.js';
import { Garbage } from '../removal/garbage.js';
import { HeldDirectory } from '../removal/held-directory.js';
import type { SpaceLog } from './host.js';
import type { KernelQuota, Quota } from './kernel-quota.js';

/** Relative to the pool's directory. */
const SPACES = `${OWN_DIRECTORY}/spaces`;
const REMOVED = `${OWN_DIRECTORY}/removed-spaces`;

const MODE = 0o755;
const PRIVATE = 0o700;

export class PoolDirectory {
  /** Of the pool. */
  readonly #directory: string;
  /** null: the filesystem can hold nothing to a size. It may not be known yet while the pool is away. */
  readonly #quota: () => KernelQuota | null;
  readonly #garbage: Garbage;

  constructor(directory: string, quota: () => KernelQuota | null, log: SpaceLog) {
    this.#directory = directory;
    this.#quota = quota;
    this.#garbage = new Garbage(this, 'spaces', log);
  }

  /** Where the space is, relative to the pool's directory. */
  static pathOf(name: string): string {
    return `${SPACES}/${name}`;
  }

  /** Makes it where it is missing; as one that the kernel can enforce where that is asked for. Throws SYSTEM errors, TOOL_… */
  async make(name: string, byKernel: boolean): Promise<void> {
    await this.#ensure(SPACES);
    const path = this.at(name);
    if (byKernel) await this.#must().make(path, this.#directory);
    else await mkdir(path, PRIVATE).catch(unlessThere);
    await HeldDirectory.with(path, async ({ handle }) => {
      await handle.chmod(MODE);
      await handle.sync();
    });
  }

  /** Why the kernel can enforce nothing here; null: it can. */
  whyNotByKernel(): string | null {
    if (process.geteuid?.() !== 0) return 'the daemon must be root';
    const quota = this.#quota();
    return quota === null ? 'only btrfs, and XFS with project quotas, can' : quota.whyNot(this.#directory);
  }

  /** Sets what it may hold. Throws TOOL_…, NOT_SUPPORTED. */
  limit(name: string, bytes: number): Promise<void> {
    return this.#must().limit(this.at(name), bytes, this.#directory);
  }

  /** What the filesystem has for each of these; null: it counts it not. Throws TOOL_… */
  async measure(names: readonly string[]): Promise<Map<string, Quota | null>> {
    const paths = names.map((name) => this.at(name));
    const found = await this.#must().read(paths, this.#directory);
    return new Map(names.map((name) => [name, found.get(this.at(name)) ?? null]));
  }

  /** Where it is. */
  at(name: string): string {
    return join(this.#directory, PoolDirectory.pathOf(name));
  }

  /** Takes it away; its files go afterwards. One that is not there is passed over. Throws TOOL_… where the kernel enforces it. */
  async takeAway(name: string, byKernel: boolean): Promise<void> {
    await this.#garbage.after(async () => {
      await this.#ensure(REMOVED);
      // Nobody finds it again once its files are on their way out.
      if (byKernel && (await lstat(this.at(name)).catch(() => null)) !== null) {
        await this.#must().release(this.at(name), this.#directory);
      }
      await rename(this.at(name), join(this.#directory, REMOVED, randomUUID())).catch((error: unknown) => {
        if (errnoOf(error) !== 'ENOENT') throw error;
      });
    });
  }

  /** What an earlier daemon has left is cleared away. Whether there is something. */
  async collect(): Promise<boolean> {
    const names = await readdir(join(this.#directory, REMOVED)).catch(() => []);
    if (names.length > 0) this.#garbage.collect();
    return names.length > 0;
  }

  /** Waits until nothing is being removed, at most so long. False: there was nothing to wait for. */
  settled(mostMs: number): Promise<boolean> {
    return this.#garbage.settled(mostMs);
  }

  stop(): Promise<void> {
    return this.#garbage.stop();
  }

  /** Runs `work` on the directory of what was taken away. */
  withRemoved<T>(work: (removed: HeldDirectory) => Promise<T>): Promise<T> {
    return HeldDirectory.with(join(this.#directory, REMOVED), async (removed) => {
      return work(removed);
    });
  }

  #must(): KernelQuota {
    const quota = this.#quota();
    if (quota === null) throw new VreserveError('NOT_SUPPORTED', { reason: `${this.#directory} has no quotas` });
    return quota;
  }

  async #ensure(path: string): Promise<void> {
    await mkdir(join(this.#directory, path), { recursive: true, mode: PRIVATE });
  }
}

function unlessThere(error: unknown): void {
  if (errnoOf(error) !== 'EEXIST') throw error;
}
