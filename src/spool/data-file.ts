// The payload of one entry.

import type { Stats } from 'node:fs';
import type { SpoolFiles } from './files.js';

/** `.data/NAME`. Whoever holds the entry may load and save it as often as they like. */
export class DataFile<Data> {
  readonly path: string;
  readonly #files: SpoolFiles<unknown, Data, string>;
  readonly #name: string;

  constructor(files: SpoolFiles<unknown, Data, string>, name: string) {
    this.#files = files;
    this.#name = name;
    this.path = files.dataPath(name);
  }

  load(): Promise<Data> {
    return this.#files.loadData(this.#name);
  }

  /** On the disk when it resolves. */
  async save(data: Data): Promise<void> {
    await this.#files.saveData(this.#name, data);
    await this.#files.disk.syncDirectory(this.#files.layout.data);
  }

  stat(): Promise<Stats> {
    return this.#files.disk.stat(this.path);
  }
}
