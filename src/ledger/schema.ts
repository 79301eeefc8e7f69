// The ledger's tables, as numbered migrations: number n brings a ledger from format n - 1 to format n.

import { BY_KERNEL, GRAFTS_OF_MAIN, SPACES_TABLE } from './spaces.js';

/** In the header of every ledger: 'vres'. */
export const APPLICATION_ID = 0x76726573;

/** Applied in order, each in a transaction; `user_version` is the number of the last one. Never changed once released. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE lots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    confined_owner INTEGER NOT NULL,
    dedicated_bytes INTEGER NOT NULL CHECK (dedicated_bytes >= 0),
    opportunistic_bytes INTEGER NOT NULL CHECK (opportunistic_bytes >= -1),
    max_objects INTEGER NOT NULL CHECK (max_objects >= -1),
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    deletes_at_ms INTEGER
  ) STRICT;
  CREATE TABLE parents (
    lot_id INTEGER NOT NULL REFERENCES lots (id) ON DELETE CASCADE,
    parent_id INTEGER NOT NULL REFERENCES lots (id),
    PRIMARY KEY (lot_id, parent_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX parents_parent ON parents (parent_id);
  CREATE TABLE paths (
    path TEXT PRIMARY KEY,
    lot_id INTEGER NOT NULL REFERENCES lots (id) ON DELETE CASCADE
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX paths_lot ON paths (lot_id);
  CREATE TABLE usage (
    lot_id INTEGER PRIMARY KEY REFERENCES lots (id) ON DELETE CASCADE,
    bytes INTEGER NOT NULL,
    objects INTEGER NOT NULL
  ) STRICT;
  -- line: rendered JSON with its newline; offset_bytes: the bytes of all lines ever written before it.
  CREATE TABLE journal (
    offset_bytes INTEGER PRIMARY KEY,
    length_bytes INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    lot_id INTEGER,
    line TEXT NOT NULL
  ) STRICT;
  CREATE INDEX journal_lot ON journal (lot_id, offset_bytes);
  CREATE TABLE state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- A lot of before this was a reservation, which its owner may change, or the default lot.
  ALTER TABLE lots ADD COLUMN self_parent INTEGER NOT NULL DEFAULT 1;
  -- The order of a lot's parents; the first is the one whose unfilled bytes its own are part of.
  ALTER TABLE parents ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE paths ADD COLUMN recursive INTEGER NOT NULL DEFAULT 1;
  ALTER TABLE paths ADD COLUMN exclude INTEGER NOT NULL DEFAULT 0;
  -- What was reported for lots whose paths are foreign: no file of the mount is in it.
  CREATE TABLE reported_usage (
    lot_id INTEGER PRIMARY KEY REFERENCES lots (id) ON DELETE CASCADE,
    bytes INTEGER NOT NULL,
    objects INTEGER NOT NULL,
    pending_bytes INTEGER NOT NULL,
    pending_objects INTEGER NOT NULL
  ) STRICT;
  `,
  `
  -- Requests that wait for bytes, in their order. asked, asker, outcome: JSON that the ledger does not look into; outcome is
  -- there from the decision on, until the entry of the spool has been moved.
  CREATE TABLE waiting (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    asked_at_ms INTEGER NOT NULL,
    deadline_ms INTEGER,
    asked TEXT NOT NULL,
    asker TEXT NOT NULL,
    outcome TEXT
  ) STRICT;
  `,
  SPACES_TABLE,
  `
  -- Pools beside the backing directory, whose number is 0; null takes the defaults.
  CREATE TABLE pools (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    directory TEXT NOT NULL,
    type TEXT NOT NULL,
    capacity_bytes INTEGER,
    margin_bytes INTEGER
  ) STRICT;
  -- Directories of pools that are served in the place of an empty directory of the mount; relative to the pool's.
  CREATE TABLE grafts (
    path TEXT PRIMARY KEY,
    pool_id INTEGER NOT NULL REFERENCES pools (id),
    directory TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  ALTER TABLE lots ADD COLUMN pool_id INTEGER NOT NULL DEFAULT 0;
  `,
  BY_KERNEL,
  GRAFTS_OF_MAIN,
];
