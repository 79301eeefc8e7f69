// `vreserve pool`: the table of its subcommands. Each is a command of its own, with its options and its help.
import type { Command } from './command.js';
import { poolAdd } from './pool-add.js';
import { devices } from './pool-devices.js';
import { poolList } from './pool-list.js';
import { monitor } from './pool-monitor.js';
import { prepare } from './pool-prepare.js';
import { poolRemove } from './pool-remove.js';
import { stats } from './pool-stats.js';
import { wipe } from './pool-wipe.js';
import { type Subcommands, subcommandLines, subcommandOf } from './subcommands.js';

const SUBCOMMANDS: Subcommands = {
  add: { summary: 'give a live mount another pool', command: poolAdd },
  remove: { summary: 'take one away that holds nothing', command: poolRemove },
  list: { summary: 'the pools of a mount', command: poolList },
  devices: { summary: 'list the disks of the machine, and which are free', command: devices },
  prepare: { summary: 'make a pool of empty disks, and mount it', command: prepare },
  wipe: { summary: 'destroy what is on a disk, so that it is free', command: wipe },
  monitor: { summary: 'tell as disks and pools come and go', command: monitor },
  stats: { summary: 'size, use and promises of the pools', command: stats },
};

const overview = {
  usage: 'pool COMMAND [words] [options]',
  description: [
    'Disks, pools of them, and the pools that a mount has. Each command has its own help: vreserve pool prepare --help',
    ...subcommandLines(SUBCOMMANDS),
  ],
  examples: ['vreserve pool devices', 'vreserve pool prepare fast /dev/nvme0n1', 'vreserve pool stats'],
};

/** What the words of the whole command line ask for: a subcommand, or the overview where they name none. */
export function poolCommand(argv: readonly string[]): Command {
  return subcommandOf('pool', SUBCOMMANDS, overview, argv);
}
