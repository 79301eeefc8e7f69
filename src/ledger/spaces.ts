// Spaces as rows.

import type { Database, Statement } from 'better-sqlite3';
import type { Space } from '../core/space.js';

/** Its migration. A row is there before the lot is, so it does not refer to it. */
export const SPACES_TABLE = `
  CREATE TABLE spaces (
    name TEXT PRIMARY KEY,
    lot_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    pool_id INTEGER NOT NULL,
    policy TEXT NOT NULL,
    enforce TEXT NOT NULL,
    hidden INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting'))
  ) STRICT, WITHOUT ROWID;
  `;

/** Comes after the tables of pools. */
export const BY_KERNEL = `
  CREATE INDEX spaces_lot ON spaces (lot_id);
  -- A quota of the filesystem holds there.
  ALTER TABLE grafts ADD COLUMN by_kernel INTEGER NOT NULL DEFAULT 0;
  `;

/** What lies in the main pool can be grafted too, which is in no table of pools. */
export const GRAFTS_OF_MAIN = `
  CREATE TABLE grafts_anew (
    path TEXT PRIMARY KEY,
    pool_id INTEGER NOT NULL,
    directory TEXT NOT NULL,
    by_kernel INTEGER NOT NULL DEFAULT 0
  ) STRICT, WITHOUT ROWID;
  INSERT INTO grafts_anew SELECT path, pool_id, directory, by_kernel FROM grafts;
  DROP TABLE grafts;
  ALTER TABLE grafts_anew RENAME TO grafts;
  `;

type SpaceRow = Omit<Space, 'isHidden'> & { hidden: number };

/** The table of the spaces. Its methods run inside the caller's transaction. */
export class SpacesTable {
  readonly #load: Statement;
  readonly #put: Statement;
  readonly #delete: Statement;

  constructor(db: Database) {
    this.#load = db.prepare(
      'SELECT name, lot_id AS lotId, path, pool_id AS pool, policy, enforce, hidden, state FROM spaces ORDER BY name',
    );
    this.#put = db.prepare(
      'INSERT OR REPLACE INTO spaces VALUES (@name, @lotId, @path, @pool, @policy, @enforce, @hidden, @state)',
    );
    this.#delete = db.prepare('DELETE FROM spaces WHERE name = ?');
  }

  load(): Space[] {
    return (this.#load.all() as SpaceRow[]).map(({ hidden, ...row }) => ({ ...row, isHidden: hidden === 1 }));
  }

  put({ isHidden, ...row }: Space): void {
    this.#put.run({ ...row, hidden: Number(isHidden) });
  }

  remove(name: string): void {
    this.#delete.run(name);
  }
}
