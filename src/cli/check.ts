// `vreserve check`: counts the backing and compares with what is recorded, on a live mount or on a backing directory at rest.
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { sendControl } from '../client/control.js';
import { formatBytes, formatCount } from '../core/bytes.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { CheckedLot, CheckReport, Progress } from '../views/host.js';
import type { Command } from './command.js';
import { isVreserve, mountAt, realPathOf } from './mountinfo.js';
import { checkAtRest } from './offline.js';
import { alignColumns, ProgressLine, print, printJson } from './output.js';
import { findMount, onlyMount } from './where.js';

export const check: Command = {
  usage: 'check [MNT|DATA] [--repair]',
  description: [
    'Counts the whole backing and compares it with the recorded usage of each lot; exit code 1 where they differ.',
    'On a live mount the daemon counts while it serves; a backing directory that is not mounted is counted at rest.',
    'The argument can be left out where there is one vreserve mount only.',
  ],
  examples: ['vreserve check /mnt/data', 'vreserve check /data --repair'],
  options: { repair: { type: 'boolean', help: 'record what was counted' } },
  words: [0, 1],
  async run({ positionals: [typed], flag, json }) {
    const repair = flag('repair');
    const mountpoint = typed === undefined ? onlyMount().mountpoint : liveMountpoint(typed);
    const report =
      mountpoint === null ? await checkAtRest(realPathOf(resolve(typed ?? '.')), repair) : await checkLive(mountpoint, repair);
    if (json) printJson(report);
    else for (const line of lines(report, repair)) print(line);
    return report.differences === 0 ? 0 : 1;
  },
};

async function checkLive(mountpoint: string, repair: boolean): Promise<CheckReport> {
  const line = new ProgressLine();
  const onProgress = ({ progress }: { progress?: Progress }) => {
    if (progress) line.update(`${formatCount(progress.files)} files, ${formatBytes(progress.bytes)}`, null);
  };
  try {
    return await sendControl<CheckReport>(mountpoint, { cmd: 'check', repair, progress: line.isShown }, { onProgress });
  } finally {
    line.clear();
  }
}

/** The mountpoint where the argument is one, null where it is another directory. Throws where it is neither. */
function liveMountpoint(typed: string): string | null {
  if (typed === '') throw new VreserveError('BACKING_MISSING', { path: typed });
  let real: string;
  try {
    real = realPathOf(resolve(typed));
    const mount = mountAt(real);
    if (mount !== undefined && isVreserve(mount)) return findMount(typed).mountpoint;
    if (!statSync(real).isDirectory()) throw new VreserveError('BACKING_NOT_DIRECTORY', { path: typed });
    return null;
  } catch (error) {
    const known = asVreserveError(error);
    throw known.errno === 'ENOENT' ? new VreserveError('BACKING_MISSING', { path: typed }) : known;
  }
}

function differs(lot: CheckedLot): boolean {
  return lot.exact && (lot.recordedBytes !== lot.countedBytes || lot.recordedObjects !== lot.countedObjects);
}

function lines(report: CheckReport, repair: boolean): string[] {
  const notes = report.straddling.map(({ path, lot }) => `names in several lots: ${path}, owned by ${lot}`);
  for (const lot of report.lots.filter(({ exact }) => !exact)) {
    notes.push(`not compared, it was written to all the time: ${lot.name}`);
  }
  if (report.differences === 0) {
    const bytes = report.lots.reduce((sum, lot) => sum + lot.countedBytes, 0);
    const objects = report.lots.reduce((sum, lot) => sum + lot.countedObjects, 0);
    return [...notes, `no difference: ${formatBytes(bytes)}, ${formatCount(objects)} objects, lots: ${report.lots.length}`];
  }
  const rows = report.lots
    .filter(differs)
    .map((lot) => [
      lot.name,
      formatCount(lot.recordedBytes),
      formatCount(lot.countedBytes),
      formatCount(lot.recordedObjects),
      formatCount(lot.countedObjects),
    ]);
  const table = alignColumns([['LOT', 'BYTES RECORDED', 'COUNTED', 'OBJECTS RECORDED', 'COUNTED'], ...rows], [1, 2, 3, 4]);
  return [...notes, ...table, repair ? 'what was counted is recorded now' : 'check --repair records what was counted'];
}
