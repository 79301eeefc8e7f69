// A waiting line on a spool in a plain directory, over the memory engine and a ledger in a file: as the daemon composes it, and it can
// be ended, killed at any call and started anew.

import {
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mountCommands } from '../../src/cli/mount-commands.js';
import { mountLine } from '../../src/cli/mount-line.js';
import type { Caller } from '../../src/engine/engine.js';
import { Keeper } from '../../src/engine/keeper.js';
import { Pools } from '../../src/engine/pools.js';
import { Reclaimer } from '../../src/engine/reclaimer.js';
import { Rights } from '../../src/engine/rights.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/sqlite.js';
import { quietLog } from '../../src/log.js';
import { bytesData, Spool, textMeta } from '../../src/spool/index.js';
import type { By, Commands } from '../../src/views/host.js';
import { Users } from '../../src/views/users.js';
import { RequestBox } from '../../src/waiting/box.js';
import type { WaitingLine } from '../../src/waiting/line.js';
import { makeBox } from '../../src/waiting/make-box.js';
import { AT_MS, ROOT } from './control-plane.js';
import { CrashPoint, crashing } from './crashing.js';
import { MemoryEngine } from './memory-engine.js';
import { noStore } from './no-store.js';

export const QUEUES = ['pending', 'granted', 'refused'] as const;
export type Queue = (typeof QUEUES)[number];

export const BY_ROOT: By = { caller: ROOT, scope: 1, directory: '/' };

export function byUser(caller: Caller): By {
  return { ...BY_ROOT, caller };
}

/** Of the ledger, what a command or the line waits for. */
const LEDGER_CALLS: (keyof Ledger)[] = ['changeLots', 'joinLine', 'settle', 'leaveLine', 'saveUsage'];

/** A box whose watch is the test's: it says itself which names came or went. */
class ToldBox extends RequestBox {
  onName: (name: string | null) => void = () => {};

  override watch(onName: (name: string | null) => void): void {
    this.onName = onName;
  }

  override close(): void {
    this.onName = () => {};
  }
}

/** One life of the control plane. */
export interface Life {
  point: CrashPoint;
  engine: MemoryEngine;
  ledger: Ledger;
  keeper: Keeper;
  line: WaitingLine;
  commands: Commands;
  box: RequestBox;
  /** Names came into `pending` or left it. */
  hear(names: readonly (string | null)[]): void;
}

export interface WorldOptions {
  capacityBytes?: number;
  allowOvertaking?: boolean;
  /** The system watches the spool in place of the test. */
  isWatched?: boolean;
  keepMs?: number;
}

export class WaitingWorld {
  readonly directory: string;
  readonly now = { ms: AT_MS };
  /** By the name of the directory in which each life sees the spool. */
  readonly #points = new Map<string, CrashPoint>();
  readonly spool: Spool<string, Uint8Array | AsyncIterable<Uint8Array>, Queue>;
  capacityBytes: number;
  allowOvertaking: boolean;
  keepMs: number;
  readonly #isWatched: boolean;
  #life: Life | null = null;
  #lives = 0;

  private constructor({ capacityBytes = 1000, allowOvertaking = false, isWatched = false, keepMs = 1e12 }: WorldOptions) {
    // In memory where that is to be had: nothing here is about disks.
    this.directory = mkdtempSync(join(shmOrTmp(), 'vreserve-waiting-'));
    mkdirSync(join(this.directory, 'ledger'));
    mkdirSync(this.spoolDirectory);
    this.spool = Spool.loadUnsafe(this.spoolDirectory, { queues: QUEUES, meta: textMeta, data: bytesData });
    this.capacityBytes = capacityBytes;
    this.allowOvertaking = allowOvertaking;
    this.keepMs = keepMs;
    this.#isWatched = isWatched;
  }

  static async make(options: WorldOptions = {}): Promise<WaitingWorld> {
    const world = new WaitingWorld(options);
    await makeBox(world.spoolDirectory, true);
    await world.start();
    return world;
  }

  get spoolDirectory(): string {
    return join(this.directory, 'requests');
  }

  /** Of the life that sees the spool in this path. */
  readonly pointOf = (path: string): CrashPoint | undefined => {
    const from = this.directory.length + 1;
    return path.startsWith(this.directory) ? this.#points.get(path.slice(from, path.indexOf('/', from))) : undefined;
  };

  path(...parts: string[]): string {
    return join(this.spoolDirectory, ...parts);
  }

  get life(): Life {
    if (this.#life === null) throw new Error('it is not started');
    return this.#life;
  }

  get line(): WaitingLine {
    return this.life.line;
  }

  get keeper(): Keeper {
    return this.life.keeper;
  }

  get commands(): Commands {
    return this.life.commands;
  }

  /** `change`: of the parts, before the line starts. */
  async start(change: (life: Life) => void = () => {}, armed: number | null = null): Promise<void> {
    const clock = () => this.now.ms;
    const log = quietLog();
    const point = new CrashPoint();
    this.#lives += 1;
    const seenAt = join(this.directory, `life${this.#lives}`);
    symlinkSync('requests', seenAt);
    this.#points.set(`life${this.#lives}`, point);
    const engine = new MemoryEngine();
    engine.capacityBytes = this.capacityBytes;
    const file = openLedger({ directory: join(this.directory, 'ledger'), readOnly: false, owner: '0', nowMs: clock() });
    const ledger = crashing(file, point, LEDGER_CALLS);
    const users = new Users(clock);
    const rights = new Rights('writers', 0, users);
    const keeper = new Keeper({ engine, ledger, rights, clock, log, readOnly: false });
    const rows = await keeper.load();
    const line = mountLine(keeper, { allowOvertaking: this.allowOvertaking, keepMs: this.keepMs });
    const pools = new Pools({
      keeper,
      view: this.directory,
      filesystem: 'tmpfs',
      backing: '/srv/data',
      mountpoint: '/mnt/data',
      diskType: () => null,
    });
    const reclaimer = new Reclaimer({ keeper, pools, high: null, low: 0.85 });
    const without = { space: noStore, importBlobs: noStore, namespaces: noStore };
    const commands = mountCommands({ keeper, line, reclaimer, pools, users, ...without });
    const told = new ToldBox(seenAt);
    const box = this.#isWatched ? new RequestBox(seenAt) : told;
    const hear = (names: readonly (string | null)[]) => {
      for (const name of names) told.onName(name);
    };
    this.#life = { point, engine, ledger, keeper, line, commands, box, hear };
    change(this.#life);
    if (armed !== null) point.arm(armed);
    await this.unlessStopped(line.start(rows, box));
    if (!point.isStopped) await this.quiet();
  }

  /** What a life does, or never does because it was killed. */
  async unlessStopped<T>(work: Promise<T>): Promise<T | 'stopped'> {
    work.catch(() => {});
    return Promise.race([work, this.life.point.stopped]);
  }

  /** Nothing is under way; or it was killed. */
  async quiet(): Promise<void> {
    const { line } = this.life;
    await turns(2);
    await this.unlessStopped(line.idle());
    await turns(1);
    await this.unlessStopped(line.idle());
  }

  /** Looks for what fits until nothing more happens. */
  async settle(): Promise<void> {
    await this.quiet();
    for (let i = 0; i < 2; i++) {
      if (this.life.point.isStopped) return;
      this.line.wake();
      await this.quiet();
    }
  }

  /** The daemon ends. */
  async end(): Promise<void> {
    const { line, keeper, ledger } = this.life;
    await line.stop();
    keeper.refuse();
    await keeper.settled();
    await ledger.close();
    this.#life = null;
  }

  /** The daemon is killed, wherever it is. */
  async kill(): Promise<void> {
    const { point, line, ledger } = this.life;
    point.stop();
    line.abandon();
    await ledger.close();
    this.#life = null;
  }

  async remove(): Promise<void> {
    if (this.#life !== null) await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** A request by the enqueue steps, as root in a container would; nobody is told yet. */
  async put(name: string, text: string): Promise<void> {
    await this.spool.enqueue('pending', text, new Uint8Array(), { reserve: () => name });
  }

  /** The same steps by hand, without a word to the disk. */
  putQuickly(name: string, text: string): void {
    for (const place of ['.registry', '.data']) writeFileSync(this.path(place, name), '', { flag: 'wx' });
    writeFileSync(this.path('.tmp', name), text, { flag: 'wx' });
    renameSync(this.path('.tmp', name), this.path('pending', name));
  }

  /** Takes an entry away. */
  takeQuickly(name: string, queue: Queue): void {
    for (const place of ['.data', queue, '.registry']) rmSync(this.path(place, name), { force: true });
  }

  /** The same of a user, and the line is told. */
  async ask(name: string, request: object | string, uid?: number): Promise<void> {
    await this.put(name, typeof request === 'string' ? request : JSON.stringify(request));
    if (uid !== undefined) for (const place of ['.registry', '.data', 'pending']) chownSync(this.path(place, name), uid, uid);
    this.life.hear([name]);
    await this.quiet();
  }

  names(...place: string[]): string[] {
    return readdirSync(this.path(...place))
      .filter((name) => name !== '.checkout')
      .sort();
  }

  /** How a request was decided, by its entry; null: it is in neither queue. */
  decision(name: string): { queue: Queue; meta: Record<string, unknown>; outcome: Record<string, string> } | null {
    for (const queue of ['granted', 'refused'] as const) {
      let text: string;
      try {
        text = readFileSync(this.path(queue, name), 'utf8');
      } catch {
        continue;
      }
      const meta = JSON.parse(text) as Record<string, unknown>;
      return { queue, meta, outcome: meta.outcome as Record<string, string> };
    }
    return null;
  }

  /** What waits, as `path` in order. */
  waiting(): string[] {
    return this.line.list().map(({ path }) => path);
  }

  /** Lines of the journal. */
  async journal(event?: string): Promise<Record<string, unknown>[]> {
    const { ledger } = this.life;
    const { startBytes, endBytes } = await ledger.journalRange();
    const text = (await ledger.readJournal(startBytes, endBytes - startBytes)).toString();
    const lines = text.split('\n').filter((line) => line !== '');
    const all = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    return event === undefined ? all : all.filter((line) => line.event === event);
  }
}

/** Turns of the event loop. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits for a condition, at most so long. */
export async function until(what: string, condition: () => boolean, mostMs = 5000): Promise<void> {
  const endMs = performance.now() + mostMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`in vain waited for: ${what}`);
    await turns(1);
  }
}

function shmOrTmp(): string {
  try {
    rmSync(mkdtempSync('/dev/shm/vreserve-try-'), { recursive: true });
    return '/dev/shm';
  } catch {
    return tmpdir();
  }
}
