// `vreserve pool remove`: takes a pool away from a live mount.
import { sendControl } from '../client/control.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { findMount } from './where.js';

export const poolRemove: Command = {
  usage: 'pool remove MNT NAME',
  description: ['Takes a pool away from the live mount at MNT. Refused while anything of the mount is in it, which is named.'],
  examples: ['vreserve pool remove /mnt/data fast'],
  options: {},
  words: [2, 2],
  async run({ positionals: [mnt = '', name = ''], json }) {
    const { mountpoint } = findMount(mnt);
    const { result } = await sendControl<{ result: object }>(mountpoint, { cmd: 'pool', name: 'remove', words: [name] });
    if (json) printJson(result);
    else print(`pool ${name} is gone; what is in its directory stays`);
    return 0;
  },
};
