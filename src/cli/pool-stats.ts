// `vreserve pool stats`: size, use and promises of the pools, and their sums by type of disk.
import { formatBytes } from '../core/bytes.js';
import { type PoolStats, poolStats, type Stats } from '../pools/stats.js';
import { systemTools } from '../pools/tools.js';
import type { Command } from './command.js';
import { alignColumns, note, print, printJson } from './output.js';
import { readPoolsOfMount } from './pool-report.js';
import { findMount } from './where.js';

export const stats: Command = {
  usage: 'pool stats [MNT]',
  description: [
    'Shows every pool on the disks of the machine: its type, size, what is used, free, and set aside (promised and not used',
    'yet), and the sums by type. Without MNT what is set aside are the limits of btrfs quotas; with MNT it is what that mount',
    'has promised, and its other pools are listed too. With --json in bytes.',
  ],
  examples: ['vreserve pool stats', 'vreserve pool stats /mnt/data --json'],
  options: {},
  words: [0, 1],
  async run({ positionals: [typed], json }) {
    const tools = systemTools();
    const ofMount = typed === undefined ? [] : await readPoolsOfMount(tools, findMount(typed).mountpoint);
    const found = await poolStats(tools, ofMount);
    if (json) printJson(found);
    else for (const line of lines(found)) print(line);
    for (const { name, troubles } of found.pools) if (troubles.length > 0) note(`pool ${name}: ${troubles.join('; ')}`);
    return 0;
  },
};

const HEADINGS = ['POOL', 'TYPE', 'SIZE', 'USED', 'SET ASIDE', 'FREE', 'STATE', 'WHERE'];

function lines({ pools, totals }: Stats): string[] {
  if (pools.length === 0) return ['no pools'];
  const sums = (['ssd', 'hdd'] as const).flatMap((type) => {
    const { pools: count, sizeBytes, usedBytes, setAsideBytes, freeBytes } = totals[type];
    return count === 0 ? [] : [['total', type, ...[sizeBytes, usedBytes, setAsideBytes, freeBytes].map(formatBytes), '', '']];
  });
  return alignColumns([HEADINGS, ...pools.map(row), ...sums], [2, 3, 4, 5]);
}

function row({ name, type, state, servedAs, directory, devices, ...pool }: PoolStats): string[] {
  const bytes = [pool.sizeBytes, pool.usedBytes, pool.setAsideBytes, pool.freeBytes];
  const shown = bytes.map((each) => (each === null ? '-' : formatBytes(each)));
  return [
    name,
    type ?? '-',
    ...shown,
    servedAs === null || servedAs === name ? state : `${state} as ${servedAs}`,
    directory ?? devices.join(', '),
  ];
}
