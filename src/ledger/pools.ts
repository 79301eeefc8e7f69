// Pools and what is grafted of them, as rows.

import { randomUUID } from 'node:crypto';
import type { Database, Statement } from 'better-sqlite3';
import type { Graft, Pool, PoolId, PoolType } from '../core/pool.js';

/** The tables of pools. Its methods run inside the caller's transaction. */
export class PoolTables {
  readonly #db: Database;
  readonly #put: Statement;
  readonly #insert: Statement;
  readonly #drop: Statement;
  readonly #putGraft: Statement;
  readonly #dropGraft: Statement;

  constructor(db: Database) {
    this.#db = db;
    this.#insert = db.prepare(
      'INSERT INTO pools (name, directory, type, capacity_bytes, margin_bytes) VALUES (@name, @directory, @type, @capacityBytes, @marginBytes)',
    );
    this.#put = db.prepare(
      `UPDATE pools SET name = @name, directory = @directory, type = @type, capacity_bytes = @capacityBytes,
         margin_bytes = @marginBytes WHERE id = @id`,
    );
    this.#drop = db.prepare('DELETE FROM pools WHERE id = ?');
    this.#putGraft = db.prepare('INSERT OR REPLACE INTO grafts (path, pool_id, directory, by_kernel) VALUES (?, ?, ?, ?)');
    this.#dropGraft = db.prepare('DELETE FROM grafts WHERE path = ?');
  }

  load(): { pools: Pool[]; grafts: Graft[] } {
    const rows = this.#db.prepare('SELECT id, name, directory, type, capacity_bytes, margin_bytes FROM pools ORDER BY id');
    const grafts = this.#db.prepare('SELECT path, pool_id, directory, by_kernel FROM grafts ORDER BY path');
    return {
      pools: (rows.raw().all() as [PoolId, string, string, PoolType, number | null, number | null][]).map(
        ([id, name, directory, type, capacityBytes, marginBytes]) => ({ id, name, directory, type, capacityBytes, marginBytes }),
      ),
      grafts: (grafts.raw().all() as [string, PoolId, string, number][]).map(([path, pool, directory, byKernel]) => ({
        path,
        pool,
        directory,
        byKernel: byKernel === 1,
      })),
    };
  }

  /** What a pool is known by to be this mount's. */
  mountId(): string {
    const known = this.#db.prepare("SELECT value FROM state WHERE key = 'mount-id'").pluck().get();
    if (typeof known === 'string') return known;
    const made = randomUUID();
    this.#db.prepare("INSERT INTO state (key, value) VALUES ('mount-id', ?)").run(made);
    return made;
  }

  add(pool: Omit<Pool, 'id'>): PoolId {
    return Number(this.#insert.run(pool).lastInsertRowid);
  }

  update(pool: Pool): void {
    this.#put.run(pool);
  }

  remove(id: PoolId): void {
    this.#drop.run(id);
  }

  putGraft({ path, pool, directory, byKernel = false }: Graft): void {
    this.#putGraft.run(path, pool, directory, Number(byKernel));
  }

  dropGraft(path: string): void {
    this.#dropGraft.run(path);
  }
}
