// Many processes on one spool: whatever they do and whoever is killed, each entry is handled exactly once.
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Monitor } from '../../src/spool/monitor.js';
import { Spool } from '../../src/spool/spool.js';
import { Random } from '../helpers/random.js';
import { type Consumer, Crew, namesIn } from './crew.js';
import { isOdd, nameOf, textKind } from './work.js';

export interface ProcessOptions {
  entries: number;
  producers: number;
  consumers: number;
  /** Consumers that are killed while they work, each replaced by a new one. */
  kills: number;
  seed: number;
  deadlineMs: number;
}

/** The cases by name: with so many entries where consumers are killed, and a tenth of them where nobody is. */
export function processCases(entries: number): Readonly<Record<string, ProcessOptions>> {
  const crew = { producers: 4, consumers: 8, seed: 20_260_701, deadlineMs: 180_000 };
  return {
    'by consumers that live': { ...crew, entries: entries / 10, kills: 0 },
    'though consumers are killed': { ...crew, entries, kills: 24 },
  };
}

/** A line `begin NAME` and one `done NAME`, for names of nine letters. */
const LOG_BYTES = 'begin p0-000000\ndone p0-000000\n'.length;

/** How often each is there. */
function tally(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

/** What is in one of the lists only; tap would take seconds to compare thousands of names. */
function unlike(one: readonly string[], other: readonly string[]): string[] {
  const [first, second] = [new Set(one), new Set(other)];
  return [...one.filter((name) => !second.has(name)), ...other.filter((name) => !first.has(name))];
}

/**
 * Producers enqueue to `work`; consumers save what has an even number to `done`, and remove the others. At random moments one of
 * them is killed. What it had locked is given back to `work` while the others go on, and what it had checked out but not locked yet
 * when nobody works any more.
 */
export async function eachEntryOnce(t: Test, directory: string, options: ProcessOptions): Promise<void> {
  const { entries, producers, consumers: count, kills, seed, deadlineMs } = options;
  const dir = join(directory, 'spool');
  const kind = textKind(['work', 'done']);
  const spool = await Spool.create(dir, kind);
  const crew = await Crew.start(t);
  const random = new Random(seed);
  const recovered: string[] = [];
  const killed: string[] = [];
  let started = 0;
  const begin = () => crew.consume('ours', { spool: dir, queue: 'work', to: 'done', removesOdd: true, id: `c${started++}` });

  /** Gives back what is checked out, of these names or of all. */
  const recover = async (names?: readonly string[]) => {
    for (const out of await spool.listCheckoutsUnsafe('work')) {
      if (names !== undefined && !names.includes(out.name)) continue;
      if ((await crew.locked('work')).includes(out.name)) await crew.unlock('work', out.name);
      recovered.push(out.name);
      await out.save('work');
    }
  };

  const startMs = performance.now();
  const consumers: Consumer[] = await Promise.all(Array.from({ length: count }, begin));
  const each = Math.floor(entries / producers);
  const producing = Promise.all(
    Array.from({ length: producers }, (_, i) => crew.produce('ours', { spool: dir, queue: 'work', id: `p${i}`, count: each })),
  );
  const total = each * producers;

  const moments = Array.from({ length: kills }, () => random.below(total * 0.9)).sort((a, b) => a - b);
  for (const moment of moments) {
    await crew.until(`${moment} entries handled`, async () => (await crew.logBytes()) >= moment * LOG_BYTES, deadlineMs);
    const [victim] = consumers.splice(random.below(consumers.length), 1);
    if (victim === undefined) continue;
    await victim.kill();
    killed.push(victim.id);
    const held = await crew.locked('work', victim.id);
    if (held.length > 0) await recover(held);
    // It may have been between the end of its work and that of its lock.
    for (const name of await crew.locked('work', victim.id)) await crew.unlock('work', name);
    consumers.push(await begin());
  }
  await producing;
  await crew.until('nothing left to do', async () => (await namesIn(dir, 'work')).length === 0, deadlineMs);
  await Promise.all(consumers.map((consumer) => consumer.stop()));
  if ((await namesIn(dir, 'work/.checkout')).length > 0) {
    await recover();
    const last = await begin();
    const isAtRest = async () => (await namesIn(dir, 'work')).length === 0 && (await namesIn(dir, 'work/.checkout')).length === 0;
    await crew.until('nothing left to do', isAtRest, deadlineMs);
    await last.stop();
  }
  const seconds = (performance.now() - startMs) / 1000;
  t.comment(`${total} entries in ${seconds.toFixed(1)} s; ${killed.length} killed, ${recovered.length} given back`);

  const names = Array.from({ length: producers }, (_, p) => Array.from({ length: each }, (_, i) => nameOf(`p${p}`, i))).flat();
  const kept = names.filter((name) => !isOdd(name));
  t.strictSame(crew.failures, [], 'nothing was found that is not as it must be, and no two had one entry');
  t.strictSame(unlike(await namesIn(dir, 'done'), kept), [], 'what is saved is there, once');
  t.strictSame(await namesIn(dir, 'work'), [], 'nothing waits');
  t.strictSame(await crew.locked('work'), [], 'nothing is locked');

  const handled = await crew.handled();
  const begun = tally([...handled.values()].flatMap((one) => one.begun));
  const done = tally([...handled.values()].flatMap((one) => one.done));
  const back = tally(recovered);
  /** Where the killed ones were. */
  const cut = new Set(killed.flatMap((id) => handled.get(id)?.begun.at(-1) ?? []));
  const wrong = (isWrong: (name: string) => boolean) => names.filter(isWrong);
  t.strictSame(
    wrong((name) => !begun.has(name)),
    [],
    'each was begun',
  );
  t.strictSame(
    wrong((name) => (done.get(name) ?? 0) > 1),
    [],
    'none was finished twice',
  );
  t.strictSame(
    wrong((name) => !done.has(name) && !cut.has(name)),
    [],
    'each was finished, where no end was cut off',
  );
  t.strictSame(
    wrong((name) => (begun.get(name) ?? 0) > 1 + (back.get(name) ?? 0)),
    [],
    'each was begun once, and once more for each time that it was given back',
  );
  t.equal(begun.size, names.length, 'and no others');
  const halved = [...handled.values()].flatMap((one) => one.halved);
  t.strictSame(
    halved.filter((name) => !back.has(name)),
    [],
    'what was found done by half had been given back',
  );
  const busy = [...handled].filter(([, one]) => one.done.length > 0);
  t.ok(busy.length >= count, 'the work was shared');

  // Of an entry that was being removed its name can be left, of one that was being saved a temporary file.
  const leftNames = (await namesIn(dir, '.registry')).filter((name) => isOdd(name));
  t.strictSame(
    leftNames.filter((name) => !cut.has(name)),
    [],
    'of removed entries no name is left, but where the end was cut off',
  );
  const leftTemporary = await namesIn(dir, '.tmp');
  t.ok(leftNames.length + leftTemporary.length <= killed.length, 'at most one file is left of each that was killed');
  const monitor = new Monitor(dir, kind.queues);
  t.equal((await monitor.runOnce()).length, leftNames.length + leftTemporary.length, 'and the monitor finds them all');
  for (const name of leftNames) await unlink(join(dir, '.registry', name));
  for (const name of leftTemporary) await unlink(join(dir, '.tmp', name));
  t.strictSame(await monitor.runOnce(), [], 'without them it finds nothing');
  for (const place of ['.registry', '.data'])
    t.strictSame(unlike(await namesIn(dir, place), kept), [], `${place} has what is saved`);
}
