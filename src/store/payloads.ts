// The files that hold the bytes of blobs: where each lies, and which are there when a store is opened.

import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../core/errors.js';
import type { Directories } from './directories.js';
import { lotDirectoryName } from './names.js';

/** What a payload is called while it is written. */
const WRITING = '.tmp';

/** A payload's place: the lot that pays for it, '' for the store's own, and its id. */
export interface PayloadPlace {
  lot: string;
  id: string;
}

/** Called with a lot and its directory, which is there, before the first payload of it since the store was opened. */
export type PrepareLot = (lot: string, directory: string) => Promise<void>;

export class Payloads {
  readonly #dir: string;
  readonly #directories: Directories;
  readonly #prepareLot: PrepareLot;
  readonly #prepared = new Map<string, Promise<void>>();

  constructor(dir: string, directories: Directories, prepareLot: PrepareLot) {
    this.#dir = dir;
    this.#directories = directories;
    this.#prepareLot = prepareLot;
  }

  /** `data` for the store's own, `lots/LOT` for another lot's. Throws STORE_BAD_LOT. */
  directory(lot: string): string {
    return lot === '' ? join(this.#dir, 'data') : join(this.#dir, 'lots', lotDirectoryName(lot));
  }

  path({ lot, id }: PayloadPlace): string {
    return join(this.directory(lot), id);
  }

  /** Where it is until it is whole. */
  temporaryPath(place: PayloadPlace): string {
    return this.path(place) + WRITING;
  }

  /** Makes the directories that every store has, on the disk. */
  async make(): Promise<void> {
    for (const name of ['data', 'lots']) await this.#directories.make(join(this.#dir, name));
  }

  /** Makes the lot's directory where it is missing. Throws what `prepareLot` does, and asks it again the next time. */
  async prepare(lot: string): Promise<void> {
    if (lot === '') return;
    let prepared = this.#prepared.get(lot);
    if (prepared === undefined) {
      prepared = this.#directories.make(this.directory(lot)).then(() => this.#prepareLot(lot, this.directory(lot)));
      this.#prepared.set(lot, prepared);
    }
    try {
      await prepared;
    } catch (error) {
      this.#prepared.delete(lot);
      throw error;
    }
  }

  /** At most, of the filesystem that it would lie on; in a mount, of the lot. null: nobody knows. */
  async freeBytes(lot: string): Promise<number | null> {
    try {
      const { blocks, bfree, bsize } = await statfs(this.directory(lot));
      // In whole blocks: a lot has room to the byte.
      return blocks === 0 ? null : (bfree + 1) * bsize - 1;
    } catch {
      return null;
    }
  }

  begin(place: PayloadPlace): Promise<FileHandle> {
    return open(this.temporaryPath(place), constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
  }

  /** The file, whose bytes are on the disk, gets its name for good. */
  async finish(place: PayloadPlace): Promise<void> {
    await rename(this.temporaryPath(place), this.path(place));
    await this.#directories.sync(this.directory(place.lot));
  }

  /** No error where it is gone already. */
  async remove(path: string): Promise<void> {
    try {
      await unlink(path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }

  /** The names that are gone from the lot's directory stay gone. */
  sync(lot: string): Promise<void> {
    return this.#directories.sync(this.directory(lot));
  }

  /** Whatever lies in the directories of payloads. */
  async scan(): Promise<FoundPayloads> {
    const found = new FoundPayloads();
    await found.read(join(this.#dir, 'data'), 'data');
    const lots = await readdir(join(this.#dir, 'lots'), { withFileTypes: true });
    for (const { name } of lots.filter((entry) => entry.isDirectory()))
      await found.read(join(this.#dir, 'lots', name), `lots/${name}`);
    return found;
  }
}

/** The files of payloads when a store is opened. What has another name is nobody's, and is left alone. */
export class FoundPayloads {
  /** By id: the directory it is in. */
  readonly #whole = new Map<string, string>();
  readonly #paths = new Map<string, string>();
  /** Paths of those that were being written. */
  readonly unfinished: string[] = [];

  has({ lot, id }: PayloadPlace): boolean {
    const place = this.#whole.get(id);
    return place !== undefined && place === (lot === '' ? 'data' : `lots/${lotDirectoryName(lot)}`);
  }

  /** With their paths. */
  ids(): IterableIterator<[id: string, path: string]> {
    return this.#paths.entries();
  }

  async read(path: string, place: string): Promise<void> {
    for (const name of await readdir(path)) {
      if (/^\d{1,20}$/.test(name)) {
        this.#whole.set(name, place);
        this.#paths.set(name, join(path, name));
      } else if (/^\d{1,20}\.tmp$/.test(name)) this.unfinished.push(join(path, name));
    }
  }
}
