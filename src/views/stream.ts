// The file `ledger`: the journal, or one lot's part of it, as a file that only grows.

import type { LotId } from '../core/lot.js';
import type { JournalReader } from './host.js';

/** A file read piece by piece. While it is open, its offsets do not move. */
export interface Stream {
  sizeBytes(): Promise<number>;
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  opened(): void;
  closed(): void;
}

/** The whole journal. It begins at the oldest line that was kept when it was last opened by nobody. */
export class WholeJournal implements Stream {
  readonly #journal: JournalReader;
  #openings = 0;
  #baseBytes = 0;

  constructor(journal: JournalReader) {
    this.#journal = journal;
  }

  async sizeBytes(): Promise<number> {
    const { startBytes, endBytes } = await this.#journal.journalRange();
    // Under an open file the base stays, and what is trimmed meanwhile reads as blank lines.
    if (this.#openings === 0) this.#baseBytes = startBytes;
    return endBytes - this.#baseBytes;
  }

  read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    return this.#journal.readJournal(this.#baseBytes + offsetBytes, lengthBytes);
  }

  opened(): void {
    this.#openings += 1;
  }

  closed(): void {
    this.#openings -= 1;
  }
}

/** The lines of one lot and those below it, found once and then only the new ones. */
export class LotJournal implements Stream {
  readonly #journal: JournalReader;
  readonly #inScope: () => ReadonlySet<LotId>;
  readonly #seen: (line: Buffer) => Buffer;
  #openings = 0;
  /** Where each line starts in the journal, and in this file; the latter has one number more, the size. */
  #sources: number[] = [];
  #starts: number[] = [0];
  #searchedBytes = 0;

  /** `seen` makes of a whole line what is shown, in as many bytes. */
  constructor(journal: JournalReader, inScope: () => ReadonlySet<LotId>, seen: (line: Buffer) => Buffer) {
    this.#journal = journal;
    this.#inScope = inScope;
    this.#seen = seen;
  }

  get isOpen(): boolean {
    return this.#openings > 0;
  }

  async sizeBytes(): Promise<number> {
    const { startBytes, endBytes } = await this.#journal.journalRange();
    const oldest = this.#sources[0];
    if (this.#openings === 0 && oldest !== undefined && oldest < startBytes) this.#startOver();
    if (this.#searchedBytes < endBytes) {
      const from = this.#searchedBytes;
      this.#searchedBytes = endBytes;
      for (const piece of await this.#journal.findLines(this.#inScope(), from)) {
        if (piece.offsetBytes >= endBytes) break;
        this.#sources.push(piece.offsetBytes);
        this.#starts.push(this.#size() + piece.lengthBytes);
      }
    }
    return this.#size();
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const end = Math.min(await this.sizeBytes(), offsetBytes + lengthBytes);
    const pieces: Buffer[] = [];
    let at = offsetBytes;
    for (let line = this.#lineAt(offsetBytes); at < end; line++) {
      const lineStart = this.#starts[line] ?? 0;
      const lineEnd = this.#starts[line + 1] ?? end;
      const whole = this.#seen(await this.#journal.readJournal(this.#sources[line] ?? 0, lineEnd - lineStart));
      pieces.push(whole.subarray(at - lineStart, end - lineStart));
      at = Math.min(end, lineEnd);
    }
    return Buffer.concat(pieces);
  }

  opened(): void {
    this.#openings += 1;
  }

  closed(): void {
    this.#openings -= 1;
  }

  #size(): number {
    return this.#starts[this.#starts.length - 1] ?? 0;
  }

  #startOver(): void {
    this.#sources = [];
    this.#starts = [0];
    this.#searchedBytes = 0;
  }

  /** The line that holds the offset: the last that starts at or before it. */
  #lineAt(offsetBytes: number): number {
    let low = 0;
    let high = this.#sources.length;
    while (low + 1 < high) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] ?? 0) <= offsetBytes) low = middle;
      else high = middle;
    }
    return low;
  }
}
