// Requests that wait for bytes, as rows.

import type { Database, Statement } from 'better-sqlite3';
import type { Settled, WaitingRow } from '../core/waiting.js';

/** The table of the line. Its methods run inside the caller's transaction. */
export class WaitingTable {
  readonly #load: Statement;
  readonly #insert: Statement;
  readonly #settle: Statement;
  readonly #delete: Statement;

  constructor(db: Database) {
    this.#load = db.prepare(
      `SELECT seq, name, asked_at_ms AS askedAtMs, deadline_ms AS deadlineMs, asked, asker, outcome FROM waiting ORDER BY seq`,
    );
    this.#insert = db.prepare(
      `INSERT INTO waiting (name, asked_at_ms, deadline_ms, asked, asker) VALUES (@name, @askedAtMs, @deadlineMs, @asked, @asker)`,
    );
    this.#settle = db.prepare('UPDATE waiting SET outcome = @outcome WHERE seq = @seq');
    this.#delete = db.prepare('DELETE FROM waiting WHERE seq = ?');
  }

  load(): WaitingRow[] {
    return this.#load.all() as WaitingRow[];
  }

  add(row: Omit<WaitingRow, 'seq' | 'outcome'>): number {
    return Number(this.#insert.run(row).lastInsertRowid);
  }

  settle(settled: Settled): void {
    if (this.#settle.run(settled).changes !== 1) throw new Error(`the ledger has no waiting request ${settled.seq}`);
  }

  remove(seq: number): void {
    this.#delete.run(seq);
  }
}
