// LotMan's changes: from its JSON to a change of the book, judged by who asks, made by the host.

import type { LotChange } from '../core/book.js';
import { checkBytes } from '../core/bytes.js';
import {
  addLot,
  addToLot,
  type PathUpdate,
  removeLot,
  removeParents,
  removePaths,
  removeRecursively,
  updateLot,
} from '../core/change.js';
import { VreserveError } from '../core/errors.js';
import {
  DEFAULT_LOT_ID,
  inPoolOf,
  isForeign,
  type Lot,
  type LotId,
  type LotPath,
  type LotUsage,
  NO_POLICY,
  NO_USAGE,
} from '../core/lot.js';
import { checkPath, joinBelow, relativeTo } from '../core/paths.js';
import type { By } from '../views/host.js';
import { checkPromises } from './guard.js';
import type { LotHost } from './host.js';
import type { LotQueries } from './queries.js';
import type {
  AddLotJson,
  AddToLotJson,
  PathJson,
  RemoveParentsJson,
  RemovePathsJson,
  UpdateLotJson,
  UsageUpdateJson,
} from './schema.js';
import { bytesOfGb, foreignPath, isMeasured, policyOf, USAGE_NAMES } from './wire.js';

const NOT_THERE = 'The lot does not exist, so ';

/** What one caller changes. Each change is made whole or not at all; refusals are those of the design and of LotMan. */
export class LotChanges {
  readonly #host: LotHost;
  readonly #by: By;
  readonly #see: LotQueries;

  constructor(host: LotHost, by: By, see: LotQueries) {
    this.#host = host;
    this.#by = by;
    this.#see = see;
  }

  /** The lot in which a new one will lie: around its first path of the mount, else its first parent. */
  #around(paths: readonly LotPath[], parents: readonly Lot[]): Lot | undefined {
    const first = paths.find(({ path, exclude }) => !exclude && !isForeign(path));
    return first === undefined ? parents[0] : this.#host.book.get(this.#host.around(first.path));
  }

  add(json: AddLotJson): Promise<void> {
    return this.#change(json.lot_name, 'grant', async () => {
      const { book, rights } = this.#host;
      const name = this.#newName(json.lot_name);
      if (book.named(name) !== undefined) throw new VreserveError('LOT_EXISTS', { lot: json.lot_name });
      const selfParent = json.parents.includes(json.lot_name);
      const parents = json.parents.filter((each) => each !== json.lot_name).map((each) => this.#see.must(each));
      const children = (json.children ?? []).map((each) => this.#see.must(each));
      for (const child of children) this.#checkChild(child);
      const paths = await this.#paths(json.paths ?? []);
      if (parents.length === 0 && paths.every(({ path }) => isForeign(path))) await this.#host.checkReserve(null, this.#by);
      const lot: Lot = {
        id: await this.#host.newLotId(),
        name,
        ...rights.ownerNamed(json.owner, this.#by.caller),
        selfParent,
        parents: [...new Set(parents.map(({ id }) => id))],
        paths,
        policy: { ...NO_POLICY, ...policyOf(json.management_policy_attrs) },
        ...inPoolOf(this.#around(paths, parents)),
      };
      return addLot(
        book,
        lot,
        children.map(({ id }) => id),
      );
    });
  }

  update(json: UpdateLotJson): Promise<void> {
    return this.#changing(json.lot_name, async (lot) => {
      const { book, rights } = this.#host;
      const becomes = await this.#paths(
        (json.paths ?? []).map(({ current, new: path, recursive, exclude = this.#isExcluded(lot, current) }) => ({
          path,
          recursive,
          exclude,
        })),
        lot,
      );
      const paths = (json.paths ?? []).flatMap(({ current }, i): PathUpdate[] => {
        const path = becomes[i];
        return path === undefined ? [] : [{ current: this.#bound(current), becomes: path }];
      });
      return updateLot(book, lot, {
        ...(json.owner === undefined ? {} : { owner: rights.ownerNamed(json.owner, this.#by.caller) }),
        parents: (json.parents ?? []).map(({ current, new: next }) => ({
          current: this.#name(current, lot),
          new: this.#name(next, lot),
        })),
        paths,
        policy: policyOf(json.management_policy_attrs ?? {}),
      });
    });
  }

  addTo(json: AddToLotJson): Promise<void> {
    return this.#changing(
      json.lot_name,
      async (lot) => {
        const parents = (json.parents ?? []).map((name) => (name === json.lot_name ? lot : this.#see.must(name)));
        return addToLot(
          this.#host.book,
          lot,
          await this.#paths(json.paths ?? [], lot),
          parents.map(({ id }) => id),
        );
      },
      `That was easy! ${NOT_THERE}nothing can be added to it.`,
    );
  }

  removeParents(json: RemoveParentsJson): Promise<void> {
    return this.#changing(json.lot_name, async (lot) =>
      removeParents(
        this.#host.book,
        lot,
        json.parents.map((name) => this.#name(name, lot)),
      ),
    );
  }

  removePaths(json: RemovePathsJson): Promise<void> {
    const { book, rights } = this.#host;
    return this.#change(json.paths.join(', '), 'change', async () => {
      // A path of a lot out of sight is one that no lot has.
      const isSeen = (path: string) => this.#see.sees(book.must(book.at(path)?.lot ?? DEFAULT_LOT_ID));
      const bound = json.paths.map((path) => this.#bound(path)).filter((path) => book.at(path) !== undefined && isSeen(path));
      for (const path of bound) {
        const lot = book.must(book.at(path)?.lot ?? DEFAULT_LOT_ID);
        this.#checkBelow(lot);
        rights.checkChange(this.#by.caller, lot, null, book);
      }
      return removePaths(book, bound);
    });
  }

  remove(name: string, toOrphans: boolean, toOthers: boolean): Promise<void> {
    return this.#removing(name, (lot) => removeLot(this.#host.book, lot, toOrphans, toOthers));
  }

  removeRecursive(name: string): Promise<void> {
    return this.#removing(name, (lot) => removeRecursively(this.#host.book, lot));
  }

  /** What a caller reports of a lot whose paths are foreign. */
  setUsage(json: UsageUpdateJson, delta: boolean): Promise<void> {
    const { book, rights } = this.#host;
    return this.#host.report(this.#by, () => {
      const lot = this.#see.must(json.lot_name);
      this.#checkBelow(lot);
      rights.checkChange(this.#by.caller, lot, null, book);
      if (lot.id === DEFAULT_LOT_ID || isMeasured(lot.paths))
        throw new VreserveError('USAGE_IS_MEASURED', { what: `the usage of lot '${json.lot_name}'` });
      return [{ id: lot.id, usage: this.#reported(lot.id, json, delta) }];
    });
  }

  /** Adds what was found for several lots, or puts it in place of what was reported before. */
  setUsages(found: ReadonlyMap<LotId, { bytes: number; objects: number }>, delta: boolean): Promise<void> {
    const { book, rights } = this.#host;
    return this.#host.report(this.#by, () =>
      [...found].map(([id, { bytes, objects }]) => {
        const lot = book.must(id);
        this.#checkBelow(lot);
        rights.checkChange(this.#by.caller, lot, null, book);
        return { id, usage: this.#sum(id, { bytes, objects }, delta) };
      }),
    );
  }

  #removing(name: string, plan: (lot: Lot) => LotChange): Promise<void> {
    const missing = `That was easy! ${NOT_THERE}it doesn't have to be removed.`;
    return this.#changing(name, async (lot) => plan(lot), missing, 'removal');
  }

  #changing(
    name: string,
    plan: (lot: Lot) => Promise<LotChange>,
    missing?: string,
    event: 'change' | 'removal' = 'change',
  ): Promise<void> {
    return this.#change(name, event, async () => {
      if (missing !== undefined && !this.#see.exists(name)) throw new VreserveError('NO_SUCH_LOT', { reason: missing });
      const lot = this.#see.must(name);
      this.#checkBelow(lot);
      this.#host.rights.checkChange(this.#by.caller, lot, null, this.#host.book);
      return plan(lot);
    });
  }

  /** Makes the change that `plan` returns, if it leaves every promise as it is. */
  #change(shown: string, event: 'grant' | 'change' | 'removal', plan: () => Promise<LotChange>): Promise<void> {
    return this.#host.change(this.#by, shown, event, async () => {
      try {
        const change = await plan();
        checkPromises(change, this.#host, this.#by);
        return change;
      } catch (error) {
        throw this.#unnamed(error);
      }
    });
  }

  /** A lot that the caller does not see is not named to it. */
  #unnamed(error: unknown): unknown {
    if (!(error instanceof VreserveError) || error.code !== 'PATH_TAKEN') return error;
    const lot = this.#host.book.named(String(error.details.lot));
    if (lot === undefined) return error;
    return new VreserveError('PATH_TAKEN', { ...error.details, lot: this.#see.nameOf(lot) });
  }

  /** A name as it is recorded: one that begins with a slash is a path, and relative to where it is said. */
  #newName(name: string): string {
    checkName(name);
    return name.startsWith('/') ? joinBelow(this.#by.directory, checkPath(name)) : name;
  }

  #isExcluded(lot: Lot, current: string): boolean {
    const path = this.#bound(current);
    return lot.paths.some((each) => each.path === path && each.exclude);
  }

  /** A lot's own `.vreserve` changes only what is below it. */
  #checkBelow(lot: Lot): void {
    if (this.#by.scope === DEFAULT_LOT_ID) return;
    if (!this.#see.sees(lot)) throw new VreserveError('NO_SUCH_LOT', { reason: 'no lot that is seen here' });
    if (lot.id !== this.#by.scope) return;
    throw new VreserveError('NOT_YOURS', { reason: 'a lot is not changed through its own .vreserve' });
  }

  #checkChild(child: Lot): void {
    this.#checkBelow(child);
    this.#host.rights.checkChange(this.#by.caller, child, null, this.#host.book, 'children');
  }

  /** The paths as the mount has them, each one that the caller may reserve, or that the lot `of` has already. */
  async #paths(paths: readonly PathJson[], of?: Lot): Promise<LotPath[]> {
    const found: LotPath[] = [];
    for (const { path, recursive, exclude = false } of paths) {
      if (isForeign(path)) {
        found.push({ path: foreignPath(path), recursive, exclude });
        continue;
      }
      const place = this.#host.place(path, this.#by);
      const has = of?.paths.some((each) => each.path === place.path && !each.exclude) === true;
      if (!exclude && !has) await this.#host.checkReserve(place, this.#by);
      found.push({ path: place.path, recursive, exclude });
    }
    return found;
  }

  /** A path that is bound already, as it is recorded. */
  #bound(path: string): string {
    return isForeign(path) ? foreignPath(path) : this.#host.place(path, this.#by).path;
  }

  /** The recorded name of a lot that the caller named as it sees it. */
  #name(name: string, self: Lot): string {
    if (this.#see.exists(name)) return this.#see.must(name).name;
    return name === relativeTo(self.name, self.name.startsWith(this.#by.directory) ? this.#by.directory : '/') ? self.name : name;
  }

  #reported(id: LotId, json: UsageUpdateJson, delta: boolean): LotUsage {
    const given: Partial<Record<keyof LotUsage, number>> = {};
    for (const [key, field] of Object.entries(USAGE_NAMES) as [keyof typeof USAGE_NAMES, keyof LotUsage][]) {
      const value = json[key];
      if (value !== undefined) given[field] = key.includes('GB') ? bytesOfGb(value) : value;
    }
    return this.#sum(id, given, delta);
  }

  #sum(id: LotId, given: Partial<Record<keyof LotUsage, number>>, delta: boolean): LotUsage {
    const before = this.#host.reportedOf(id) ?? NO_USAGE;
    const usage: Record<keyof LotUsage, number> = { ...before };
    for (const [key, field] of Object.entries(USAGE_NAMES) as [string, keyof LotUsage][]) {
      const value = given[field];
      if (value === undefined) continue;
      usage[field] = delta ? before[field] + value : value;
      if (usage[field] < 0) {
        const reason = `The attempted delta update would result in storing negative values for the key ${key}.`;
        throw new VreserveError('NEGATIVE_USAGE', { reason });
      }
      checkBytes(usage[field]);
    }
    return usage;
  }
}

const MOST_NAME_BYTES = 4095;

function checkName(name: string): void {
  const bad = (reason: string) => new VreserveError('BAD_NAME', { name: name.slice(0, 60), reason });
  if (name === '') throw bad('it is empty');
  if (/\p{Cc}/u.test(name)) throw bad('it contains a control character');
  if (Buffer.byteLength(name) > MOST_NAME_BYTES) throw bad(`it has more than ${MOST_NAME_BYTES} bytes`);
}
