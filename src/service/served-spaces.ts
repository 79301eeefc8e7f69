// The directories of spaces, as the service process has them: opened with the mount.

import { asVreserveError, VreserveError } from '../core/errors.js';
import { SpaceDirectory } from '../spaces/directory.js';
import type { SpaceDirectories, SpaceLog } from '../spaces/host.js';

export class ServedSpaces {
  readonly #mountpoint: string;
  readonly #log: SpaceLog;
  /** null: the mount is not there yet, or no longer. */
  #directory: SpaceDirectory | null = null;

  constructor(mountpoint: string, log: SpaceLog) {
    this.#mountpoint = mountpoint;
    this.#log = log;
  }

  /** They throw ENDING. */
  readonly methods: SpaceDirectories = {
    makeSpace: (path) => this.#open().makeSpace(path),
    unmakeSpace: (path) => this.#open().unmakeSpace(path),
    takeSpaceAway: (path) => this.#open().takeSpaceAway(path),
    spaceUser: (path) => this.#open().spaceUser(path),
    spacesCleared: (mostMs) => this.#open().spacesCleared(mostMs),
  };

  /** Why they are not there; null: they are, or it is a read-only mount, which has none that could be changed. */
  async open(readOnly: boolean): Promise<string | null> {
    if (readOnly) return null;
    try {
      this.#directory = await SpaceDirectory.open(this.#mountpoint, this.#log);
      return null;
    } catch (error) {
      return `spaces cannot be changed: ${asVreserveError(error).message}`;
    }
  }

  async close(): Promise<void> {
    const directory = this.#directory;
    this.#directory = null;
    await directory?.close();
  }

  #open(): SpaceDirectory {
    if (this.#directory === null) throw new VreserveError('ENDING');
    return this.#directory;
  }
}
