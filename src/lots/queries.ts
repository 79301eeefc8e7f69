// LotMan's questions: what it answers about lots, in its JSON.

import { restricting } from '../core/attributes.js';
import { withAncestors } from '../core/book.js';
import { compareBytes } from '../core/bytes.js';
import { noLot } from '../core/change.js';
import { VreserveError } from '../core/errors.js';
import { isForeign, type Lot, type LotId, type LotUsage } from '../core/lot.js';
import { LotsSeen } from '../core/lots-seen.js';
import { checkPath, joinBelow } from '../core/paths.js';
import {
  type Contribution,
  dedicatedUse,
  isPastPolicy,
  opportunisticUse,
  type Past,
  type SplitUsage,
  splitUsage,
} from '../core/usage.js';
import type { By } from '../views/host.js';
import type { LotHost } from './host.js';
import type { PolicyJson, PolicyQueryJson, UsagePart, UsageQueryJson } from './schema.js';
import { ATTRIBUTE_NAMES, attributeJson, type DirJson, dirJson, foreignPath, gbOf, policyJson } from './wire.js';

/** Own contribution, and with the lots below it where they were asked for too. */
export interface UsagePartJson {
  self_contrib: number;
  children_contrib?: number;
  total?: number;
}

export interface LotAsJson {
  lot_name: string;
  owner?: string;
  owners?: string[];
  parents: string[];
  children: string[];
  paths: DirJson[];
  management_policy_attrs: PolicyJson;
  restrictive_management_policy_attrs?: Record<string, { lot_name: string; value: number }>;
  usage: Record<string, UsagePartJson>;
}

/** Prints a user, known by the number as text, for people. */
export type UserName = (owner: string) => string;

/** What one caller sees. Names of lots are those that it sees. Each question throws NO_SUCH_LOT for a lot that it does not. */
export class LotQueries {
  readonly #host: LotHost;
  readonly #by: By;
  readonly #seen: LotsSeen;
  readonly #userName: UserName;

  constructor(host: LotHost, by: By, userName: UserName) {
    this.#host = host;
    this.#by = by;
    this.#seen = new LotsSeen(host.book, host, { lot: by.scope, directory: by.directory });
    this.#userName = userName;
  }

  must(name: string): Lot {
    const lot = this.#seen.named(name);
    if (lot === undefined) throw noLot(name);
    return lot;
  }

  sees(lot: Lot): boolean {
    return this.#seen.sees(lot.id);
  }

  /** '..' for a lot out of sight. */
  nameOf(lot: Lot): string {
    return this.sees(lot) ? this.#seen.nameOf(lot) : '..';
  }

  exists(name: string): boolean {
    return this.#seen.named(name) !== undefined;
  }

  isRoot(name: string): boolean {
    return this.must(name).parents.length === 0;
  }

  list(): string[] {
    return this.#seen.names();
  }

  owners(name: string, recursive: boolean): string[] {
    const lot = this.must(name);
    const lots = recursive ? this.#withAncestors(lot) : [lot];
    return sorted(lots.map(({ owner }) => this.#userName(owner)));
  }

  /** `self`: the lot itself too, where it is a parent of its own. */
  parents(name: string, recursive: boolean, self: boolean): string[] {
    const lot = this.must(name);
    const above = recursive
      ? this.#withAncestors(lot).filter(({ id }) => id !== lot.id)
      : lot.parents.map((id) => this.#host.book.must(id));
    return this.#names(above, self && lot.selfParent ? lot : null);
  }

  children(name: string, recursive: boolean, self: boolean): string[] {
    const lot = this.must(name);
    const { book } = this.#host;
    const ids = recursive ? [...book.withDescendants(lot.id)].filter((id) => id !== lot.id) : [...book.children(lot.id)];
    return this.#names(
      ids.map((id) => book.must(id)),
      self && lot.selfParent ? lot : null,
    );
  }

  policy(query: PolicyQueryJson): Record<string, { lot_name?: string; value: number }> {
    const lot = this.must(query.lot_name);
    const asked = Object.entries(query).filter(([key]) => key !== 'lot_name') as [keyof PolicyJson, boolean][];
    return Object.fromEntries(
      asked.map(([key, recursive]) => [key, recursive ? this.#restricting(lot, key) : { value: attributeJson(lot.policy, key) }]),
    );
  }

  dirs(name: string, recursive: boolean): DirJson[] {
    const { book } = this.#host;
    const top = this.must(name);
    const ids = recursive ? [...book.withDescendants(top.id)] : [top.id];
    return ids.flatMap((id) => {
      const seen = this.#seen.relative(book.must(id));
      return seen.paths.map((path) => dirJson(path, seen.name));
    });
  }

  usage(query: UsageQueryJson): Record<string, UsagePartJson> {
    const lot = this.must(query.lot_name);
    const split = splitUsage(lot.id, this.#host.book, this.#host.usageOf);
    const asked = Object.entries(query).filter(([key]) => key !== 'lot_name') as [UsagePart, boolean][];
    return Object.fromEntries(asked.map(([part, recursive]) => [part, contribution(lot, split, part, recursive)]));
  }

  show(name: string, recursive: boolean): LotAsJson {
    const lot = this.must(name);
    const every = Object.keys(ATTRIBUTE_NAMES) as (keyof PolicyJson)[];
    const parts: UsagePart[] = [
      'dedicated_GB',
      'opportunistic_GB',
      'total_GB',
      'num_objects',
      'GB_being_written',
      'objects_being_written',
    ];
    return {
      lot_name: name,
      ...(recursive ? { owners: this.owners(name, true) } : { owner: this.#userName(lot.owner) }),
      parents: this.parents(name, recursive, true),
      children: this.children(name, recursive, false),
      paths: this.dirs(name, recursive),
      management_policy_attrs: policyJson(lot.policy),
      ...(recursive
        ? { restrictive_management_policy_attrs: Object.fromEntries(every.map((key) => [key, this.#restricting(lot, key)])) }
        : {}),
      usage: this.usage({ lot_name: name, ...Object.fromEntries(parts.map((part) => [part, recursive])) }),
    };
  }

  /** In the order in which the lots were made; with `children` sorted, and all below each lot that is past. */
  past(what: Past, quotaWithChildren: boolean, children: boolean): string[] {
    const { book } = this.#host;
    const nowMs = this.#host.nowMs();
    const isByTime = what === 'exp' || what === 'del';
    const past = this.#seen
      .all()
      .filter(({ lot, own, used }) => isPastPolicy(what, lot, quotaWithChildren && !isByTime ? used : own, nowMs))
      .sort((a, b) => a.lot.id - b.lot.id);
    if (!children) return past.map(({ lot }) => lot.name);
    const ids = new Set(past.flatMap(({ lot }) => [...book.withDescendants(lot.id)]));
    return sorted(this.#seen.namesOf(ids));
  }

  /** The lot that owns a path, of the mount or foreign; `recursive`: with all lots above it. */
  which(path: string, recursive: boolean): string[] {
    const id = isForeign(path) ? this.#host.book.ownerOf(foreignPath(path), true) : this.#ownerIn(path);
    const lot = this.#host.book.must(id);
    if (!this.sees(lot)) throw new VreserveError('NO_SUCH_LOT', { reason: `no lot that is seen here owns '${path}'` });
    // The owner first, then those above it by name.
    const above = recursive ? this.#withAncestors(lot).filter(({ id }) => id !== lot.id) : [];
    return [this.nameOf(lot), ...this.#names(above, null)];
  }

  #ownerIn(path: string): LotId {
    const { book } = this.#host;
    const slashed = path.length > 1 && path.endsWith('/');
    const whole = joinBelow(this.#by.directory, checkPath(path));
    const { path: resolved, exists, isDirectory } = this.#host.look(whole, this.#by);
    return book.ownerOf(resolved, slashed || isDirectory || !exists);
  }

  #restricting(lot: Lot, key: keyof PolicyJson): { lot_name: string; value: number } {
    const least = restricting(ATTRIBUTE_NAMES[key], lot.id, this.#host.book);
    // A lot out of sight restricts all the same; only its name is not told.
    return { lot_name: this.nameOf(least), value: attributeJson(least.policy, key) };
  }

  #withAncestors(lot: Lot): Lot[] {
    return withAncestors(lot.id, (id) => (this.#seen.sees(id) ? this.#host.book.get(id) : undefined));
  }

  #names(lots: readonly Lot[], more: Lot | null): string[] {
    return sorted(this.#seen.namesOf([...lots, ...(more === null ? [] : [more])].map(({ id }) => id)));
  }
}

function contribution(lot: Lot, split: SplitUsage, part: UsagePart, recursive: boolean): UsagePartJson {
  const sums = (of: (usage: LotUsage) => number): Contribution => {
    const self = of(split.self);
    const children = of(split.children);
    return { self, children, total: self + children };
  };
  const { dedicatedBytes, opportunisticBytes } = lot.policy;
  const opportunistic = opportunisticBytes < 0 ? Number.POSITIVE_INFINITY : opportunisticBytes;
  const isBytes = part.includes('GB');
  const found: Record<UsagePart, () => Contribution> = {
    dedicated_GB: () => dedicatedUse(dedicatedBytes, split),
    opportunistic_GB: () => opportunisticUse(dedicatedBytes, opportunistic, split),
    total_GB: () => sums((usage) => usage.bytes),
    num_objects: () => sums((usage) => usage.objects),
    GB_being_written: () => sums((usage) => usage.pendingBytes),
    objects_being_written: () => sums((usage) => usage.pendingObjects),
  };
  const { self, children, total } = found[part]();
  const out = (value: number) => (isBytes ? gbOf(value) : value);
  return recursive
    ? { self_contrib: out(self), children_contrib: out(children), total: out(total) }
    : { self_contrib: out(self) };
}

function sorted(names: readonly string[]): string[] {
  return [...new Set(names)].sort(compareBytes);
}
