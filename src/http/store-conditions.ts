// Conditional and range requests on blobs (RFC 9110, chapters 13 and 14).

import type { IncomingHttpHeaders } from 'node:http';
import { VreserveError } from '../core/errors.js';
import { type Blob, etagOf } from '../store/blob.js';
import { shown } from '../store/names.js';
import type { ByteRange } from '../store/reading.js';
import type { Expectation } from '../store/upload.js';

/** `Last-Modified`: to the second. */
export function lastModified(blob: Blob): string {
  return new Date(secondsOf(blob) * 1000).toUTCString();
}

/** For a change: throws STORE_CHANGED where the headers do not want it made. */
export function expectationOf(headers: IncomingHttpHeaders): Expectation {
  return (current) => {
    const reason =
      whyNot(headers, current) ??
      (matches(headers['if-none-match'], current, true) ? 'it is there as If-None-Match has it' : null);
    if (reason !== null) throw new VreserveError('STORE_CHANGED', { name: shown(current?.name ?? ''), reason });
  };
}

/** For a GET or HEAD: whether the reader has it already. Throws STORE_CHANGED. */
export function isNotModified(headers: IncomingHttpHeaders, blob: Blob): boolean {
  const reason = whyNot(headers, blob);
  if (reason !== null) throw new VreserveError('STORE_CHANGED', { name: shown(blob.name), reason });
  const noneMatch = headers['if-none-match'];
  if (noneMatch !== undefined) return matches(noneMatch, blob, true);
  const sinceMs = dateOf(headers['if-modified-since']);
  return sinceMs !== null && secondsOf(blob) * 1000 <= sinceMs;
}

/** The part that is asked for; null: all of it (several parts too); `unsatisfiable`: none of it is there. */
export function rangeOf(headers: IncomingHttpHeaders, blob: Blob): ByteRange | null | 'unsatisfiable' {
  const { range } = headers;
  if (range === undefined || !isSameAsBefore(headers['if-range'], blob)) return null;
  const found = /^bytes=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i.exec(range);
  if (found === null) return null;
  const [, first = '', last = ''] = found;
  const { sizeBytes } = blob;
  if (first === '') {
    if (last === '') return null;
    const lengthBytes = Math.min(Number(last), sizeBytes);
    return lengthBytes === 0 ? 'unsatisfiable' : { start: sizeBytes - lengthBytes, end: sizeBytes };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return null;
  if (start >= sizeBytes) return 'unsatisfiable';
  return { start, end: last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes) };
}

function whyNot(headers: IncomingHttpHeaders, current: Blob | null): string | null {
  const match = headers['if-match'];
  if (match !== undefined) return matches(match, current, false) ? null : 'it is not the one that If-Match has';
  const sinceMs = dateOf(headers['if-unmodified-since']);
  if (sinceMs === null || current === null || secondsOf(current) * 1000 <= sinceMs) return null;
  return 'it was modified since the time of If-Unmodified-Since';
}

/** `*`, or a list of tags; a weak one counts where `isWeakEnough`. */
function matches(header: string | undefined, blob: Blob | null, isWeakEnough: boolean): boolean {
  if (header === undefined || blob === null) return false;
  if (header.trim() === '*') return true;
  const tags = header.match(/(?:W\/)?"[^"]*"/g) ?? [];
  return tags.some((tag) => tag === etagOf(blob) || (isWeakEnough && tag === `W/${etagOf(blob)}`));
}

function isSameAsBefore(ifRange: string | string[] | undefined, blob: Blob): boolean {
  if (ifRange === undefined) return true;
  return ifRange === etagOf(blob) || ifRange === lastModified(blob);
}

function secondsOf(blob: Blob): number {
  return Math.floor(blob.modifiedAtMs / 1000);
}

/** null where there is no date. */
function dateOf(header: string | undefined): number | null {
  const ms = header === undefined ? Number.NaN : Date.parse(header);
  return Number.isNaN(ms) ? null : ms;
}
