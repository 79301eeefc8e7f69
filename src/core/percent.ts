// Percentages from text.

import { VreserveError } from './errors.js';

/** A fraction from 0 to 1, from `85%`, `85` or `99.5%`. Throws BAD_PERCENT. */
export function parsePercent(text: string): number {
  const match = /^([0-9]{1,3}(?:\.[0-9]{1,6})?)%?$/.exec(text);
  const percent = match === null ? Number.NaN : Number(match[1]);
  if (percent <= 100) return percent / 100;
  throw new VreserveError('BAD_PERCENT', { text: text.slice(0, 40) });
}
