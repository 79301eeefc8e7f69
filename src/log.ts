// The daemon's log: pino, made once.

import { openSync, writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import type { LogLevel } from './config.js';

export type Log = Logger;

/**
 * JSON lines to a file (appended, made with mode 0600) or, with null, to stderr. Written synchronously, so that what was
 * logged before a crash is there. A log that cannot be written (a full disk) loses lines and stops nothing. Throws the
 * system's error where the file cannot be opened.
 */
export function openLog(file: string | null, level: LogLevel): Log {
  const fd = file === null ? 2 : openSync(file, 'a', 0o600);
  // Not pino's own destination: its flush after a fatal line tries for ever on a full disk.
  return logTo({ write: (line: string) => writeOrLose(fd, Buffer.from(line)) }, level);
}

/** Where lines go, each with its newline. */
export interface Lines {
  write(lines: string): void;
}

/** A log whose lines somebody else takes. */
export function logTo(lines: Lines, level: LogLevel): Log {
  return pino({ level, base: { pid: process.pid }, timestamp: () => `,"time":"${new Date().toISOString()}"` }, lines);
}

/** What takes the lines of the log: for those of another process, which are lines already. */
export function linesOf(log: Log): Lines {
  return (log as unknown as Record<symbol, Lines>)[pino.symbols.streamSym] as Lines;
}

function writeOrLose(fd: number, line: Buffer): void {
  try {
    for (let done = 0; done < line.length; ) done += writeSync(fd, line, done);
  } catch {
    // There is nobody left to tell.
  }
}

/** A log that keeps nothing. */
export function quietLog(): Log {
  return pino({ enabled: false });
}
