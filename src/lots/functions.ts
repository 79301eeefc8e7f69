// The table of LotMan's functions: how each is called, and what it does.

import { VreserveError } from '../core/errors.js';
import { PAST, type Past } from '../core/usage.js';
import { readVersion } from '../version.js';
import type { By, LotRequest } from '../views/host.js';
import { usageByLot } from './by-directory.js';
import { LotChanges } from './changes.js';
import type { LotHost } from './host.js';
import { LotQueries, type UserName } from './queries.js';
import { checkInput, type LotInputKind, type LotInputs, type PolicyQueryJson, type UsageQueryJson } from './schema.js';
import { parseJson } from './schema-json.js';
import { ATTRIBUTE_NAMES } from './wire.js';

interface Call {
  see: LotQueries;
  changes: LotChanges;
  host: LotHost;
  by: By;
  userName: UserName;
  /** The word after the function's name: a lot, a path or a kind. */
  word(): string;
  json<Kind extends LotInputKind>(kind: Kind): LotInputs[Kind];
  /** JSON, or the name of a lot. */
  isJson: boolean;
  flag(name: string): boolean;
}

interface LotFunction {
  /** What comes after its name: WORD, JSON, or either. */
  takes: string;
  /** What it does, for the help. */
  help: string;
  /** Options that it knows, as on the command line without the dashes. */
  flags: readonly string[];
  run(call: Call): Promise<unknown> | unknown;
}

const RECURSIVE = ['recursive'] as const;
const FAMILY = ['recursive', 'self'] as const;

/** By the words after `lot`. */
export const LOT_FUNCTIONS: Record<string, LotFunction> = {
  version: { help: 'the version of vreserve', takes: '', flags: [], run: () => readVersion() },
  context: {
    help: 'who asks, as the kernel knows it',
    takes: '',
    flags: [],
    run: ({ host, by, userName }) => ({
      caller: userName(String(by.caller.uid)),
      administrator: host.rights.isAdministrator(by.caller),
    }),
  },
  list: { help: 'all lots', takes: '', flags: [], run: ({ see }) => see.list() },
  exists: {
    help: 'whether there is such a lot; exit code 1 where there is not',
    takes: 'LOT',
    flags: [],
    run: ({ see, word }) => see.exists(word()),
  },
  'is-root': {
    help: 'whether it is its own only parent; exit code 1 where it is not',
    takes: 'LOT',
    flags: [],
    run: ({ see, word }) => see.isRoot(word()),
  },
  show: {
    help: 'all of a lot',
    takes: 'LOT',
    flags: RECURSIVE,
    run: ({ see, word, flag }) => see.show(word(), flag('recursive')),
  },
  owners: {
    help: 'its owner; --recursive: and those of all lots above it',
    takes: 'LOT',
    flags: RECURSIVE,
    run: ({ see, word, flag }) => see.owners(word(), flag('recursive')),
  },
  parents: {
    help: 'lots above it; --self: itself too, where it is a parent of its own',
    takes: 'LOT',
    flags: FAMILY,
    run: ({ see, word, flag }) => see.parents(word(), flag('recursive'), flag('self')),
  },
  children: {
    help: 'lots below it',
    takes: 'LOT',
    flags: FAMILY,
    run: ({ see, word, flag }) => see.children(word(), flag('recursive'), flag('self')),
  },
  dirs: {
    help: 'its paths; --recursive: and those of all lots below it',
    takes: 'LOT',
    flags: RECURSIVE,
    run: ({ see, word, flag }) => see.dirs(word(), flag('recursive')),
  },
  which: {
    help: 'the lot that owns a path',
    takes: 'PATH',
    flags: RECURSIVE,
    run: ({ see, word, flag }) => see.which(word(), flag('recursive')),
  },
  past: {
    help: 'lots past deletion, expiration, grant, objects or dedicated bytes',
    takes: PAST.join('|'),
    flags: ['recursive', 'recursive-quota', 'recursive-children'],
    run: ({ see, word, flag }) => {
      const what = pastOf(word());
      const both = flag('recursive');
      return see.past(what, both || flag('recursive-quota'), both || flag('recursive-children'));
    },
  },
  policy: {
    help: 'its policy; --recursive: as lots above it restrict it',
    takes: 'LOT|JSON',
    flags: RECURSIVE,
    run: ({ see, isJson, json, word, flag }) => see.policy(isJson ? json('policy') : wholePolicy(word(), flag('recursive'))),
  },
  usage: {
    help: 'what it uses; --recursive: with all lots below it',
    takes: 'LOT|JSON',
    flags: RECURSIVE,
    run: ({ see, isJson, json, word, flag }) => see.usage(isJson ? json('usage') : wholeUsage(word(), flag('recursive'))),
  },
  add: { help: 'makes a lot', takes: 'JSON', flags: [], run: ({ changes, json }) => changes.add(json('add')) },
  update: {
    help: 'changes owner, parents, paths or policy of a lot',
    takes: 'JSON',
    flags: [],
    run: ({ changes, json }) => changes.update(json('update')),
  },
  'add-to': {
    help: 'gives a lot more paths or parents',
    takes: 'JSON',
    flags: [],
    run: ({ changes, json }) => changes.addTo(json('addTo')),
  },
  'remove-parents': {
    help: 'takes parents from a lot',
    takes: 'JSON',
    flags: [],
    run: ({ changes, json }) => changes.removeParents(json('removeParents')),
  },
  'remove-paths': {
    help: 'takes paths from their lots',
    takes: 'JSON',
    flags: [],
    run: ({ changes, json }) => changes.removePaths(json('removePaths')),
  },
  remove: {
    help: 'removes a lot; --recursive: and all lots below it',
    takes: 'LOT',
    flags: ['recursive', 'assign-to-orphans', 'assign-to-non-orphans'],
    run: ({ changes, word, flag }) =>
      flag('recursive')
        ? changes.removeRecursive(word())
        : changes.remove(word(), flag('assign-to-orphans'), flag('assign-to-non-orphans')),
  },
  'usage set': {
    help: 'reports the usage of a lot whose paths are foreign',
    takes: 'JSON',
    flags: ['delta'],
    run: ({ changes, json, flag }) => changes.setUsage(json(flag('delta') ? 'setUsageDelta' : 'setUsage'), flag('delta')),
  },
  'usage set-by-dir': {
    help: 'the same by directory',
    takes: 'JSON',
    flags: ['delta'],
    run: ({ changes, host, json, flag }) => {
      const found = json(flag('delta') ? 'setUsageByDirDelta' : 'setUsageByDir');
      return changes.setUsages(usageByLot(found, host.book), flag('delta'));
    },
  },
};

/** Runs a function for who asks. Throws USAGE (no such function, option or word), BAD_LOT_JSON, and what the function refuses. */
export async function runLotFunction(
  host: LotHost,
  { name, word, json, flags }: LotRequest,
  by: By,
  userName: UserName,
): Promise<unknown> {
  const known = Object.hasOwn(LOT_FUNCTIONS, name) ? LOT_FUNCTIONS[name] : undefined;
  if (known === undefined) throw usage(`lot has no '${name.slice(0, 40)}'; it has ${Object.keys(LOT_FUNCTIONS).join(', ')}`);
  const stray = flags.find((flag) => !known.flags.includes(flag));
  if (stray !== undefined) throw usage(`lot ${name} has no option '--${stray.slice(0, 40)}'`);
  const how = `lot ${name}${known.takes === '' ? '' : ` ${known.takes}`}`;
  if (known.takes === '' && (word !== null || json !== undefined)) throw usage(`write: ${how}`);
  const see = new LotQueries(host, by, userName);
  return known.run({
    see,
    changes: new LotChanges(host, by, see),
    host,
    by,
    userName,
    word: () => {
      if (word === null || json !== undefined) throw usage(`write: ${how}`);
      return word;
    },
    isJson: json !== undefined,
    json: (kind) => {
      if (json === undefined || word !== null) throw usage(`write: ${how}`);
      return checkInput(kind, typeof json === 'string' ? parseJson(json) : json);
    },
    flag: (flag) => flags.includes(flag),
  });
}

function pastOf(word: string): Past {
  const found = PAST.find((what) => what === word);
  if (found === undefined) throw usage(`write: lot past ${PAST.join('|')}, not '${word.slice(0, 40)}'`);
  return found;
}

function wholePolicy(name: string, recursive: boolean): PolicyQueryJson {
  return { lot_name: name, ...Object.fromEntries(Object.keys(ATTRIBUTE_NAMES).map((key) => [key, recursive])) };
}

function wholeUsage(name: string, recursive: boolean): UsageQueryJson {
  const parts = ['dedicated_GB', 'opportunistic_GB', 'total_GB', 'num_objects', 'GB_being_written', 'objects_being_written'];
  return { lot_name: name, ...Object.fromEntries(parts.map((part) => [part, recursive])) };
}

function usage(reason: string): VreserveError {
  return new VreserveError('USAGE', { reason });
}
