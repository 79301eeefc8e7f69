// The ledger in an SQLite file.

import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Database, Statement } from 'better-sqlite3';
import type { LotChange } from '../core/book.js';
import type { JournalEvent } from '../core/events.js';
import { DEFAULT_LOT_ID, type LotId } from '../core/lot.js';
import type { Graft, Pool, PoolId } from '../core/pool.js';
import type { Space } from '../core/space.js';
import type { Settled, WaitingRow } from '../core/waiting.js';
import { Ballast } from './ballast.js';
import { GroupCommit } from './group.js';
import { Journal } from './journal.js';
import type { JournalPiece, JournalRange, Ledger, LedgerContents, ReportedUsage, SavedUsage, TrimLimits } from './ledger.js';
import { type OpenedFile, openLedgerFile, openMemoryLedger } from './open.js';
import { PoolTables } from './pools.js';
import { SpacesTable } from './spaces.js';
import { LotTables } from './tables.js';
import { WaitingTable } from './waiting.js';

/** Name of the ledger's file in `.vreserve`. */
export const LEDGER_FILE = 'ledger.db';

/** Name of the ballast's file in `.vreserve`. */
export const BALLAST_FILE = 'ballast';

export interface LedgerOptions {
  /** The `.vreserve` directory of the backing. */
  directory: string;
  /** Nothing in the directory may change: a copy serves, or memory, and what is recorded is lost at the end. */
  readOnly: boolean;
  /** Owner of the default lot of a new ledger: a decimal uid. */
  owner: string;
  nowMs: number;
}

/** Opens the ledger of a backing, making it where there is none. Throws LEDGER_FOREIGN, LEDGER_DAMAGED, LEDGER_NEWER. */
export function openLedger(options: LedgerOptions): Ledger {
  const file = join(options.directory, LEDGER_FILE);
  if (!options.readOnly) {
    const opened = openLedgerFile(file, options.owner, options.nowMs);
    return new SqliteLedger(opened, new Ballast(join(options.directory, BALLAST_FILE)), null);
  }
  if (!existsSync(file)) return new SqliteLedger(openMemoryLedger(options.owner, options.nowMs), new Ballast(null), null);
  return openCopy(file, options);
}

/** SQLite cannot read a WAL on a filesystem that it cannot write to; a copy of both files can be read and recovered. */
function openCopy(file: string, options: LedgerOptions): Ledger {
  const directory = mkdtempSync(join(tmpdir(), 'vreserve-'));
  try {
    const copy = join(directory, LEDGER_FILE);
    for (const suffix of ['', '-wal']) if (existsSync(file + suffix)) copyFileSync(file + suffix, copy + suffix);
    return new SqliteLedger(openLedgerFile(copy, options.owner, options.nowMs), new Ballast(null), copy);
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

class SqliteLedger implements Ledger {
  readonly endedCleanly: boolean | null;
  readonly #db: Database;
  readonly #ballast: Ballast;
  readonly #group: GroupCommit;
  readonly #journal: Journal;
  readonly #tables: LotTables;
  readonly #waiting: WaitingTable;
  readonly #pools: PoolTables;
  readonly #spaces: SpacesTable;
  readonly #setState: Statement;
  /** A copy of a ledger that cannot be written, removed at the end. */
  readonly #copy: string | null;

  constructor({ db, created }: OpenedFile, ballast: Ballast, copy: string | null) {
    this.#db = db;
    this.#ballast = ballast;
    this.#copy = copy;
    this.#journal = new Journal(db);
    this.#tables = new LotTables(db);
    this.#waiting = new WaitingTable(db);
    this.#pools = new PoolTables(db);
    this.#spaces = new SpacesTable(db);
    this.#group = new GroupCommit(db, ballast, () => this.#journal.forget());
    this.#setState = db.prepare(
      'INSERT INTO state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    );
    const clean = db.prepare("SELECT value FROM state WHERE key = 'clean'").pluck().get();
    // A ledger that never served is as good as new: nothing was recorded that a count could contradict.
    this.endedCleanly = created || clean === undefined ? null : clean === '1';
  }

  get outOfSpace(): boolean {
    return this.#ballast.givenUp;
  }

  async load(): Promise<LedgerContents> {
    return { ...this.#tables.load(), waiting: this.#waiting.load(), lastLineAtMs: this.#journal.lastAtMs() };
  }

  async loadPools(): Promise<{ mountId: string; pools: Pool[]; grafts: Graft[] }> {
    let mountId = '';
    await this.#group.run(() => {
      mountId = this.#pools.mountId();
    });
    return { mountId, ...this.#pools.load() };
  }

  async addPool(pool: Omit<Pool, 'id'>, events: readonly JournalEvent[]): Promise<Pool> {
    let id = 0;
    await this.#group.run(() => {
      id = this.#pools.add(pool);
      this.#journal.append(events);
    });
    return { ...pool, id };
  }

  updatePool(pool: Pool, events: readonly JournalEvent[]): Promise<void> {
    return this.#both(() => this.#pools.update(pool), events);
  }

  removePool(id: PoolId, events: readonly JournalEvent[]): Promise<void> {
    return this.#both(() => this.#pools.remove(id), events);
  }

  putGraft(graft: Graft, events: readonly JournalEvent[]): Promise<void> {
    return this.#both(() => this.#pools.putGraft(graft), events);
  }

  dropGraft(path: string, events: readonly JournalEvent[]): Promise<void> {
    return this.#both(() => this.#pools.dropGraft(path), events);
  }

  #both(work: () => void, events: readonly JournalEvent[]): Promise<void> {
    return this.#group.run(() => {
      work();
      this.#journal.append(events);
    });
  }

  async newLotId(): Promise<LotId> {
    return this.#tables.newLotId();
  }

  changeLots(
    change: LotChange,
    usage: readonly SavedUsage[],
    events: readonly JournalEvent[],
    settled: Settled | null = null,
  ): Promise<void> {
    if (change.remove.includes(DEFAULT_LOT_ID)) throw new Error('the default lot is never removed');
    return this.#group.run(() => {
      this.#tables.change(change);
      this.#tables.saveUsage(usage);
      if (settled !== null) this.#waiting.settle(settled);
      this.#journal.append(events);
    });
  }

  async joinLine(row: Omit<WaitingRow, 'seq' | 'outcome'>, events: readonly JournalEvent[]): Promise<number> {
    let seq = 0;
    await this.#group.run(() => {
      seq = this.#waiting.add(row);
      this.#journal.append(events);
    });
    return seq;
  }

  settle(settled: Settled, events: readonly JournalEvent[]): Promise<void> {
    return this.#group.run(() => {
      this.#waiting.settle(settled);
      this.#journal.append(events);
    });
  }

  leaveLine(seq: number, events: readonly JournalEvent[]): Promise<void> {
    return this.#group.run(() => {
      this.#waiting.remove(seq);
      this.#journal.append(events);
    });
  }

  async spaces(): Promise<Space[]> {
    return this.#spaces.load();
  }

  putSpace(space: Space): Promise<void> {
    return this.#group.run(() => this.#spaces.put(space));
  }

  removeSpace(name: string): Promise<void> {
    return this.#group.run(() => this.#spaces.remove(name));
  }

  saveReported(reported: readonly ReportedUsage[], events: readonly JournalEvent[]): Promise<void> {
    return this.#group.run(() => {
      this.#tables.saveReported(reported);
      this.#journal.append(events);
    });
  }

  saveUsage(usage: readonly SavedUsage[], events: readonly JournalEvent[]): Promise<void> {
    return this.#group.run(() => {
      this.#tables.saveUsage(usage);
      this.#journal.append(events);
    });
  }

  beginServing(usage: readonly SavedUsage[], events: readonly JournalEvent[]): Promise<void> {
    return this.#serving('0', usage, events);
  }

  endServing(usage: readonly SavedUsage[], events: readonly JournalEvent[]): Promise<void> {
    return this.#serving('1', usage, events);
  }

  async journalRange(): Promise<JournalRange> {
    return this.#journal.range();
  }

  async readJournal(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    return this.#journal.read(offsetBytes, lengthBytes);
  }

  async findLines(ids: ReadonlySet<LotId>, fromBytes: number): Promise<JournalPiece[]> {
    return this.#journal.findLines(ids, fromBytes);
  }

  async trim(limits: TrimLimits): Promise<boolean> {
    let more = false;
    await this.#group.run(() => {
      more = this.#journal.trim(limits);
    });
    return more;
  }

  recoverSpace(): void {
    this.#ballast.restore();
  }

  async close(): Promise<void> {
    this.#group.flush();
    this.#db.close();
    if (this.#copy !== null) rmSync(dirname(this.#copy), { recursive: true, force: true });
  }

  #serving(clean: '0' | '1', usage: readonly SavedUsage[], events: readonly JournalEvent[]): Promise<void> {
    return this.#group.run(() => {
      this.#tables.saveUsage(usage);
      this.#journal.append(events);
      this.#setState.run('clean', clean);
    });
  }
}
