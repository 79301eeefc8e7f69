// `vreserve spool dequeue`: the next entry of a queue, waited for, and what becomes of it.

import { parseTimerMs } from '../core/duration.js';
import { VreserveError } from '../core/errors.js';
import type { Command } from './command.js';
import { outliveReader } from './spool-answer.js';
import { type Held, removeHeld } from './spool-held.js';
import { type AnySpool, openSpool } from './spool-open.js';
import { Stop } from './spool-stop.js';
import { answerOf, copyOrPutBack, tellOrPutBack } from './spool-take.js';

export const dequeue: Command = {
  usage: 'spool dequeue DIR QUEUE [--no-wait | --timeout DURATION] [--remove | --save QUEUE] [--data FILE|-]',
  description: [
    'Takes the first entry of the queue and prints its name, its metadata and the path of its data; where there is none, it waits.',
    'The entry stays checked out: finish it with spool save or spool remove. With --save it goes into another queue at once, with',
    '--remove it is gone when this has ended, and its data with it: --data copies that out first. With --data - standard output is',
    'the data, and nothing else is printed. What cannot be copied or printed goes back into its queue.',
    'Exit code 1: nothing was there, with --no-wait or when the time was over.',
  ],
  examples: [
    'vreserve spool dequeue /data/mail new',
    'vreserve spool dequeue /data/mail new --no-wait --remove --data letter',
    'vreserve spool dequeue /data/mail new --timeout 30s --save sent --json',
  ],
  options: {
    'no-wait': { type: 'boolean', help: 'only what is there now' },
    timeout: { type: 'string', unit: 'DURATION', help: 'how long to wait: 500ms, 30s, 10m' },
    remove: { type: 'boolean', help: 'remove the entry when it is printed' },
    save: { type: 'string', unit: 'QUEUE', help: 'save it into this queue when it is printed' },
    data: { type: 'string', unit: 'FILE|-', help: 'copy the data there first' },
  },
  words: [2, 2],
  async run({ positionals: [word = '', queue = ''], flag, text, json }) {
    const to = text('save');
    const copy = text('data');
    const timeout = text('timeout');
    if (flag('remove') && to !== undefined) throw new VreserveError('USAGE', { reason: 'give --remove or --save, not both' });
    if (flag('no-wait') && timeout !== undefined) {
      throw new VreserveError('USAGE', { reason: 'give --no-wait or --timeout, not both' });
    }
    if (copy === '-' && json) throw new VreserveError('USAGE', { reason: '--data - and --json both want standard output' });
    if (copy === '') throw new VreserveError('USAGE', { reason: '--data names no file' });
    const waitMs = flag('no-wait') ? 0 : timeout === undefined ? null : parseTimerMs(timeout);
    const spool = await openSpool(word, to === undefined ? [queue] : [queue, to]);

    const stop = new Stop();
    outliveReader();
    try {
      const held = await next(spool, queue, waitMs, stop.signal);
      if (held === null && stop.isAsked) return stop.exitCode;
      if (held === null) throw new VreserveError('SPOOL_EMPTY', { queue });
      const state = flag('remove') ? 'removed' : to === undefined ? 'checked-out' : 'saved';
      const answer = answerOf(held, { state, ...(to === undefined ? {} : { to }), ...(copy === undefined ? {} : { copy }) });
      if (copy !== undefined) await copyOrPutBack(held, copy);
      if (copy !== '-') await tellOrPutBack(held, answer, json);
      if (state === 'removed') await removeHeld(spool, held);
      else if (to !== undefined) await held.save(to);
      return 0;
    } finally {
      stop.end();
    }
  },
};

/** The next entry; null where there is none in time (`waitMs`: 0 not to wait, null for ever) or the signal came. */
async function next(spool: AnySpool, queue: string, waitMs: number | null, signal: AbortSignal): Promise<Held | null> {
  const reader = spool.reader(queue);
  try {
    const until = waitMs === null ? signal : AbortSignal.any([signal, AbortSignal.timeout(waitMs)]);
    // What is there is had, however short the time is.
    const available = await reader.dequeueAvailable();
    if (available !== null || waitMs === 0) return available;
    const held = await reader.dequeue({ signal: until });
    return held === 'stopped' ? null : held;
  } finally {
    reader.close();
  }
}
