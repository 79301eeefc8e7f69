// Durations that are waited for.
import { parseDurationMs } from '../core/duration.js';
import { VreserveError } from '../core/errors.js';

/** What Node's timers can wait: 2^31 - 1 ms, nearly 25 days. Longer ones would be over at once. */
const MOST_MS = 0x7fffffff;

/** Throws BAD_DURATION. */
export function parseTimerMs(text: string): number {
  const durationMs = parseDurationMs(text);
  if (durationMs > MOST_MS) throw new VreserveError('BAD_DURATION', { text, reason: 'at most 24d can be waited for' });
  return durationMs;
}
