// Takes usage from the data plane once a second, and keeps the ledger's saved usage and charge lines up with it.

import type { LotBook } from '../core/book.js';
import type { JournalEvent } from '../core/events.js';
import type { LotId } from '../core/lot.js';
import type { Ledger, SavedUsage } from '../ledger/ledger.js';
import type { Engine, UsageChange } from './engine.js';

/** What is known of a lot's usage that the ledger does not have yet. */
export class UsageLog {
  readonly #engine: Engine;
  readonly #ledger: Ledger;
  readonly #book: LotBook;
  /** Changes that are not in the ledger, summed per lot: since the last save, or longer when a save failed. */
  readonly #unsaved = new Map<LotId, UsageChange>();
  readonly #saved = new Map<LotId, { bytes: number; objects: number }>();
  #saving: Promise<void> = Promise.resolve();
  /** Told of lots in which something was made, removed, opened for writing or closed. */
  onUse: (id: LotId) => void = () => {};

  constructor(engine: Engine, ledger: Ledger, book: LotBook) {
    this.#engine = engine;
    this.#ledger = ledger;
    this.#book = book;
  }

  /** The ledger has this for the lot. */
  isSaved({ id, bytes, objects }: SavedUsage): void {
    this.#saved.set(id, { bytes, objects });
  }

  /** The lot is gone. */
  forget(id: LotId): void {
    this.#unsaved.delete(id);
    this.#saved.delete(id);
  }

  /** Saves what changed, with a charge line for each lot that took or gave bytes or refused some. One save at a time. */
  save(atMs: number): Promise<void> {
    const next = this.#saving.catch(() => {}).then(() => this.#save(atMs));
    this.#saving = next;
    return next;
  }

  /** Usage that the ledger does not have, and the charge lines that are not written yet, which become the caller's to write. */
  takeAll(atMs: number): { usage: SavedUsage[]; events: JournalEvent[] } {
    this.#collect();
    const events = [...this.#unsaved.values()].flatMap((change) => this.#chargeLine(change, atMs));
    this.#unsaved.clear();
    const usage = this.#engine.usage().map(({ id, bytes, objects }) => ({ id, bytes, objects }));
    return { usage: usage.filter((row) => this.#differs(row)), events };
  }

  async #save(atMs: number): Promise<void> {
    this.#collect();
    // A lot that is set aside and not committed yet has no row to save into: its changes wait.
    const changes = [...this.#unsaved.values()].filter(({ id }) => this.#book.get(id) !== undefined);
    const usage = changes.filter((change) => this.#differs(change)).map(({ id, bytes, objects }) => ({ id, bytes, objects }));
    const events = changes.flatMap((change) => this.#chargeLine(change, atMs));
    for (const { id } of changes) this.#unsaved.delete(id);
    if (usage.length === 0 && events.length === 0) return;
    try {
      await this.#ledger.saveUsage(usage, events);
    } catch (error) {
      for (const change of changes) this.#merge(change, this.#unsaved.get(change.id));
      throw error;
    }
    for (const saved of usage) if (this.#book.get(saved.id) !== undefined) this.isSaved(saved);
  }

  #collect(): void {
    for (const change of this.#engine.drain()) {
      this.#merge(this.#unsaved.get(change.id), change);
      this.onUse(change.id);
    }
  }

  /** Sums of both, totals of the later. */
  #merge(earlier: UsageChange | undefined, later: UsageChange | undefined): void {
    const last = later ?? earlier;
    if (last === undefined) return;
    if (earlier === undefined || later === undefined) {
      this.#unsaved.set(last.id, { ...last });
      return;
    }
    this.#unsaved.set(last.id, {
      ...later,
      chargedBytes: earlier.chargedBytes + later.chargedBytes,
      refundedBytes: earlier.refundedBytes + later.refundedBytes,
      refusals: earlier.refusals + later.refusals,
      refusedBytes: earlier.refusedBytes + later.refusedBytes,
    });
  }

  #differs({ id, bytes, objects }: SavedUsage): boolean {
    const saved = this.#saved.get(id);
    return saved === undefined || saved.bytes !== bytes || saved.objects !== objects;
  }

  #chargeLine(change: UsageChange, atMs: number): JournalEvent[] {
    const lot = this.#book.get(change.id);
    const { chargedBytes, refundedBytes, refusals, refusedBytes, bytes, objects } = change;
    if (lot === undefined || (chargedBytes === 0 && refundedBytes === 0 && refusals === 0)) return [];
    const refused = refusals > 0 ? { refusals, refusedBytes } : {};
    const fields = { lot: lot.name, chargedBytes, refundedBytes, ...refused, bytes, objects };
    return [{ atMs, event: 'charge', lotId: lot.id, fields }];
  }
}
