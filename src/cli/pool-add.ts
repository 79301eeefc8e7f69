// `vreserve pool add`: gives a live mount another pool.
import { resolve } from 'node:path';
import { sendControl } from '../client/control.js';
import { formatBytes } from '../core/bytes.js';
import { parsePool } from '../core/pool.js';
import type { PoolRow } from '../core/snapshot.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { findMount } from './where.js';

export const poolAdd: Command = {
  usage: 'pool add MNT NAME=DIR[,type=ssd|hdd][,capacity=BYTES][,margin=BYTES]',
  description: [
    'Gives the live mount at MNT another pool: the directory DIR, on a disk of its own. What is in it already stays out of sight.',
    'The mount knows it from then on, also after an umount; while its disk is away it is broken, and comes back by itself.',
  ],
  examples: ['vreserve pool add /mnt/data fast=/srv/nvme,type=ssd,capacity=500GB'],
  options: {},
  words: [2, 2],
  async run({ positionals: [mnt = '', text = ''], json }) {
    const { name, directory } = parsePool(text);
    const { mountpoint } = findMount(mnt);
    // The daemon works elsewhere.
    const word = text.replace(`${name}=${directory}`, () => `${name}=${resolve(directory)}`);
    const { result } = await sendControl<{ result: PoolRow }>(mountpoint, { cmd: 'pool', name: 'add', words: [word] });
    if (json) printJson(result);
    else print(`pool ${result.name} at ${result.directory}: ${formatBytes(result.headroomBytes)} of headroom, ${result.type}`);
    return 0;
  },
};
