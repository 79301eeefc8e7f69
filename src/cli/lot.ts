// `vreserve lot`: LotMan's functions on a live mount.
import { readFileSync } from 'node:fs';
import { text as readStream } from 'node:stream/consumers';
import { sendControl } from '../client/control.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { LOT_FUNCTIONS } from '../lots/functions.js';
import type { Command, OptionHelp, Parsed } from './command.js';
import { lotLines } from './lot-text.js';
import { alignColumns, print, printJson } from './output.js';
import { findMount, onlyMount } from './where.js';

const FLAGS: Record<string, OptionHelp> = {
  recursive: { type: 'boolean', help: 'with the lots above or below; past: --recursive-quota and --recursive-children' },
  self: { type: 'boolean', help: 'parents, children: the lot itself too' },
  'recursive-quota': { type: 'boolean', help: 'past: what lots below use counts too' },
  'recursive-children': { type: 'boolean', help: 'past: all lots below those that are past, too' },
  'assign-to-orphans': { type: 'boolean', help: 'remove: children without another parent get the parents of the lot' },
  'assign-to-non-orphans': { type: 'boolean', help: 'remove: other children get them too' },
  delta: { type: 'boolean', help: 'usage set: numbers are differences' },
};

export const lot: Command = {
  usage: 'lot FUNCTION [LOT|PATH|JSON] [--mount MNT]',
  description: [
    "LotMan's functions: lots with owners, parents, paths and policies. JSON is LotMan's own (GB of 10^9 bytes), and is",
    'given as a word, as @FILE, or on standard input. MNT can be left out where there is one vreserve mount only.',
    '',
    'Functions:',
    ...alignColumns(Object.entries(LOT_FUNCTIONS).map(([name, { takes, help }]) => [`  ${name} ${takes}`.trimEnd(), help])),
  ],
  examples: [
    `vreserve lot add '{"lot_name":"ops","owner":"alice","parents":["ops"],"paths":[{"path":"/ops","recursive":true}],`,
    `    "management_policy_attrs":{"dedicated_GB":5,"opportunistic_GB":2.5,"max_num_objects":1000,`,
    `    "creation_time":0,"expiration_time":1924988400000,"deletion_time":1924988400000}}'`,
    'vreserve lot show ops --recursive',
    'vreserve lot past ded --recursive --json',
  ],
  options: { mount: { type: 'string', unit: 'MNT', help: 'the mount' }, ...FLAGS },
  words: [1, 3],
  async run(parsed) {
    const { name, words } = nameOf(parsed.positionals);
    const known = LOT_FUNCTIONS[name];
    if (known === undefined) {
      throw new VreserveError('USAGE', { reason: `lot has no '${name}'; it has ${Object.keys(LOT_FUNCTIONS).join(', ')}` });
    }
    if (words.length > 1) throw new VreserveError('USAGE', { reason: `'${words[1]}' is one word too many` });
    const flags = Object.keys(FLAGS).filter((flag) => parsed.flag(flag));
    const given = await argument(known.takes, words[0]);
    const request = { cmd: 'lot', name, flags, ...given };
    const mount = parsed.text('mount');
    const { mountpoint } = mount === undefined ? onlyMount() : findMount(mount);
    const { result } = await sendControl<{ ok: true; result?: unknown }>(mountpoint, request);
    return show(name, result, given.word ?? lotNamed(given.json), parsed);
  },
};

/** `usage set` and `usage set-by-dir` are two words. */
function nameOf([first = '', second, ...rest]: readonly string[]): { name: string; words: string[] } {
  if (first === 'usage' && (second === 'set' || second === 'set-by-dir')) return { name: `usage ${second}`, words: rest };
  return { name: first, words: second === undefined ? [] : [second, ...rest] };
}

async function argument(takes: string, given: string | undefined): Promise<{ word?: string; json?: string }> {
  if (takes === '') {
    if (given !== undefined) throw new VreserveError('USAGE', { reason: `'${given}' is one word too many` });
    return {};
  }
  const wantsJson = takes.includes('JSON');
  if (given === undefined && takes === 'JSON') return { json: await readStream(process.stdin) };
  if (given === undefined) throw new VreserveError('USAGE', { reason: `something is missing: ${takes}` });
  if (wantsJson && given === '-') return { json: await readStream(process.stdin) };
  if (wantsJson && given.startsWith('@')) return { json: readText(given.slice(1)) };
  return takes === 'JSON' || (wantsJson && /^\s*[{[]/.test(given)) ? { json: given } : { word: given };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw asVreserveError(error);
  }
}

/** The lot that JSON is about, for the answer; undefined where it is about several. */
function lotNamed(json = '{}'): string | undefined {
  const { lot_name } = JSON.parse(json) as { lot_name?: unknown };
  return typeof lot_name === 'string' ? lot_name : undefined;
}

/** A question that is answered with no has the exit code 1. */
function show(name: string, result: unknown, word: string | undefined, { json }: Parsed): number {
  if (json) printJson(result === undefined ? { ok: true } : result);
  else for (const line of lotLines(name, result, word)) print(line);
  return result === false ? 1 : 0;
}
