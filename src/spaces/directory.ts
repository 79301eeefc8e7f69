// The directories of spaces, made and taken away through the mount, as any program would: so the kernel knows of it, and every byte that
// goes is refunded.

import { randomUUID } from 'node:crypto';
import { lstat, mkdir, rename, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { parentPath } from '../core/paths.js';
import { SPACES_PATH } from '../core/space.js';
import { clear } from '../removal/clear.js';
import { Garbage } from '../removal/garbage.js';
import { HeldDirectory } from '../removal/held-directory.js';
import { processWith } from '../removal/in-use.js';
import type { SpaceDirectories, SpaceLog } from './host.js';
import { REMOVED_PATH, WORK_PATH } from './layout.js';

/** Everybody may look, and only its owner writes, until that one says otherwise. */
const MODE = 0o755;

const PRIVATE = 0o700;

/** Nothing is held open between two calls, so that the mount is not kept busy. All of it throws ENDING where the mount is gone. */
export class SpaceDirectory implements SpaceDirectories {
  readonly #mountpoint: string;
  /** Which filesystem the mount is. */
  readonly #device: bigint;
  readonly #garbage: Garbage;
  readonly #stop = new AbortController();

  private constructor(mountpoint: string, device: bigint, log: SpaceLog) {
    this.#mountpoint = mountpoint;
    this.#device = device;
    this.#garbage = new Garbage(this, 'spaces', log);
  }

  /** What an earlier process has left of removed spaces is cleared away. */
  static async open(mountpoint: string, log: SpaceLog): Promise<SpaceDirectory> {
    const { dev } = await stat(mountpoint, { bigint: true });
    const directory = new SpaceDirectory(mountpoint, dev, log);
    if (await directory.#within('/', (top) => isThere(top, REMOVED_PATH))) directory.#garbage.collect();
    return directory;
  }

  /** Waits for what is under way; then nothing in the mount is in use any more. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#garbage.stop();
  }

  async makeSpace(path: string): Promise<boolean> {
    const parent = parentPath(path);
    if (parent === SPACES_PATH) await this.#ensureTop();
    return this.#within(parent, async (held) => {
      if (!(await made(held.at(nameOf(path)), PRIVATE))) return false;
      try {
        // Exactly its mode, whatever the umask.
        await HeldDirectory.with(held.at(nameOf(path)), ({ handle }) => handle.chmod(MODE));
      } catch (error) {
        await rmdir(held.at(nameOf(path))).catch(() => {});
        throw error;
      }
      await held.handle.sync();
      return true;
    });
  }

  async unmakeSpace(path: string): Promise<void> {
    await this.#within(parentPath(path), (held) => rmdir(held.at(nameOf(path)))).catch((error: unknown) => {
      if (!['ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error;
    });
  }

  async takeSpaceAway(path: string): Promise<void> {
    await this.#garbage.after(async () => {
      await this.#ensureTop();
      await this.#within('/', async (top) => {
        await made(top.at(below(WORK_PATH)), PRIVATE);
        await made(top.at(below(REMOVED_PATH)), PRIVATE);
      });
      try {
        await this.#moveAway(path);
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return;
        // It lies in a lot that was bound around it: its files are that lot's, and go where they are.
        if (errnoOf(error) !== 'EXDEV') throw error;
        await this.#empty(path);
      }
    });
  }

  async spaceUser(path: string): Promise<number | null> {
    await this.#within('/', async () => {});
    return processWith(this.#mountpoint, path);
  }

  spacesCleared(mostMs: number): Promise<boolean> {
    return this.#garbage.settled(mostMs);
  }

  /** Runs `work` on the directory of what was taken away. */
  withRemoved<T>(work: (removed: HeldDirectory) => Promise<T>): Promise<T> {
    return this.#within(REMOVED_PATH, work);
  }

  #moveAway(path: string): Promise<void> {
    return this.#within(parentPath(path), (held) =>
      this.#within(REMOVED_PATH, async (removed) => {
        await rename(held.at(nameOf(path)), removed.at(randomUUID()));
        await held.handle.sync();
      }),
    );
  }

  /** Its files one by one, and then the directory. */
  #empty(path: string): Promise<void> {
    return this.#within(parentPath(path), async (held) => {
      const left = await HeldDirectory.with(held.at(nameOf(path)), (directory) => clear(directory, this.#stop.signal));
      if (left.error !== undefined) throw left.error;
      await rmdir(held.at(nameOf(path)));
    });
  }

  /** Makes `/spaces` where it is missing. Throws SPACES_FOREIGN where others may change what is in it. */
  #ensureTop(): Promise<void> {
    return this.#within('/', async (top) => {
      const name = below(SPACES_PATH);
      const isNew = await made(top.at(name), PRIVATE);
      if (isNew) await HeldDirectory.with(top.at(name), ({ handle }) => handle.chmod(MODE));
      const status = await lstat(top.at(name), { bigint: true });
      const foreign = (reason: string) => new VreserveError('SPACES_FOREIGN', { path: SPACES_PATH, reason });
      if (!status.isDirectory()) throw foreign('it is not a directory');
      if (Number(status.uid) !== process.geteuid?.()) throw foreign(`it belongs to user ${status.uid}`);
      if ((status.mode & 0o022n) !== 0n) throw foreign('others than its owner may write to it');
    });
  }

  /** Runs `work` on a directory of the mount, which is reached without following a link. */
  async #within<T>(path: string, work: (held: HeldDirectory) => Promise<T>): Promise<T> {
    const ending = (error: unknown) => new VreserveError('ENDING', {}, { cause: error });
    let held = await HeldDirectory.open(this.#mountpoint).catch((error: unknown) => {
      throw errnoOf(error) === 'ENOENT' ? ending(error) : error;
    });
    try {
      const { dev } = await held.handle.stat({ bigint: true });
      if (dev !== this.#device) throw ending(undefined);
      for (const name of path.split('/').filter(Boolean)) {
        const next = await HeldDirectory.open(held.at(name));
        await held.handle.close();
        held = next;
      }
      return await work(held);
    } catch (error) {
      if (error instanceof VreserveError || !(error instanceof Error)) throw error;
      // Who reads it knows the directory by its path, not by our descriptor.
      const reason = error.message.replaceAll(held.at().toString(), `${join(this.#mountpoint, path)}/`);
      throw new VreserveError('SYSTEM', { errno: errnoOf(error) ?? 'EIO', reason }, { cause: error });
    } finally {
      await held.handle.close();
    }
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** As seen from the root of the mount. */
function below(path: string): string {
  return path.slice(1);
}

async function isThere(top: HeldDirectory, path: string): Promise<boolean> {
  try {
    return (await lstat(top.at(below(path)))).isDirectory();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

/** False: it was there. */
async function made(path: Buffer, mode: number): Promise<boolean> {
  try {
    await mkdir(path, mode);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}
