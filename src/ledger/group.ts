// Group commit: the work of one turn of the event loop in one transaction, acknowledged after it is on disk.

import type { Database, Statement } from 'better-sqlite3';
import { VreserveError } from '../core/errors.js';
import type { Ballast } from './ballast.js';

interface Job {
  work: () => void;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** Runs jobs in transactions. A job that throws is undone alone; when the commit fails, all of its group are. */
export class GroupCommit {
  readonly #db: Database;
  readonly #ballast: Ballast;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #rollback: Statement;
  readonly #savepoint: Statement;
  readonly #releaseSavepoint: Statement;
  readonly #undo: Statement;
  readonly #onUndone: () => void;
  #waiting: Job[] = [];

  /** `onUndone` is called when something that ran did not come to be: counters kept beside the tables are stale. */
  constructor(db: Database, ballast: Ballast, onUndone: () => void) {
    this.#db = db;
    this.#ballast = ballast;
    this.#onUndone = onUndone;
    this.#begin = db.prepare('BEGIN IMMEDIATE');
    this.#commit = db.prepare('COMMIT');
    this.#rollback = db.prepare('ROLLBACK');
    this.#savepoint = db.prepare('SAVEPOINT job');
    this.#releaseSavepoint = db.prepare('RELEASE job');
    this.#undo = db.prepare('ROLLBACK TO job');
  }

  /** Resolves when `work` is on disk; rejects with what it threw, LEDGER_FULL or LEDGER_FAILED, and then it is undone. */
  run(work: () => void): Promise<void> {
    if (!this.#db.open) return Promise.reject(new VreserveError('LEDGER_FAILED', { reason: 'it is closed' }));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ work, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.flush());
    });
  }

  /** Commits now what waits. */
  flush(): void {
    const jobs = this.#waiting;
    this.#waiting = [];
    if (jobs.length === 0) return;
    let outcome = this.#attempt(jobs);
    // Room that nobody else can have taken is looked for first: in the WAL, then in the ballast.
    for (const makeRoom of [() => true, () => this.#ballast.giveUp()]) {
      if (outcome.failed === null || !isLackOfSpace(outcome.failed) || !makeRoom()) break;
      this.#restartWal();
      outcome = this.#attempt(jobs);
    }
    const { failed } = outcome;
    if (failed !== null) {
      const error = ledgerError(failed);
      for (const job of jobs) job.reject(error);
      return;
    }
    for (const job of jobs) {
      const error = outcome.refused.get(job);
      if (error === undefined) job.resolve();
      else job.reject(error);
    }
  }

  /** Copies the WAL into the database, after which it is written from its beginning and needs no new space for long. */
  #restartWal(): void {
    try {
      this.#db.pragma('wal_checkpoint(RESTART)');
    } catch {
      // The database itself has to grow and cannot: the WAL stays as it is.
    }
  }

  #attempt(jobs: readonly Job[]): { failed: unknown; refused: Map<Job, unknown> } {
    const refused = new Map<Job, unknown>();
    try {
      this.#begin.run();
      for (const job of jobs) {
        const error = this.#attemptOne(job);
        if (error !== null) refused.set(job, error);
      }
      this.#commit.run();
      return { failed: null, refused };
    } catch (failed) {
      // SQLite may have rolled back by itself, as it does when the disk is full.
      if (this.#db.inTransaction) this.#rollback.run();
      this.#onUndone();
      return { failed, refused };
    }
  }

  #attemptOne(job: Job): unknown {
    this.#savepoint.run();
    try {
      job.work();
      this.#releaseSavepoint.run();
      return null;
    } catch (error) {
      if (!this.#db.inTransaction || isDiskError(error)) throw error;
      this.#undo.run();
      this.#releaseSavepoint.run();
      this.#onUndone();
      return error;
    }
  }
}

/** What a caller is told of an error of SQLite. */
function ledgerError(error: unknown): VreserveError {
  const reason = error instanceof Error ? error.message : String(error);
  return sqliteCode(error) === 'SQLITE_FULL'
    ? new VreserveError('LEDGER_FULL', {}, { cause: error })
    : new VreserveError('LEDGER_FAILED', { reason }, { cause: error });
}

function isDiskError(error: unknown): boolean {
  return /^SQLITE_(FULL|IOERR|CORRUPT|NOTADB|READONLY|CANTOPEN|NOMEM)/.test(sqliteCode(error));
}

/** A full disk shows as FULL, and as IOERR where the WAL or its index cannot grow. */
function isLackOfSpace(error: unknown): boolean {
  return /^SQLITE_(FULL|IOERR)/.test(sqliteCode(error));
}

function sqliteCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
