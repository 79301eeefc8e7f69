// `vreserve pool list`: the pools of a live mount.
import { sendControl } from '../client/control.js';
import { formatBytes } from '../core/bytes.js';
import type { PoolRow } from '../core/snapshot.js';
import type { Command } from './command.js';
import { alignColumns, print, printJson } from './output.js';
import { findMount, onlyMount } from './where.js';

export const poolList: Command = {
  usage: 'pool list [MNT]',
  description: ['Lists the pools of a mount, the backing directory (main) first, with what each has in bytes.'],
  examples: ['vreserve pool list /mnt/data --json'],
  options: {},
  words: [0, 1],
  async run({ positionals: [typed], json }) {
    const { mountpoint } = typed === undefined ? onlyMount() : findMount(typed);
    const { result } = await sendControl<{ result: PoolRow[] }>(mountpoint, { cmd: 'pool', name: 'list', words: [] });
    if (json) {
      printJson(result);
      return 0;
    }
    const rows = result.map(({ name, type, capacityBytes, usedBytes, headroomBytes, directory, broken }) => [
      name,
      type,
      `${formatBytes(capacityBytes)}, ${formatBytes(usedBytes)} used, ${formatBytes(headroomBytes)} headroom`,
      broken === null ? directory : `${directory} BROKEN: ${broken}`,
    ]);
    for (const line of alignColumns(rows)) print(line);
    return 0;
  },
};
