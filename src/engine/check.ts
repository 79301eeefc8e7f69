// What a count of the backing says about the recorded usage.

import type { LotBook } from '../core/book.js';
import type { JournalEvent } from '../core/events.js';
import type { CheckReport } from '../views/host.js';
import type { Counted, CountResult } from './engine.js';

/** Counted and recorded bytes and objects differ. Where they could not be compared, nothing is said to differ. */
export function differs(counted: Counted): boolean {
  return counted.exact && (counted.bytes !== counted.recordedBytes || counted.objects !== counted.recordedObjects);
}

/** The count as a report; lots that went meanwhile are left out. */
export function reportOf(result: CountResult, book: LotBook, repaired: boolean): CheckReport {
  const known = result.lots.flatMap((counted) => {
    const lot = book.get(counted.id);
    return lot === undefined ? [] : [{ counted, lot }];
  });
  return {
    lots: known.map(({ counted, lot }) => ({
      name: lot.name,
      countedBytes: counted.bytes,
      countedObjects: counted.objects,
      recordedBytes: counted.recordedBytes,
      recordedObjects: counted.recordedObjects,
      exact: counted.exact,
      repaired: repaired && differs(counted),
    })),
    differences: known.filter(({ counted }) => differs(counted)).length,
    straddling: result.straddling.map(({ path, id }) => ({ path, lot: book.get(id)?.name ?? String(id) })),
  };
}

/** A line for each lot that differs. */
export function journalDifferences(result: CountResult, book: LotBook, atMs: number, repaired: boolean): JournalEvent[] {
  return result.lots.filter(differs).map((counted) => ({
    atMs,
    event: 'difference',
    lotId: counted.id,
    fields: {
      lot: book.get(counted.id)?.name ?? String(counted.id),
      countedBytes: counted.bytes,
      countedObjects: counted.objects,
      recordedBytes: counted.recordedBytes,
      recordedObjects: counted.recordedObjects,
      repaired,
    },
  }));
}
