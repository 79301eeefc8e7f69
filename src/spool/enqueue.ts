// A new entry appears in its queue whole and on the disk, or not at all (Multispool 3.3).

import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import type { SpoolFiles } from './files.js';
import { checkEntryName, printable, type UniqueName } from './names.js';

/** What a caller's names are made of: called with 0, 1, 2 … until a name is free. */
export type NameGenerator = (attempt: number) => string;

/**
 * The first name that is free, now in use by its registry file. Throws SPOOL_BAD_NAME, and SPOOL_NAME_TAKEN where the generator
 * gives the same taken name twice running.
 */
export async function reserveName(files: SpoolFiles<unknown, unknown, string>, generator: NameGenerator): Promise<UniqueName> {
  let taken: string | null = null;
  for (let attempt = 0; ; attempt++) {
    const name = generator(attempt);
    checkEntryName(name);
    if (name === taken) throw new VreserveError('SPOOL_NAME_TAKEN', { name: printable(name) });
    try {
      await files.disk.createExclusively(join(files.layout.registry, name));
      return name as UniqueName;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      taken = name;
    }
  }
}

/**
 * Metadata, payload and their directories are on the disk before the rename that makes the entry visible, so that no crash leaves
 * half an entry in a queue; the queue's directory is after it. Where anything fails all is removed, the name too.
 */
export async function putInto<Meta, Data, Queue extends string>(
  files: SpoolFiles<Meta, Data, Queue>,
  queue: Queue,
  name: UniqueName,
  meta: Meta,
  data: Data,
): Promise<void> {
  const { disk, layout } = files;
  const queued = join(layout.queue(queue), name);
  try {
    await files.saveMeta(layout.tmp, name, meta);
    await files.saveData(name, data);
    await Promise.all([disk.syncDirectory(layout.registry), disk.syncDirectory(layout.data)]);
    await disk.rename(join(layout.tmp, name), queued);
  } catch (error) {
    await rollBack(files, name, [join(layout.tmp, name), queued]);
    throw error;
  }
  try {
    await disk.syncDirectory(layout.queue(queue));
  } catch (error) {
    // Whoever has taken it by now owns it, payload and name too. Unlinking is how it is taken back, as a checkout would take it.
    const ours = await disk.unlink(queued).then(
      () => true,
      () => false,
    );
    if (!ours) return;
    await rollBack(files, name, []);
    throw error;
  }
}

async function rollBack(files: SpoolFiles<unknown, unknown, string>, name: string, metadata: string[]): Promise<void> {
  for (const path of [...metadata, files.dataPath(name), join(files.layout.registry, name)]) {
    await files.disk.unlink(path).catch(() => {});
  }
}
