// Names for new entries: given, numbered after a prefix, or made of the time.
import type { NameGenerator } from '../spool/enqueue.js';

const PREFIX_DIGITS = 6;

/** This name and no other: in use, it is SPOOL_NAME_TAKEN. */
export function exactName(name: string): NameGenerator {
  return () => name;
}

/**
 * `P_000000`, `P_000001`…: from the number after the highest in use, which `names` (all that are registered) tells. The
 * lowest free one would be asked for one by one, and would let a late entry sort before an early one.
 */
export function numberedNames(prefix: string, names: readonly string[]): NameGenerator {
  const start = `${prefix}_`;
  let next = 0;
  for (const name of names) {
    if (!name.startsWith(start)) continue;
    const digits = name.slice(start.length);
    if (/^[0-9]{6,15}$/.test(digits)) next = Math.max(next, Number(digits) + 1);
  }
  return (attempt) => `${start}${String(next + attempt).padStart(PREFIX_DIGITS, '0')}`;
}

/** `20260102T030405.678901Z_000`: sorts in the order in which entries were begun. `nowMs` may have a fraction. */
export function timedNames(nowMs: number): NameGenerator {
  const wholeMs = Math.floor(nowMs);
  const micros = String(Math.floor((nowMs - wholeMs) * 1000)).padStart(3, '0');
  const stamp = new Date(wholeMs).toISOString().replace(/[-:]/g, '').replace('Z', `${micros}Z`);
  return (attempt) => `${stamp}_${String(attempt).padStart(3, '0')}`;
}
