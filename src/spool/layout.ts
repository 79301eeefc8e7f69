// Where each file of a spool lies (Multispool 3.1).

import { join } from 'node:path';
import { CHECKOUT } from './names.js';

/** The paths below one spool directory. */
export class Layout {
  readonly dir: string;
  /** An empty file for each name that is in use. */
  readonly registry: string;
  /** Metadata that is being written. */
  readonly tmp: string;
  /** The payloads; they never move. */
  readonly data: string;

  constructor(dir: string) {
    this.dir = dir;
    this.registry = join(dir, '.registry');
    this.tmp = join(dir, '.tmp');
    this.data = join(dir, '.data');
  }

  /** Metadata of the entries that are queued. */
  queue(queue: string): string {
    return join(this.dir, queue);
  }

  /** Metadata of the entries that are checked out. */
  checkout(queue: string): string {
    return join(this.dir, queue, CHECKOUT);
  }
}
