// Makes the names in a directory survive a crash.
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { errnoOf } from '../core/errors.js';

/** fsync of a directory. Filesystems that cannot sync one say EINVAL: there it is as durable as it gets. Throws what the system says. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } catch (error) {
    if (errnoOf(error) !== 'EINVAL') throw error;
  } finally {
    await handle.close();
  }
}
