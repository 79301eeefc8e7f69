// What producers and consumers on one spool agree on: jobs, the contents of entries, and lines of logs. compat/multispool/other.py has it too.
import { bytesData, type SpoolKind, textMeta } from '../../src/spool/kind.js';

/** Enqueues `count` entries, named ID-000000 and on. */
export interface ProduceJob {
  spool: string;
  queue: string;
  id: string;
  count: number;
}

/**
 * Handles what comes to a queue until SIGTERM: takes a lock (a symbolic link to its id, so that two at once are seen), logs
 * `begin NAME`, checks metadata and data, saves or removes, logs `done NAME`, gives the lock back. Where it finds what somebody who
 * was killed has done half, it logs `halved NAME` and does it all.
 */
export interface ConsumeJob {
  spool: string;
  queue: string;
  id: string;
  /** Directory of locks, of this queue alone. */
  locks: string;
  /** The log is appended to. */
  log: string;
  /** Where entries are saved to; null: they are removed. */
  to: string | null;
  /** Entries with an odd number are removed all the same. */
  removesOdd?: boolean;
}

export type TextKind = SpoolKind<string, Uint8Array | AsyncIterable<Uint8Array>, string>;

export const textKind = (queues: readonly string[]): TextKind => ({ queues, meta: textMeta, data: bytesData });

export const nameOf = (id: string, i: number): string => `${id}-${String(i).padStart(6, '0')}`;

export const isOdd = (name: string): boolean => Number(name.at(-1)) % 2 === 1;

/** Metadata of an entry in a queue. */
export const metadataOf = (name: string, queue: string): string => `${name} → ${queue}`;

/** An entry's data: 10 to 700 bytes that only this name has. */
export function dataOf(name: string): Buffer {
  const sum = Buffer.from(name).reduce((all, byte) => all + byte, 0);
  return Buffer.from(`${name}\n`.repeat(1 + (sum % 40)));
}
