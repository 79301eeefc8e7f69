// Reads a command of `control` that is written in words, as on the command line.

import { parseBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import { parsePercent } from '../core/percent.js';
import type { ControlCommand } from './command-line.js';
import type { LotRequest, NamespaceCommand } from './host.js';
import { namespaceCommand } from './namespace-command.js';
import { RESERVE_OPTIONS, reserveOptions, waitOption } from './reserve-options.js';
import { SPACE_OPTIONS, spaceRequest } from './space-command.js';
import { splitWords } from './split-words.js';

interface Words {
  words: string[];
  options: Record<string, string | true>;
}

/** Throws BAD_COMMAND, UNKNOWN_COMMAND, BAD_BYTES or BAD_DURATION. */
export function commandFromWords(line: string): ControlCommand {
  const cmd = /^[^\s'"\\]*/.exec(line)?.[0] ?? '';
  if (cmd === 'lot') return { cmd, request: lotRequest(line.slice(cmd.length)) };
  const all = splitWords(line);
  const rest = all.slice(1);
  switch (all[0]) {
    case 'reserve': {
      const usage =
        'reserve PATH BYTES [wait[=DURATION]] [--expires DURATION] [--owner USER] [--opportunistic BYTES] [--objects N]';
      const { words, options } = parse(rest, RESERVE_OPTIONS, [], ['wait']);
      // `wait` may also be said without dashes, after the bytes.
      const bare = /^wait(?:=(.*))?$/s.exec(words[2] ?? '');
      const [path, bytes] = exactly(2, bare === null ? words : words.filter((_, i) => i !== 2), usage);
      const wait = options.wait ?? (bare === null ? undefined : (bare[1] ?? ''));
      return {
        cmd: 'reserve',
        path,
        bytes: parseBytes(bytes),
        options: reserveOptions(options),
        waitMs: wait === undefined ? undefined : waitOption(wait),
      };
    }
    case 'extend': {
      const [path, bytes] = exactly(2, parse(rest, [], []).words, 'extend PATH BYTES');
      return { cmd: 'extend', path, bytes: parseBytes(bytes) };
    }
    case 'release':
      return { cmd: 'release', path: exactly(1, parse(rest, [], []).words, 'release PATH')[0] };
    case 'pool': {
      const [name = '', ...words] = parse(rest, [], []).words;
      return { cmd: 'pool', request: { name, words } };
    }
    case 'ns':
      return { cmd: 'ns', request: namespaceFromWords(rest) };
    case 'space': {
      const { words, options } = parse(rest, SPACE_OPTIONS, ['all']);
      const [verb, name, bytes, more] = words;
      if (more !== undefined) throw bad(`'${more.slice(0, 40)}' is one word too many`);
      return { cmd: 'space', request: spaceRequest({ do: verb, name, bytes, ...options }) };
    }
    case 'report':
      exactly(0, parse(rest, [], []).words, 'report');
      return { cmd: 'report' };
    case 'import':
      return { cmd: 'import', dir: exactly(1, parse(rest, [], []).words, 'import DIRECTORY')[0], progress: false };
    case 'check': {
      const { words, options } = parse(rest, [], ['repair']);
      exactly(0, words, 'check [--repair]');
      return { cmd: 'check', repair: options.repair === true, progress: false };
    }
    case 'reclaim': {
      const { words, options } = parse(rest, ['low-watermark', 'pool'], ['plan', 'apply']);
      exactly(0, words, 'reclaim --plan|--apply [--pool NAME] [--low-watermark PERCENT]');
      if ((options.plan === true) === (options.apply === true)) throw bad('write: reclaim --plan, or reclaim --apply');
      const low = options['low-watermark'];
      return {
        cmd: 'reclaim',
        request: {
          apply: options.apply === true,
          low: typeof low === 'string' ? parsePercent(low) : null,
          pool: typeof options.pool === 'string' ? options.pool : null,
        },
        progress: false,
      };
    }
    default:
      throw new VreserveError('UNKNOWN_COMMAND', { command: (all[0] ?? '').slice(0, 40) });
  }
}

const NAMESPACE_USAGE = 'ns list | info NAME | release NAME | reserve NAME BYTES [--mode user|seq] [--public]';

/** A password is given as JSON, or by vreserve ns. */
function namespaceFromWords([action = '', ...rest]: readonly string[]): NamespaceCommand {
  const { words, options } = parse(rest, ['mode', 'type'], ['public']);
  if (action !== 'reserve') {
    if (Object.keys(options).length > 0) throw bad(`write: ${NAMESPACE_USAGE}`);
    if (action === 'list') exactly(0, words, NAMESPACE_USAGE);
    return namespaceCommand({ action, ...(action === 'list' ? {} : { namespace: exactly(1, words, NAMESPACE_USAGE)[0] }) });
  }
  const [namespace, bytes] = exactly(2, words, NAMESPACE_USAGE);
  return namespaceCommand({ action, namespace, bytes, ...options });
}

/** After `lot`: the function, options, and a word or JSON, which is taken as it is up to the end of the line. */
function lotRequest(rest: string): LotRequest {
  const at = startOfJson(rest);
  const json = at < 0 ? undefined : rest.slice(at).replace(/\s+(--[a-z-]+\s*)+$/, '');
  const [first = '', ...others] = splitWords(at < 0 ? rest : `${rest.slice(0, at)} ${rest.slice(at + (json?.length ?? 0))}`);
  const flags = others.filter((word) => word.startsWith('--')).map((word) => word.slice(2));
  const words = others.filter((word) => !word.startsWith('--'));
  const name = first === 'usage' && (words[0] === 'set' || words[0] === 'set-by-dir') ? `usage ${words.shift()}` : first;
  if (words.length > 1) throw bad(`'${words[1]?.slice(0, 40)}' is one word too many`);
  return { name, word: words[0] ?? null, json, flags };
}

/** Where a word begins with a bracket; -1: nowhere. */
function startOfJson(text: string): number {
  const word = /\s*(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\{[])(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\])*/sy;
  let at = 0;
  while (word.test(text)) at = word.lastIndex;
  const bracket = text.slice(at).search(/\S/);
  return bracket >= 0 && /[{[]/.test(text.charAt(at + bracket)) ? at + bracket : -1;
}

/** Options begin with `--`; those of `valued` have a value, after `=` or as the next word, those of `optional` after `=` or none (''). */
function parse(
  all: readonly string[],
  valued: readonly string[],
  flags: readonly string[],
  optional: readonly string[] = [],
): Words {
  const words: string[] = [];
  const options: Record<string, string | true> = {};
  for (let i = 0; i < all.length; i++) {
    const word = all[i] ?? '';
    const [, name, value] = /^--([a-z-]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (!word.startsWith('--')) words.push(word);
    else if (name !== undefined && flags.includes(name) && value === undefined) options[name] = true;
    else if (name !== undefined && optional.includes(name)) options[name] = value ?? '';
    else if (name !== undefined && valued.includes(name)) {
      const given = value ?? all[++i];
      if (given === undefined) throw bad(`--${name} needs a value`);
      options[name] = given;
    } else throw bad(`unknown option '${word.slice(0, 40)}'`);
  }
  return { words, options };
}

function exactly<N extends 0 | 1 | 2>(count: N, words: readonly string[], usage: string): [string, string] {
  if (words.length !== count) throw bad(`write: ${usage}`);
  return [words[0] ?? '', words[1] ?? ''];
}

function bad(reason: string): VreserveError {
  return new VreserveError('BAD_COMMAND', { reason });
}
