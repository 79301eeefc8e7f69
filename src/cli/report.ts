// `vreserve report`: the pool and its lots, of one mount, of all, or the lot of one path.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { formatBytes, formatExactBytes } from '../core/bytes.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { LotJson } from '../views/json.js';
import type { Command } from './command.js';
import { owningLot, readOwn, readReport } from './live.js';
import { type Place, vreserveMounts } from './mountinfo.js';
import { alignColumns, note, print, printJson } from './output.js';
import { findPlace } from './where.js';

export const report: Command = {
  usage: 'report [MNT|PATH]',
  description: [
    'Shows the pool of a mount and a line for each lot; for a path below a mount, the lot that owns it.',
    'Without an argument: every vreserve mount. The same is in .vreserve/report and report.json of each mount.',
  ],
  examples: ['vreserve report /mnt/data', 'vreserve report /mnt/data/job1 --json'],
  options: {},
  words: [0, 1],
  async run({ positionals: [typed], json }) {
    if (typed === undefined) return reportAll(json);
    const place = findPlace(typed);
    if (place.path !== '/') return reportPath(place, json);
    if (json) printJson(readReport(place.mount.mountpoint));
    else process.stdout.write(readOwn(place.mount.mountpoint, 'report'));
    return 0;
  },
};

/** A mount that cannot be read (its daemon is gone, say) does not hide the others. */
function reportAll(json: boolean): number {
  const mounts = vreserveMounts();
  let code = 0;
  const readable = mounts.flatMap(({ mountpoint }) => {
    try {
      return [json ? { mountpoint, ...readReport(mountpoint) } : readOwn(mountpoint, 'report')];
    } catch (error) {
      note(asVreserveError(error).message);
      code = 1;
      return [];
    }
  });
  if (json) printJson(readable);
  else process.stdout.write(mounts.length === 0 ? 'no vreserve mounts\n' : readable.join('\n'));
  return code;
}

function reportPath(place: Place, json: boolean): number {
  const all = readReport(place.mount.mountpoint);
  const lot = owningLot(all, place.path, isDirectory(join(place.mount.mountpoint, place.path)));
  if (lot === undefined) throw new VreserveError('NO_SUCH_LOT', { reason: `no lot owns '${place.path}'` });
  if (json) printJson({ path: place.path, lot, pool: all.pool });
  else for (const line of lotLines(lot)) print(line);
  return 0;
}

/** What is not there yet counts as a directory to be. */
function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? true;
}

function lotLines(lot: LotJson): string[] {
  const unlimited = lot.opportunisticBytes < 0;
  const grantBytes = lot.dedicatedBytes + lot.opportunisticBytes;
  const rows = [
    ['lot', lot.name],
    ['owner', lot.owner],
    ['used', formatExactBytes(lot.usedBytes)],
    ['grant', unlimited ? 'without limit' : formatExactBytes(grantBytes)],
    ['can still hold', unlimited ? 'while there is headroom' : formatExactBytes(Math.max(0, grantBytes - lot.usedBytes))],
    ['objects', String(lot.objects)],
    ['open for writing', `${lot.pendingObjects} (${formatBytes(lot.pendingBytes)})`],
    ['expires', lot.expiresAtMs === null || lot.expiresAtMs === undefined ? 'never' : new Date(lot.expiresAtMs).toISOString()],
  ];
  return alignColumns(rows);
}
