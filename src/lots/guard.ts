// What a change must leave as it is: nobody takes a lot, or what lies in one, out of the reach of who promised its bytes.

import { type LotChange, withAncestors } from '../core/book.js';
import { VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_ID, isForeign, type Lot, type LotId } from '../core/lot.js';
import type { By } from '../views/host.js';
import type { LotHost } from './host.js';

/**
 * Throws NOT_YOURS where, after the change,
 * - a lot that was changed through a lot's own `.vreserve` would not lie below that lot;
 * - a lot would no longer lie below a parent, or newly below one, that the caller does not own;
 * - a lot with a foreign path would lie below one that the caller does not own;
 * - a path that lies in a lot would belong to a lot that does not lie below that one, unless the caller owns it.
 * A lot may get as a parent the lot that its path lies in: that is what `reserve` does, and who may reserve there may.
 */
export function checkPromises(change: LotChange, host: LotHost, by: By): void {
  const { book, rights } = host;
  const put = new Map(change.put.map((lot) => [lot.id, lot]));
  const gone = new Set(change.remove);
  const lookup = (id: LotId) => put.get(id) ?? (gone.has(id) ? undefined : book.get(id));
  for (const lot of change.put) {
    const above = new Set(withAncestors(lot.id, lookup).map(({ id }) => id));
    if (by.scope !== DEFAULT_LOT_ID && (lot.id === by.scope || !above.has(by.scope))) {
      throw new VreserveError('NOT_YOURS', {
        reason: "what is changed through a lot's .vreserve lies below that lot: name a parent",
      });
    }
    if (rights.isAdministrator(by.caller)) continue;
    const around = newPaths(lot, book.get(lot.id)).map((path) => host.around(path));
    const wasAbove = new Set(book.get(lot.id) === undefined ? [] : book.withAncestors(lot.id).map(({ id }) => id));
    const lost = (book.get(lot.id)?.parents ?? []).filter((id) => !above.has(id) && !gone.has(id));
    const won = lot.parents.filter((id) => !wasAbove.has(id) && book.get(id) !== undefined && !around.includes(id));
    for (const id of [...lost, ...won]) rights.checkOwns(by.caller, book.must(id), book);
    // What is reported of a foreign path counts in all lots above.
    if (hasNewForeign(lot, book.get(lot.id))) for (const id of lot.parents) rights.checkOwns(by.caller, lookup(id) ?? lot, book);
    for (const id of around) {
      if (id === DEFAULT_LOT_ID || above.has(id) || rights.owns(by.caller, id, book)) continue;
      throw new VreserveError('NOT_YOURS', {
        reason: `a path of '${lot.name}' lies in a lot of another's: only below that lot (as reserve makes it) can it be yours`,
      });
    }
  }
}

function hasNewForeign(lot: Lot, before: Lot | undefined): boolean {
  const had = new Set(before?.paths.map(({ path }) => path));
  return lot.paths.some(({ path }) => isForeign(path) && !had.has(path));
}

/** Paths of the mount that the lot owns, and has not owned before. */
function newPaths(lot: Lot, before: Lot | undefined): string[] {
  const had = new Set(before?.paths.filter(({ exclude }) => !exclude).map(({ path }) => path));
  return lot.paths.filter(({ path, exclude }) => !exclude && !isForeign(path) && !had.has(path)).map(({ path }) => path);
}
