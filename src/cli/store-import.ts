// `vreserve store import`: takes over the data directory of a go-storage-server.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { sendControl } from '../client/control.js';
import type { ImportProgress, ImportReport } from '../core/blob-import.js';
import { formatBytes } from '../core/bytes.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { importOriginal } from '../store/import.js';
import { intoStore } from '../store/import-targets.js';
import type { Command } from './command.js';
import { isVreserve, mountAt, realPathOf } from './mountinfo.js';
import { note, ProgressLine, print, printJson } from './output.js';
import { openStore } from './store-open.js';

export const importCommand: Command = {
  usage: 'store import DIR --into STORE|MNT',
  description: [
    'Takes over the blobs of a go-storage-server from its data directory DIR: those that are OK, with their logs and times. DIR is',
    'only read; end the server before. STORE is a store that nobody serves now, which is made where it is missing; MNT a mount.',
    'Done again, it takes what is missing. What is not taken is listed with the reason.',
  ],
  examples: [
    'vreserve store import /var/lib/go-storage-server/data --into /srv/blobs',
    'vreserve store import /var/lib/go-storage-server/data --into /mnt/data',
  ],
  options: {
    into: { type: 'string', unit: 'STORE', help: 'the directory of the store, or the mountpoint of the mount, that takes them' },
  },
  words: [1, 1],
  async run({ positionals: [dir = ''], text, json }) {
    const into = text('into');
    if (dir === '') throw new VreserveError('USAGE', { reason: 'DIR is empty' });
    if (into === undefined) throw new VreserveError('USAGE', { reason: `--into is missing: vreserve ${importCommand.usage}` });
    const report = await importFrom(resolve(dir), mountpointOf(into), into);
    if (json) printJson({ ok: true, ...report });
    else show(report);
    return 0;
  },
};

async function importFrom(dir: string, mountpoint: string | null, into: string): Promise<ImportReport> {
  const line = new ProgressLine();
  const onProgress = ({ doneBytes, allBytes }: ImportProgress) => {
    line.update(`${formatBytes(doneBytes)} of ${formatBytes(allBytes)}`, allBytes === 0 ? null : doneBytes / allBytes);
  };
  try {
    return await (mountpoint === null
      ? intoDirectory(dir, into, onProgress)
      : intoMount(dir, mountpoint, onProgress, line.isShown));
  } catch (error) {
    throw asVreserveError(error);
  } finally {
    line.clear();
  }
}

async function intoDirectory(dir: string, into: string, onProgress: (progress: ImportProgress) => void): Promise<ImportReport> {
  const store = await openStore(into, { gcIntervalMs: null });
  try {
    return await importOriginal(dir, intoStore(store), onProgress);
  } finally {
    await store.close();
  }
}

/** Its daemon does it. */
function intoMount(
  dir: string,
  mountpoint: string,
  onProgress: (progress: ImportProgress) => void,
  progress: boolean,
): Promise<ImportReport> {
  const tell = (reply: Record<string, unknown>) => {
    if (reply.progress !== undefined) onProgress(reply.progress as ImportProgress);
  };
  return sendControl<ImportReport>(mountpoint, { cmd: 'import', dir, progress }, { onProgress: tell });
}

/** null: it is no mountpoint of ours, so it is a directory. */
function mountpointOf(into: string): string | null {
  if (!existsSync(into)) return null;
  const real = realPathOf(resolve(into));
  const mount = mountAt(real);
  return mount !== undefined && isVreserve(mount) ? real : null;
}

function show({ imported, importedBytes, unchanged, skipped }: ImportReport): void {
  for (const { directory, name, reason } of skipped) note(`${directory}${name === null ? '' : ` (${name})`}: ${reason}`);
  const rest = [unchanged > 0 ? `${unchanged} were there already` : '', skipped.length > 0 ? `${skipped.length} skipped` : ''];
  print([`${imported} imported, ${formatBytes(importedBytes)}`, ...rest.filter(Boolean)].join('; '));
}
