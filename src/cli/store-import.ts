// `vreserve store import`: takes over the data directory of a go-storage-server.
import { resolve } from 'node:path';
import { formatBytes } from '../core/bytes.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { type ImportReport, type ImportTarget, importOriginal } from '../store/import.js';
import { intoStore } from '../store/import-targets.js';
import type { Command } from './command.js';
import { note, ProgressLine, print, printJson } from './output.js';
import { openStore } from './store-open.js';

export const importCommand: Command = {
  usage: 'store import DIR --into STORE',
  description: [
    'Takes over the blobs of a go-storage-server from its data directory DIR: those that are OK, with their logs and times. DIR is',
    'only read; end the server before. STORE is a store that nobody serves now, which is made where it is missing.',
    'Done again, it takes what is missing. What is not taken is listed with the reason.',
  ],
  examples: ['vreserve store import /var/lib/go-storage-server/data --into /srv/blobs'],
  options: {
    into: { type: 'string', unit: 'STORE', help: 'the directory of the store that takes them' },
  },
  words: [1, 1],
  async run({ positionals: [dir = ''], text, json }) {
    const into = text('into');
    if (dir === '') throw new VreserveError('USAGE', { reason: 'DIR is empty' });
    if (into === undefined) throw new VreserveError('USAGE', { reason: `--into is missing: vreserve ${importCommand.usage}` });
    const store = await openStore(into, { gcIntervalMs: null });
    let report: ImportReport;
    try {
      report = await importFrom(dir, intoStore(store));
    } finally {
      await store.close();
    }
    if (json) printJson({ ok: true, ...report });
    else show(report);
    return 0;
  },
};

async function importFrom(dir: string, target: ImportTarget): Promise<ImportReport> {
  const line = new ProgressLine();
  try {
    return await importOriginal(resolve(dir), target, ({ doneBytes, allBytes }) => {
      line.update(`${formatBytes(doneBytes)} of ${formatBytes(allBytes)}`, allBytes === 0 ? null : doneBytes / allBytes);
    });
  } catch (error) {
    throw asVreserveError(error);
  } finally {
    line.clear();
  }
}

function show({ imported, importedBytes, unchanged, skipped }: ImportReport): void {
  for (const { directory, name, reason } of skipped) note(`${directory}${name === null ? '' : ` (${name})`}: ${reason}`);
  const rest = [unchanged > 0 ? `${unchanged} were there already` : '', skipped.length > 0 ? `${skipped.length} skipped` : ''];
  print([`${imported} imported, ${formatBytes(importedBytes)}`, ...rest.filter(Boolean)].join('; '));
}
