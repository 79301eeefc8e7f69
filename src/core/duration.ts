// Durations from text, and into text for people.

import { VreserveError } from './errors.js';

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Milliseconds from `250ms`, `30s`, `10m`, `12h`, `30d`, `2w`; no suffix is seconds. Throws BAD_DURATION. */
export function parseDurationMs(text: string): number {
  const match = /^([0-9]+)(ms|s|m|h|d|w)?$/.exec(text);
  if (match === null) {
    throw new VreserveError('BAD_DURATION', { text, reason: 'write an integer with ms, s, m, h, d or w, such as 30s' });
  }
  const durationMs = Number(match[1]) * (UNIT_MS[match[2] ?? 's'] ?? 0);
  if (!Number.isSafeInteger(durationMs)) throw new VreserveError('BAD_DURATION', { text, reason: 'it is too long' });
  return durationMs;
}

/** What Node's timers can wait: 2^31 - 1 ms, nearly 25 days. Longer ones would be over at once. */
const MOST_TIMER_MS = 0x7fffffff;

/** Of a duration that is waited for. Throws BAD_DURATION. */
export function parseTimerMs(text: string, leastMs = 0): number {
  const durationMs = parseDurationMs(text);
  if (durationMs < leastMs) throw new VreserveError('BAD_DURATION', { text, reason: `at least ${leastMs}ms are waited` });
  if (durationMs > MOST_TIMER_MS) throw new VreserveError('BAD_DURATION', { text, reason: 'at most 24d can be waited for' });
  return durationMs;
}

/** For people, in the largest unit that is reached: `45 s`, `12 min`, `3 h`, `30 d`. */
export function formatDuration(durationMs: number): string {
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
