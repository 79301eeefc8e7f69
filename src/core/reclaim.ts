// What to delete so that the pool is filled no further than wanted: LotMan's order, files oldest access first.

import { type LotBook, withAncestors } from './book.js';
import { grantBytes, type Lot, type LotId, type LotUsage, UNLIMITED } from './lot.js';
import { effectiveTimes, isPast } from './phase.js';
import { PAST, type Past, type UsageOf } from './usage.js';

/** A file that could go. Its bytes are its size. */
export interface ReclaimFile {
  path: string;
  lot: LotId;
  inode: number;
  bytes: number;
  accessedAtMs: number;
  /** Who owns it, and its directory: they could delete it. */
  uid: number;
  directoryUid: number;
}

export interface ReclaimChoice extends ReclaimFile {
  past: Past;
}

/** What a lot and those below it hold, as files are taken away. */
interface Held {
  bytes: number;
  objects: number;
}

/**
 * Files whose bytes make up `wantedBytes`, or all there are. Past deletion and expiration all of a lot's own files may go; past the
 * grant, the objects or the dedicated bytes (its own and those of the lots below it together) only what is too much, and
 * never a byte that is within the dedicated bytes of a lot that has not expired. A file goes by the policy of a lot whose
 * owner may take it away, as `covers` says.
 */
export function planReclaim(
  book: LotBook,
  usageOf: UsageOf,
  files: readonly ReclaimFile[],
  wantedBytes: number,
  nowMs: number,
  covers: (lot: Lot, file: ReclaimFile) => boolean = () => true,
): ReclaimChoice[] {
  const plan = new Plan(book, usageOf, nowMs);
  const oldestFirst = [...files].sort((a, b) => a.accessedAtMs - b.accessedAtMs || (a.path < b.path ? -1 : 1));
  const chosen: ReclaimChoice[] = [];
  const gone = new Set<ReclaimFile>();
  let foundBytes = 0;
  for (const past of PAST) {
    for (const file of oldestFirst) {
      if (foundBytes >= wantedBytes) return chosen;
      if (gone.has(file) || !plan.mayGo(file, past, (lot) => covers(lot, file))) continue;
      plan.take(file);
      gone.add(file);
      foundBytes += file.bytes;
      chosen.push({ ...file, past });
    }
  }
  return chosen;
}

/** The lots whose files can be among what `planReclaim` chooses, as things stand now. */
export function reclaimableLots(book: LotBook, usageOf: UsageOf, nowMs: number): Set<LotId> {
  const plan = new Plan(book, usageOf, nowMs);
  return new Set([...book.all()].filter(({ id }) => PAST.some((past) => plan.isPast(past, id))).map(({ id }) => id));
}

class Plan {
  readonly #book: LotBook;
  readonly #usageOf: UsageOf;
  readonly #nowMs: number;
  readonly #held = new Map<LotId, Held>();
  readonly #above = new Map<LotId, readonly LotId[]>();

  constructor(book: LotBook, usageOf: UsageOf, nowMs: number) {
    this.#book = book;
    this.#usageOf = usageOf;
    this.#nowMs = nowMs;
  }

  mayGo({ lot, bytes }: ReclaimFile, past: Past, covers: (lot: Lot) => boolean): boolean {
    if (!this.isPast(past, lot, covers)) return false;
    if (past === 'del' || past === 'exp') return true;
    // A file without bytes makes room only where objects are too many.
    if (past !== 'obj' && bytes === 0) return false;
    return this.#lotsAbove(lot).every((each) => this.#spares(each, bytes));
  }

  /** Whether files of the lot are too old or too many by its own policy, or by that of a lot above it. */
  isPast(past: Past, id: LotId, covers: (lot: Lot) => boolean = () => true): boolean {
    return this.#lotsAbove(id).some((each) => this.#isOver(past, each) && covers(this.#book.must(each)));
  }

  take({ lot, bytes }: ReclaimFile): void {
    for (const id of this.#lotsAbove(lot)) {
      const held = this.#heldBy(id);
      held.bytes -= bytes;
      held.objects -= 1;
    }
  }

  #isOver(past: Past, id: LotId): boolean {
    const { policy } = this.#book.must(id);
    const held = this.#heldBy(id);
    const grant = grantBytes(policy);
    switch (past) {
      case 'del':
        return isPast(policy.deletesAtMs, this.#nowMs);
      case 'exp':
        return isPast(policy.expiresAtMs, this.#nowMs);
      case 'opp':
        return grant !== UNLIMITED && held.bytes > grant;
      case 'obj':
        return policy.maxObjects !== UNLIMITED && held.objects > policy.maxObjects;
      case 'ded':
        return held.bytes > policy.dedicatedBytes;
    }
  }

  /** Whether `bytes` less leave the lot its dedicated bytes, where they are promised. */
  #spares(id: LotId, bytes: number): boolean {
    const { dedicatedBytes } = this.#book.must(id).policy;
    return (
      dedicatedBytes === 0 || isPast(this.#times(id).expiresAtMs, this.#nowMs) || this.#heldBy(id).bytes - bytes >= dedicatedBytes
    );
  }

  #times(id: LotId) {
    return effectiveTimes(id, (each) => this.#book.get(each));
  }

  #lotsAbove(id: LotId): readonly LotId[] {
    const known = this.#above.get(id);
    if (known !== undefined) return known;
    const above = withAncestors(id, (each) => this.#book.get(each)).map((lot) => lot.id);
    this.#above.set(id, above);
    return above;
  }

  #heldBy(id: LotId): Held {
    const known = this.#held.get(id);
    if (known !== undefined) return known;
    const held = { bytes: 0, objects: 0 };
    for (const below of this.#book.withDescendants(id)) {
      const usage: LotUsage = this.#usageOf(below);
      held.bytes += usage.bytes;
      held.objects += usage.objects;
    }
    this.#held.set(id, held);
    return held;
  }
}
