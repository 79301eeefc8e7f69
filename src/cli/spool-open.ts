// From the words DIR and QUEUE to a spool: any program's, its queues known from its directory.
import { type Dirent, existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { compareBytes } from '../core/bytes.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { bytesData, textMeta } from '../spool/kind.js';
import { Layout } from '../spool/layout.js';
import { Spool } from '../spool/spool.js';
import { statOf } from './spool-look.js';

/** Payloads as they are: what is put in may be a stream. */
export type Bytes = Uint8Array | AsyncIterable<Uint8Array>;

/** A spool as the command line sees it: metadata is text, data is bytes, queues are what is there. */
export type AnySpool = Spool<string, Bytes, string>;

/** How many names of queues an error lists. */
const LISTED_QUEUES = 12;

/** What the library needs to know, with these queues. */
export function kindWith(queues: readonly string[]) {
  return { queues, meta: textMeta, data: bytesData };
}

/** The directory, absolute. Throws USAGE where the word is empty, which would be the current directory. */
export function directoryOf(word: string): string {
  if (word === '') throw new VreserveError('USAGE', { reason: 'DIR is empty' });
  return resolve(word);
}

/** As `openSpool`, for those who only read: they need not be able to write. */
export function openToRead(word: string, queues: readonly string[] = []): AnySpool {
  const dir = directoryOf(word);
  if (!existsSync(dir)) throw new VreserveError('SPOOL_NOT_A_DIRECTORY', { path: word });
  return Spool.loadUnsafe(dir, kindWith(queuesToUse(word, dir, queues)));
}

/** The spool with these queues, or with all it has where none is named. Throws SPOOL_… or a system's error. */
export async function openSpool(word: string, queues: readonly string[] = []): Promise<AnySpool> {
  const dir = directoryOf(word);
  if (!existsSync(dir)) throw new VreserveError('SPOOL_NOT_A_DIRECTORY', { path: word });
  return await Spool.load(dir, kindWith(queuesToUse(word, dir, queues)));
}

/** Those that are named, or all there are. */
function queuesToUse(word: string, dir: string, named: readonly string[]): string[] {
  if (!isSpool(dir)) throw new VreserveError('SPOOL_NOT_A_SPOOL', { path: word });
  const there = queuesOf(dir);
  for (const queue of named) {
    if (!there.includes(queue)) throw unknownQueue(word, queue, there);
  }
  return named.length === 0 ? there : [...new Set(named)];
}

/** As Multispool tells a spool: `.registry` and `.tmp` are directories. */
export function isSpool(dir: string): boolean {
  const { registry, tmp } = new Layout(dir);
  return [registry, tmp].every((path) => statOf(path)?.isDirectory() === true);
}

/** Every directory in the spool whose name begins with no dot, bytewise. */
export function queuesOf(dir: string): string[] {
  try {
    return readdirSync(dir, { withFileTypes: true })
      .filter((entry) => !entry.name.startsWith('.') && isDirectory(dir, entry))
      .map(({ name }) => name)
      .sort(compareBytes);
  } catch (error) {
    throw asVreserveError(error);
  }
}

function isDirectory(dir: string, entry: Dirent): boolean {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  return statOf(join(dir, entry.name))?.isDirectory() ?? false;
}

function unknownQueue(dir: string, queue: string, there: readonly string[]): VreserveError {
  const more = there.length > LISTED_QUEUES ? ` and ${there.length - LISTED_QUEUES} more` : '';
  const has = there.length === 0 ? 'none' : `${there.slice(0, LISTED_QUEUES).join(', ')}${more}`;
  return new VreserveError('SPOOL_NO_QUEUE', { dir, queue, has });
}
