// `vreserve spool recover`: entries that consumers have left checked out go back into their queues.
import { parseDurationMs } from '../core/duration.js';
import { asVreserveError, errnoOf } from '../core/errors.js';
import type { Command } from './command.js';
import { note, print, printJson } from './output.js';
import { outliveReader } from './spool-answer.js';
import { reopen, saveHeld } from './spool-held.js';
import { lookAt, namesOf } from './spool-look.js';
import { type AnySpool, openSpool } from './spool-open.js';

interface Recovered {
  name: string;
  queue: string;
  /** For how long it was checked out. */
  ageMs: number;
}

export const recover: Command = {
  usage: 'spool recover DIR [QUEUE] [--older-than DURATION]',
  description: [
    'Puts entries that are checked out back into their own queue, of one queue or of all, and prints each: what a consumer that died',
    'has left. Nobody can see from outside whether a consumer is still at work: run it while none is, or with --older-than and a',
    'time that none of them needs.',
  ],
  examples: ['vreserve spool recover /data/mail', 'vreserve spool recover /data/mail new --older-than 2h'],
  options: { 'older-than': { type: 'string', unit: 'DURATION', help: 'only what has been checked out for longer' } },
  words: [1, 2],
  async run({ positionals: [word = '', queue], text, json }) {
    const limit = text('older-than');
    const olderThanMs = limit === undefined ? null : parseDurationMs(limit);
    const spool = await openSpool(word, queue === undefined ? [] : [queue]);
    const nowMs = Date.now();
    outliveReader();
    const found = spool.kind.queues.flatMap((name) => checkedOut(spool, name, nowMs));
    const old = found.filter(({ ageMs }) => olderThanMs === null || ageMs > olderThanMs);
    if (old.length > 0 && olderThanMs === null) {
      note('a consumer that is still at work loses its entry now: with --older-than only what has been held for long goes back');
    }
    const done: Recovered[] = [];
    let failures = 0;
    for (const entry of old) {
      try {
        if (!(await putBack(spool, entry))) continue;
        done.push(entry);
        if (!json) print(`put ${entry.name} back into ${entry.queue}`);
      } catch (error) {
        failures++;
        note(`${entry.name} stays checked out: ${asVreserveError(error).message}`);
      }
    }
    if (json) printJson({ recovered: done, failures });
    else if (old.length === 0) print(`nothing is checked out${olderThanMs === null ? '' : ` for longer than ${limit}`}`);
    return failures === 0 ? 0 : 1;
  },
};

/** False where it is checked out no more. */
async function putBack(spool: AnySpool, { queue, name }: Recovered): Promise<boolean> {
  try {
    await saveHeld(spool, await reopen(spool, queue, name), queue);
    return true;
  } catch (error) {
    if (lookAt(spool.dir, queue, name, 'checked-out', 0) === null && ['ENOENT', 'ESTALE'].includes(errnoOf(error) ?? ''))
      return false;
    throw error;
  }
}

function checkedOut(spool: AnySpool, queue: string, nowMs: number): Recovered[] {
  return namesOf(spool.dir, queue, 'checked-out').flatMap((name) => {
    const seen = lookAt(spool.dir, queue, name, 'checked-out', 0);
    return seen === null ? [] : [{ name, queue, ageMs: Math.max(0, nowMs - seen.sinceMs) }];
  });
}
