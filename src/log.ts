// The daemon's log: pino, made once.

import { destination, type Logger, pino } from 'pino';
import type { LogLevel } from './config.js';

export type Log = Logger;

/**
 * JSON lines to a file (appended, made with mode 0600) or, with null, to stderr. Written synchronously, so that what was
 * logged before a crash is there. A log that cannot be written (a full disk) loses lines and stops nothing. Throws the
 * system's error where the file cannot be opened.
 */
export function openLog(file: string | null, level: LogLevel): Log {
  const stream = destination(file === null ? { dest: 2, sync: true } : { dest: file, sync: true, append: true, mode: 0o600 });
  stream.on('error', () => {});
  return pino({ level, base: { pid: process.pid }, timestamp: () => `,"time":"${new Date().toISOString()}"` }, stream);
}

/** A log that keeps nothing. */
export function quietLog(): Log {
  return pino({ enabled: false });
}
