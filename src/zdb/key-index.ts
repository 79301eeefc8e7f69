// What is kept of a namespace beside its values, in SQLite: settings, and for each key where its value is.

import Sqlite from 'better-sqlite3';
import { VreserveError } from '../core/errors.js';
import { FILE_SPAN, type FileState, HEADER_BYTES, type Place } from './record.js';

/** 'vrns' */
const APPLICATION_ID = 0x76726e73;

const FORMAT = 1;

/** Pages in memory, in KiB. */
const CACHE_KIB = 16 * 1024;

/** Pages of the WAL that go into the database together. */
const CHECKPOINT_PAGES = 256;

const SCHEMA = `
CREATE TABLE setting (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE entry (key BLOB PRIMARY KEY, place INTEGER NOT NULL, value_bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE file (number INTEGER PRIMARY KEY, end_bytes INTEGER NOT NULL, last_bytes INTEGER NOT NULL) STRICT;
`;

export interface IndexEntry {
  /** -1: it is deleted. */
  place: Place;
  valueBytes: number;
}

/** What the entries hold together. */
export interface IndexTotals {
  entries: number;
  payloadBytes: number;
  keyBytes: number;
  /** By the number of the file: bytes of records that are somebody's value. */
  liveBytes: ReadonlyMap<number, number>;
}

export type SettingValue = string | number | null;

export class KeyIndex {
  readonly #db: Sqlite.Database;
  readonly #find: Sqlite.Statement;
  readonly #put: Sqlite.Statement;
  readonly #remove: Sqlite.Statement;
  readonly #setting: Sqlite.Statement;
  readonly #putFile: Sqlite.Statement;

  private constructor(db: Sqlite.Database) {
    this.#db = db;
    this.#find = db.prepare('SELECT place, value_bytes FROM entry WHERE key = ?').raw();
    this.#put = db.prepare(
      'INSERT INTO entry VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET place = excluded.place, value_bytes = excluded.value_bytes',
    );
    this.#remove = db.prepare('DELETE FROM entry WHERE key = ?');
    this.#setting = db.prepare('INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value');
    this.#putFile = db.prepare('INSERT INTO file VALUES (?, ?, ?)');
  }

  /** Opens it, making it with the settings where there is none. Throws NAMESPACE_DAMAGED. */
  static open(path: string, settings: Readonly<Record<string, SettingValue>>): KeyIndex {
    const db = new Sqlite(path);
    try {
      // Without a second connection there is no shared memory, which would be a mapping of a file of the mount.
      db.pragma('locking_mode = EXCLUSIVE');
      db.pragma('journal_mode = WAL');
      db.pragma('synchronous = NORMAL');
      db.pragma(`cache_size = -${CACHE_KIB}`);
      db.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
      const made = Number(db.pragma('application_id', { simple: true }));
      const format = Number(db.pragma('user_version', { simple: true }));
      if (format === 0 && made === 0) make(db, settings);
      else if (made !== APPLICATION_ID || format !== FORMAT) {
        throw new VreserveError('NAMESPACE_DAMAGED', { path, reason: `it is of another format (${format})` });
      }
      return new KeyIndex(db);
    } catch (error) {
      db.close();
      if (error instanceof Sqlite.SqliteError && /CORRUPT|NOTADB/.test(error.code)) {
        throw new VreserveError('NAMESPACE_DAMAGED', { path, reason: error.message }, { cause: error });
      }
      throw error;
    }
  }

  find(key: Buffer): IndexEntry | null {
    const row = this.#find.get(key) as [number, number] | undefined;
    return row === undefined ? null : { place: row[0], valueBytes: row[1] };
  }

  /** Puts what `next` gives, one transaction in all, until it gives null. */
  putAll(next: () => { key: Buffer; entry: IndexEntry } | null): void {
    this.#transaction(() => {
      for (let each = next(); each !== null; each = next()) {
        const { key, entry } = each;
        if (entry.place < 0) this.#remove.run(key);
        else this.#put.run(key, entry.place, entry.valueBytes);
      }
    });
  }

  /** The entries tell all that lies before `upTo` now. */
  saveState(upTo: Place, nextId: number, files: ReadonlyMap<number, FileState>): void {
    this.#transaction(() => {
      this.#setting.run('upTo', upTo);
      this.#setting.run('nextId', nextId);
      this.#db.exec('DELETE FROM file');
      for (const [number, { endBytes, lastBytes }] of files) this.#putFile.run(number, endBytes, lastBytes);
    });
  }

  loadState(): { upTo: Place; nextId: number; files: ReadonlyMap<number, FileState> } {
    const { upTo, nextId } = this.settings();
    const rows = this.#db.prepare('SELECT * FROM file').raw().all() as [number, number, number][];
    return {
      upTo: Number(upTo ?? 0),
      nextId: Number(nextId ?? 0),
      files: new Map(rows.map(([number, endBytes, lastBytes]) => [number, { endBytes, lastBytes, liveBytes: 0 }])),
    };
  }

  /** Counted: a third of a second for a million keys. */
  totals(): IndexTotals {
    const sums = `count(*), total(value_bytes), total(length(key))`;
    const rows = this.#db.prepare(`SELECT place / ${FILE_SPAN}, ${sums} FROM entry GROUP BY 1`).raw().all() as number[][];
    const totals = { entries: 0, payloadBytes: 0, keyBytes: 0, liveBytes: new Map<number, number>() };
    for (const [file = 0, entries = 0, payloadBytes = 0, keyBytes = 0] of rows) {
      totals.entries += entries;
      totals.payloadBytes += payloadBytes;
      totals.keyBytes += keyBytes;
      totals.liveBytes.set(file, entries * HEADER_BYTES + payloadBytes + keyBytes);
    }
    return totals;
  }

  settings(): Record<string, SettingValue> {
    const rows = this.#db.prepare('SELECT name, value FROM setting').raw().all() as [string, SettingValue][];
    return Object.fromEntries(rows);
  }

  /** On the disk when it returns. */
  saveSettings(settings: Readonly<Record<string, SettingValue>>): void {
    this.#durably(() => {
      for (const [name, value] of Object.entries(settings)) this.#setting.run(name, value);
    });
  }

  /** Keys from `first` on, in bytewise order. Entries that are not here yet are not among them. */
  keysFrom(first: Buffer, most: number): Buffer[] {
    return this.#db.prepare('SELECT key FROM entry WHERE key >= ? ORDER BY key LIMIT ?').pluck().all(first, most) as Buffer[];
  }

  /** No key is left of what lies before `upTo`. On the disk when it returns. */
  clear(upTo: Place): void {
    this.#durably(() => {
      this.#db.exec('DELETE FROM entry; DELETE FROM file');
      this.#setting.run('upTo', upTo);
      this.#setting.run('nextId', 0);
    });
  }

  close(): void {
    this.#db.close();
  }

  #durably(work: () => void): void {
    this.#db.pragma('synchronous = FULL');
    try {
      this.#transaction(work);
    } finally {
      this.#db.pragma('synchronous = NORMAL');
    }
  }

  #transaction(work: () => void): void {
    this.#db.transaction(work).immediate();
  }
}

function make(db: Sqlite.Database, settings: Readonly<Record<string, SettingValue>>): void {
  db.pragma('synchronous = FULL');
  db.transaction(() => {
    db.pragma(`application_id = ${APPLICATION_ID}`);
    db.exec(SCHEMA);
    const put = db.prepare('INSERT INTO setting VALUES (?, ?)');
    for (const [name, value] of Object.entries(settings)) put.run(name, value);
    db.pragma(`user_version = ${FORMAT}`);
  })();
  db.pragma('synchronous = NORMAL');
}

/** True for what SQLite says where there is no room. */
export function isFull(error: unknown): boolean {
  return error instanceof Sqlite.SqliteError && /FULL|IOERR_WRITE|IOERR_TRUNCATE/.test(error.code);
}
