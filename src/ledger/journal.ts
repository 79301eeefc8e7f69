// The journal: an append-only list of lines, readable at any byte offset without rendering what is before it.

import type { Database, Statement } from 'better-sqlite3';
import { type JournalEvent, renderEvent } from '../core/events.js';
import type { LotId } from '../core/lot.js';
import type { JournalPiece, JournalRange, TrimLimits } from './ledger.js';

interface Row {
  offset_bytes: number;
  line: string;
}

/** Lines removed in one transaction of a trim: about 10 ms of work. */
const TRIM_LINES = 2000;

const NEWLINE = 0x0a;

/** The journal's table. Its methods run inside the caller's transaction. */
export class Journal {
  readonly #insert: Statement;
  readonly #last: Statement;
  readonly #lastAt: Statement;
  readonly #first: Statement;
  readonly #before: Statement;
  readonly #from: Statement;
  readonly #ofLot: Statement;
  readonly #oldest: Statement;
  readonly #cut: Statement;
  /** Where the next line goes. Ahead of the tables only within a transaction. */
  #endBytes: number;

  constructor(db: Database) {
    this.#insert = db.prepare('INSERT INTO journal (offset_bytes, length_bytes, at_ms, lot_id, line) VALUES (?, ?, ?, ?, ?)');
    this.#last = db.prepare('SELECT offset_bytes + length_bytes FROM journal ORDER BY offset_bytes DESC LIMIT 1').pluck();
    this.#lastAt = db.prepare('SELECT at_ms FROM journal ORDER BY offset_bytes DESC LIMIT 1').pluck();
    this.#first = db.prepare('SELECT offset_bytes FROM journal ORDER BY offset_bytes LIMIT 1').pluck();
    this.#before = db.prepare(
      'SELECT offset_bytes, line FROM journal WHERE offset_bytes <= ? ORDER BY offset_bytes DESC LIMIT 1',
    );
    this.#from = db.prepare('SELECT offset_bytes, line FROM journal WHERE offset_bytes > ? ORDER BY offset_bytes');
    this.#ofLot = db.prepare(
      `SELECT offset_bytes AS offsetBytes, length_bytes AS lengthBytes FROM journal
       WHERE lot_id = ? AND offset_bytes >= ? ORDER BY offset_bytes`,
    );
    this.#oldest = db.prepare('SELECT offset_bytes, at_ms FROM journal ORDER BY offset_bytes LIMIT ?').raw();
    this.#cut = db.prepare('DELETE FROM journal WHERE offset_bytes < ?');
    this.#endBytes = this.#readEnd();
  }

  append(events: readonly JournalEvent[]): void {
    for (const event of events) {
      const line = renderEvent(event);
      const lengthBytes = Buffer.byteLength(line);
      this.#insert.run(this.#endBytes, lengthBytes, event.atMs, event.lotId, line);
      this.#endBytes += lengthBytes;
    }
  }

  /** Time of the last line. */
  lastAtMs(): number | null {
    const at = this.#lastAt.get();
    return typeof at === 'number' ? at : null;
  }

  /** After a rollback: what was appended is not there. */
  forget(): void {
    this.#endBytes = this.#readEnd();
  }

  range(): JournalRange {
    const start = this.#first.get();
    return { startBytes: typeof start === 'number' ? start : this.#endBytes, endBytes: this.#endBytes };
  }

  read(offsetBytes: number, lengthBytes: number): Buffer {
    const { startBytes, endBytes } = this.range();
    const end = Math.min(endBytes, offsetBytes + lengthBytes);
    if (end <= offsetBytes) return Buffer.alloc(0);
    const data = Buffer.alloc(end - offsetBytes, NEWLINE);
    const from = Math.max(offsetBytes, startBytes);
    for (const { offset_bytes, line } of this.#rowsFrom(from)) {
      if (offset_bytes >= end) break;
      const bytes = Buffer.from(line);
      bytes.copy(data, Math.max(0, offset_bytes - offsetBytes), Math.max(0, offsetBytes - offset_bytes));
    }
    return data;
  }

  findLines(ids: ReadonlySet<LotId>, fromBytes: number): JournalPiece[] {
    const pieces = [...ids].flatMap((id) => this.#ofLot.all(id, fromBytes) as JournalPiece[]);
    return pieces.sort((a, b) => a.offsetBytes - b.offsetBytes);
  }

  trim({ beforeMs, keepBytes }: TrimLimits): boolean {
    const rows = this.#oldest.all(TRIM_LINES + 1) as [number, number][];
    const newest = rows.length > TRIM_LINES ? TRIM_LINES : rows.length - 1;
    const keepFromBytes = this.#endBytes - keepBytes;
    let cut = 0;
    while (cut < newest) {
      const [offset, atMs] = rows[cut] ?? [0, 0];
      if (offset >= keepFromBytes && atMs >= beforeMs) break;
      cut++;
    }
    const first = rows[cut];
    if (cut === 0 || first === undefined) return false;
    this.#cut.run(first[0]);
    return cut === TRIM_LINES;
  }

  *#rowsFrom(offsetBytes: number): Generator<Row> {
    const first = this.#before.get(offsetBytes) as Row | undefined;
    if (first === undefined) return;
    yield first;
    yield* this.#from.iterate(offsetBytes) as IterableIterator<Row>;
  }

  #readEnd(): number {
    const end = this.#last.get();
    return typeof end === 'number' ? end : 0;
  }
}
