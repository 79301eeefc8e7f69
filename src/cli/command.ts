// What a command is: its words for the help, its options, and what it does.
import { parseArgs } from 'node:util';
import { VreserveError } from '../core/errors.js';

export interface OptionHelp {
  type: 'boolean' | 'string';
  short?: string;
  /** The name of the value in the help, such as MNT. */
  unit?: string;
  /** The value may be left out, and is given after `=` only: `text` is '' then. */
  optional?: true;
  help: string;
}

/** What a command gets: the words that are no options, and the options. */
export interface Parsed {
  positionals: string[];
  flag(name: string): boolean;
  text(name: string): string | undefined;
  json: boolean;
}

export interface Command {
  /** As in `vreserve reserve PATH BYTES`, without the program. */
  usage: string;
  /** What it does, in some sentences, one a line. */
  description: string[];
  /** Lines that can be pasted. */
  examples: string[];
  options: Record<string, OptionHelp>;
  /** In place of the list that is made from `options`. */
  optionsHelp?: () => string;
  /** How many words there may be, at least and at most. */
  words: [min: number, max: number];
  /** Takes the words as they are (and parses them itself). */
  raw?: true;
  /** Returns the exit code; throws VreserveError. */
  run(parsed: Parsed, argv: readonly string[]): Promise<number>;
}

/** Options of every command. */
export const COMMON_OPTIONS: Record<string, OptionHelp> = {
  json: { type: 'boolean', help: 'print JSON' },
  debug: { type: 'boolean', help: 'on an error, print the stack too' },
  help: { type: 'boolean', short: 'h', help: 'print this' },
};

/** `-1` is a word and no option: what it means is for the command to refuse. */
const NUMBER_LIKE = /^-[0-9]/;
const MARK = '\u0000';

/** Parses the words after the command's name. Throws USAGE. */
export function parseCommand(command: Command, argv: readonly string[]): Parsed {
  const options: Record<string, { type: 'boolean' | 'string'; short?: string }> = {};
  for (const [name, o] of Object.entries({ ...command.options, ...COMMON_OPTIONS })) {
    options[name] = o.short === undefined ? { type: o.type } : { type: o.type, short: o.short };
  }
  const bare = new Set(Object.entries(command.options).flatMap(([name, { optional }]) => (optional ? [`--${name}`] : [])));
  const marked = argv.map((word) => (NUMBER_LIKE.test(word) ? MARK + word : bare.has(word) ? `${word}=` : word));
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args: marked, options, strict: true, allowPositionals: true });
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split('. ')[0] ?? '') : String(error);
    throw new VreserveError('USAGE', { reason: `${reason.charAt(0).toLowerCase()}${reason.slice(1)}` }, { cause: error });
  }
  const positionals = parsed.positionals.map((word) => (word.startsWith(MARK) ? word.slice(1) : word));
  const [min, max] = command.words;
  if (positionals.length < min || positionals.length > max) {
    const found = positionals.length > max ? `'${positionals[max]}' is one word too many` : 'something is missing';
    throw new VreserveError('USAGE', { reason: `${found}: vreserve ${command.usage}` });
  }
  return {
    positionals,
    flag: (name) => parsed.values[name] === true,
    text: (name) => {
      const value = parsed.values[name];
      return typeof value === 'string' ? value : undefined;
    },
    json: parsed.values.json === true,
  };
}
