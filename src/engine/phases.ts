// Times that come: lots that begin, expire or are past their deletion, told to the data plane and to the journal within a second.

import type { LotBook } from '../core/book.js';
import type { Clock } from '../core/clock.js';
import type { EventName, JournalEvent } from '../core/events.js';
import type { Lot, LotId } from '../core/lot.js';
import { nextChangeMs, phaseOf } from '../core/phase.js';
import type { Ledger } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import type { Engine } from './engine.js';

/** How often the clock is looked at. */
const LOOK_MS = 250;

export interface PhasesParts {
  engine: Engine;
  ledger: Ledger;
  book: LotBook;
  clock: Clock;
  log: Log;
}

/** The times of one mount's lots. */
export class Phases {
  readonly #parts: PhasesParts;
  #timer: NodeJS.Timeout | undefined;
  /** What has come about until then is told. */
  #toldMs: number;
  /** The next time at which a lot's phase changes, or an earlier one. */
  #nextMs = Number.POSITIVE_INFINITY;
  /** Lots whose creation time is to come. */
  readonly #notBegun = new Set<LotId>();
  /** Lots with a time that had come before they were watched, and from when on they are to be told. */
  readonly #late = new Map<LotId, number>();

  constructor(parts: PhasesParts) {
    this.#parts = parts;
    this.#toldMs = parts.clock();
  }

  /** Lots that are new, or whose times are: the data plane knows them as they were at `knownMs`. */
  watch(lots: Iterable<Lot>, knownMs: number): void {
    for (const lot of lots) {
      const nextMs = nextChangeMs(lot, knownMs);
      if (nextMs === null) continue;
      this.#nextMs = Math.min(this.#nextMs, nextMs);
      if (nextMs <= this.#toldMs) this.#late.set(lot.id, knownMs);
      if (lot.policy.createdAtMs > knownMs) this.#notBegun.add(lot.id);
    }
  }

  /** All lots, as they were left: what has come about since `toldMs` is still to be told. */
  resume(lots: Iterable<Lot>, toldMs: number): void {
    this.#toldMs = Math.min(toldMs, this.#parts.clock());
    this.watch(lots, this.#toldMs);
  }

  start(): void {
    this.pass();
    this.#timer = setInterval(() => this.pass(), LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Tells what has come about by now. Costs nothing until a time has come. */
  pass(): void {
    const { engine, book, clock } = this.#parts;
    const nowMs = clock();
    const fromMs = this.#toldMs;
    this.#toldMs = nowMs;
    if (nowMs < this.#nextMs) return;
    this.#nextMs = Number.POSITIVE_INFINITY;
    const changed = new Set<LotId>();
    const events: JournalEvent[] = [];
    for (const lot of book.all()) {
      const sinceMs = this.#late.get(lot.id) ?? fromMs;
      const hasCome = (atMs: number | null) => atMs !== null && atMs > sinceMs && atMs <= nowMs;
      this.#nextMs = Math.min(this.#nextMs, nextChangeMs(lot, nowMs) ?? this.#nextMs);
      const { createdAtMs, expiresAtMs, deletesAtMs } = lot.policy;
      const begins = this.#notBegun.has(lot.id) && createdAtMs <= nowMs;
      if (begins) this.#notBegun.delete(lot.id);
      if (begins || hasCome(deletesAtMs)) changed.add(lot.id);
      if (hasCome(expiresAtMs)) for (const id of book.withDescendants(lot.id)) changed.add(id);
      if (begins) events.push(event('creation', lot, nowMs));
      if (hasCome(expiresAtMs)) events.push(event('expiration', lot, nowMs));
      if (hasCome(deletesAtMs)) events.push(event('deletion', lot, nowMs));
    }
    this.#late.clear();
    if (changed.size === 0) return;
    const lookup = (id: LotId) => book.get(id);
    engine.setPhases([...changed].map((id) => ({ id, ...phaseOf(book.must(id), lookup, nowMs) })));
    if (events.length > 0) this.#journal(events);
  }

  #journal(events: readonly JournalEvent[]): void {
    const { ledger, log } = this.#parts;
    ledger.saveUsage([], events).catch((error: unknown) => log.error({ err: error }, 'times that came could not be journalled'));
  }
}

function event(name: EventName, { id, name: lot, policy }: Lot, atMs: number): JournalEvent {
  return { atMs, event: name, lotId: id, fields: { lot, bytes: policy.dedicatedBytes } };
}
