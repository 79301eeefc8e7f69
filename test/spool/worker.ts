// A process that works on a spool: `worker.js produce JSON`, `worker.js consume JSON` with the jobs of work.ts. Whatever is not as it
// must be ends it with an error.
import { closeSync, openSync, symlinkSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../../src/core/errors.js';
import { Spool } from '../../src/spool/spool.js';
import { type ConsumeJob, dataOf, isOdd, metadataOf, nameOf, type ProduceJob, textKind } from './work.js';

async function produce({ spool: dir, queue, id, count }: ProduceJob): Promise<void> {
  const spool = await Spool.load(dir, textKind([queue]));
  for (let i = 0; i < count; i++) {
    const name = nameOf(id, i);
    const reserve = (attempt: number) => (attempt === 0 ? name : `${name}-${attempt}`);
    await spool.enqueue(queue, metadataOf(name, queue), dataOf(name), { reserve });
  }
}

async function consume({ spool: dir, queue, id, locks, log, to, removesOdd = false }: ConsumeJob): Promise<void> {
  const stop = new AbortController();
  process.on('SIGTERM', () => stop.abort());
  const spool = await Spool.load(dir, textKind(to === null ? [queue] : [queue, to]));
  const lines = openSync(log, 'a');
  const reader = spool.reader(queue);
  writeSync(1, 'ready\n');
  for (;;) {
    const out = await reader.dequeue({ signal: stop.signal });
    if (out === 'stopped') break;
    const { name } = out;
    const lock = join(locks, name);
    symlinkSync(id, lock);
    writeSync(lines, `begin ${name}\n`);
    const target = to === null || (removesOdd && isOdd(name)) ? null : to;
    if (out.contents !== metadataOf(name, queue)) {
      // Who was saving it was killed between the metadata and the move: it is saved again.
      if (target === null || out.contents !== metadataOf(name, target)) throw new Error(`${name}: metadata '${out.contents}'`);
      writeSync(lines, `halved ${name}\n`);
    }
    const wanted = dataOf(name);
    try {
      if (!wanted.equals((await out.dataFile.load()) as Uint8Array)) throw new Error(`${name}: other data`);
    } catch (error) {
      // Who was removing it was killed between the data and the entry: the data is made again, and all is removed.
      if (errnoOf(error) !== 'ENOENT' || target !== null) throw error;
      writeSync(lines, `halved ${name}\n`);
      await out.dataFile.save(wanted);
    }
    if (target === null) await out.remove();
    else {
      out.update(metadataOf(name, target));
      await out.save(target);
    }
    writeSync(lines, `done ${name}\n`);
    unlinkSync(lock);
  }
  reader.close();
  closeSync(lines);
}

const [, , word, job = ''] = process.argv;
if (word === 'produce') await produce(JSON.parse(job) as ProduceJob);
else if (word === 'consume') await consume(JSON.parse(job) as ConsumeJob);
else throw new Error(`no such work: ${word}`);
