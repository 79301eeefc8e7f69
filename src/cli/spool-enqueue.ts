// `vreserve spool enqueue`: an entry from standard input, whole or not at all.
import { createReadStream, fstatSync } from 'node:fs';
import { addAbortSignal, type Readable } from 'node:stream';
import { isatty } from 'node:tty';
import { VreserveError } from '../core/errors.js';
import type { NameGenerator } from '../spool/enqueue.js';
import { printable } from '../views/text.js';
import type { Command } from './command.js';
import { note, printJson } from './output.js';
import { outliveReader, tell, unlessNoReader } from './spool-answer.js';
import { lookAt, registeredNames } from './spool-look.js';
import { META_OPTION, metadataOf } from './spool-metadata.js';
import { exactName, numberedNames, timedNames } from './spool-name.js';
import { type AnySpool, openSpool } from './spool-open.js';
import { Stop } from './spool-stop.js';

const STDIN = 0;
const PART_BYTES = 1024 * 1024;

export const enqueue: Command = {
  usage: 'spool enqueue DIR QUEUE [--meta TEXT|@FILE] [--name NAME | --prefix P]',
  description: [
    'Puts what comes from standard input into the queue, with its metadata, and prints the name of the entry. It appears in the',
    'queue when all of it is on disk; where that fails, or is interrupted, nothing of it is left.',
    'Without a name it gets one of the time, so that entries sort in the order in which they were begun; with a prefix it is',
    'P_000000, P_000001 and so on, one more than the highest in the spool.',
  ],
  examples: [
    'vreserve spool enqueue /data/mail new --meta "to: alice" < letter',
    'tar -c photos | vreserve spool enqueue /data/mail new --meta @photos.json --prefix photos',
  ],
  options: {
    meta: META_OPTION,
    name: { type: 'string', unit: 'NAME', help: 'the name; refused where the spool has it already' },
    prefix: { type: 'string', unit: 'P', help: 'the name is P_ and the next number' },
  },
  words: [2, 2],
  async run({ positionals: [word = '', queue = ''], text, json }) {
    const metadata = metadataOf(text('meta') ?? '');
    const spool = await openSpool(word, [queue]);
    const names = namesFor(spool, queue, text('name'), text('prefix'));
    if (isatty(STDIN)) note('the data is read from standard input, until Ctrl-D');
    const stop = new Stop();
    outliveReader();
    try {
      const { name } = await spool.enqueue(queue, metadata, input(stop.signal), { reserve: names });
      const dataBytes = lookAt(spool.dir, queue, name, 'queued', 0)?.dataBytes ?? null;
      const data = spool.entry(queue, name).direct.dataFile.path;
      // Without a reader nobody learns the name, and the entry is in the queue all the same.
      await tell(json ? `${JSON.stringify({ name, queue, metadata, data, dataBytes })}\n` : `${printable(name)}\n`).catch(
        unlessNoReader,
      );
      return 0;
    } catch (error) {
      if (!stop.isAsked) throw error;
      const message = 'interrupted: nothing was put into the queue';
      note(message);
      if (json) printJson({ ok: false, code: 'SYSTEM', errno: 'EINTR', message });
      return stop.exitCode;
    } finally {
      stop.end();
    }
  },
};

/** Standard input, to its end. A signal at any time before makes it fail. */
async function* input(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted();
  for await (const part of addAbortSignal(signal, standardInput())) yield part;
  signal.throwIfAborted();
}

/** process.stdin takes what it does not know, such as block devices and directories, for empty. */
function standardInput(): Readable {
  const stat = fstatSync(STDIN);
  if (stat.isDirectory()) throw new VreserveError('SYSTEM', { reason: 'standard input is a directory', errno: 'EISDIR' });
  // Never waits for long, so that a signal is heard.
  const isOnDisk = stat.isFile() || stat.isBlockDevice();
  return isOnDisk ? createReadStream('', { fd: STDIN, autoClose: false, highWaterMark: PART_BYTES }) : process.stdin;
}

function namesFor(spool: AnySpool, queue: string, name: string | undefined, prefix: string | undefined): NameGenerator {
  if (name !== undefined && prefix !== undefined) {
    throw new VreserveError('USAGE', { reason: 'give --name or --prefix, not both' });
  }
  const names =
    name !== undefined
      ? exactName(name)
      : prefix !== undefined
        ? numberedNames(prefix, registeredNames(spool.dir))
        : timedNames(performance.timeOrigin + performance.now());
  // Refused before anything is read or made.
  spool.entry(queue, names(0));
  return names;
}
