// `vreserve space`: the table of its subcommands. Each is a command of its own, with its options and its help.
import type { Command } from './command.js';
import { create } from './space-create.js';
import { deleteSpace } from './space-delete.js';
import { list } from './space-list.js';
import { lookup } from './space-lookup.js';
import { update } from './space-update.js';
import { type Subcommands, subcommandLines, subcommandOf } from './subcommands.js';

const SUBCOMMANDS: Subcommands = {
  create: { summary: 'make a space: a directory with a size of its own', command: create },
  update: { summary: 'give a space another size', command: update },
  delete: { summary: 'remove a space with all that is in it', command: deleteSpace },
  list: { summary: 'all spaces', command: list },
  lookup: { summary: 'one space', command: lookup },
};

const overview = {
  usage: 'space COMMAND [options]',
  description: [
    'Spaces: each is a new directory of a mount with a size that is set aside for it, on the pool that a policy picks. Only an',
    'administrator makes, changes and deletes them. Each command has its own help: vreserve space create --help',
    ...subcommandLines(SUBCOMMANDS),
  ],
  examples: ['vreserve space create data 500GB', 'vreserve space list'],
};

/** What the words of the whole command line ask for: a subcommand, or the overview where they name none. */
export function spaceCommand(argv: readonly string[]): Command {
  return subcommandOf('space', SUBCOMMANDS, overview, argv);
}
