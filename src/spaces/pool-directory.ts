// The directories of spaces in one pool beside the main one, behind the mount: what is not served at a path of the mount is nobody's, and
// nothing there is charged.

import { randomUUID } from 'node:crypto';
import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../core/errors.js';
import { OWN_DIRECTORY } from '../core/paths.js';
import { Garbage } from '../removal/garbage.js';
import { HeldDirectory } from '../removal/held-directory.js';
import type { SpaceLog } from './host.js';
import type { Subvolumes } from './subvolumes.js';

/** Relative to the pool's directory. */
const SPACES = `${OWN_DIRECTORY}/spaces`;
const REMOVED = `${OWN_DIRECTORY}/removed-spaces`;

const MODE = 0o755;
const PRIVATE = 0o700;

export class PoolDirectory {
  /** Of the pool. */
  readonly #directory: string;
  readonly #subvolumes: Subvolumes;
  readonly #garbage: Garbage;

  constructor(directory: string, subvolumes: Subvolumes, log: SpaceLog) {
    this.#directory = directory;
    this.#subvolumes = subvolumes;
    this.#garbage = new Garbage(this, 'spaces', log);
  }

  /** Where the space is, relative to the pool's directory. */
  static pathOf(name: string): string {
    return `${SPACES}/${name}`;
  }

  /** Makes it where it is missing; as a subvolume where that is asked for. Throws SYSTEM errors, TOOL_… */
  async make(name: string, asSubvolume: boolean): Promise<void> {
    await this.#ensure(SPACES);
    const path = this.at(name);
    if (!asSubvolume) await mkdir(path, PRIVATE).catch(unlessThere);
    else if (!(await isThere(path))) await this.#subvolumes.make(path, this.#directory);
    await HeldDirectory.with(path, async ({ handle }) => {
      await handle.chmod(MODE);
      await handle.sync();
    });
  }

  /** Where it is. */
  at(name: string): string {
    return join(this.#directory, PoolDirectory.pathOf(name));
  }

  /** Takes it away; its files go afterwards. One that is not there is passed over. */
  async takeAway(name: string): Promise<void> {
    await this.#garbage.after(async () => {
      await this.#ensure(REMOVED);
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
      const { dev } = await removed.handle.stat();
      for (const name of await readdir(removed.at())) {
        const status = await lstat(removed.at(name));
        // A subvolume is a filesystem of its own, which goes at one stroke.
        if (status.isDirectory() && status.dev !== dev) await this.#subvolumes.remove(join(this.#directory, REMOVED, name));
      }
      return work(removed);
    });
  }

  async #ensure(path: string): Promise<void> {
    await mkdir(join(this.#directory, path), { recursive: true, mode: PRIVATE });
  }
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => null)) !== null;
}

function unlessThere(error: unknown): void {
  if (errnoOf(error) !== 'EEXIST') throw error;
}
