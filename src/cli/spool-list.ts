// `vreserve spool list` and `cat`: what is in a spool, and one entry's data or metadata.
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { formatBytes } from '../core/bytes.js';
import { formatDuration } from '../core/duration.js';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import { checkEntryName } from '../spool/names.js';
import { printable, table } from '../views/text.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { tell } from './spool-answer.js';
import { dataPath, find, look, metadataJson, type Seen } from './spool-look.js';
import { openToRead } from './spool-open.js';

/** Enough of the metadata for its first line as it is shown. */
const SHOWN_BYTES = 400;
const SHOWN_LETTERS = 48;

export const list: Command = {
  usage: 'spool list DIR [QUEUE]',
  description: [
    'Shows the entries of a queue, or of all: their state (queued or checked out) and for how long they have been in it, the',
    'size of their data, and the first line of their metadata. With --json everything, exactly.',
  ],
  examples: ['vreserve spool list /data/mail', 'vreserve spool list /data/mail new --json'],
  options: {},
  words: [1, 2],
  async run({ positionals: [word = '', queue], json }) {
    const { dir, kind } = openToRead(word, queue === undefined ? [] : [queue]);
    const seen = kind.queues.flatMap((name) => [...look(dir, name, json ? Number.POSITIVE_INFINITY : SHOWN_BYTES)]);
    const nowMs = Date.now();
    if (json) printJson(seen.map((entry) => entryJson(dir, entry, nowMs)));
    else if (seen.length === 0) print(queue === undefined ? `${word} has no entries` : `${word} has no entries in ${queue}`);
    else process.stdout.write(entryTable(seen, nowMs));
    return 0;
  },
};

export const cat: Command = {
  usage: 'spool cat DIR NAME [--meta]',
  description: [
    "Writes an entry's data to standard output, or with --meta its metadata, as they are; of entries that are checked out too.",
    'With --json: the metadata, and where the data lies.',
  ],
  examples: ['vreserve spool cat /data/mail photos_000000 | tar -t', 'vreserve spool cat /data/mail photos_000000 --meta'],
  options: { meta: { type: 'boolean', help: 'the metadata in place of the data' } },
  words: [2, 2],
  async run({ positionals: [word = '', name = ''], flag, json }) {
    const spool = openToRead(word);
    checkEntryName(name);
    const seen = find(spool.dir, spool.kind.queues, name);
    if (seen === null) throw new VreserveError('SPOOL_NO_ENTRY', { name, where: ` in '${word}'` });
    if (json) printJson(entryJson(spool.dir, seen, Date.now()));
    else if (flag('meta')) await tell(seen.metadata);
    else await writeData(spool.dir, name);
    return 0;
  },
};

async function writeData(dir: string, name: string): Promise<void> {
  try {
    await pipeline(createReadStream(dataPath(dir, name)), process.stdout, { end: false });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') throw new VreserveError('SPOOL_DATA_GONE', { name }, { cause: error });
    throw asVreserveError(error);
  }
}

function entryJson(dir: string, { queue, name, state, dataBytes, sinceMs, metadata }: Seen, nowMs: number) {
  const data = dataPath(dir, name);
  return { queue, name, state, dataBytes, data, sinceMs, ageMs: Math.max(0, nowMs - sinceMs), ...metadataJson(metadata) };
}

function entryTable(seen: readonly Seen[], nowMs: number): string {
  const columns = [
    { heading: 'QUEUE', align: 'left' },
    { heading: 'NAME', align: 'left' },
    { heading: 'STATE', align: 'left' },
    { heading: 'DATA', align: 'right' },
    { heading: 'AGE', align: 'right' },
    { heading: 'METADATA', align: 'left' },
  ] as const;
  const rows = seen.map(({ queue, name, state, dataBytes, sinceMs, metadata }) => [
    printable(queue),
    printable(name),
    state === 'queued' ? 'queued' : 'checked out',
    dataBytes === null ? 'gone' : formatBytes(dataBytes),
    formatDuration(Math.max(0, nowMs - sinceMs)),
    firstLine(metadata),
  ]);
  return table(columns, rows);
}

/** The first line, cut where it is long; a mark says that there is more. */
function firstLine(metadata: Buffer): string {
  const [line = '', ...more] = metadata.toString('utf8').split('\n');
  const letters = [...line];
  const isMore = letters.length > SHOWN_LETTERS || more.some((text) => text !== '');
  return printable(letters.slice(0, SHOWN_LETTERS).join('')) + (isMore ? '…' : '');
}
