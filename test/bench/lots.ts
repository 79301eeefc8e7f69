// What many lots cost: the same work on mounts with 1, 1,000 and 100,000 lots, interleaved.
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { must, vreserve } from '../helpers/run.js';
import type { Session } from '../helpers/session.js';
import { chainPath, DEPTH, FLAT, makeBacking } from './lots-ledger.js';
import type { Options } from './options.js';
import type { Place } from './place.js';

/** Lots of the ledgers that are compared; all with the first. */
export const COUNTS = [1, 1000, 100_000] as const;
export type Count = (typeof COUNTS)[number];
export const MANY: Count = 100_000;

/** What is measured, in the order of the table; columns of test/performance.txt have at most 6 characters. Seconds, and MiB of memory. */
export const ROWS = [
  { id: 'mount', title: 'mount after a clean end', column: 'mount', kind: 'once' },
  { id: 'memory', title: 'memory of the daemon', column: 'MiB', kind: 'memory' },
  { id: 'cat', title: 'cat report', column: 'report', kind: 'once' },
  { id: 'command', title: 'vreserve report', column: 'cmd', kind: 'once' },
  { id: 'json', title: 'cat report.json', column: 'json', kind: 'once' },
  { id: 'metrics', title: 'cat metrics', column: 'metric', kind: 'once' },
  { id: 'ls', title: 'ls lots', column: 'ls', kind: 'once' },
  { id: 'usage', title: 'cat lots/LOT/usage.json', column: 'usage', kind: 'once' },
  { id: 'append', title: 'append 4 KiB, no lot above', column: 'a4K', kind: 'charge' },
  { id: 'append-deep', title: `append 4 KiB, ${DEPTH} deep`, column: 'a4K20', kind: 'charge' },
  { id: 'create', title: 'create a file, no lot above', column: 'create', kind: 'charge' },
  { id: 'create-deep', title: `create a file, ${DEPTH} deep`, column: 'cr20', kind: 'charge' },
  { id: 'reserve', title: 'reserve', column: 'res', kind: 'line' },
  { id: 'reserve-8', title: '... 8 at once', column: 'resx8', kind: 'line' },
  { id: 'update', title: 'lot update', column: 'upd', kind: 'line' },
  { id: 'release', title: 'release', column: 'rel', kind: 'line' },
  { id: 'add-deep', title: `lot add, ${DEPTH} deep`, column: 'add20', kind: 'line' },
  { id: 'remove-deep', title: `lot remove, ${DEPTH} deep`, column: 'rm20', kind: 'line' },
] as const;
export type Row = (typeof ROWS)[number];
export type RowId = Row['id'];

/** By row and lots: every value, in the order in which they were measured; the same index was measured side by side. */
export type LotValues = Map<RowId, Map<Count, number[]>>;

export interface LotsMeasurement {
  place: Place;
  values: LotValues;
}

/** How much of each is done in a round. */
interface Amounts {
  mounts: number;
  reads: number;
  slices: number;
  sliceMs: number;
  files: number;
  /** Lines of each kind, in chunks that take turns. */
  chunks: number;
  lines: number;
}

const FULL: Amounts = { mounts: 3, reads: 3, slices: 16, sliceMs: 200, files: 1000, chunks: 4, lines: 500 };
const QUICK: Amounts = { mounts: 2, reads: 2, slices: 6, sliceMs: 150, files: 1000, chunks: 2, lines: 250 };

const THREADS = 8;
const LINES = fileURLToPath(new URL('./lot-lines.js', import.meta.url));
const KIB4 = 4096;
const END_MS = 30_000;
const NEVER_MS = 9e12;

interface Mounted {
  count: Count;
  backing: string;
  mnt: string;
  pid: number;
}

/** Runs the whole part on one filesystem. */
export async function measureLots(
  session: Session,
  place: Place,
  program: string,
  options: Options,
  say: (text: string) => void,
): Promise<LotsMeasurement> {
  const { rounds, quick } = options;
  const top = join(place.top, 'lots');
  await mkdir(top);
  say(`${place.filesystem}: preparing ${MANY} lots`);
  const mounts: Mounted[] = [];
  for (const count of COUNTS) {
    session.signal.throwIfAborted();
    const mounted: Mounted = { count, backing: join(top, `data${count}`), mnt: join(top, `mnt${count}`), pid: 0 };
    await makeBacking(mounted.backing, count);
    await mkdir(mounted.mnt);
    session.defer(mounted.mnt, async () => {
      await vreserve(['umount', mounted.mnt]);
      await ended(mounted.pid);
    });
    mounts.push(mounted);
  }
  const part = new Part(session, program, quick ? QUICK : FULL);
  for (const mounted of mounts) await part.mount(mounted);
  for (let round = 0; round < rounds; round++) {
    for (const [name, work] of part.steps) {
      say(`${place.filesystem}: round ${round + 1} of ${rounds} with many lots, ${name}`);
      await work(mounts);
    }
  }
  return { place, values: part.values };
}

class Part {
  readonly values: LotValues = new Map();
  readonly #session: Session;
  readonly #program: string;
  readonly #amounts: Amounts;
  /** Whose turn it is to be the first. */
  #turn = 0;

  constructor(session: Session, program: string, amounts: Amounts) {
    this.#session = session;
    this.#program = program;
    this.#amounts = amounts;
  }

  get steps(): [string, (mounts: readonly Mounted[]) => Promise<void>][] {
    const { mounts: again, reads, slices, chunks } = this.#amounts;
    const repeated = (times: number, work: (all: readonly Mounted[]) => Promise<void>) => async (all: readonly Mounted[]) => {
      for (let i = 0; i < times; i++) await work(all);
    };
    return [
      ['mounting', repeated(again, (all) => this.#remount(all))],
      ['reading', repeated(reads, (all) => this.#read(all))],
      ['writing', repeated(slices, (all) => this.#append(all))],
      ['creating', repeated(Math.ceil(slices / 2), (all) => this.#create(all))],
      ['changing lots', repeated(chunks, (all) => this.#change(all))],
    ];
  }

  /** Seconds from the start of the command to its return. */
  async mount(mounted: Mounted): Promise<number> {
    this.#session.signal.throwIfAborted();
    let said = '';
    // Not stopped by Ctrl-C: a daemon that is just coming up would be left behind.
    const took = await seconds(async () => {
      said = (await must(vreserve(['mount', mounted.backing, mounted.mnt, '--json']))).stdout;
    });
    mounted.pid = (JSON.parse(said) as { pid: number }).pid;
    await still(mounted.pid);
    return took;
  }

  async #remount(mounts: readonly Mounted[]): Promise<void> {
    for (const mounted of this.#inTurn(mounts)) {
      await must(vreserve(['umount', mounted.mnt]));
      await ended(mounted.pid);
      this.#record('mount', mounted, await this.mount(mounted));
      this.#record('memory', mounted, await rssMib(mounted.pid));
    }
  }

  async #read(mounts: readonly Mounted[]): Promise<void> {
    const usage = `lots/${encodeURIComponent(FLAT)}/usage.json`;
    const files = { cat: 'report', json: 'report.json', metrics: 'metrics', usage } as const;
    for (const mounted of this.#inTurn(mounts)) {
      const own = join(mounted.mnt, '.vreserve');
      for (const id of ['cat', 'json', 'metrics', 'usage'] as const) {
        this.#record(id, mounted, await this.#dropped('cat', join(own, files[id])));
      }
      this.#record('ls', mounted, await this.#dropped('ls', join(own, 'lots')));
      const report = () => must(vreserve(['report', mounted.mnt]));
      this.#record('command', mounted, await seconds(report));
      await still(mounted.pid);
    }
  }

  /** Short, and all places in turn: what is compared is measured within seconds. */
  async #append(mounts: readonly Mounted[]): Promise<void> {
    const { sliceMs } = this.#amounts;
    for (const { mounted, path, id } of this.#inTurn(placesOf(mounts, 'append'))) {
      const words = ['append', join(mounted.mnt, path), String(KIB4), String(sliceMs / 1000)];
      const { append } = JSON.parse(await this.#session.command(this.#program, words)) as { append: number };
      this.#record(id, mounted, KIB4 / 2 ** 20 / append);
    }
  }

  async #create(mounts: readonly Mounted[]): Promise<void> {
    const { files } = this.#amounts;
    for (const { mounted, path, id } of this.#inTurn(placesOf(mounts, 'create'))) {
      const said = await this.#session.command(this.#program, ['files', join(mounted.mnt, path), String(files)]);
      this.#record(id, mounted, (JSON.parse(said) as { create: number }).create / files);
    }
  }

  /** What is added is removed again, so that every chunk finds the same lots. */
  async #change(mounts: readonly Mounted[]): Promise<void> {
    const change = (name: string, GB: number) =>
      `lot update ${JSON.stringify({ lot_name: name, management_policy_attrs: { dedicated_GB: GB } })}`;
    const above = chainPath(DEPTH - 1);
    const below = JSON.stringify({
      lot_name: 'added-{}',
      owner: 'root',
      parents: [above],
      paths: [{ path: `${above}/added-{}`, recursive: true }],
      management_policy_attrs: {
        dedicated_GB: 1e-6,
        opportunistic_GB: 0,
        max_num_objects: 1000,
        creation_time: 1,
        expiration_time: NEVER_MS,
        deletion_time: NEVER_MS,
      },
    });
    const steps: [id: RowId, threads: number, line: string, isDeep: boolean][] = [
      ['reserve', 1, 'reserve /added/{} 4096', false],
      ['update', 1, change('/added/{}', 1e-6), false],
      ['release', 1, 'release /added/{}', false],
      ['reserve-8', THREADS, 'reserve /added/{} 4096', false],
      ['release', 1, 'release /added/{}', false],
      ['add-deep', 1, `lot add ${below}`, true],
      ['remove-deep', 1, 'lot remove added-{}', true],
    ];
    const { lines } = this.#amounts;
    for (const [id, threads, line, isDeep] of steps) {
      for (const mounted of this.#inTurn(mounts)) {
        if (isDeep && mounted.count <= DEPTH) continue;
        const control = join(mounted.mnt, '.vreserve/control');
        const words = [LINES, control, String(threads), String(lines), line];
        this.#record(id, mounted, Number(await this.#session.command(process.execPath, words)) / lines);
      }
    }
  }

  #dropped(command: string, path: string): Promise<number> {
    return seconds(() => this.#session.command('sh', ['-c', `${command} "$1" >/dev/null`, 'sh', path]));
  }

  #record(id: RowId, { count }: Mounted, value: number): void {
    const byCount = this.values.get(id) ?? new Map<Count, number[]>();
    this.values.set(id, byCount);
    byCount.set(count, [...(byCount.get(count) ?? []), value]);
  }

  /** Every time another one is the first. */
  #inTurn<T>(all: readonly T[]): T[] {
    this.#turn += 1;
    const from = this.#turn % all.length;
    const turned = [...all.slice(from), ...all.slice(0, from)];
    return this.#turn % 2 === 0 ? turned : turned.reverse();
  }
}

/** Where is written: in a lot without others around it, and in the deepest of a chain. */
function placesOf<Id extends 'append' | 'create'>(mounts: readonly Mounted[], id: Id) {
  return mounts.flatMap((mounted): { mounted: Mounted; path: string; id: Id | `${Id}-deep` }[] => {
    const flat = { mounted, path: FLAT, id };
    return mounted.count > DEPTH ? [flat, { mounted, path: chainPath(DEPTH), id: `${id}-deep` }] : [flat];
  });
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

/** Resolves when the daemon does nothing: it still verifies what was saved, or collects garbage. */
async function still(pid: number): Promise<void> {
  const endMs = performance.now() + END_MS;
  for (let last = -1, same = 0; same < 2 && performance.now() < endMs; await sleep(100)) {
    const ticks = await cpuTicks(pid);
    same = ticks - last <= 1 ? same + 1 : 0;
    last = ticks;
  }
}

/** Hundredths of a second that the process has used. */
async function cpuTicks(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

async function rssMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
}

/** Resolves when the daemon has put away its ledger. */
async function ended(pid: number): Promise<void> {
  const endMs = performance.now() + END_MS;
  while (pid > 0 && existsSync(`/proc/${pid}`) && performance.now() < endMs) await sleep(5);
}
