// `vreserve ns`: the table of its subcommands. Each is a command of its own, with its options and its help.

import { sendControl } from '../client/control.js';
import { formatCount, formatExactBytes, parseBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import type { NamespaceInfo } from '../core/namespace-layout.js';
import type { Command, Parsed } from './command.js';
import { alignColumns, note, print, printJson } from './output.js';
import { readPassword } from './password-file.js';
import { type Subcommands, subcommandLines, subcommandOf } from './subcommands.js';
import { findMount, onlyMount } from './where.js';

const MOUNT = { mount: { type: 'string', unit: 'MNT', help: 'the mount; may be left out where there is one only' } } as const;

interface Reply {
  ok: true;
  namespace: NamespaceInfo;
}

function ask<T>({ text }: Parsed, request: object): Promise<T> {
  const mount = text('mount');
  const { mountpoint } = mount === undefined ? onlyMount() : findMount(mount);
  return sendControl<T>(mountpoint, { cmd: 'ns', ...request });
}

const reserve: Command = {
  usage: 'ns reserve NAME BYTES [--type ssd|hdd] [--mode user|seq] [--password-file FILE] [--public] [--mount MNT]',
  description: [
    'Makes a namespace that takes so many bytes of values, and sets them aside: nobody else can take them. What storing them takes',
    'besides is allowed while the pool has headroom. Prints where clients find it. In the mode seq keys are numbers that are given.',
  ],
  examples: [
    'vreserve ns reserve cache 10GB',
    'vreserve ns reserve users 500MB --password-file /etc/users.pw --public && redis-cli -p 9900 select users',
  ],
  options: {
    type: { type: 'string', unit: 'TYPE', help: 'in a pool on ssd or on hdd; else on ssd where one has the room, or on another' },
    mode: { type: 'string', unit: 'MODE', help: 'user (keys are chosen by clients) or seq; user' },
    'password-file': { type: 'string', unit: 'FILE', help: 'clients must know the password in this file' },
    public: { type: 'boolean', help: 'who does not know it may read' },
    ...MOUNT,
  },
  words: [2, 2],
  async run(parsed) {
    const { positionals, text, flag, json } = parsed;
    const [namespace = '', bytes = ''] = positionals;
    const file = text('password-file');
    const mode = text('mode') ?? 'user';
    if (mode !== 'user' && mode !== 'seq')
      throw new VreserveError('USAGE', { reason: `--mode must be user or seq, not '${mode}'` });
    const password = file === undefined ? null : readPassword(file);
    const type = text('type');
    const order = { namespace, bytes: parseBytes(bytes), mode, password, public: flag('public') };
    const request = { action: 'reserve', ...order, ...(type === undefined ? {} : { type }) };
    const { namespace: made } = await ask<Reply>(parsed, request);
    if (json) printJson({ ok: true, namespace: made });
    else
      print(
        `reserved ${formatExactBytes(made.dedicatedBytes)} for namespace ${made.name} at ${made.address}, in pool ${made.pool}`,
      );
    return 0;
  },
};

const release: Command = {
  usage: 'ns release NAME [--mount MNT]',
  description: ['Removes a namespace with all it holds, and gives its bytes back. Clients that are in it are sent away.'],
  examples: ['vreserve ns release cache'],
  options: MOUNT,
  words: [1, 1],
  async run(parsed) {
    const { namespace } = await ask<Reply>(parsed, { action: 'release', namespace: parsed.positionals[0] });
    if (parsed.json) printJson({ ok: true, namespace });
    else print(`released ${formatExactBytes(namespace.dedicatedBytes)} of namespace ${namespace.name}`);
    return 0;
  },
};

const list: Command = {
  usage: 'ns list [--mount MNT]',
  description: ['Shows the namespaces: keys, bytes of values, what is set aside, and what the files take.'],
  examples: ['vreserve ns list'],
  options: MOUNT,
  words: [0, 0],
  async run(parsed) {
    const { namespaces } = await ask<{ ok: true; namespaces: NamespaceInfo[] }>(parsed, { action: 'list' });
    if (parsed.json) printJson({ ok: true, namespaces });
    else {
      for (const { name, broken } of namespaces) if (broken !== null) note(`namespace ${name} cannot be used now: ${broken}`);
      const rows = namespaces.map((each) => [
        each.name,
        each.mode,
        each.pool,
        formatCount(each.entries),
        formatExactBytes(each.payloadBytes),
        each.maxPayloadBytes === null ? 'unlimited' : formatExactBytes(each.maxPayloadBytes),
        formatExactBytes(each.dedicatedBytes),
        formatExactBytes(each.fileBytes),
      ]);
      const head = ['namespace', 'mode', 'pool', 'keys', 'values', 'at most', 'set aside', 'files'];
      for (const line of alignColumns([head, ...rows], [3, 4, 5, 6, 7])) print(line);
    }
    return 0;
  },
};

const info: Command = {
  usage: 'ns info NAME [--mount MNT]',
  description: ['Shows one namespace: where it is, what it lets clients do, and what it takes.'],
  examples: ['vreserve ns info cache'],
  options: MOUNT,
  words: [1, 1],
  async run(parsed) {
    const { namespace } = await ask<Reply>(parsed, { action: 'info', namespace: parsed.positionals[0] });
    if (parsed.json) printJson({ ok: true, namespace });
    else for (const line of namespaceLines(namespace)) print(line);
    return 0;
  },
};

function namespaceLines(it: NamespaceInfo): string[] {
  const beyond = it.fileBytes - it.payloadBytes - it.keyBytes;
  const more = it.opportunisticBytes < 0 ? 'without limit' : formatExactBytes(it.opportunisticBytes);
  const is = [
    it.hasPassword ? `password${it.isPublic ? ', public for reading' : ''}` : 'open to all',
    ...(it.isWorm ? ['write once'] : []),
    ...(it.isLocked ? ['locked'] : []),
    ...(it.isFrozen ? ['frozen'] : []),
  ];
  return alignColumns([
    ['namespace', it.name],
    ['address', it.address],
    ...(it.broken === null ? [] : [['broken', it.broken]]),
    ['mode', it.mode],
    ['access', is.join(', ')],
    ['keys', formatCount(it.entries)],
    ['values', formatExactBytes(it.payloadBytes)],
    ['at most', it.maxPayloadBytes === null ? 'without limit' : formatExactBytes(it.maxPayloadBytes)],
    ['files', `${formatExactBytes(it.fileBytes)}, ${formatExactBytes(Math.max(0, beyond))} beyond values and keys`],
    ['pool', it.pool],
    ['lot', `${it.lot}: ${formatExactBytes(it.dedicatedBytes)} set aside, and more while there is headroom: ${more}`],
  ]);
}

const SUBCOMMANDS: Subcommands = {
  reserve: { summary: 'make a namespace, with bytes set aside for it', command: reserve },
  release: { summary: 'remove a namespace', command: release },
  list: { summary: 'show all namespaces', command: list },
  info: { summary: 'show one', command: info },
};

const overview = {
  usage: 'ns COMMAND [options]',
  description: [
    'Key-value namespaces of a mount with --zdb ADDRESS, for clients of 0-db and of Redis: each has a size that is reserved. Each',
    'command has its own help: vreserve ns reserve --help',
    ...subcommandLines(SUBCOMMANDS),
  ],
  examples: ['vreserve ns reserve cache 10GB', 'vreserve ns list'],
};

/** What the words of the whole command line ask for: a subcommand, or the overview where they name none. */
export function nsCommand(argv: readonly string[]): Command {
  return subcommandOf('ns', SUBCOMMANDS, overview, argv);
}
