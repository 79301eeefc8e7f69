// Lots, parents, paths and usage as rows.

import type { Database, Statement } from 'better-sqlite3';
import type { LotChange } from '../core/book.js';
import type { Lot, LotId, LotPath } from '../core/lot.js';
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
}

/** The columns of a row, in the order of `LotValues`. */
const LOT_COLUMNS =
  'id, name, owner, confined_owner, dedicated_bytes, opportunistic_bytes, max_objects, created_at_ms, expires_at_ms, deletes_at_ms, self_parent';

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
         @created_at_ms, @expires_at_ms, @deletes_at_ms, @self_parent)
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
    const last = db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'lots'").pluck().get();
    this.#lastId = typeof last === 'number' ? last : 0;
  }

  newLotId(): LotId {
    this.#lastId += 1;
    return this.#lastId;
  }

  load(): Omit<LedgerContents, 'lastLineAtMs'> {
    const parents = grouped(this.#rows<[number, number]>('SELECT lot_id, parent_id FROM parents ORDER BY position, parent_id'));
    const paths = grouped(
      this.#rows<[number, string, number, number]>('SELECT lot_id, path, recursive, exclude FROM paths ORDER BY path').map(
        ([id, path, recursive, exclude]): [number, LotPath] => [id, { path, recursive: recursive === 1, exclude: exclude === 1 }],
      ),
    );
    const rows = this.#rows<LotValues>(`SELECT ${LOT_COLUMNS} FROM lots ORDER BY id`);
    const lots = rows.map((row) => lotOf(row, parents.get(row[0]) ?? NONE, paths.get(row[0]) ?? NONE));
    const usage = this.#rows<[number, number, number]>('SELECT lot_id, bytes, objects FROM usage');
    const reported = this.#rows<[number, number, number, number, number]>(
      'SELECT lot_id, bytes, objects, pending_bytes, pending_objects FROM reported_usage',
    );
    return {
      lots: parentsFirst(lots),
      usage: usage.map(([id, bytes, objects]) => ({ id, bytes, objects })),
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

function rowOf({ id, name, owner, confinedOwner, selfParent, policy }: Lot): LotRow {
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

function grouped<T>(pairs: readonly [number, T][]): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const [key, value] of pairs) {
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [value]);
    else group.push(value);
  }
  return groups;
}

/** Numbers grow with time, but a lot may be given a younger parent. */
function parentsFirst(lots: readonly Lot[]): Lot[] {
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
