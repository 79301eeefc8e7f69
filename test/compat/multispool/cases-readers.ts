// A reader that waits while another process's entries come: stopped, in the order of names, a thousand of them.
import { once } from 'node:events';
import { watch } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { QueueReader } from '../../../src/spool/reader.js';
import { Spool } from '../../../src/spool/spool.js';
import { Crew, SIDES, whyNotOther } from '../../spool/crew.js';
import { nameOf, textKind } from '../../spool/work.js';
import { found, pathsOfEntries, type SpoolCase, spoolIn } from './directory.js';
import { numbered, type Order, QUEUES, type Queue, WIDGETS, type Widget } from './widget.js';

type Reader = QueueReader<Widget, Order, Queue>;
type WidgetSpool = Spool<Widget, Order, Queue>;

const DEADLINE_MS = 30_000;

const cogName = (i: number): string => `cog_${String(i).padStart(6, '0')}`;

async function enqueueCogs(spool: WidgetSpool, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const data = { serialNumber: i, customer: 'Many & Co' };
    await spool.enqueue('queue1', { cog: i }, data, { reserve: (attempt) => cogName(i) + (attempt === 0 ? '' : `_${attempt}`) });
  }
}

/** Moves entries from the first queue to the second until there were `count`, or it is stopped; the cogs, in the order in which they came. */
async function move(reader: Reader, count: number, signal?: AbortSignal): Promise<{ cogs: unknown[]; stopped: boolean }> {
  const cogs: unknown[] = [];
  while (cogs.length < count) {
    const out = await reader.dequeue(signal === undefined ? {} : { signal });
    if (out === 'stopped') return { cogs, stopped: true };
    cogs.push('cog' in out.contents ? out.contents.cog : out.contents);
    await out.save('queue2');
  }
  return { cogs, stopped: false };
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

async function interrupt(t: Test, directory: string): Promise<void> {
  const spool = await Spool.create(spoolIn(directory), WIDGETS);
  const reader = spool.reader('queue1');
  t.teardown(() => reader.close());
  const stop = new AbortController();
  const moving = move(reader, 5, stop.signal);
  await enqueueCogs(spool, 4);
  stop.abort();
  const { cogs, stopped } = await moving;
  t.equal(stopped, true, 'it waits for the fifth, and is stopped');
  t.strictSame(cogs, numbers(cogs.length), 'what came before came in order');
  const names = numbers(4).map(cogName);
  t.strictSame(
    await found(directory),
    pathsOfEntries({ queue1: names.slice(cogs.length), queue2: names.slice(0, cogs.length) }),
    'nothing is checked out, and nothing lost',
  );
  t.equal(await reader.dequeue({ signal: stop.signal }), 'stopped', 'at once, although there may be entries');

  const again = new AbortController();
  const idle = spool.reader('queue3');
  t.teardown(() => idle.close());
  const stoppedLater = idle.dequeue({ signal: again.signal });
  // It has listed the empty queue long before this enqueue, with all its syncs, is done, and waits.
  await spool.enqueue('queue1', { cog: 9 }, { serialNumber: 9, customer: '' }, { reserve: numbered('x') });
  again.abort();
  t.equal(await stoppedLater, 'stopped', 'while it waits');
}

/**
 * An entry that comes when the queue was just listed, and whose event was delivered before anybody waits for it. Of the two listings
 * that a reader makes before it waits, each is tried.
 */
async function betweenListings(t: Test, directory: string): Promise<void> {
  const spool = await Spool.create(spoolIn(directory), WIDGETS);
  for (const job of [1, 2]) {
    let jobs = 0;
    const throttled = Spool.loadUnsafe(spoolIn(directory), {
      ...WIDGETS,
      async throttle(run) {
        const result = await run();
        jobs += 1;
        if (jobs === job) await comes();
        return result;
      },
    });
    const comes = async () => {
      const events = watch(join(spoolIn(directory), 'queue1'));
      const seen = once(events, 'change');
      await spool.enqueue('queue1', { cog: job }, { serialNumber: job, customer: '' }, { reserve: numbered(`job${job}_`) });
      await seen;
      events.close();
    };
    const reader = throttled.reader('queue1');
    const out = await reader.dequeue({ signal: AbortSignal.timeout(DEADLINE_MS) });
    t.not(out, 'stopped', `an entry that came at step ${job} was not missed`);
    if (out !== 'stopped') await out.remove();
    reader.close();
  }
}

async function iteration(t: Test, directory: string): Promise<void> {
  const spool = await Spool.create(spoolIn(directory), WIDGETS);
  const reader = spool.reader('queue1');
  t.teardown(() => reader.close());
  const moving = move(reader, 10);
  await enqueueCogs(spool, 10);
  t.strictSame(await moving, { cogs: numbers(10), stopped: false });
  const entries = await spool.list('queue2');
  t.strictSame(
    await Promise.all(entries.map((entry) => entry.direct.contents())),
    numbers(10).map((cog) => ({ cog })),
  );
  t.strictSame(await found(directory), pathsOfEntries({ queue2: numbers(10).map(cogName) }));
}

async function ordering(t: Test, directory: string): Promise<void> {
  const spool = await Spool.create(spoolIn(directory), WIDGETS);
  const reader = spool.reader('queue1');
  t.teardown(() => reader.close());
  const moving = move(reader, 1000);
  await enqueueCogs(spool, 1000);
  t.strictSame(await moving, { cogs: numbers(1000), stopped: false });
}

/** Each reader lists when it is empty: what two of them take is each once. */
async function severalReaders(t: Test, directory: string): Promise<void> {
  const spool = await Spool.create(spoolIn(directory), WIDGETS);
  await enqueueCogs(spool, 100);
  const taken: number[] = [];
  const take = async (queueReader: Reader) => {
    for (let out = await queueReader.dequeueAvailable(); out !== null; out = await queueReader.dequeueAvailable()) {
      taken.push('cog' in out.contents ? out.contents.cog : -1);
      await out.remove();
    }
    queueReader.close();
  };
  await Promise.all(numbers(4).map(() => take(spool.reader('queue1'))));
  t.strictSame(
    taken.sort((a, b) => a - b),
    numbers(100),
  );
  t.strictSame(await found(directory), pathsOfEntries({}));
  const entry = await spool.enqueue('queue1', { cog: 1 }, { serialNumber: 1, customer: '' }, { reserve: numbered('x') });
  const outs = await Promise.all(numbers(8).map(() => spool.checkoutIfFound(entry)));
  t.equal(outs.filter((out) => out !== null).length, 1, 'of many that check out at once one gets it');
}

/** How often the threads of a process have gone to sleep: as long as this stays, none of them has done anything. */
async function sleeps(pid: number): Promise<number> {
  const tasks = await readdir(`/proc/${pid}/task`);
  const statuses = tasks.map((task) => readFile(`/proc/${pid}/task/${task}/status`, 'utf8').catch(() => ''));
  const counts = (await Promise.all(statuses)).map((status) =>
    Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1] ?? 0),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

const QUIET_MS = 1500;

/** It is no timer that wakes who waits: the process sleeps until the entry comes. */
async function waiting(t: Test, directory: string): Promise<void> {
  const dir = spoolIn(directory);
  await Spool.create(dir, textKind(QUEUES));
  const crew = await Crew.start(t);
  const consumer = await crew.consume('ours', { spool: dir, queue: 'queue1', to: 'queue2', id: 'waits' });
  const isQuiet = async () => {
    const before = await sleeps(consumer.pid);
    await sleep(QUIET_MS);
    return (await sleeps(consumer.pid)) === before;
  };
  await crew.until('the reader does nothing', isQuiet, DEADLINE_MS);
  const sides = (await whyNotOther()) === false ? SIDES : SIDES.slice(0, 1);
  for (const side of sides) {
    await crew.produce(side, { spool: dir, queue: 'queue1', id: side, count: 1 });
    const isDone = async () => (await crew.handled()).get('waits')?.done.includes(nameOf(side, 0)) === true;
    await crew.until(`woken by an entry of ${side}`, isDone, DEADLINE_MS);
    await crew.until('the reader does nothing again', isQuiet, DEADLINE_MS);
  }
  await consumer.stop();
  t.strictSame(await found(directory), pathsOfEntries({ queue2: sides.map((side) => nameOf(side, 0)) }));
}

export const READER_CASES: readonly SpoolCase[] = [
  { name: 'Dequeue Interrupt', run: interrupt },
  { name: 'Queue Iteration', run: iteration },
  { name: 'Queue Ordering', run: ordering },
  { name: 'an entry that comes between listing and waiting', run: betweenListings },
  { name: 'several readers at once', run: severalReaders },
  { name: 'a reader that waits does nothing until an entry comes', run: waiting },
];
