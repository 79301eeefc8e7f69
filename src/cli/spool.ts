// `vreserve spool`: the table of its subcommands. Each is a command of its own, with its options and its help.
import { VreserveError } from '../core/errors.js';
import type { Command } from './command.js';
import { alignColumns } from './output.js';
import { checkout, remove, save } from './spool-checkout.js';
import { create, load } from './spool-create.js';
import { dequeue } from './spool-dequeue.js';
import { enqueue } from './spool-enqueue.js';
import { cat, list } from './spool-list.js';
import { monitor } from './spool-monitor.js';
import { recover } from './spool-recover.js';
import { watch } from './spool-watch.js';

const SUBCOMMANDS: Record<string, { summary: string; command: Command }> = {
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

const overview: Command = {
  usage: 'spool COMMAND DIR [words] [options]',
  description: [
    'Queues of files in a directory, which need no daemon: processes share them, each entry is taken by one of them, and has metadata',
    'and data. The layout is that of Multispool: spools of its programs can be used, and it uses these. DIR is any directory, in a',
    'mount or not. Each command has its own help: vreserve spool watch --help',
    '',
    'Commands:',
    ...alignColumns(Object.entries(SUBCOMMANDS).map(([name, { summary }]) => [`  ${name}`, summary])),
  ],
  examples: [
    'vreserve spool create /data/mail new failed',
    'vreserve spool enqueue /data/mail new --meta "to: alice" < letter',
    `vreserve spool watch /data/mail new --on-failure failed -- sh -c 'mail -s "$(cat)" alice < "$VRESERVE_DATA"'`,
  ],
  options: {},
  words: [0, Number.POSITIVE_INFINITY],
  async run({ positionals: [name] }) {
    const names = Object.keys(SUBCOMMANDS).join(', ');
    const reason =
      name === undefined
        ? `something is missing: vreserve spool COMMAND; there are ${names}`
        : `spool has no '${name}'; it has ${names}`;
    throw new VreserveError('USAGE', { reason });
  },
};

/** What the words of the whole command line ask for: a subcommand, or the overview where they name none. */
export function spoolCommand(argv: readonly string[]): Command {
  const words = argv.filter((word) => !word.startsWith('-'));
  const name = words[words.indexOf('spool') + 1];
  const found = name !== undefined && Object.hasOwn(SUBCOMMANDS, name) ? SUBCOMMANDS[name]?.command : undefined;
  return found === undefined ? overview : withoutItsName(found);
}

/** Its first word is its own name. */
function withoutItsName(command: Command): Command {
  const [min, max] = command.words;
  return {
    ...command,
    words: [min + 1, max + 1],
    run: (parsed, argv) => command.run({ ...parsed, positionals: parsed.positionals.slice(1) }, argv),
  };
}
