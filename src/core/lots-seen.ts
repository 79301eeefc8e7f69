// The lots as they are seen from the root of the mount, or from a lot's own `.vreserve`: that lot and what is below it.

import type { LotBook } from './book.js';
import { compareBytes } from './bytes.js';
import { addUsage, DEFAULT_LOT_ID, type Lot, type LotId, type LotUsage, NO_USAGE } from './lot.js';
import { joinBelow, relativeTo } from './paths.js';
import type { UsageOf } from './usage.js';

/** A lot with what it holds. */
export interface LotSnapshot {
  /** With paths, and the names of reservations, relative to the directory it is seen from; parents out of sight are left out. */
  lot: Lot;
  /** Its own files. */
  own: LotUsage;
  /** Its own files and those of all lots below it, each once. */
  used: LotUsage;
}

/** From where lots are seen: a lot, and the one of its directories. The default lot and '/' see everything. */
export interface Scope {
  lot: LotId;
  directory: string;
}

export interface UsageSource {
  usageOf: UsageOf;
  /** Of all lots at one moment. */
  allUsage(): ReadonlyMap<LotId, LotUsage>;
}

export class LotsSeen {
  readonly #book: LotBook;
  readonly #usage: UsageSource;
  readonly #scope: Scope;
  #inScope: ReadonlySet<LotId> | undefined;
  #all: LotSnapshot[] | undefined;

  constructor(book: LotBook, usage: UsageSource, scope: Scope) {
    this.#book = book;
    this.#usage = usage;
    this.#scope = scope;
  }

  get count(): number {
    return this.#isWhole ? this.#book.size : this.#ids().size;
  }

  /** The default lot first, then by name, bytewise. */
  all(): readonly LotSnapshot[] {
    this.#all ??= this.#isWhole
      ? this.#snapshots(this.#book.all(), this.#usage.allUsage())
      : this.#snapshots(this.#lotsInScope());
    return this.#all;
  }

  /** Their names, in the same order. */
  names(): string[] {
    const lots = this.#isWhole ? [...this.#book.all()] : this.#lotsInScope();
    const seen = lots.map((lot) => this.relative(lot));
    return seen.sort(inOrder).map(({ name }) => name);
  }

  /** The first so many, without a look at the others' usage. */
  first(most: number): LotSnapshot[] {
    return this.names()
      .slice(0, most)
      .flatMap((name) => this.get(this.named(name)?.id ?? 0) ?? []);
  }

  /** The lot of that number, where it is seen. */
  get(id: LotId): LotSnapshot | undefined {
    const lot = this.sees(id) ? this.#book.get(id) : undefined;
    if (lot === undefined) return undefined;
    let used = NO_USAGE;
    for (const below of this.#book.withDescendants(id)) used = addUsage(used, this.#usage.usageOf(below));
    return { lot: this.relative(lot), own: this.#usage.usageOf(id), used };
  }

  /** The lot that has this name where it is seen. */
  named(name: string): Lot | undefined {
    const inside = name.startsWith('/') ? this.#book.named(joinBelow(this.#scope.directory, name)) : undefined;
    const lot = inside ?? this.#book.named(name);
    return lot !== undefined && this.sees(lot.id) && this.nameOf(lot) === name ? lot : undefined;
  }

  /** The name by which it is seen here. */
  nameOf(lot: Lot): string {
    return lot.name.startsWith('/') ? this.#relativePath(lot.name) : lot.name;
  }

  /** Names of lots that are seen, in their order. */
  namesOf(ids: Iterable<LotId>): string[] {
    return [...ids].flatMap((id) => {
      const lot = this.sees(id) ? this.#book.get(id) : undefined;
      return lot === undefined ? [] : [this.nameOf(lot)];
    });
  }

  childrenOf(id: LotId): string[] {
    return this.namesOf(this.#book.children(id)).sort(compareBytes);
  }

  get #isWhole(): boolean {
    return this.#scope.lot === DEFAULT_LOT_ID;
  }

  #ids(): ReadonlySet<LotId> {
    this.#inScope ??= this.#book.withDescendants(this.#scope.lot);
    return this.#inScope;
  }

  sees(id: LotId): boolean {
    return this.#isWhole || this.#ids().has(id);
  }

  #lotsInScope(): Lot[] {
    return [...this.#ids()].flatMap((id) => this.#book.get(id) ?? []);
  }

  #snapshots(lots: Iterable<Lot>, all?: ReadonlyMap<LotId, LotUsage>): LotSnapshot[] {
    const usageOf = (id: LotId) => all?.get(id) ?? (all === undefined ? this.#usage.usageOf(id) : NO_USAGE);
    const totals = new Totals(this.#book, usageOf);
    const found = [...lots].map((lot) => ({ lot: this.relative(lot), own: usageOf(lot.id), used: totals.of(lot.id) }));
    return found.sort((a, b) => inOrder(a.lot, b.lot));
  }

  /** The lot as it is seen. */
  relative(lot: Lot): Lot {
    if (this.#isWhole) return lot;
    return {
      ...lot,
      name: this.nameOf(lot),
      paths: lot.paths.map((path) => ({ ...path, path: this.#relativePath(path.path) })),
      parents: lot.parents.filter((parent) => this.sees(parent)),
    };
  }

  #relativePath(path: string): string {
    const { directory } = this.#scope;
    return directory === '/' || path === directory || path.startsWith(`${directory}/`) ? relativeTo(path, directory) : path;
  }
}

/** The default lot first, then by name, bytewise. */
function inOrder(a: Lot, b: Lot): number {
  if (a.id === DEFAULT_LOT_ID || b.id === DEFAULT_LOT_ID) return a.id === DEFAULT_LOT_ID ? -1 : 1;
  return compareBytes(a.name, b.name);
}

/** Usage with that of all lots below, for many lots at once: in time that grows with the lots, where none has two ways down. */
class Totals {
  readonly #book: LotBook;
  readonly #usageOf: UsageOf;
  readonly #known = new Map<LotId, Total>();

  constructor(book: LotBook, usageOf: UsageOf) {
    this.#book = book;
    this.#usageOf = usageOf;
  }

  of(id: LotId): LotUsage {
    // Most lots have none below.
    return this.#book.children(id).size === 0 ? this.#usageOf(id) : this.#total(id).used;
  }

  #total(id: LotId): Total {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const total: Total = { used: { ...this.#usageOf(id) }, isTree: true };
    for (const child of this.#book.children(id)) {
      const below = this.#total(child);
      total.isTree &&= below.isTree && this.#book.must(child).parents.length === 1;
      add(total.used, below.used);
    }
    if (!total.isTree) {
      total.used = { ...NO_USAGE };
      for (const below of this.#book.withDescendants(id)) add(total.used, this.#usageOf(below));
    }
    this.#known.set(id, total);
    return total;
  }
}

type Sum = { -readonly [Key in keyof LotUsage]: LotUsage[Key] };

interface Total {
  used: Sum;
  /** No lot below is reached in two ways. */
  isTree: boolean;
}

function add(sum: Sum, more: LotUsage): void {
  sum.bytes += more.bytes;
  sum.objects += more.objects;
  sum.pendingBytes += more.pendingBytes;
  sum.pendingObjects += more.pendingObjects;
}
