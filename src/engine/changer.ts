// Makes a change of lots in the data plane, in the ledger and in the book, in the order that a crash cannot hurt.

import type { LotBook, LotChange } from '../core/book.js';
import type { Clock } from '../core/clock.js';
import type { JournalEvent } from '../core/events.js';
import type { LotId } from '../core/lot.js';
import type { Claim } from '../core/waiting.js';
import type { Ledger, SavedUsage } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import type { Admission, Engine, Usage } from './engine.js';
import type { Phases } from './phases.js';
import { bindingsOf, inverseOf, reshapeOf, specOf } from './spec.js';
import type { UsageLog } from './usage-log.js';

export interface ChangerParts {
  engine: Engine;
  ledger: Ledger;
  book: LotBook;
  usage: UsageLog;
  phases: Phases;
  clock: Clock;
  log: Log;
}

export interface Making {
  /** Lines of the journal; the same transaction has them. */
  events: (change: LotChange) => JournalEvent[];
  /** Refused where the grant of a lot would be less than what it holds. */
  mustCover?: boolean;
  /** The change only gives back. The ledger is told first: after a crash nobody else can have been promised the bytes. */
  givesBack?: boolean;
  /** Of a request that waited. */
  claim?: Claim | undefined;
  /** Makes the error of a refusal. */
  refusal: (refused: Extract<Admission, { granted: false }>) => Error;
}

/** One change at a time on any lot: whoever calls holds the locks of the lots concerned. */
export class Changer {
  readonly #parts: ChangerParts;

  constructor(parts: ChangerParts) {
    this.#parts = parts;
  }

  /** Throws what `refusal` makes, the engine's error, or LEDGER_…; then nothing is changed. */
  async make(change: LotChange, making: Making): Promise<void> {
    const { book, usage, phases, clock } = this.#parts;
    const fromMs = clock();
    const started = making.givesBack ? await this.#giveBack(change, making) : await this.#take(change, making);
    for (const id of change.remove) usage.forget(id);
    book.apply(change);
    for (const row of started) usage.isSaved(row);
    // A time that came while the change was on its way is still to be told.
    phases.watch(change.put, fromMs);
  }

  async #take(change: LotChange, making: Making): Promise<SavedUsage[]> {
    const { engine, ledger, book, usage, log } = this.#parts;
    const undo = inverseOf(change, book);
    const admission = await this.#reshape(change, making, false);
    if (!admission.granted) throw making.refusal(admission);
    const started = admission.usage.filter(({ id }) => book.get(id) === undefined).map(saved);
    try {
      await making.claim?.take();
      await ledger.changeLots(change, started, making.events(change), making.claim?.settled);
      return started;
    } catch (error) {
      for (const { id } of started) usage.forget(id);
      const undone = await engine.reshape({ ...this.#undoing(undo, change), mustCover: false, force: true });
      // The engine gives back what it just gave; where it cannot, its grant is the greater one until the next mount.
      if (!undone.granted)
        log.error({ undone, lots: change.put.map(({ name }) => name) }, 'a change that was not recorded stays');
      throw error;
    }
  }

  async #giveBack(change: LotChange, making: Making): Promise<SavedUsage[]> {
    const { ledger, book, engine } = this.#parts;
    const undo = inverseOf(change, book);
    const held = change.remove.flatMap((id) => engine.usageOf(id) ?? []).map(saved);
    const { claim } = making;
    await claim?.take();
    await ledger.changeLots(change, [], making.events(change), claim?.settled);
    const restore = async () => {
      const events = making.events(undo).map((event) => ({ ...event, fields: { ...event.fields, restored: true } }));
      await ledger.changeLots(undo, held, events, claim && { ...claim.settled, outcome: null });
    };
    let admission: Admission;
    try {
      admission = await this.#reshape(change, making, making.mustCover !== true);
    } catch (error) {
      await restore();
      throw error;
    }
    if (admission.granted) return [];
    // It was written to in between: the engine has the last word, and the ledger follows.
    await restore();
    throw making.refusal(admission);
  }

  #reshape(change: LotChange, { mustCover = false }: Making, force: boolean): Promise<Admission> {
    const { engine, book, clock } = this.#parts;
    return engine.reshape({ ...reshapeOf(change, book, clock()), mustCover, force });
  }

  /** The engine has the change and the book has not, so what to bind is told from both. */
  #undoing(undo: LotChange, change: LotChange) {
    const { book, clock } = this.#parts;
    const made = reshapeOf(change, book, clock());
    const lookup = (id: LotId) => book.get(id);
    return {
      // Lots whose phase followed from the change get theirs back, too.
      lots: made.lots
        .flatMap(({ id }) => book.get(id) ?? [])
        .concat(change.remove.map((id) => book.must(id)))
        .map((lot) => specOf(lot, lookup, clock())),
      gone: [...undo.remove],
      bind: undo.put.flatMap(bindingsOf),
      unbind: made.bind.filter(({ path }) => book.at(path) === undefined).map(({ path }) => path),
    };
  }
}

function saved({ id, bytes, objects }: Usage): SavedUsage {
  return { id, bytes, objects };
}
