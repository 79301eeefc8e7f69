// Two implementations of the protocol on one spool at the same time: the library, and other.py.
import type { Test } from 'tap';
import { Monitor } from '../../../src/spool/monitor.js';
import { Spool } from '../../../src/spool/spool.js';
import { type Consumer, Crew, namesIn, SIDES } from '../../spool/crew.js';
import { nameOf, textKind } from '../../spool/work.js';
import { found, pathsOf, spoolIn } from './directory.js';
import { QUEUES } from './widget.js';

const DEADLINE_MS = 60_000;

/**
 * Of each side two producers, a consumer that moves entries from the first queue to the second with other metadata, and one that
 * removes them there.
 */
export async function bothSides(t: Test, directory: string, entries: number): Promise<void> {
  const dir = spoolIn(directory);
  await Spool.create(dir, textKind(QUEUES));
  const crew = await Crew.start(t);
  const consumers: Consumer[] = [];
  for (const side of SIDES) {
    consumers.push(await crew.consume(side, { spool: dir, queue: 'queue1', to: 'queue2', id: `${side}-moves` }));
    consumers.push(await crew.consume(side, { spool: dir, queue: 'queue2', to: null, id: `${side}-removes` }));
  }
  const producers = SIDES.flatMap((side) => [1, 2].map((i) => ({ side, id: `${side}${i}` })));
  const each = Math.floor(entries / producers.length);
  await Promise.all(producers.map(({ side, id }) => crew.produce(side, { spool: dir, queue: 'queue1', id, count: each })));
  await crew.until('all is removed', async () => (await namesIn(dir, '.registry')).length === 0, DEADLINE_MS);
  await Promise.all(consumers.map((consumer) => consumer.stop()));

  t.strictSame(crew.failures, [], 'all is as each side has it, and no two had one entry');
  for (const queue of ['queue1', 'queue2']) t.strictSame(await crew.locked(queue), [], `${queue}: nothing is locked`);
  const handled = await crew.handled();
  const names = producers.flatMap(({ id }) => Array.from({ length: each }, (_, i) => nameOf(id, i))).sort();
  for (const work of ['moves', 'removes'] as const) {
    const [ours, other] = SIDES.map((side) => handled.get(`${side}-${work}`));
    t.ok(ours !== undefined && ours.done.length > 0 && other !== undefined && other.done.length > 0, `both: ${work}`);
    t.comment(`${work}: ours ${ours?.done.length}, other ${other?.done.length}`);
    for (const what of ['begun', 'done'] as const) {
      t.strictSame([...(ours?.[what] ?? []), ...(other?.[what] ?? [])].sort(), names, `${work}: each entry is ${what}, once`);
    }
  }
  t.strictSame(await found(directory), pathsOf({}), 'the spool is empty');
  t.strictSame(await new Monitor(dir, QUEUES).runOnce(), [], 'and the monitor finds nothing');
}
