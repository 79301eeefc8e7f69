// A file is whole or not there: written beside, onto the disk, renamed (Multispool 3.3).

import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '../core/errors.js';

/** What a file can be made of. */
export type Content = string | Uint8Array | AsyncIterable<Uint8Array>;

const MOST_BYTES = 255;
const TRIES = 100;

/**
 * Replaces `path`, with its permissions and, where allowed, its owner kept; a new file has 0666 less the umask. The temporary file
 * is `ESCAPED.tmp.XXXXXX`, named after and beside `prefix` (`path` itself without one), and is on the disk before the rename. Where
 * anything fails it is removed and the first error thrown. The directory is not synced.
 */
export async function saveAtomically(path: string, content: Content, prefix: string = path): Promise<void> {
  const old = await statIfThere(path);
  const { handle, temp } = await openTemp(prefix, old === null ? 0o666 : 0o600);
  try {
    try {
      if (old !== null) await keepAttributes(handle, old);
      await writeFile(handle, content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temp, path);
  } catch (error) {
    await unlink(temp).catch(() => {});
    throw error;
  }
}

async function statIfThere(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

async function openTemp(prefix: string, mode: number): Promise<{ handle: FileHandle; temp: string }> {
  for (let tries = 1; ; tries++) {
    const temp = join(dirname(prefix), tempName(basename(prefix), randomBytes(3).toString('hex')));
    try {
      return { handle: await open(temp, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, mode), temp };
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || tries === TRIES) throw error;
    }
  }
}

/** Cut short where the name would not fit a directory otherwise. */
function tempName(base: string, random: string): string {
  const ending = `.tmp.${random}`;
  const characters = [...base.replace(/[/'\0\n-]/g, '_')];
  while (Buffer.byteLength(characters.join('')) + ending.length > MOST_BYTES) characters.pop();
  return `${characters.join('')}${ending}`;
}

/** The owner first: a change of it takes set-uid bits away. */
async function keepAttributes(handle: FileHandle, old: Stats): Promise<void> {
  const fresh = await handle.stat();
  if (fresh.uid !== old.uid || fresh.gid !== old.gid) {
    try {
      await handle.chown(old.uid, old.gid);
    } catch (error) {
      if (errnoOf(error) !== 'EPERM') throw error;
    }
  }
  await handle.chmod(old.mode & 0o7777);
}
