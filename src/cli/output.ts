// What commands print: text and JSON to stdout, notes and progress to stderr.

import { printable } from '../views/text.js';

/** Writes a line to stdout; control characters of names are made visible. */
export function print(line: string): void {
  process.stdout.write(`${printable(line)}\n`);
}

/** Writes one JSON document on one line to stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Writes a line to stderr: what is no part of the result. */
export function note(line: string): void {
  process.stderr.write(`vreserve: ${printable(line)}\n`);
}

/** Pads the columns of rows; `right` names those that are numbers. */
export function alignColumns(rows: string[][], right: number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length);
    });
  }
  return rows.map((row) =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

/**
 * One line on stderr that is written over while work goes on; nothing where stderr is no terminal. It appears after a
 * moment only, so that what is done at once leaves no trace.
 */
export class ProgressLine {
  readonly #startMs = Date.now();
  readonly #onTerminal = process.stderr.isTTY === true;
  #lastMs = 0;
  #shown = false;

  /** False where stderr is no terminal: then there is nothing to update it for. */
  get isShown(): boolean {
    return this.#onTerminal;
  }

  /** `fraction` of the work that is done, 0 to 1, or null where nobody knows. */
  update(text: string, fraction: number | null): void {
    const nowMs = Date.now();
    if (!this.#onTerminal || nowMs - this.#startMs < 300 || nowMs - this.#lastMs < 80) return;
    this.#lastMs = nowMs;
    this.#shown = true;
    process.stderr.write(`\r\x1b[K${this.#bar(fraction, nowMs)} ${printable(text)}`);
  }

  #bar(fraction: number | null, nowMs: number): string {
    const cells = 24;
    if (fraction === null) {
      // Nobody knows how much there is: a mark that moves says that it goes on.
      const at = Math.floor(nowMs / 80) % cells;
      return `[${' '.repeat(at)}=${' '.repeat(cells - at - 1)}]`;
    }
    const full = Math.round(Math.min(1, Math.max(0, fraction)) * cells);
    return `[${'='.repeat(full)}${' '.repeat(cells - full)}]`;
  }

  clear(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K');
    this.#shown = false;
  }
}
