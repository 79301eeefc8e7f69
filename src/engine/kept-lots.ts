// What LotMan's functions ask of the keeper: the lots as they are, and changes of them.

import type { LotBook, LotChange } from '../core/book.js';
import { asVreserveError } from '../core/errors.js';
import type { EventName, JournalEvent } from '../core/events.js';
import { DEFAULT_LOT_ID, type LotId, type LotUsage, NO_POLICY } from '../core/lot.js';
import { joinBelow } from '../core/paths.js';
import type { By } from '../views/host.js';
import type { ResolvedPath } from './engine.js';
import type { Keeper } from './keeper.js';
import type { Place } from './places.js';
import { noMore, policyFields } from './policies.js';
import type { Rights } from './rights.js';

export class KeptLots {
  readonly #keeper: Keeper;

  constructor(keeper: Keeper) {
    this.#keeper = keeper;
  }

  get book(): LotBook {
    return this.#keeper.book;
  }

  get rights(): Rights {
    return this.#keeper.parts.rights;
  }

  readonly usageOf = (id: LotId): LotUsage => this.#keeper.usageOf(id);

  allUsage(): ReadonlyMap<LotId, LotUsage> {
    return this.#keeper.allUsage();
  }

  reportedOf(id: LotId): LotUsage | undefined {
    return this.#keeper.reportedOf(id);
  }

  nowMs(): number {
    return this.#keeper.parts.clock();
  }

  newLotId(): Promise<LotId> {
    return this.#keeper.parts.ledger.newLotId();
  }

  place(path: string, by: By): Place {
    return this.#keeper.places.place(path, by);
  }

  look(path: string, by: By): ResolvedPath {
    return this.#keeper.places.look(path, by);
  }

  around(path: string): LotId {
    return this.#keeper.places.around(path);
  }

  checkReserve(place: { shown: string; path: string } | null, by: By): Promise<void> {
    return this.#keeper.places.checkReserve(place, by);
  }

  /** Runs `plan` with all lots held, and makes what it returns; a refusal becomes a line of the journal. */
  change(by: By, shown: string, event: EventName, plan: () => Promise<LotChange>): Promise<void> {
    return this.#keeper.alone(async () => {
      try {
        this.rights.checkKnown(by.caller);
        const change = await plan();
        const first = change.put[0];
        const policy = first?.policy ?? NO_POLICY;
        const events = (made: LotChange) => this.#changeLines(made, event, by);
        await this.#keeper.make(change, {
          ...this.#keeper.refusing(policy, shown, by),
          events,
          givesBack: event === 'removal' || this.#onlyGivesBack(change),
        });
      } catch (error) {
        const name = shown.startsWith('/') ? joinBelow(by.directory, shown) : shown;
        const lot = by.scope === DEFAULT_LOT_ID ? (this.book.named(name)?.id ?? DEFAULT_LOT_ID) : by.scope;
        await this.#keeper.journalRefusal(lot, { lot: name }, by, asVreserveError(error));
        throw error;
      }
    });
  }

  /** Runs `plan` with all lots held, and records what it returns as what was reported. */
  report(by: By, plan: () => { id: LotId; usage: LotUsage }[]): Promise<void> {
    return this.#keeper.alone(async () => {
      this.rights.checkKnown(by.caller);
      const reported = plan();
      const lines = reported.map(({ id, usage }) =>
        this.#keeper.event('change', id, {
          lot: this.book.must(id).name,
          reportedBytes: usage.bytes,
          objects: usage.objects,
          ...this.#keeper.actor(by),
        }),
      );
      await this.#keeper.saveReported(reported, lines);
    });
  }

  #changeLines({ put, remove }: LotChange, event: EventName, by: By): JournalEvent[] {
    const lines = put.map((lot) => {
      const name = this.book.get(lot.id) === undefined ? 'grant' : event === 'removal' ? 'change' : event;
      const paths = lot.paths.map(({ path }) => path);
      const parents = lot.parents.map((id) => this.book.get(id)?.name ?? String(id));
      return this.#keeper.event(name === 'grant' && event !== 'grant' ? 'change' : name, lot.id, {
        lot: lot.name,
        ...policyFields(lot.policy),
        paths: paths.length === 0 ? undefined : paths,
        parents: parents.length === 0 ? undefined : parents,
        ...this.#keeper.actor(by),
      });
    });
    const removed = remove.map((id) =>
      this.#keeper.event('removal', id, { lot: this.book.get(id)?.name ?? String(id), ...this.#keeper.actor(by) }),
    );
    return [...lines, ...removed];
  }

  /** Nothing is made, no lot gets more, a path or another parent. */
  #onlyGivesBack({ put }: LotChange): boolean {
    return put.every((lot) => {
      const before = this.book.get(lot.id);
      if (before === undefined) return false;
      const known = new Set(before.paths.map(({ path, recursive, exclude }) => `${path} ${recursive} ${exclude}`));
      const samePaths = lot.paths.every(({ path, recursive, exclude }) => known.has(`${path} ${recursive} ${exclude}`));
      return samePaths && lot.parents.join() === before.parents.join() && noMore(lot.policy, before.policy);
    });
  }
}
