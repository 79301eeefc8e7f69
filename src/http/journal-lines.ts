// The journal piece by piece, by whole lines, and as server-sent events.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Journal } from './host.js';

const NEWLINE = 0x0a;

/** What is read at once for a stream: all that is held for a client that does not read. */
const PIECE_BYTES = 64 * 1024;

/** How often a stream looks for new lines. */
const LOOK_MS = 250;

/** A line without its newline, and where the next one begins. */
export interface Line {
  text: string;
  nextBytes: number;
}

export interface Piece {
  lines: Line[];
  /** Where to go on. */
  nextBytes: number;
  /** The journal's end when it was read. */
  endBytes: number;
}

/** About `mostBytes` of whole lines from the offset on, at least one where there is one. What was trimmed is passed over. */
export async function readLines(journal: Journal, fromBytes: number, mostBytes: number): Promise<Piece> {
  const { startBytes, endBytes } = await journal.journalRange();
  if (fromBytes >= endBytes) return { lines: [], nextBytes: endBytes, endBytes };
  const from = await lineStart(journal, Math.max(startBytes, Math.min(fromBytes, endBytes)), startBytes, endBytes);
  for (let most = mostBytes; ; most *= 2) {
    const data = await journal.readJournal(from, Math.min(most, endBytes - from));
    const whole = data.lastIndexOf(NEWLINE) + 1;
    if (whole > 0 || from + data.length >= endBytes)
      return { lines: split(data, whole, from), nextBytes: from + whole, endBytes };
  }
}

function split(data: Buffer, whole: number, from: number): Line[] {
  const lines: Line[] = [];
  for (let at = 0; at < whole; ) {
    const end = data.indexOf(NEWLINE, at);
    if (end > at) lines.push({ text: data.toString('utf8', at, end), nextBytes: from + end + 1 });
    at = end + 1;
  }
  return lines;
}

/** The offset, or where the next line begins if it lies within one. */
async function lineStart(journal: Journal, offset: number, startBytes: number, endBytes: number): Promise<number> {
  if (offset <= startBytes || offset >= endBytes) return offset;
  for (let at = offset - 1; at < endBytes; at += PIECE_BYTES) {
    const data = await journal.readJournal(at, Math.min(PIECE_BYTES, endBytes - at));
    const newline = data.indexOf(NEWLINE);
    if (newline >= 0) return at + newline + 1;
  }
  return endBytes;
}

/**
 * Server-sent events from the offset on, a piece of the journal at a time and no further than it is taken: `id` is the offset at
 * which to go on. A comment in between says that the stream lives. Ends when the signal is aborted.
 */
export async function* eventsFrom(
  journal: Journal,
  fromBytes: number,
  heartbeatMs: number,
  signal: AbortSignal,
): AsyncGenerator<string> {
  yield 'retry: 2000\n\n';
  let at = fromBytes;
  let quietMs = 0;
  while (!signal.aborted) {
    const { lines, nextBytes } = await readLines(journal, at, PIECE_BYTES);
    at = nextBytes;
    if (lines.length > 0) {
      quietMs = 0;
      yield lines.map(({ text, nextBytes: id }) => `id: ${id}\ndata: ${text}\n\n`).join('');
      continue;
    }
    if (quietMs >= heartbeatMs) {
      quietMs = 0;
      yield ':\n\n';
    }
    await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
    quietMs += LOOK_MS;
  }
}
