#!/usr/bin/env node
// The command line's entry: finds the command, runs it, and turns what went wrong into one line and an exit code.
import { asVreserveError, VreserveError } from '../core/errors.js';
import { readVersion } from '../version.js';
import { parseCommand } from './command.js';
import { COMMANDS, nearest } from './commands.js';
import { commandHelp, globalHelp } from './help.js';
import { note, print, printJson } from './output.js';

async function runCommand(argv: readonly string[]): Promise<number> {
  const at = argv.findIndex((word) => !word.startsWith('-'));
  const name = argv[at];
  const before = at < 0 ? argv : argv.slice(0, at);
  for (const word of before) {
    if (word === '--version' || word === '-V') {
      if (argv.includes('--json')) printJson({ version: readVersion() });
      else print(readVersion());
      return 0;
    }
    if (word === '--help' || word === '-h') {
      process.stdout.write(globalHelp());
      return 0;
    }
    if (word !== '--json' && word !== '--debug') {
      throw new VreserveError('USAGE', {
        reason: `unknown option '${word}' before the command: vreserve COMMAND [words] [options]`,
      });
    }
  }
  if (name === undefined) throw new VreserveError('USAGE', { reason: 'no command; vreserve --help lists them' });
  const words = [...before, ...argv.slice(at + 1)];
  if (name === 'help') return help(words.find((word) => !word.startsWith('-')));
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) throw unknownCommand(name);
  const command = await entry.load();
  const end = words.indexOf('--');
  const options = end < 0 ? words : words.slice(0, end);
  if (options.includes('--help') || options.includes('-h')) {
    process.stdout.write(commandHelp(command));
    return 0;
  }
  if (command.raw) {
    const json = options.includes('--json');
    const rest = words.filter((word) => word !== '--debug');
    return command.run({ positionals: [], flag: () => false, text: () => undefined, json }, rest);
  }
  return command.run(parseCommand(command, words), words);
}

async function help(name: string | undefined): Promise<number> {
  const entry = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (name !== undefined && entry === undefined) throw unknownCommand(name);
  process.stdout.write(entry === undefined ? globalHelp() : commandHelp(await entry.load()));
  return 0;
}

function unknownCommand(name: string): VreserveError {
  const near = nearest(name);
  const hint = near === null ? 'vreserve --help lists the commands' : `did you mean '${near}'?`;
  const error = new VreserveError('UNKNOWN_COMMAND', { command: name });
  error.message += `; ${hint}`;
  return error;
}

/** One line to stderr; with --json the same as an object on stdout. Returns the exit code. */
function fail(thrown: unknown, argv: readonly string[]): number {
  // What follows `--` is another command's.
  const own = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  const error = asVreserveError(thrown);
  note(error.message.replaceAll('\n', ' '));
  if (own.includes('--debug')) {
    for (let e: unknown = error; e instanceof Error; e = e.cause) process.stderr.write(`${e.stack ?? e.message}\n`);
  }
  if (own.includes('--json')) {
    printJson({ ok: false, code: error.code, errno: error.errno, message: error.message, ...error.details });
  }
  return error.exitCode;
}

// `vreserve ledger | head` ends when head does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

const argv = process.argv.slice(2);
process.exitCode = await runCommand(argv).catch((error: unknown) => fail(error, argv));
