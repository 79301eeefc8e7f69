// What lies in a spool, read without touching it: names, states, sizes, metadata as it is. Other processes go on meanwhile.
import { closeSync, openSync, readdirSync, readFileSync, readSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { compareBytes } from '../core/bytes.js';
import { asVreserveError, errnoOf } from '../core/errors.js';
import { Layout } from '../spool/layout.js';
import { CHECKOUT } from '../spool/names.js';

export type EntryState = 'queued' | 'checked-out';

export interface Seen {
  queue: string;
  name: string;
  state: EntryState;
  /** Of the data; null where it is gone. */
  dataBytes: number | null;
  /** When it came into this state, Unix ms. */
  sinceMs: number;
  /** As it is, or its beginning where that was asked for. */
  metadata: Buffer;
}

/** The file of an entry's metadata. */
export function metadataPath(dir: string, queue: string, name: string, state: EntryState): string {
  return join(placeOf(dir, queue, state), name);
}

/** The file of an entry's data, in whatever queue it is. */
export function dataPath(dir: string, name: string): string {
  return join(new Layout(dir).data, name);
}

/** The file that holds the name of an entry. */
export function registryPath(dir: string, name: string): string {
  return join(new Layout(dir).registry, name);
}

/** Names that are in use, in whatever state, in no order. */
export function registeredNames(dir: string): string[] {
  return namesIn(new Layout(dir).registry);
}

/** Names in a queue, in no order; none where a queue has lost its directory of what is checked out. */
export function namesOf(dir: string, queue: string, state: EntryState): string[] {
  return namesIn(placeOf(dir, queue, state)).filter((name) => name !== CHECKOUT);
}

/** The entries of a queue in both states, bytewise by name; of each at most `metadataBytes` of metadata. */
export function* look(dir: string, queue: string, metadataBytes: number): Generator<Seen> {
  const found = (['queued', 'checked-out'] as const).flatMap((state) =>
    namesOf(dir, queue, state).map((name) => ({ name, state })),
  );
  found.sort((a, b) => compareBytes(a.name, b.name));
  for (const { name, state } of found) {
    const seen = lookAt(dir, queue, name, state, metadataBytes);
    if (seen !== null) yield seen;
  }
}

/** The entry of this name, in whichever of the queues it is; null where it is in none. */
export function find(dir: string, queues: readonly string[], name: string): Seen | null {
  // An entry on its way from one place to the next can be missed in both: so there is a second look, and a third.
  for (let i = 0; i < 3; i++) {
    for (const state of ['queued', 'checked-out'] as const) {
      for (const queue of queues) {
        const seen = lookAt(dir, queue, name, state, Number.POSITIVE_INFINITY);
        if (seen !== null) return seen;
      }
    }
  }
  return null;
}

/** The entry in this place; null where it is not there. */
export function lookAt(dir: string, queue: string, name: string, state: EntryState, metadataBytes: number): Seen | null {
  const file = metadataPath(dir, queue, name, state);
  try {
    const stat = statOf(file);
    if (stat === null || !stat.isFile()) return null;
    const metadata = metadataBytes === Number.POSITIVE_INFINITY ? readFileSync(file) : beginningOf(file, metadataBytes);
    return {
      queue,
      name,
      state,
      dataBytes: statOf(dataPath(dir, name))?.size ?? null,
      sinceMs: Math.floor(stat.mtimeMs),
      metadata,
    };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw asVreserveError(error);
  }
}

/** Text where the bytes are UTF-8, else null: then they are in base64. */
export function metadataJson(metadata: Buffer): { metadata: string } | { metadata: null; metadataBase64: string } {
  try {
    return { metadata: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(metadata) };
  } catch {
    return { metadata: null, metadataBase64: metadata.toString('base64') };
  }
}

function placeOf(dir: string, queue: string, state: EntryState): string {
  const layout = new Layout(dir);
  return state === 'queued' ? layout.queue(queue) : layout.checkout(queue);
}

/** Null where nothing is there, or a file is in the way. */
export function statOf(path: string): Stats | null {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? null;
  } catch (error) {
    if (errnoOf(error) === 'ENOTDIR') return null;
    throw asVreserveError(error);
  }
}

function beginningOf(file: string, most: number): Buffer {
  const fd = openSync(file, 'r');
  try {
    const buffer = Buffer.alloc(most);
    return buffer.subarray(0, readSync(fd, buffer, 0, most, 0));
  } finally {
    closeSync(fd);
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw asVreserveError(error);
  }
}
