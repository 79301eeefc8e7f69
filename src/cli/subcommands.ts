// Commands that are tables of commands: each of these has its own options and its own help.
import { VreserveError } from '../core/errors.js';
import type { Command } from './command.js';
import { alignColumns } from './output.js';

export type Subcommands = Record<string, { summary: string; command: Command }>;

/** Lines for the description of the whole. */
export function subcommandLines(table: Subcommands): string[] {
  return ['', 'Commands:', ...alignColumns(Object.entries(table).map(([name, { summary }]) => [`  ${name}`, summary]))];
}

/** What the words of the whole command line ask for: one of the table, or the overview where they name none, which is refused. */
export function subcommandOf(
  name: string,
  table: Subcommands,
  overview: Pick<Command, 'usage' | 'description' | 'examples'>,
  argv: readonly string[],
): Command {
  const words = argv.filter((word) => !word.startsWith('-'));
  const asked = words[words.indexOf(name) + 1];
  const found = asked !== undefined && Object.hasOwn(table, asked) ? table[asked]?.command : undefined;
  if (found !== undefined) return withoutItsName(found);
  return {
    ...overview,
    options: {},
    words: [0, Number.POSITIVE_INFINITY],
    async run({ positionals: [word] }) {
      const names = Object.keys(table).join(', ');
      const reason =
        word === undefined
          ? `something is missing: vreserve ${name} COMMAND; there are ${names}`
          : `${name} has no '${word}'; it has ${names}`;
      throw new VreserveError('USAGE', { reason });
    },
  };
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
