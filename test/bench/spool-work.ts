// A process of the spool's part of the bench: spool-work.js enqueue|dequeue|wait SPOOL ID COUNT. It says `ready`, begins at a line on
// stdin, and says when it began and ended (ns of the monotonic clock, the same in every process); one that waits, when each entry came.
import { once } from 'node:events';
import { bytesData, type SpoolKind, textMeta } from '../../src/spool/kind.js';
import { Spool } from '../../src/spool/spool.js';

/** The kind of every spool of the bench: text and bytes. All goes through `queue`; what is to wake somebody is laid ready in `aside`. */
export const BENCH_KIND: SpoolKind<string, Uint8Array | AsyncIterable<Uint8Array>, 'queue' | 'aside'> = {
  queues: ['queue', 'aside'],
  meta: textMeta,
  data: bytesData,
};

/** Payload of an entry. */
export const DATA_BYTES = 1024;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function main(word: string, dir: string, id: string, count: number): Promise<void> {
  const spool = await Spool.load(dir, BENCH_KIND);
  const data = Buffer.alloc(DATA_BYTES, id);
  const reader = spool.reader('queue');
  say('ready');
  await once(process.stdin, 'data');
  process.stdin.pause();
  const start = process.hrtime.bigint();
  if (word === 'enqueue') {
    for (let i = 0; i < count; i++) {
      const name = `${id}-${String(i).padStart(6, '0')}`;
      await spool.enqueue('queue', name, data, { reserve: (attempt) => (attempt === 0 ? name : `${name}-${attempt}`) });
    }
  } else if (word === 'dequeue') {
    for (let out = await reader.dequeueAvailable(); out !== null; out = await reader.dequeueAvailable()) {
      await out.dataFile.load();
      await out.remove();
    }
  } else {
    for (let i = 0; i < count; i++) {
      const out = await reader.dequeue();
      const came = process.hrtime.bigint();
      if (out === 'stopped') break;
      await out.remove();
      say(String(came));
    }
  }
  say(JSON.stringify({ startNs: Number(start), endNs: Number(process.hrtime.bigint()) }));
  reader.close();
}

if (process.argv[1]?.endsWith('spool-work.js')) {
  const [, , word = '', dir = '', id = '', count = '0'] = process.argv;
  await main(word, dir, id, Number(count));
}
