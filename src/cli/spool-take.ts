// An entry that was just taken: its data copied out, and the answer about it; it goes back where that cannot be had.
import { createReadStream, createWriteStream, realpathSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import { saveAtomically } from '../spool/atomic.js';
import { type Answer, answerText, tell } from './spool-answer.js';
import type { Held } from './spool-held.js';
import { statOf } from './spool-look.js';

const PART_BYTES = 1024 * 1024;

/** The answer about an entry, with what becomes of it. */
export function answerOf(held: Held, what: Pick<Answer, 'state' | 'to' | 'copy'>): Answer {
  const { path } = held.dataFile;
  const { state, ...more } = what;
  const dataBytes = statOf(path)?.size ?? null;
  return { name: held.name, queue: held.queue, state, metadata: held.contents, data: path, dataBytes, ...more };
}

/** Who is not told of an entry cannot finish it: then it goes back into its queue, and the error is thrown. */
export async function tellOrPutBack(held: Held, answer: Answer, json: boolean): Promise<void> {
  await orPutBack(held, () => tell(answerText(answer, json)));
}

/** Copies the data to a file, whole and on disk, or to stdout where `to` is `-`; else the entry goes back into its queue. */
export async function copyOrPutBack(held: Held, to: string): Promise<void> {
  await orPutBack(held, async () => {
    const from = partsOf(held.dataFile.path);
    const target = statOf(to);
    if (to === '-') await pipeline(from, toStdout);
    // A device or a pipe cannot be replaced by a file.
    else if (target !== null && !target.isFile()) await pipeline(from, createWriteStream(to));
    else await saveAtomically(target === null ? to : realpathSync(to), from);
  });
}

/** Opened when the first part is asked for. */
async function* partsOf(path: string): AsyncGenerator<Buffer> {
  yield* createReadStream(path, { highWaterMark: PART_BYTES });
}

/** Each part is waited for: what the stream still held when the process ended would be lost. */
async function toStdout(parts: AsyncIterable<Buffer>): Promise<void> {
  for await (const part of parts) await tell(part);
}

async function orPutBack(held: Held, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    await held.save(held.queue);
    const reason = asVreserveError(error).message;
    const errno = errnoOf(error) ?? 'EIO';
    throw new VreserveError('SPOOL_PUT_BACK', { name: held.name, queue: held.queue, reason, errno }, { cause: error });
  }
}
