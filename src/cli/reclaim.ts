// `vreserve reclaim`: what lots hold past their policy, listed or deleted.

import { sendControl } from '../client/control.js';
import { formatBytes, formatCount } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { parsePercent } from '../core/percent.js';
import type { ReclaimedFile, ReclaimProgress, ReclaimReport } from '../views/host.js';
import type { Command } from './command.js';
import { alignColumns, ProgressLine, print, printJson } from './output.js';
import { findMount, onlyMount } from './where.js';

/** What a file's lot is past, for people. */
const PAST_TEXT: Record<ReclaimedFile['past'], string> = {
  del: 'deletion',
  exp: 'expiration',
  opp: 'grant',
  obj: 'objects',
  ded: 'dedicated',
};

export const reclaim: Command = {
  usage: 'reclaim [MNT] --plan|--apply [--pool NAME] [--low-watermark PERCENT]',
  description: [
    'Lists the files that lots hold past their policy, in the order in which they go: past deletion, past expiration, past',
    'the grant, past the objects, past the dedicated bytes, and files that nobody has read for longest first, until the pool',
    'is filled to the low watermark. With --apply they are deleted. Dedicated bytes of a lot that has not expired are never',
    'touched; files that are open, and those with several names, are left. Files of no lot are past their dedicated bytes,',
    'which are none: they go last.',
    'Each pool is looked at by itself: the main one, or that of --pool.',
    'MNT can be left out where there is one vreserve mount only.',
  ],
  examples: ['vreserve reclaim /mnt/data --plan', 'vreserve reclaim /mnt/data --apply --pool fast --low-watermark 70%'],
  options: {
    plan: { type: 'boolean', help: 'only list' },
    apply: { type: 'boolean', help: 'delete what is listed' },
    pool: { type: 'string', unit: 'NAME', help: 'which pool (the backing directory by default: main)' },
    'low-watermark': { type: 'string', unit: 'PERCENT', help: "where to stop (the mount's, by default 85%)" },
  },
  words: [0, 1],
  async run({ positionals: [typed], flag, text, json }) {
    const apply = flag('apply');
    if (apply === flag('plan')) throw new VreserveError('USAGE', { reason: 'say --plan to list, or --apply to delete' });
    const low = text('low-watermark');
    if (low !== undefined) parsePercent(low);
    const { mountpoint } = typed === undefined ? onlyMount() : findMount(typed);
    const pool = text('pool');
    const request = { apply, ...(low === undefined ? {} : { low }), ...(pool === undefined ? {} : { pool }) };
    const report = await send(mountpoint, request);
    if (json) printJson(report);
    else for (const line of lines(report)) print(line);
    return 0;
  },
};

async function send(mountpoint: string, request: { apply: boolean; low?: string; pool?: string }): Promise<ReclaimReport> {
  const line = new ProgressLine();
  const onProgress = ({ progress }: { progress?: ReclaimProgress }) => {
    if (!progress) return;
    const { looked, files, ofFiles, bytes, ofBytes } = progress;
    if (looked > 0) return line.update(`${formatCount(looked)} files looked at`, null);
    const what = `${formatCount(files)} of ${formatCount(ofFiles)} files, ${formatBytes(bytes)} of ${formatBytes(ofBytes)}`;
    line.update(what, ofBytes === 0 ? files / Math.max(1, ofFiles) : bytes / ofBytes);
  };
  try {
    return await sendControl<ReclaimReport>(mountpoint, { cmd: 'reclaim', ...request, progress: line.isShown }, { onProgress });
  } finally {
    line.clear();
  }
}

function lines({ pool, applied, list, files, bytes, fillBefore, fillAfter, low }: ReclaimReport): string[] {
  const percent = (fraction: number) => `${(fraction * 100).toFixed(1)}%`;
  const rows = list.map((file) => [
    PAST_TEXT[file.past],
    formatBytes(file.bytes),
    new Date(file.accessedAtMs).toISOString().slice(0, 16).replace('T', ' '),
    file.lot,
    file.path,
    applied && !file.deleted ? 'in use, left' : '',
  ]);
  const table = rows.length === 0 ? [] : [...alignColumns([['PAST', 'SIZE', 'LAST READ', 'LOT', 'FILE', ''], ...rows], [1]), ''];
  const left = list.filter((file) => applied && !file.deleted).length;
  const more = files + left - list.length;
  const verb = applied ? 'deleted' : 'would delete';
  return [
    ...table,
    ...(more > 0 ? [`… and ${formatCount(more)} more`] : []),
    `${verb} ${formatCount(files)} ${files === 1 ? 'file' : 'files'}, ${formatBytes(bytes)}: pool ${pool} filled ${percent(fillBefore)}, then ${percent(fillAfter)}; low watermark ${percent(low)}`,
  ];
}
