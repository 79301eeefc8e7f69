// Lots, parents, paths and usage as rows.

import type { Database, Statement } from 'better-sqlite3';
import type { LotChange } from '../core/book.js';
import type { Lot, LotId, LotPath } from '../core/lot.js';
import { MAIN_POOL_ID } from '../core/pool.js';
import type { LedgerContents, ReportedUsage, SavedUsage } from './ledger.js';

interface LotRow {
  id: number;
  name: string;
  owner: string;
  confined_owner: number;
  dedicated_bytes: number;
  opportunistic_bytes: number;
  max_objects: number;
  created_at_ms: number;
  expires_at_ms: number | null;
  deletes_at_ms: number | null;
  self_parent: number;
  pool_id: number;
}

/** In the order of `LotValues`. */
const SELECT_LOTS = `
  SELECT id, name, owner, confined_owner, dedicated_bytes, opportunistic_bytes, max_objects, created_at_ms, expires_at_ms,
    deletes_at_ms, self_parent, usage.bytes, usage.objects, pool_id,
    EXISTS (SELECT 1 FROM spaces WHERE spaces.lot_id = lots.id AND enforce = 'kernel')
  FROM lots JOIN usage ON usage.lot_id = lots.id ORDER BY id`;

type LotValues = [
  id: number,
  name: string,
  owner: string,
  confinedOwner: number,
  dedicatedBytes: number,
  opportunisticBytes: number,
  maxObjects: number,
  createdAtMs: number,
  expiresAtMs: number | null,
  deletesAtMs: number | null,
  selfParent: number,
  bytes: number,
  objects: number,
  poolId: number,
  enforcedByKernel: number,
];

const NONE: readonly never[] = [];

/** The tables of the lots. Its methods run inside the caller's transaction. */
export class LotTables {
  readonly #db: Database;
  readonly #putLot: Statement;
  readonly #deleteLot: Statement;
  readonly #insertParent: Statement;
  readonly #dropParents: Statement;
  readonly #dropChildren: Statement;
  readonly #insertPath: Statement;
  readonly #dropPaths: Statement;
  readonly #newUsage: Statement;
  readonly #updateUsage: Statement;
  readonly #putReported: Statement;
  #lastId: LotId;

  constructor(db: Database) {
    this.#db = db;
    this.#putLot = db.prepare(
      `INSERT INTO lots VALUES (@id, @name, @owner, @confined_owner, @dedicated_bytes, @opportunistic_bytes, @max_objects,
         @created_at_ms, @expires_at_ms, @deletes_at_ms, @self_parent, @pool_id)
       ON CONFLICT (id) DO UPDATE SET owner = @owner, confined_owner = @confined_owner, dedicated_bytes = @dedicated_bytes,
         opportunistic_bytes = @opportunistic_bytes, max_objects = @max_objects, created_at_ms = @created_at_ms,
         expires_at_ms = @expires_at_ms, deletes_at_ms = @deletes_at_ms, self_parent = @self_parent`,
    );
    this.#deleteLot = db.prepare('DELETE FROM lots WHERE id = ?');
    this.#insertParent = db.prepare('INSERT INTO parents (lot_id, parent_id, position) VALUES (?, ?, ?)');
    this.#dropParents = db.prepare('DELETE FROM parents WHERE lot_id = ?');
    this.#dropChildren = db.prepare('DELETE FROM parents WHERE parent_id = ?');
    this.#insertPath = db.prepare('INSERT INTO paths (path, lot_id, recursive, exclude) VALUES (?, ?, ?, ?)');
    this.#dropPaths = db.prepare('DELETE FROM paths WHERE lot_id = ?');
    this.#newUsage = db.prepare('INSERT OR IGNORE INTO usage (lot_id, bytes, objects) VALUES (?, 0, 0)');
    this.#updateUsage = db.prepare('UPDATE usage SET bytes = ?, objects = ? WHERE lot_id = ?');
    this.#putReported = db.prepare(
      'INSERT OR REPLACE INTO reported_usage (lot_id, bytes, objects, pending_bytes, pending_objects) VALUES (?, ?, ?, ?, ?)',
    );
    // A space that was begun has a number before its lot is there.
    const numbers = "SELECT seq AS id FROM sqlite_sequence WHERE name = 'lots' UNION ALL SELECT lot_id FROM spaces";
    const last = db.prepare(`SELECT max(id) FROM (${numbers})`).pluck().get();
    this.#lastId = typeof last === 'number' ? last : 0;
  }

  newLotId(): LotId {
    this.#lastId += 1;
    return this.#lastId;
  }

  load(): Omit<LedgerContents, 'lastLineAtMs' | 'waiting'> {
    // Rows of all tables come in the order of the lots, so that each is walked along beside them.
    const parents = new Beside(this.#rows<[number, number]>('SELECT lot_id, parent_id FROM parents ORDER BY lot_id, position'));
    const paths = new Beside(
      this.#rows<[number, string, number, number]>('SELECT lot_id, path, recursive, exclude FROM paths ORDER BY lot_id, path'),
    );
    const lots: Lot[] = [];
    const usage: SavedUsage[] = [];
    for (const row of this.#rows<LotValues>(SELECT_LOTS)) {
      const [id, name] = row;
      const above = parents.of(id, ([, parent]) => parent);
      const own = paths.of(id, ([, path, recursive, exclude]) => ({
        // One string for both, where a reservation's name is its path.
        path: path === name ? name : path,
        recursive: recursive === 1,
        exclude: exclude === 1,
      }));
      lots.push(lotOf(row, above, own));
      usage.push({ id, bytes: row[11], objects: row[12] });
    }
    const reported = this.#rows<[number, number, number, number, number]>(
      'SELECT lot_id, bytes, objects, pending_bytes, pending_objects FROM reported_usage',
    );
    return {
      lots: parentsFirst(lots),
      usage,
      reported: reported.map(([id, bytes, objects, pendingBytes, pendingObjects]) => ({
        id,
        usage: { bytes, objects, pendingBytes, pendingObjects },
      })),
    };
  }

  /** What goes is gone first, so that a path or a name may be another's at once. */
  change({ put, remove }: LotChange): void {
    for (const id of remove) this.#dropChildren.run(id);
    for (const id of remove) {
      if (this.#deleteLot.run(id).changes !== 1) throw new Error(`the ledger has no lot ${id}`);
    }
    for (const { id } of put) {
      this.#dropParents.run(id);
      this.#dropPaths.run(id);
    }
    for (const lot of put) {
      this.#putLot.run(rowOf(lot));
      this.#newUsage.run(lot.id);
    }
    for (const { id, parents, paths } of put) {
      for (const [position, parent] of parents.entries()) this.#insertParent.run(id, parent, position);
      for (const { path, recursive, exclude } of paths) this.#insertPath.run(path, id, Number(recursive), Number(exclude));
    }
  }

  saveUsage(usage: readonly SavedUsage[]): void {
    for (const { id, bytes, objects } of usage) this.#updateUsage.run(bytes, objects, id);
  }

  saveReported(reported: readonly ReportedUsage[]): void {
    for (const { id, usage } of reported) {
      this.#putReported.run(id, usage.bytes, usage.objects, usage.pendingBytes, usage.pendingObjects);
    }
  }

  #rows<T extends unknown[]>(sql: string): T[] {
    return this.#db.prepare(sql).raw().all() as T[];
  }
}

function rowOf({ id, name, owner, confinedOwner, selfParent, policy, pool = MAIN_POOL_ID }: Lot): LotRow {
  return {
    id,
    name,
    owner,
    confined_owner: Number(confinedOwner),
    dedicated_bytes: policy.dedicatedBytes,
    opportunistic_bytes: policy.opportunisticBytes,
    max_objects: policy.maxObjects,
    created_at_ms: policy.createdAtMs,
    expires_at_ms: policy.expiresAtMs,
    deletes_at_ms: policy.deletesAtMs,
    self_parent: Number(selfParent),
    pool_id: pool,
  };
}

function lotOf(row: LotValues, parents: readonly LotId[], paths: readonly LotPath[]): Lot {
  const [id, name, owner, confined, dedicated, opportunistic, objects, createdAtMs, expiresAtMs, deletesAtMs, selfParent] = row;
  return {
    id,
    name,
    owner,
    confinedOwner: confined === 1,
    selfParent: selfParent === 1,
    parents,
    paths,
    ...(row[13] === MAIN_POOL_ID ? {} : { pool: row[13] }),
    ...(row[14] === 1 ? { enforcedByKernel: true } : {}),
    policy: {
      dedicatedBytes: dedicated,
      opportunisticBytes: opportunistic,
      maxObjects: objects,
      createdAtMs,
      expiresAtMs,
      deletesAtMs,
    },
  };
}

/** Rows that belong to lots, in the order of the lots' numbers. */
class Beside<Row extends [number, ...unknown[]]> {
  readonly #rows: readonly Row[];
  #next = 0;

  constructor(rows: readonly Row[]) {
    this.#rows = rows;
  }

  /** What the rows of the lot become; lots are asked for in their order. */
  of<T>(id: LotId, make: (row: Row) => T): readonly T[] {
    let made: T[] | undefined;
    for (let row = this.#rows[this.#next]; row !== undefined && row[0] === id; row = this.#rows[++this.#next]) {
      made ??= [];
      made.push(make(row));
    }
    return made ?? NONE;
  }
}

/** Numbers grow with time, but a lot may be given a younger parent. */
function parentsFirst(lots: Lot[]): Lot[] {
  if (lots.every(({ id, parents }) => parents.every((parent) => parent < id))) return lots;
  const byId = new Map(lots.map((lot) => [lot.id, lot]));
  const ordered = new Set<Lot>();
  const visit = (lot: Lot) => {
    if (ordered.has(lot)) return;
    for (const parent of lot.parents) {
      const above = byId.get(parent);
      if (above !== undefined) visit(above);
    }
    ordered.add(lot);
  };
  for (const lot of lots) visit(lot);
  return [...ordered];
}
