// What is different from spool to spool: queues, how metadata and payloads are written, the throttle.

import { readFile } from 'node:fs/promises';
import type { Clock } from '../core/clock.js';
import type { Content } from './atomic.js';
import { Turns } from './turns.js';

/** Metadata as text (valid UTF-8) and back. `decode` throws on what it does not understand. */
export interface MetaCodec<Meta> {
  encode(meta: Meta): string;
  decode(text: string): Meta;
}

/** What a data codec may use. */
export interface DataTools {
  /** Writes a file beside `path`, onto the disk, and renames it to `path`; leaves nothing behind where it fails. */
  saveAtomically(path: string, content: Content): Promise<void>;
}

/** A payload as a file and back. `save` makes `path` whole or throws. */
export interface DataCodec<Data> {
  save(path: string, data: Data, tools: DataTools): Promise<void>;
  load(path: string): Promise<Data>;
}

/** Runs each disk operation when it likes, exactly once, and gives its result. Jobs are never nested. */
export type Throttle = <T>(job: () => Promise<T>) => Promise<T>;

/** All that a spool's directory does not say of itself. */
export interface SpoolKind<Meta, Data, Queue extends string> {
  /** Names of directories, in the order in which they are made. */
  queues: readonly Queue[];
  meta: MetaCodec<Meta>;
  data: DataCodec<Data>;
  /** Without one, operations run at once. */
  throttle?: Throttle;
  /** Times that files are touched with; the system's clock without it. */
  clock?: Clock;
}

/** Metadata that is text: as it is. */
export const textMeta: MetaCodec<string> = { encode: (meta) => meta, decode: (text) => text };

/** Payloads that are bytes, saved from memory or from a stream; `load` gives a Uint8Array. */
export const bytesData: DataCodec<Uint8Array | AsyncIterable<Uint8Array>> & { load(path: string): Promise<Uint8Array> } = {
  save: (path, data, tools) => tools.saveAtomically(path, data),
  load: (path) => readFile(path),
};

/** A throttle: at most `count` operations at once, in the order in which they were asked for. */
export function jobsAtMost(count: number): Throttle {
  if (!Number.isSafeInteger(count) || count < 1) throw new RangeError(`${count} operations at once is no throttle`);
  const turns = new Turns(count);
  return async (job) => {
    await turns.take();
    try {
      return await job();
    } finally {
      turns.pass();
    }
  };
}
