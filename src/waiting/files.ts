// The files of the spool `requests`, where others may have put anything in the way.

import { randomUUID } from 'node:crypto';
import { constants as flags } from 'node:fs';
import { lstat, lutimes, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';

/** A name as text; null where its bytes are not UTF-8, and it is none of ours. */
export function nameOf(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

export class BoxFiles {
  readonly #dir: string;
  /** The spool's own directory as it was at first. */
  #identity: { dev: number; ino: number } | undefined;

  constructor(dir: string) {
    this.#dir = dir;
  }

  path(...parts: string[]): string {
    return join(this.#dir, ...parts);
  }

  /** Notes which directory it is. Throws where there is none. */
  async attach(): Promise<void> {
    const { dev, ino } = await stat(this.#dir);
    this.#identity = { dev, ino };
  }

  /** What is not there is believed only while the mount is: throws ENDING where the path leads elsewhere by now. */
  async checkAttached(): Promise<void> {
    if (this.#identity === undefined) return;
    const now = await stat(this.#dir).catch(() => null);
    const { dev, ino } = this.#identity;
    if (now?.dev !== dev || now?.ino !== ino) throw new VreserveError('ENDING');
  }

  /** Names in a directory, in no order. */
  async list(...directory: string[]): Promise<string[]> {
    const all = await readdir(this.path(...directory), { encoding: 'buffer' });
    await this.checkAttached();
    return all.flatMap((bytes) => nameOf(bytes) ?? []).filter((name) => name !== '.checkout');
  }

  /** null where it is not there. */
  async look(...parts: string[]) {
    const status = await lstat(this.path(...parts), { bigint: true }).catch(absent);
    if (status === null) await this.checkAttached();
    return status;
  }

  /** Renames; a directory that somebody has put in the way is put aside. */
  async replace(from: string, to: string): Promise<void> {
    try {
      await rename(from, to);
    } catch (error) {
      if (!isInTheWay(error)) throw error;
      await this.#putAside(to);
      await rename(from, to);
    }
  }

  async unlink(...parts: string[]): Promise<void> {
    const path = this.path(...parts);
    try {
      await unlink(path);
    } catch (error) {
      if (isInTheWay(error)) await this.#putAside(path);
      else absent(error);
    }
  }

  async touch(...parts: string[]): Promise<void> {
    const now = new Date();
    await lutimes(this.path(...parts), now, now);
  }

  /** Makes what happened to the names in a directory last. */
  async sync(...directory: string[]): Promise<void> {
    const handle = await open(this.path(...directory), flags.O_RDONLY | flags.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  async #putAside(path: string): Promise<void> {
    await rename(path, this.path('.tmp', `in-the-way.${randomUUID()}`)).catch(absent);
  }
}

export function absent(error: unknown): null {
  if (errnoOf(error) === 'ENOENT') return null;
  throw error;
}

/** A directory where a file is to be, or the reverse. */
function isInTheWay(error: unknown): boolean {
  return ['EISDIR', 'ENOTDIR', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '');
}
