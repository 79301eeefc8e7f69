// The text of --help: for all commands, and for each.

import { COMMON_OPTIONS, type Command, type OptionHelp } from './command.js';
import { COMMANDS } from './commands.js';
import { alignColumns } from './output.js';

/** `vreserve --help`. */
export function globalHelp(): string {
  const rows = Object.entries(COMMANDS)
    .filter(([, entry]) => entry.summary !== null)
    .map(([name, entry]) => [`  ${name}`, entry.summary ?? '']);
  return [
    'vreserve: a mount that makes disk-space reservations real.',
    '',
    'Usage: vreserve COMMAND [words] [options]',
    '',
    'Commands:',
    ...alignColumns(rows),
    '',
    'Options:',
    ...alignColumns([
      ['  -h, --help', 'print this; after a command, what it takes'],
      ['  --version', 'print the version'],
      ['  --json', 'print JSON, with every command'],
      ['  --debug', 'on an error, print the stack too'],
    ]),
    '',
    'Bytes: 500M and 500MB are decimal, 500MiB and 500Mi binary, no suffix is bytes.',
    'Exit codes: 0 done, 1 refused or failed, 2 usage.',
    '',
    'Example:',
    '  vreserve mount /data /mnt/data && vreserve reserve /mnt/data/job1 500MB',
    '',
  ].join('\n');
}

function optionRow([name, option]: [string, OptionHelp]): string[] {
  const short = option.short === undefined ? '' : `-${option.short}, `;
  const unit = option.unit === undefined ? '' : ` ${option.unit}`;
  return [`  ${short}--${name}${unit}`, option.help];
}

/** `vreserve COMMAND --help`. */
export function commandHelp(command: Command): string {
  const own = command.optionsHelp?.().trimEnd().split('\n') ?? null;
  // What the command's own list has already is not said twice.
  const common = Object.entries(COMMON_OPTIONS).filter(([name]) => !own?.some((line) => line.includes(`--${name} `)));
  const options = own
    ? [...own, ...alignColumns(common.map(optionRow))]
    : alignColumns([...Object.entries(command.options), ...common].map(optionRow));
  return [
    `Usage: vreserve ${command.usage}`,
    '',
    ...command.description,
    '',
    'Options:',
    ...options,
    '',
    command.examples.length === 1 ? 'Example:' : 'Examples:',
    ...command.examples.map((line) => `  ${line}`),
    '',
  ].join('\n');
}
