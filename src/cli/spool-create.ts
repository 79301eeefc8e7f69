// `vreserve spool create` and `load`: makes a spool or its missing queues; checks one and counts what is in it.
import { formatCount } from '../core/bytes.js';
import { Spool } from '../spool/spool.js';
import { table } from '../views/text.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { namesOf } from './spool-look.js';
import { directoryOf, isSpool, kindWith, openSpool, queuesOf } from './spool-open.js';

const DEFAULT_QUEUE = 'new';

export const create: Command = {
  usage: 'spool create DIR [QUEUE…]',
  description: [
    `Makes a spool with these queues, or with one named ${DEFAULT_QUEUE}. DIR must be empty, or not exist yet. In a spool that is`,
    'there already the queues that are missing are added, and nothing else is changed.',
  ],
  examples: ['vreserve spool create /data/mail new failed'],
  options: {},
  words: [1, Number.POSITIVE_INFINITY],
  async run({ positionals: [word = '', ...named], json }) {
    const dir = directoryOf(word);
    const made = !isSpool(dir);
    const before = made ? [] : queuesOf(dir);
    const wanted = named.length === 0 && before.length === 0 ? [DEFAULT_QUEUE] : named;
    // What is there is looked over too: an interrupted create is finished.
    await Spool.create(dir, kindWith([...new Set([...before, ...wanted])]));
    const queues = queuesOf(dir);
    const added = queues.filter((queue) => !before.includes(queue));
    if (json) printJson({ dir, made, added, queues });
    else if (made) print(`made the spool ${word} with ${queues.join(', ')}`);
    else if (added.length > 0) print(`added ${added.join(', ')} to the spool ${word}`);
    else print(`the spool ${word} has ${queues.join(', ')} already`);
    return 0;
  },
};

export const load: Command = {
  usage: 'spool load DIR',
  description: ['Checks that DIR is a spool with whole queues, and shows how many entries each has, queued and checked out.'],
  examples: ['vreserve spool load /data/mail', 'vreserve spool load /data/mail --json'],
  options: {},
  words: [1, 1],
  async run({ positionals: [word = ''], json }) {
    const { dir, kind } = await openSpool(word);
    const rows = kind.queues.map((name) => ({
      name,
      queued: namesOf(dir, name, 'queued').length,
      checkedOut: namesOf(dir, name, 'checked-out').length,
    }));
    if (json) printJson({ dir, queues: rows });
    else process.stdout.write(queueTable(rows));
    return 0;
  },
};

function queueTable(rows: readonly { name: string; queued: number; checkedOut: number }[]): string {
  const columns = [
    { heading: 'QUEUE', align: 'left' },
    { heading: 'QUEUED', align: 'right' },
    { heading: 'CHECKED OUT', align: 'right' },
  ] as const;
  return table(
    columns,
    rows.map(({ name, queued, checkedOut }) => [name, formatCount(queued), formatCount(checkedOut)]),
  );
}
