// `GET /store/`: the names of the store, a page at a time.

import { VreserveError } from '../core/errors.js';
import type { Listed } from '../store/store.js';

export const DEFAULT_LIMIT = 1000;
export const MOST_LISTED = 10_000;

/** Throws USAGE. */
export function listOptions(query: URLSearchParams): { after: string | null; limit: number } {
  const limit = query.get('limit') ?? String(DEFAULT_LIMIT);
  if (!/^\d{1,6}$/.test(limit) || Number(limit) < 1 || Number(limit) > MOST_LISTED) {
    throw new VreserveError('USAGE', { reason: `limit must be a number from 1 to ${MOST_LISTED}` });
  }
  return { after: query.get('after'), limit: Number(limit) };
}

/** `next` is what `after` takes for the next page. Of a name without content there is its state only. `lots`: their names. */
export function listingJson({ entries, next }: Listed, lots: ReadonlyMap<string, string>): string {
  const blobs = entries.map(({ name, state, blob, pendingUploads }) => {
    const uploads = pendingUploads > 0 ? { pendingUploads } : {};
    if (blob === null) return { name, state, ...uploads };
    const { id, sizeBytes, contentType, lot, modifiedAtMs } = blob;
    return { name, state, ...uploads, id, bytes: sizeBytes, contentType, lot: lots.get(lot) ?? null, modifiedAtMs };
  });
  return `${JSON.stringify({ blobs, next })}\n`;
}
