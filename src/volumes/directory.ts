// The directory of the volumes in the mount, and in it what is being made and removed.

import { randomUUID } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { lstat, mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { HeldDirectory } from '../removal/held-directory.js';
import { isVolumeName, VOLUMES_PATH } from './names.js';
import type { DirectoryOptions } from './options.js';

/** Of vreserve alone. No volume has such a name. */
const WORK = '.work';

/** A change that has begun and is not over: an empty directory of the volume's name tells of it. */
export type Change = 'creating' | 'removing';

/** Where what was taken away waits to be removed. */
const REMOVED = 'removed';

const PARTS = ['creating', 'removing', REMOVED] as const;

/** Others may pass, to what a volume's own mode lets them, and not look around. */
const VOLUMES_MODE = 0o711;

/**
 * Nothing is held open between two calls, so that the mount is not kept busy; each call looks whether the directory is still the
 * one it was. Throws ENDING where it is not: another mount, or none, is at the mountpoint by now.
 */
export class VolumeDirectory {
  /** As the host sees it. */
  readonly path: string;
  #identity: { dev: bigint; ino: bigint } | undefined;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Takes the directory, which is made where it is missing. null: it is not there, and must not be made. Throws VOLUMES_FOREIGN
   * where something is in its place that is not vreserve's, SYSTEM.
   */
  static async take(mountpoint: string, readOnly: boolean): Promise<VolumeDirectory | null> {
    const directory = new VolumeDirectory(join(mountpoint, VOLUMES_PATH));
    const isNew = !readOnly && (await made(directory.path, VOLUMES_MODE));
    const top = await lstat(directory.path, { bigint: true }).catch(absent);
    if (top === null) return null;
    const foreign = (reason: string) => new VreserveError('VOLUMES_FOREIGN', { path: directory.path, reason });
    if (!top.isDirectory()) throw foreign('it is not a directory');
    if (Number(top.uid) !== process.geteuid?.()) throw foreign(`it belongs to user ${top.uid}`);
    if ((top.mode & 0o022n) !== 0n) throw foreign('others than its owner may write to it');
    directory.#identity = top;
    await directory.#with(async (held) => {
      const names = await readdir(held.at());
      if (!isNew && names.length > 0 && !names.includes(WORK)) throw foreign('it holds something else');
      if (readOnly) return;
      // Exactly its mode, whatever the umask. Later it is its owner's to change.
      if (await made(held.at(WORK), 0o700)) await held.handle.chmod(VOLUMES_MODE);
      for (const part of PARTS) await made(held.at(`${WORK}/${part}`), 0o700);
    });
    return directory;
  }

  /** What has the name: a volume that is not being made or removed, nothing, or something that is no volume. */
  look(name: string): Promise<'volume' | 'absent' | 'other'> {
    return this.#with(async (held) => {
      const status = await lstat(held.at(name)).catch(absent);
      if (status === null) return 'absent';
      const isChanged = (await isChanging(held, 'creating', name)) || (await isChanging(held, 'removing', name));
      return status.isDirectory() && !isChanged ? 'volume' : 'other';
    });
  }

  isChanging(change: Change, name: string): Promise<boolean> {
    return this.#with((held) => isChanging(held, change, name));
  }

  /** Names of all volumes that are not being made or removed, in no order. */
  names(): Promise<string[]> {
    return this.#with(async (held) => {
      const all = await readdir(held.at(), { withFileTypes: true });
      const changing = new Set((await Promise.all([this.changing('creating'), this.changing('removing')])).flat());
      return all.filter((each: Dirent) => each.isDirectory() && isVolumeName(each.name) && !changing.has(each.name)).map(nameOf);
    });
  }

  /** Makes a volume's directory. Throws SYSTEM errors; then there is none. */
  make(name: string, { uid, gid, mode }: DirectoryOptions): Promise<void> {
    return this.#with(async (held) => {
      await mkdir(held.at(name), 0o700);
      try {
        await HeldDirectory.with(held.at(name), async ({ handle }) => {
          if (uid !== undefined || gid !== undefined) await handle.chown(uid ?? UNCHANGED, gid ?? UNCHANGED);
          // After the owner, whose change takes set-uid bits away.
          await handle.chmod(mode);
        });
      } catch (error) {
        await rmdir(held.at(name)).catch(() => {});
        throw error;
      }
      await held.handle.sync();
    });
  }

  /** Removes a volume's directory, if there is one. False: it is not empty. */
  unmake(name: string): Promise<boolean> {
    return this.#with(async (held) => {
      try {
        await rmdir(held.at(name));
      } catch (error) {
        const errno = errnoOf(error) ?? '';
        if (errno === 'ENOTEMPTY' || errno === 'EEXIST') return false;
        if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw error;
      }
      return true;
    });
  }

  /** Notes durably that a change has begun. */
  begin(change: Change, name: string): Promise<void> {
    return this.#with(async (held) => {
      await made(held.at(`${WORK}/${change}/${name}`), 0o700);
      await HeldDirectory.with(held.at(`${WORK}/${change}`), ({ handle }) => handle.sync());
    });
  }

  /** The change is over, or undone. */
  end(change: Change, name: string): Promise<void> {
    return this.#with(async (held) => {
      await rmdir(held.at(`${WORK}/${change}/${name}`)).catch(absent);
    });
  }

  /** Names whose change has begun. */
  changing(change: Change): Promise<string[]> {
    return this.#with(async (held) => (await readdir(held.at(`${WORK}/${change}`)).catch(absent)) ?? []);
  }

  /** Takes a volume out of sight, whole. One that is not there is passed over. */
  takeAway(name: string): Promise<void> {
    return this.#with(async (held) => {
      await rename(held.at(name), held.at(`${WORK}/${REMOVED}/${randomUUID()}`)).catch(absent);
      await held.handle.sync();
    });
  }

  /** Runs `work` on the directory of what was taken away. */
  withRemoved<T>(work: (removed: HeldDirectory) => Promise<T>): Promise<T> {
    return this.#with((held) => HeldDirectory.with(held.at(`${WORK}/${REMOVED}`), work));
  }

  async #with<T>(work: (held: HeldDirectory) => Promise<T>): Promise<T> {
    const held = await HeldDirectory.open(this.path).catch((error: unknown) => {
      throw errnoOf(error) === 'ENOENT' ? new VreserveError('ENDING', {}, { cause: error }) : error;
    });
    try {
      const { dev, ino } = await held.handle.stat({ bigint: true });
      if (dev !== this.#identity?.dev || ino !== this.#identity.ino) throw new VreserveError('ENDING');
      return await work(held);
    } catch (error) {
      if (error instanceof VreserveError || !(error instanceof Error)) throw error;
      // Who reads it knows the directory by its path, not by our descriptor.
      const reason = error.message.replaceAll(held.at().toString(), `${this.path}/`);
      throw new VreserveError('SYSTEM', { errno: errnoOf(error) ?? 'EIO', reason }, { cause: error });
    } finally {
      await held.handle.close();
    }
  }
}

async function isChanging(held: HeldDirectory, change: Change, name: string): Promise<boolean> {
  return (await lstat(held.at(`${WORK}/${change}/${name}`)).catch(absent)) !== null;
}

/** For chown: leave it. */
const UNCHANGED = 2 ** 32 - 1;

function nameOf({ name }: Dirent): string {
  return name;
}

function absent(error: unknown): null {
  if (errnoOf(error) === 'ENOENT') return null;
  throw error;
}

/** False: it was there. */
async function made(path: string | Buffer, mode: number): Promise<boolean> {
  try {
    await mkdir(path, mode);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}
