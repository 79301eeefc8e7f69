// Reads a command of `control` that is a JSON object.

import { checkBytes, parseBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { parsePercent } from '../core/percent.js';
import type { ControlCommand } from './command-line.js';
import { NAMESPACE_FIELDS, namespaceCommand } from './namespace-command.js';
import { RESERVE_OPTIONS, reserveOptions, waitOption } from './reserve-options.js';
import { SPACE_OPTIONS, spaceRequest } from './space-command.js';

/** The fields of each command, besides `cmd`. */
const FIELDS: Record<ControlCommand['cmd'], readonly string[]> = {
  reserve: ['path', 'bytes', 'wait', ...RESERVE_OPTIONS],
  extend: ['path', 'bytes'],
  release: ['path'],
  ns: NAMESPACE_FIELDS,
  report: [],
  import: ['dir', 'progress'],
  check: ['repair', 'progress'],
  reclaim: ['apply', 'low', 'pool', 'progress'],
  lot: ['name', 'word', 'json', 'flags'],
  pool: ['name', 'words'],
  space: ['do', 'name', 'bytes', 'all', ...SPACE_OPTIONS],
};

/** Throws BAD_COMMAND, UNKNOWN_COMMAND, BAD_BYTES or BAD_DURATION. */
export function commandFromJson(text: string): ControlCommand {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new VreserveError('BAD_COMMAND', { reason: 'it is not JSON' }, { cause: error });
  }
  return commandFrom(value);
}

/** The command that the value of such a text is. Throws as `commandFromJson`. */
export function commandFrom(value: unknown): ControlCommand {
  if (!isRecord(value)) throw bad('it is no JSON object');
  const { cmd, ...fields } = value;
  if (typeof cmd !== 'string') throw bad('it has no "cmd"');
  if (!isCommand(cmd)) throw new VreserveError('UNKNOWN_COMMAND', { command: cmd.slice(0, 40) });
  const unknown = Object.keys(fields).find((name) => !FIELDS[cmd].includes(name));
  if (unknown !== undefined) throw bad(`${cmd} has no field "${unknown.slice(0, 40)}"`);
  switch (cmd) {
    case 'reserve':
      return {
        cmd,
        path: textField(fields, 'path'),
        bytes: bytesField(fields),
        options: reserveOptions(fields),
        waitMs: fields.wait === undefined || fields.wait === false ? undefined : waitOption(fields.wait),
      };
    case 'extend':
      return { cmd, path: textField(fields, 'path'), bytes: bytesField(fields) };
    case 'release':
      return { cmd, path: textField(fields, 'path') };
    case 'ns':
      return { cmd, request: namespaceCommand(fields) };
    case 'space':
      return { cmd, request: spaceRequest(fields) };
    case 'report':
      return { cmd };
    case 'import':
      return { cmd, dir: textField(fields, 'dir'), progress: flagField(fields, 'progress') };
    case 'check':
      return { cmd, repair: flagField(fields, 'repair'), progress: flagField(fields, 'progress') };
    case 'reclaim':
      return {
        cmd,
        request: {
          apply: flagField(fields, 'apply'),
          low: percentField(fields),
          pool: fields.pool === undefined || fields.pool === null ? null : textField(fields, 'pool'),
        },
        progress: flagField(fields, 'progress'),
      };
    case 'pool':
      return { cmd, request: { name: textField(fields, 'name'), words: textsField(fields, 'words') } };
    case 'lot': {
      const word = fields.word === undefined || fields.word === null ? null : textField(fields, 'word');
      return {
        cmd,
        request: { name: textField(fields, 'name'), word, json: fields.json ?? undefined, flags: textsField(fields, 'flags') },
      };
    }
  }
}

function isCommand(cmd: string): cmd is ControlCommand['cmd'] {
  return Object.hasOwn(FIELDS, cmd);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textField(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw bad(`"${name}" must be a string`);
  return value;
}

/** A number of bytes, or text such as "500GiB". */
function bytesField({ bytes }: Record<string, unknown>): number {
  if (typeof bytes === 'string') return parseBytes(bytes);
  if (typeof bytes !== 'number') throw bad('"bytes" must be a number of bytes');
  return checkBytes(bytes);
}

/** A text such as "85%". */
function percentField({ low }: Record<string, unknown>): number | null {
  if (low === undefined || low === null) return null;
  if (typeof low !== 'string') throw bad('"low" must be a text such as "85%"');
  return parsePercent(low);
}

function textsField(fields: Record<string, unknown>, name: string): string[] {
  const texts = fields[name] ?? [];
  if (Array.isArray(texts) && texts.every((text) => typeof text === 'string')) return texts;
  throw bad(`"${name}" must be a list of texts`);
}

function flagField(fields: Record<string, unknown>, name: string): boolean {
  const value = fields[name] ?? false;
  if (typeof value !== 'boolean') throw bad(`"${name}" must be true or false`);
  return value;
}

function bad(reason: string): VreserveError {
  return new VreserveError('BAD_COMMAND', { reason });
}
