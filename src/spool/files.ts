// The files of one spool by entry name: metadata, payload, registry. Knows the layout and the codecs, and no entry's life.

import { join, relative } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { saveAtomically } from './atomic.js';
import { Disk } from './disk.js';
import type { SpoolKind } from './kind.js';
import { Layout } from './layout.js';
import { decodeUtf8, isWellFormed, printable } from './names.js';

/** What entries, checkouts and readers of one spool share. */
export class SpoolFiles<Meta, Data, Queue extends string> {
  readonly kind: SpoolKind<Meta, Data, Queue>;
  readonly layout: Layout;
  readonly disk: Disk;

  constructor(dir: string, kind: SpoolKind<Meta, Data, Queue>) {
    this.kind = kind;
    this.layout = new Layout(dir);
    this.disk = new Disk(kind.throttle, kind.clock);
  }

  /** Throws SPOOL_BAD_QUEUE. */
  checkQueue(queue: Queue): void {
    if (this.kind.queues.includes(queue)) return;
    throw new VreserveError('SPOOL_BAD_QUEUE', { queue: printable(String(queue)), reason: 'the spool has no such queue' });
  }

  /** Of the file `name` in a queue's directory or its checkouts. Throws SPOOL_NOT_UTF8, SPOOL_BAD_META. */
  async readMeta(directory: string, name: string): Promise<Meta> {
    const bytes = await this.disk.read(join(directory, name));
    const details = { name: printable(name), where: relative(this.layout.dir, directory) };
    let text: string;
    try {
      text = decodeUtf8(bytes);
    } catch (error) {
      throw new VreserveError('SPOOL_NOT_UTF8', details, { cause: error });
    }
    try {
      return this.kind.meta.decode(text);
    } catch (error) {
      const reason = printable(error instanceof Error ? error.message : String(error));
      throw new VreserveError('SPOOL_BAD_META', { ...details, reason }, { cause: error });
    }
  }

  /** Onto the disk, by way of `.tmp`; the directory is not synced. Throws SPOOL_NOT_UTF8. */
  async saveMeta(directory: string, name: string, meta: Meta): Promise<void> {
    const text = this.kind.meta.encode(meta);
    if (!isWellFormed(text)) {
      throw new VreserveError('SPOOL_NOT_UTF8', { name: printable(name), where: relative(this.layout.dir, directory) });
    }
    await this.disk.save(join(directory, name), text, join(this.layout.tmp, name));
  }

  dataPath(name: string): string {
    return join(this.layout.data, name);
  }

  loadData(name: string): Promise<Data> {
    return this.disk.run(() => this.kind.data.load(this.dataPath(name)));
  }

  /** Onto the disk, whatever the codec does; the directory is not synced. */
  async saveData(name: string, data: Data): Promise<void> {
    const target = this.dataPath(name);
    let synced = false;
    await this.disk.run(() =>
      this.kind.data.save(target, data, {
        saveAtomically: async (path, content) => {
          await saveAtomically(path, content);
          if (path === target) synced = true;
        },
      }),
    );
    if (!synced) await this.disk.syncFile(target);
  }

  touchRegistry(name: string): Promise<void> {
    return this.disk.touch(join(this.layout.registry, name));
  }

  /**
   * Removes the entry whose metadata is in `directory`. The registry goes last, and after the metadata is gone for good: a name
   * that could be reserved anew while a crash can still bring its old entry back would let that one replace the new one.
   */
  async remove(directory: string, name: string): Promise<void> {
    await this.touchRegistry(name);
    await this.disk.unlink(this.dataPath(name));
    await this.disk.unlink(join(directory, name));
    await this.disk.syncDirectory(directory);
    await this.disk.unlink(join(this.layout.registry, name));
  }
}

/** The job's outcome; false where a file that it needs is not there. */
export async function unlessMissing(job: () => Promise<void>): Promise<boolean> {
  try {
    await job();
    return true;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    return false;
  }
}
