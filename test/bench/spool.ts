// What a spool does: entries a second in and out, in a native directory and in a mount, and how soon who waits is woken.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Spool } from '../../src/spool/spool.js';
import { must, vreserve } from '../helpers/run.js';
import type { Session } from '../helpers/session.js';
import type { Goal } from './goals.js';
import type { Options } from './options.js';
import type { Place } from './place.js';
import { BENCH_KIND, DATA_BYTES } from './spool-work.js';
import { type Spread, spreadOf } from './summary.js';
import { align } from './table.js';

/** Processes of the rows with several. */
const SEVERAL = 4;

/** What is measured, in the order of the table: entries a second, or ms. */
export const SPOOL_ROWS = [
  { id: 'enqueue', title: 'enqueue', column: 'in', unit: '/s' },
  { id: 'dequeue', title: 'dequeue and remove', column: 'out', unit: '/s' },
  { id: 'enqueue-4', title: `enqueue, ${SEVERAL} processes`, column: 'in4', unit: '/s' },
  { id: 'dequeue-4', title: `dequeue and remove, ${SEVERAL} processes`, column: 'out4', unit: '/s' },
  { id: 'wake', title: 'woken after, median', column: 'wake', unit: 'ms' },
  { id: 'wake-worst', title: 'woken after, the worst', column: 'worst', unit: 'ms' },
] as const;
export type SpoolRowId = (typeof SPOOL_ROWS)[number]['id'];

/** A spool that is measured, not made yet. The first is what the others are compared with. */
export interface SpoolPlace {
  title: string;
  dir: string;
}

/** By row and place: a value a round; the same index was measured side by side. */
export type SpoolValues = Map<SpoolRowId, Map<string, number[]>>;

export interface SpoolLine {
  row: (typeof SPOOL_ROWS)[number];
  byPlace: Map<string, Spread>;
  /** How fast it is, where the first place is 1. */
  ratios: Map<string, Spread>;
}

/** A payload and its name, a wake-up and the next. */
const AMOUNTS = { full: { repeats: 3, entries: 2000, wakeUps: 200 }, quick: { repeats: 2, entries: 400, wakeUps: 50 } };
/** Until who has removed an entry waits for the next one. */
const PAUSE_MS = 5;
const WAKE_GOAL_MS = 50;
const WORK = fileURLToPath(new URL('./spool-work.js', import.meta.url));

/** Spools on the place: a native one, one in a directory of a mount, and one of the mount's own where it has them. */
export async function spoolPlaces(session: Session, place: Place): Promise<SpoolPlace[]> {
  const top = join(place.top, 'spool');
  const [native, data, mnt] = ['native', 'data', 'mnt'].map((name) => join(top, name)) as [string, string, string];
  for (const directory of [native, data, mnt]) await mkdir(directory, { recursive: true });
  session.defer(mnt, async () => {
    await vreserve(['umount', mnt]);
  });
  // Not stopped by Ctrl-C: a daemon that is just coming up would be left behind.
  await must(vreserve(['mount', data, mnt]));
  session.signal.throwIfAborted();
  await mkdir(join(mnt, 'work'));
  const places = [
    { title: 'native', dir: join(native, 'bench') },
    { title: 'in the mount', dir: join(mnt, 'work/bench') },
  ];
  const own = join(mnt, '.vreserve/spool');
  const hasOwn = await access(own).then(
    () => true,
    () => false,
  );
  return hasOwn ? [...places, { title: '.vreserve/spool', dir: join(own, 'bench') }] : places;
}

/** Measures each place in turn, every time beginning with another one. */
export async function measureSpool(
  session: Session,
  places: readonly SpoolPlace[],
  { rounds, quick }: Pick<Options, 'rounds' | 'quick'>,
  say: (text: string) => void,
): Promise<SpoolValues> {
  const { repeats, entries, wakeUps } = quick ? AMOUNTS.quick : AMOUNTS.full;
  for (const { dir } of places) await Spool.create(dir, BENCH_KIND);
  const values: SpoolValues = new Map();
  for (let round = 0; round < rounds * repeats; round++) {
    say(`spool: round ${Math.floor(round / repeats) + 1} of ${rounds}, ${round % repeats}`);
    const from = round % places.length;
    for (const place of [...places.slice(from), ...places.slice(0, from)]) {
      session.signal.throwIfAborted();
      const record = (id: SpoolRowId, value: number) => {
        const byPlace = values.get(id) ?? new Map<string, number[]>();
        values.set(id, byPlace);
        byPlace.set(place.title, [...(byPlace.get(place.title) ?? []), value]);
      };
      record('enqueue', await rate(session, 'enqueue', place.dir, 1, entries));
      record('dequeue', await rate(session, 'dequeue', place.dir, 1, entries));
      record('enqueue-4', await rate(session, 'enqueue', place.dir, SEVERAL, entries));
      record('dequeue-4', await rate(session, 'dequeue', place.dir, SEVERAL, entries));
      const woken = spreadOf(await wake(session, place.dir, Math.ceil(wakeUps / repeats)));
      record('wake', woken?.median ?? Number.NaN);
      record('wake-worst', woken?.max ?? Number.NaN);
    }
  }
  return values;
}

/** One process of the bench; its lines as they come. */
class Worker {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<void>;

  constructor(session: Session, words: readonly string[]) {
    const child = spawn(process.execPath, [WORK, ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
    const kill = () => child.kill('SIGKILL');
    session.signal.addEventListener('abort', kill);
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.#ended = once(child, 'close').then(([code, signal]) => {
      session.signal.removeEventListener('abort', kill);
      if (code !== 0) throw new Error(`${words.join(' ')}: ended with ${code ?? signal}`);
    });
    this.#ended.catch(() => {});
  }

  /** The next line; throws where the process has ended. */
  async line(): Promise<string> {
    const next = await this.#lines.next();
    if (next.done === true) {
      await this.#ended;
      throw new Error('it said nothing more');
    }
    return next.value;
  }

  go(): void {
    this.#child.stdin?.end('go\n');
  }

  async result(): Promise<{ startNs: number; endNs: number }> {
    const result = JSON.parse(await this.line()) as { startNs: number; endNs: number };
    await this.#ended;
    return result;
  }
}

/** Entries a second of all processes together, which begin at once. */
async function rate(session: Session, word: string, dir: string, processes: number, entries: number): Promise<number> {
  const each = entries / processes;
  const workers = Array.from({ length: processes }, (_, i) => new Worker(session, [word, dir, `w${i}`, String(each)]));
  for (const worker of workers) await worker.line();
  for (const worker of workers) worker.go();
  const results = await Promise.all(workers.map((worker) => worker.result()));
  const ns = Math.max(...results.map(({ endNs }) => endNs)) - Math.min(...results.map(({ startNs }) => startNs));
  return entries / (ns / 1e9);
}

/** From the rename of an entry into the queue to its checkout in another process, which waits: ms, each time. */
async function wake(session: Session, dir: string, times: number): Promise<number[]> {
  const spool = await Spool.load(dir, BENCH_KIND);
  const worker = new Worker(session, ['wait', dir, 'waits', String(times)]);
  await worker.line();
  worker.go();
  const data = Buffer.alloc(DATA_BYTES, 'w');
  const all: number[] = [];
  for (let i = 0; i < times; i++) {
    const { name } = await spool.enqueue('aside', `wake ${i}`, data, { reserve: (attempt) => `wake-${i}-${attempt}` });
    await sleep(PAUSE_MS);
    const began = Number(process.hrtime.bigint());
    await rename(join(dir, 'aside', name), join(dir, 'queue', name));
    all.push((Number(await worker.line()) - began) / 1e6);
  }
  await worker.result();
  return all;
}

export function summarizeSpool(values: SpoolValues, places: readonly SpoolPlace[]): SpoolLine[] {
  const first = places[0]?.title ?? '';
  return SPOOL_ROWS.flatMap((row) => {
    const measured = values.get(row.id);
    if (measured === undefined) return [];
    const base = measured.get(first) ?? [];
    const line: SpoolLine = { row, byPlace: new Map(), ratios: new Map() };
    for (const [title, all] of measured) {
      const spread = spreadOf(all);
      if (spread !== null) line.byPlace.set(title, spread);
      const ratio = spreadOf(
        all.map((value, i) => (row.unit === 'ms' ? (base[i] ?? Number.NaN) / value : value / (base[i] ?? Number.NaN))),
      );
      if (ratio !== null && title !== first) line.ratios.set(title, ratio);
    }
    return [line];
  });
}

/** A row a number, two columns a place: the median, and the ratio to the first place. */
export function spoolTable(lines: readonly SpoolLine[], places: readonly SpoolPlace[]): string {
  const amount = (unit: string, spread: Spread | undefined) =>
    spread === undefined ? '-' : unit === 'ms' ? `${spread.median.toFixed(2)} ms` : `${spread.median.toFixed(0)} /s`;
  const ratio = (spread: Spread | undefined) =>
    spread === undefined ? '-' : `${spread.median.toFixed(2)} ${spread.min.toFixed(2)}..${spread.max.toFixed(2)}`;
  const [first, ...others] = places.map(({ title }) => title);
  if (first === undefined) return '';
  const head = ['', first, ...others.flatMap((title) => [title, 'speed'])];
  const rows = lines.map(({ row, byPlace, ratios }) => [
    row.title,
    amount(row.unit, byPlace.get(first)),
    ...others.flatMap((title) => [amount(row.unit, byPlace.get(title)), ratio(ratios.get(title))]),
  ]);
  return align([head, ...rows]);
}

/** The slowest wake-up of all places and rounds. */
export function judgeSpool(lines: readonly SpoolLine[]): Goal[] {
  const worst = lines.find(({ row }) => row.id === 'wake-worst');
  const most = [...(worst?.byPlace ?? [])].map(([title, { max }]) => ({ title, max })).sort((a, b) => b.max - a.max)[0];
  if (most === undefined) return [];
  return [
    {
      text: `spool: who waits has the entry within ${WAKE_GOAL_MS} ms`,
      measured: `${most.max.toFixed(1)} ms (${most.title})`,
      reached: most.max <= WAKE_GOAL_MS,
    },
  ];
}

export function spoolJson(lines: readonly SpoolLine[]) {
  return {
    rows: lines.map(({ row, byPlace, ratios }) => ({
      id: row.id,
      unit: row.unit,
      byPlace: Object.fromEntries(byPlace),
      ratios: Object.fromEntries(ratios),
    })),
    goals: judgeSpool(lines),
  };
}
