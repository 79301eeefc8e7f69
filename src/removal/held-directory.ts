// A directory held by a descriptor: what is done in it is done in that very directory, whatever becomes of its path meanwhile.

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;

export class HeldDirectory {
  readonly handle: FileHandle;

  private constructor(handle: FileHandle) {
    this.handle = handle;
  }

  /** Throws ENOENT, and ENOTDIR for anything else than a directory: a symbolic link, too. */
  static async open(path: string | Buffer): Promise<HeldDirectory> {
    return new HeldDirectory(await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  }

  /** Runs `work` with the directory, and lets go of it. */
  static async with<T>(path: string | Buffer, work: (directory: HeldDirectory) => Promise<T>): Promise<T> {
    const directory = await HeldDirectory.open(path);
    try {
      return await work(directory);
    } finally {
      await directory.handle.close();
    }
  }

  /** The directory itself, or what has this name in it. */
  at(name?: string | Buffer): Buffer {
    const self = Buffer.from(`/proc/self/fd/${this.handle.fd}/`);
    return name === undefined ? self : Buffer.concat([self, Buffer.from(name)]);
  }
}
