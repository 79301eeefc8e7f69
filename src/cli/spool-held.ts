// Entries that are checked out: found again by name, saved, removed, and what is left of broken ones cleared away.
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import { CheckedOutEntry } from '../spool/checked-out.js';
import { SpoolFiles } from '../spool/files.js';
import { dataPath, type EntryState, metadataPath, registryPath } from './spool-look.js';
import type { AnySpool, Bytes } from './spool-open.js';

export type Held = CheckedOutEntry<string, Bytes, string>;

/** Takes the entry; throws SPOOL_NO_ENTRY or SPOOL_CHECKED_OUT where it is not to be had. */
export async function takeNamed(spool: AnySpool, queue: string, name: string): Promise<Held> {
  const held = await spool.checkoutIfFound(spool.entry(queue, name));
  if (held !== null) return held;
  if (isHeld(spool, queue, name)) throw new VreserveError('SPOOL_CHECKED_OUT', { name });
  throw noEntry(queue, name);
}

/**
 * Removes an entry that is checked out, by whomever, whatever its metadata is. With `force` one that is queued, too, even where its
 * registry file is missing, without which nobody can take it.
 */
export async function removeNamed(spool: AnySpool, queue: string, name: string, force: boolean): Promise<void> {
  try {
    await removeHeld(spool, await heldNamed(spool, queue, name, force));
  } catch (error) {
    if (isUnreadable(error)) return await removeRest(spool, queue, name, 'checked-out');
    const isUnregistered = !existsSync(registryPath(spool.dir, name)) && isQueued(spool, queue, name);
    if (!force || !isUnregistered) throw error;
    await removeRest(spool, queue, name, 'queued');
  }
}

/** The entry that is checked out, by whomever. With `force` one that is queued is checked out first. */
export async function heldNamed(spool: AnySpool, queue: string, name: string, force: boolean): Promise<Held> {
  // The name is checked before anything is looked up by it.
  spool.entry(queue, name);
  if (isHeld(spool, queue, name)) return await reopen(spool, queue, name);
  if (force) return await takeNamed(spool, queue, name);
  if (isQueued(spool, queue, name)) throw new VreserveError('SPOOL_NOT_CHECKED_OUT', { name });
  throw noEntry(queue, name);
}

/** An entry that this process has not checked out itself. Throws SPOOL_NOT_UTF8, ENOENT. */
export async function reopen(spool: AnySpool, queue: string, name: string): Promise<Held> {
  const files = new SpoolFiles(spool.dir, spool.kind);
  return new CheckedOutEntry(files, queue, name, await files.readMeta(files.layout.checkout(queue), name));
}

/** Its metadata is no text: it is checked out, and cannot be handed on. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof VreserveError && error.code === 'SPOOL_NOT_UTF8';
}

function isHeld(spool: AnySpool, queue: string, name: string): boolean {
  return existsSync(metadataPath(spool.dir, queue, name, 'checked-out'));
}

function isQueued(spool: AnySpool, queue: string, name: string): boolean {
  return existsSync(metadataPath(spool.dir, queue, name, 'queued'));
}

function noEntry(queue: string, name: string): VreserveError {
  return new VreserveError('SPOOL_NO_ENTRY', { name, where: ` in queue '${queue}'` });
}

/** Without this look, an entry that somebody has put back and a third one has taken would be there twice. */
function checkHeld(spool: AnySpool, { queue, name }: Held): void {
  if (!isHeld(spool, queue, name)) throw new VreserveError('SPOOL_NO_LONGER_YOURS', { name });
}

/** Into that queue. Throws SPOOL_NO_LONGER_YOURS. */
export async function saveHeld(spool: AnySpool, held: Held, to: string): Promise<void> {
  checkHeld(spool, held);
  await held.save(to);
}

/** Also where the data is gone already, as when a command has moved it away. Throws SPOOL_NO_LONGER_YOURS. */
export async function removeHeld(spool: AnySpool, held: Held): Promise<void> {
  checkHeld(spool, held);
  try {
    await held.remove();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw asVreserveError(error);
    await removeRest(spool, held.queue, held.name, 'checked-out');
  }
}

/** Where the library stops at a file that is missing, the rest goes in the same order. */
async function removeRest({ dir }: AnySpool, queue: string, name: string, state: EntryState): Promise<void> {
  for (const file of [dataPath(dir, name), metadataPath(dir, queue, name, state), registryPath(dir, name)]) {
    await rm(file, { force: true });
  }
}
