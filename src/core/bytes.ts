// Numbers of bytes: from text, exactly, and into text for people; the order of texts by their bytes.

import { VreserveError } from './errors.js';

/** The largest number of bytes that is handled: 2^53 - 1. */
export const MAX_BYTES = Number.MAX_SAFE_INTEGER;

const DECIMAL = ['', 'K', 'M', 'G', 'T', 'P'];
const FORM = /^([0-9]+)(?:([KMGTP])(i?)B?|B)?$/i;

/**
 * Bytes from text: `500` is bytes, `500K|M|G|T|P` with or without `B` decimal, `500Ki…` with or without `B` binary;
 * letters of either case. Throws BAD_BYTES for anything else, such as a sign, a fraction, or more than 2^53 - 1.
 */
export function parseBytes(text: string): number {
  const match = FORM.exec(text);
  if (match === null) throw new VreserveError('BAD_BYTES', { text: clip(text), reason: whyNot(text) });
  const power = DECIMAL.indexOf((match[2] ?? '').toUpperCase());
  const unit = match[3] ? 1024n : 1000n;
  const bytes = BigInt(match[1] ?? '') * unit ** BigInt(power);
  if (bytes > BigInt(MAX_BYTES)) {
    throw new VreserveError('BAD_BYTES', { text: clip(text), reason: `more than ${MAX_BYTES} (2^53 - 1)` });
  }
  return Number(bytes);
}

/** The number itself where it is an integer from 0 to 2^53 - 1; throws BAD_BYTES otherwise. */
export function checkBytes(value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new VreserveError('BAD_BYTES', { text: String(value), reason: 'it must be an integer from 0 to 2^53 - 1' });
}

function whyNot(text: string): string {
  if (text === '') return 'it is empty';
  if (text.startsWith('-')) return 'it must not be negative';
  if (/^[0-9]*[.,][0-9]*[a-z]*$/i.test(text)) return 'it must be a whole number, such as 1500M for 1.5G';
  return 'write an integer with K, M, G, T or P (decimal) or Ki, Mi, Gi, Ti or Pi (binary), such as 500G or 500GiB';
}

function clip(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** For people: decimal units, three digits and more: `0 B`, `999 B`, `1.50 kB`, `500 MB`, `-3.2 GB`. Rounded, never padded. */
export function formatBytes(bytes: number): string {
  const sign = bytes < 0 ? '-' : '';
  let value = Math.abs(bytes);
  let power = 0;
  while (power < UNITS.length - 1 && value >= (power === 0 ? 1000 : 999.5)) {
    value /= 1000;
    power++;
  }
  const digits = power === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  const text = value.toFixed(digits);
  return `${sign}${digits > 0 ? text.replace(/\.?0+$/, '') : text} ${UNITS[power]}`;
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** For people where the last byte counts too: `500 MB`, or `499.99 MB (499,990,001 bytes)` when rounding would hide something. */
export function formatExactBytes(bytes: number): string {
  const short = formatBytes(bytes);
  const [digits, unit] = short.split(' ');
  const exact = Number(digits) * 1000 ** UNITS.indexOf(unit ?? 'B') === bytes;
  return exact ? short : `${short} (${formatCount(bytes)} bytes)`;
}

/** A number with `,` between thousands. */
export function formatCount(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** The order of the texts' bytes in UTF-8. */
export function compareBytes(a: string, b: string): number {
  const end = Math.min(a.length, b.length);
  for (let i = 0; i < end; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    // A surrogate, half of a letter beyond U+FFFF, sorts after all letters of one unit.
    if (x !== y) return x >= 0xd800 && y >= 0xd800 ? ((x + 0x2000) & 0xffff) - ((y + 0x2000) & 0xffff) : x - y;
  }
  return a.length - b.length;
}
