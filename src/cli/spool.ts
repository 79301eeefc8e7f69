// `vreserve spool`: the table of its subcommands. Each is a command of its own, with its options and its help.
import type { Command } from './command.js';
import { checkout, remove, save } from './spool-checkout.js';
import { create, load } from './spool-create.js';
import { dequeue } from './spool-dequeue.js';
import { enqueue } from './spool-enqueue.js';
import { cat, list } from './spool-list.js';
import { monitor } from './spool-monitor.js';
import { recover } from './spool-recover.js';
import { watch } from './spool-watch.js';
import { type Subcommands, subcommandLines, subcommandOf } from './subcommands.js';

const SUBCOMMANDS: Subcommands = {
  create: { summary: 'make a spool, or queues that it lacks', command: create },
  load: { summary: 'check a spool and count its entries', command: load },
  enqueue: { summary: 'put standard input into a queue', command: enqueue },
  list: { summary: 'show what is in the queues', command: list },
  cat: { summary: "write an entry's data or metadata", command: cat },
  checkout: { summary: 'take an entry', command: checkout },
  save: { summary: 'put an entry that is taken into a queue', command: save },
  remove: { summary: 'remove an entry that is taken', command: remove },
  dequeue: { summary: 'wait for the next entry and take it', command: dequeue },
  watch: { summary: 'run a command for each entry', command: watch },
  recover: { summary: 'put back what dead consumers had taken', command: recover },
  monitor: { summary: 'find what is wrong', command: monitor },
};

const overview = {
  usage: 'spool COMMAND DIR [words] [options]',
  description: [
    'Queues of files in a directory, which need no daemon: processes share them, each entry is taken by one of them, and has metadata',
    'and data. The layout is that of Multispool: spools of its programs can be used, and it uses these. DIR is any directory, in a',
    'mount or not. Each command has its own help: vreserve spool watch --help',
    ...subcommandLines(SUBCOMMANDS),
  ],
  examples: [
    'vreserve spool create /data/mail new failed',
    'vreserve spool enqueue /data/mail new --meta "to: alice" < letter',
    `vreserve spool watch /data/mail new --on-failure failed -- sh -c 'mail -s "$(cat)" alice < "$VRESERVE_DATA"'`,
  ],
};

/** What the words of the whole command line ask for: a subcommand, or the overview where they name none. */
export function spoolCommand(argv: readonly string[]): Command {
  return subcommandOf('spool', SUBCOMMANDS, overview, argv);
}
