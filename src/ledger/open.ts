// Opens a ledger file: makes it, or checks that it is a sound one of ours before a byte of it is changed.

import { closeSync, existsSync, fsyncSync, openSync, readSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite from 'better-sqlite3';
import { VreserveError } from '../core/errors.js';
import { defaultLot } from '../core/lot.js';
import { APPLICATION_ID, MIGRATIONS } from './schema.js';

const HEADER_BYTES = 100;
const MAGIC = 'SQLite format 3\0';

export interface OpenedFile {
  db: Sqlite.Database;
  /** The file was made now. */
  created: boolean;
}

/**
 * Opens `file`, making it with the default lot (owned by `owner`) when it is not there. Throws LEDGER_FOREIGN,
 * LEDGER_DAMAGED or LEDGER_NEWER, with the file as it was, or the system's error.
 */
export function openLedgerFile(file: string, owner: string, nowMs: number): OpenedFile {
  const created = !existsSync(file);
  if (created) create(file, owner, nowMs);
  else check(file);
  const db = new Sqlite(file, { fileMustExist: true });
  try {
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('foreign_keys = ON');
    // A WAL that once grew is cut back, or it would hold the space that a full disk needs.
    db.pragma('journal_size_limit = 4194304');
    migrate(db);
    return { db, created };
  } catch (error) {
    db.close();
    throw error;
  }
}

/** A ledger that lives in memory, for a backing that cannot be written and has none. */
export function openMemoryLedger(owner: string, nowMs: number): OpenedFile {
  const db = new Sqlite(':memory:');
  db.pragma('foreign_keys = ON');
  fill(db, owner, nowMs);
  return { db, created: true };
}

/** Built beside and renamed: `file` is either absent or whole, whenever the machine stops. */
function create(file: string, owner: string, nowMs: number): void {
  const draft = `${file}.new`;
  for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(draft + suffix, { force: true });
  // A WAL without its database belongs to a ledger that somebody removed: replayed into this one it would ruin it.
  for (const suffix of ['-wal', '-shm']) rmSync(file + suffix, { force: true });
  const db = new Sqlite(draft);
  try {
    fill(db, owner, nowMs);
  } finally {
    db.close();
  }
  sync(draft);
  renameSync(draft, file);
  sync(dirname(file));
}

function fill(db: Sqlite.Database, owner: string, nowMs: number): void {
  db.pragma(`application_id = ${APPLICATION_ID}`);
  migrate(db);
  const { id, name, policy } = defaultLot(owner, nowMs);
  db.prepare(
    `INSERT INTO lots (id, name, owner, confined_owner, dedicated_bytes, opportunistic_bytes, max_objects, created_at_ms)
     VALUES (?, ?, ?, 0, ?, ?, ?, ?)`,
  ).run(id, name, owner, policy.dedicatedBytes, policy.opportunisticBytes, policy.maxObjects, policy.createdAtMs);
  db.prepare('INSERT INTO usage (lot_id, bytes, objects) VALUES (?, 0, 0)').run(id);
}

function migrate(db: Sqlite.Database): void {
  const found = Number(db.pragma('user_version', { simple: true }));
  for (let number = found + 1; number <= MIGRATIONS.length; number++) {
    db.transaction(() => {
      db.exec(MIGRATIONS[number - 1] ?? '');
      db.pragma(`user_version = ${number}`);
    })();
  }
}

function check(file: string): void {
  const header = readHeader(file);
  if (header.length < HEADER_BYTES || header.toString('latin1', 0, 16) !== MAGIC) {
    const empty = header.length === 0;
    throw empty
      ? new VreserveError('LEDGER_DAMAGED', { file, reason: 'the file is empty' })
      : new VreserveError('LEDGER_FOREIGN', { file, reason: 'it is not an SQLite file' });
  }
  if (header.readUInt32BE(68) !== APPLICATION_ID) {
    throw new VreserveError('LEDGER_FOREIGN', { file, reason: 'another program made it' });
  }
  const reason = damage(file);
  if (reason !== null) throw new VreserveError('LEDGER_DAMAGED', { file, reason });
}

/** What is wrong with the file, read only; null when it is sound. */
function damage(file: string): string | null {
  let db: Sqlite.Database | undefined;
  try {
    db = new Sqlite(file, { readonly: true, fileMustExist: true });
    const format = Number(db.pragma('user_version', { simple: true }));
    if (format > MIGRATIONS.length) {
      throw new VreserveError('LEDGER_NEWER', { file, found: format, known: MIGRATIONS.length });
    }
    if (format < 1) return 'it has no format number';
    const result = String(db.pragma('quick_check(1)', { simple: true }));
    if (result !== 'ok') return result.replaceAll('\n', ' ');
    const row = db.prepare('SELECT count(*) FROM lots WHERE id = 1').pluck().get();
    return row === 1 ? null : 'it has no default lot';
  } catch (error) {
    if (error instanceof VreserveError) throw error;
    return error instanceof Error ? error.message : String(error);
  } finally {
    db?.close();
  }
}

function readHeader(file: string): Buffer {
  const fd = openSync(file, 'r');
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    return header.subarray(0, readSync(fd, header, 0, HEADER_BYTES, 0));
  } finally {
    closeSync(fd);
  }
}

function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
