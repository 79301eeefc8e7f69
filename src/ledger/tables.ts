// Lots, parents, paths and usage as rows.

import type { Database, Statement } from 'better-sqlite3';
import type { Lot, LotId } from '../core/lot.js';
import type { LedgerContents, SavedUsage } from './ledger.js';

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
}

/** The tables of the lots. Its methods run inside the caller's transaction. */
export class LotTables {
  readonly #db: Database;
  readonly #insertLot: Statement;
  readonly #updateLot: Statement;
  readonly #deleteLot: Statement;
  readonly #insertParent: Statement;
  readonly #adopt: Statement;
  readonly #disown: Statement;
  readonly #insertPath: Statement;
  readonly #insertUsage: Statement;
  readonly #updateUsage: Statement;
  #lastId: LotId;

  constructor(db: Database) {
    this.#db = db;
    this.#insertLot = db.prepare(
      `INSERT INTO lots VALUES (@id, @name, @owner, @confined_owner, @dedicated_bytes, @opportunistic_bytes, @max_objects,
         @created_at_ms, @expires_at_ms, @deletes_at_ms)`,
    );
    this.#updateLot = db.prepare(
      `UPDATE lots SET owner = @owner, confined_owner = @confined_owner, dedicated_bytes = @dedicated_bytes,
         opportunistic_bytes = @opportunistic_bytes, max_objects = @max_objects, created_at_ms = @created_at_ms,
         expires_at_ms = @expires_at_ms, deletes_at_ms = @deletes_at_ms WHERE id = @id`,
    );
    this.#deleteLot = db.prepare('DELETE FROM lots WHERE id = ?');
    this.#insertParent = db.prepare('INSERT INTO parents (lot_id, parent_id) VALUES (?, ?)');
    this.#adopt = db.prepare(
      `INSERT OR IGNORE INTO parents (lot_id, parent_id)
       SELECT below.lot_id, above.parent_id FROM parents below JOIN parents above ON above.lot_id = below.parent_id
       WHERE below.parent_id = ?`,
    );
    this.#disown = db.prepare('DELETE FROM parents WHERE parent_id = ?');
    this.#insertPath = db.prepare('INSERT INTO paths (path, lot_id) VALUES (?, ?)');
    this.#insertUsage = db.prepare('INSERT INTO usage (lot_id, bytes, objects) VALUES (?, ?, ?)');
    this.#updateUsage = db.prepare('UPDATE usage SET bytes = ?, objects = ? WHERE lot_id = ?');
    const last = db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'lots'").pluck().get();
    this.#lastId = typeof last === 'number' ? last : 0;
  }

  newLotId(): LotId {
    this.#lastId += 1;
    return this.#lastId;
  }

  load(): LedgerContents {
    const parents = grouped(this.#rows<[number, number]>('SELECT lot_id, parent_id FROM parents ORDER BY parent_id'));
    const paths = grouped(this.#rows<[number, string]>('SELECT lot_id, path FROM paths ORDER BY path'));
    const rows = this.#db.prepare('SELECT * FROM lots ORDER BY id').all() as LotRow[];
    const lots = rows.map((row) => lotOf(row, parents.get(row.id) ?? [], paths.get(row.id) ?? []));
    const usage = this.#rows<[number, number, number]>('SELECT lot_id, bytes, objects FROM usage');
    return { lots: parentsFirst(lots), usage: usage.map(([id, bytes, objects]) => ({ id, bytes, objects })) };
  }

  add(lot: Lot, usage: SavedUsage): void {
    this.#insertLot.run(rowOf(lot));
    for (const parent of lot.parents) this.#insertParent.run(lot.id, parent);
    for (const path of lot.paths) this.#insertPath.run(path, lot.id);
    this.#insertUsage.run(lot.id, usage.bytes, usage.objects);
  }

  update(lot: Lot): void {
    if (this.#updateLot.run(rowOf(lot)).changes !== 1) throw new Error(`the ledger has no lot ${lot.id}`);
  }

  remove(id: LotId): void {
    this.#adopt.run(id);
    this.#disown.run(id);
    if (this.#deleteLot.run(id).changes !== 1) throw new Error(`the ledger has no lot ${id}`);
  }

  saveUsage(usage: readonly SavedUsage[]): void {
    for (const { id, bytes, objects } of usage) this.#updateUsage.run(bytes, objects, id);
  }

  #rows<T extends unknown[]>(sql: string): T[] {
    return this.#db.prepare(sql).raw().all() as T[];
  }
}

function rowOf({ id, name, owner, confinedOwner, policy }: Lot): LotRow {
  return {
    id,
    name,
    owner,
    confined_owner: confinedOwner ? 1 : 0,
    dedicated_bytes: policy.dedicatedBytes,
    opportunistic_bytes: policy.opportunisticBytes,
    max_objects: policy.maxObjects,
    created_at_ms: policy.createdAtMs,
    expires_at_ms: policy.expiresAtMs,
    deletes_at_ms: policy.deletesAtMs,
  };
}

function lotOf(row: LotRow, parents: LotId[], paths: string[]): Lot {
  return {
    id: row.id,
    name: row.name,
    owner: row.owner,
    confinedOwner: row.confined_owner === 1,
    parents,
    paths,
    policy: {
      dedicatedBytes: row.dedicated_bytes,
      opportunisticBytes: row.opportunistic_bytes,
      maxObjects: row.max_objects,
      createdAtMs: row.created_at_ms,
      expiresAtMs: row.expires_at_ms,
      deletesAtMs: row.deletes_at_ms,
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
