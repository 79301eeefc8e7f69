// `vreserve store`: the table of its subcommands. Each is a command of its own, with its options and its help.
import type { Command } from './command.js';
import { importCommand } from './store-import.js';
import { serve } from './store-serve.js';
import { type Subcommands, subcommandLines, subcommandOf } from './subcommands.js';

const SUBCOMMANDS: Subcommands = {
  serve: { summary: 'serve a store over HTTP', command: serve },
  import: { summary: 'take over the blobs of a go-storage-server', command: importCommand },
};

const overview = {
  usage: 'store COMMAND DIR [options]',
  description: [
    'Blobs by name in a directory, over HTTP as go-storage-server has them: each is there whole or not at all, and what was',
    'acknowledged survives a crash. Each command has its own help: vreserve store serve --help',
    ...subcommandLines(SUBCOMMANDS),
  ],
  examples: ['vreserve store serve /srv/blobs', 'curl --data-binary @photo.jpg http://127.0.0.1:7777/store/photo'],
};

/** What the words of the whole command line ask for: a subcommand, or the overview where they name none. */
export function storeCommand(argv: readonly string[]): Command {
  return subcommandOf('store', SUBCOMMANDS, overview, argv);
}
