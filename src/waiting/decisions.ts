// Decides requests, each once: the entry is claimed, the outcome recorded (with the grant, in one transaction), the entry moved
// to where its asker finds it, and only then the record goes. What is between two of these when the daemon dies is done at its
// next start.

import { formatExactBytes } from '../core/bytes.js';
import type { Clock } from '../core/clock.js';
import { formatDuration } from '../core/duration.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_ID, type LotId } from '../core/lot.js';
import type { By } from '../views/host.js';
import type { FileOwner } from './box.js';
import type { Box } from './box-messages.js';
import type { LineHost, LineRecord } from './host.js';
import { decided, type Outcome } from './request.js';
import type { Requests } from './requests.js';
import type { Waiting } from './waiting.js';

export interface DecisionsParts {
  host: LineHost;
  record: LineRecord;
  clock: Clock;
  requests: Requests;
  box: Box;
  /** Who fits may go before who does not. */
  allowOvertaking: boolean;
}

/** Whoever calls sees to it that one pass runs at a time. */
export class Decisions {
  readonly #parts: DecisionsParts;
  /** Decided and recorded; the entry is still to be moved. */
  readonly #unmoved = new Map<number, { waiting: Waiting; outcome: Outcome }>();
  /** Refused when they were found; the entry is claimed, and still to be moved. */
  readonly #unrecorded = new Map<string, { text: string; owner: FileOwner }>();
  /** Claimed, not decided, and still to be put back. They stay busy. */
  readonly #unreturned = new Set<Waiting>();
  /** By lot: what was looked at when its line was last refused, and the room that there was before. */
  readonly #tried = new Map<LotId, { looked: string; room: string }>();
  #ended = false;

  constructor(parts: DecisionsParts) {
    this.#parts = parts;
  }

  get hasUnmoved(): boolean {
    return this.#unmoved.size + this.#unrecorded.size > 0;
  }

  stop(): void {
    this.#ended = true;
  }

  /** After a crash: what was decided is moved, what was only claimed waits on. `known`: decided, by the ledger. */
  async resume(known: readonly { waiting: Waiting; outcome: Outcome }[]): Promise<void> {
    const { box, requests } = this.#parts;
    const pending = new Set(await box.pending());
    const claimed = new Set(await box.claimed());
    const unmoved = new Set<string>();
    for (const { waiting, outcome } of known) {
      // A power cut may have lost the rename, but not the record.
      const isThere = claimed.delete(waiting.name) || (pending.has(waiting.name) && (await box.claim(waiting.name)));
      // Where it was moved, only the record was left.
      if (isThere) {
        this.#unmoved.set(waiting.seq, { waiting, outcome });
        unmoved.add(waiting.name);
      } else await requests.end(waiting);
    }
    for (const name of claimed) await box.putBack(name);
    const recorded = [...known.map(({ waiting }) => waiting), ...requests.line.all()].map(({ name }) => name);
    await box.clear(recorded, [...pending, ...claimed, ...unmoved]);
  }

  /** Grants what fits and refuses what is overdue. `anew`: also where nothing seems to have changed. */
  async pass(anew: boolean): Promise<void> {
    const { requests } = this.#parts;
    const failures = new Failures();
    for (const waiting of this.#unreturned) await failures.catch(() => this.#putBack(waiting));
    await this.#moveDecided(failures);
    await this.#judgeMoved(failures);
    // Each is tried once, however short its time; after that its deadline comes first.
    const isFresh = requests.takeFresh();
    await this.#refuseOverdue(failures, isFresh);
    for (const lot of requests.line.lots()) await this.#serve(lot, anew, failures);
    await this.#refuseOverdue(failures, () => false);
    await this.#moveDecided(failures);
    failures.throwFirst();
  }

  /** A request that never was in the line. */
  async refuseUnrecorded(name: string, text: string, by: By, owner: FileOwner, error: VreserveError): Promise<void> {
    const { box, host, clock } = this.#parts;
    if (!(await box.claim(name))) return;
    this.#unrecorded.set(name, { text: decided(text, refusal(error, clock())), owner });
    await host.journalRefusal(DEFAULT_LOT_ID, { request: name }, by, error);
  }

  /** Its asker does not want it any more; what is being decided is decided. */
  async withdraw(waiting: Waiting, error: VreserveError): Promise<void> {
    const { box, requests } = this.#parts;
    if (!requests.isWaiting(waiting)) return;
    waiting.left = error;
    if (waiting.busy) return;
    waiting.busy = true;
    waiting.listener?.refused(error);
    try {
      if (await box.claim(waiting.name)) await box.remove(waiting.name);
      await requests.leave(waiting);
    } finally {
      waiting.busy = false;
    }
  }

  async #refuseOverdue(failures: Failures, isSpared: (waiting: Waiting) => boolean): Promise<void> {
    const nowMs = this.#parts.clock();
    for (const waiting of this.#parts.requests.line.overdue(nowMs)) {
      if (!waiting.busy && !isSpared(waiting)) await failures.catch(() => this.#refuse(waiting, tooLate(waiting, nowMs)));
    }
  }

  /** What is in the line of another lot than when it was judged, or was left by an earlier daemon, may never fit now. */
  async #judgeMoved(failures: Failures): Promise<void> {
    const { host, requests } = this.#parts;
    for (const waiting of requests.line.filter(({ isMoved, busy }) => isMoved && !busy)) {
      waiting.isMoved = false;
      const { asked, by } = waiting;
      await failures.catch(async () => {
        try {
          await host.judge(asked.path, asked.bytes, asked.options, by);
        } catch (error) {
          if (isPassing(error)) throw error;
          await this.#refuse(waiting, asVreserveError(error));
        }
      });
    }
  }

  /** Grants what fits of a lot's line. */
  async #serve(lot: LotId, anew: boolean, failures: Failures): Promise<void> {
    const { host, requests, allowOvertaking } = this.#parts;
    const { line } = requests;
    const tried = this.#tried.get(lot);
    let most = Number.POSITIVE_INFINITY;
    for (const waiting of [...line.of(lot)]) {
      if (this.#ended) return;
      if (waiting.busy) continue;
      // One that grows needs less than it asks for.
      if (waiting.asked.bytes > most && !host.isReserved(waiting.at)) continue;
      const [head, last] = [line.of(lot)[0], line.of(lot).at(-1)];
      const looked = `${head?.seq} ${allowOvertaking ? last?.seq : ''}`;
      const room = host.room(waiting.at);
      if (waiting === head) {
        if (!anew && tried?.looked === looked && tried.room === room) return;
        this.#tried.set(lot, { looked, room });
      }
      const available = await failures.catch(() => this.#try(waiting));
      if (available === null) continue;
      if (available === undefined) {
        this.#tried.delete(lot);
        // What goes wrong with one does not hold up the others, but for what goes wrong with all.
        if (failures.last instanceof VreserveError) break;
        continue;
      }
      if (!allowOvertaking) break;
      if (!host.isReserved(waiting.at)) most = Math.min(most, available);
    }
    if (line.of(lot).length === 0) this.#tried.delete(lot);
  }

  /** null: it is decided, or gone; else the bytes that there were. */
  async #try(waiting: Waiting): Promise<number | null> {
    const { host, clock, box, requests } = this.#parts;
    const { asked, by, name, seq, at, askedAtMs } = waiting;
    const outcome: Outcome = { decision: 'granted', at: new Date(clock()).toISOString(), lot: at };
    let isClaimed = false;
    if (waiting.left !== null) {
      await this.withdraw(waiting, waiting.left);
      return null;
    }
    waiting.busy = true;
    try {
      const lot = await host.reserveWaited(asked.path, asked.bytes, asked.options, by, {
        take: async () => {
          isClaimed = await box.claim(name);
          if (!isClaimed) throw new VreserveError('WITHDRAWN');
        },
        settled: { seq, outcome: JSON.stringify(outcome) },
        fields: { request: name, waitedMs: clock() - askedAtMs },
      });
      this.#decide(waiting, outcome);
      waiting.listener?.granted(lot);
      return null;
    } catch (error) {
      if (isClaimed) await this.#putBack(waiting);
      else waiting.busy = false;
      const known = asVreserveError(error);
      if (known.code === 'WITHDRAWN') {
        await requests.leave(waiting);
        return null;
      }
      if (isPassing(error)) throw error;
      if (!isShort(error)) {
        await this.#refuse(waiting, known);
        return null;
      }
      return this.#isMissing(waiting, known);
    }
  }

  /** It waits on, where it can still fit and its asker still wants it: the bytes that there were, else null. */
  async #isMissing(waiting: Waiting, short: VreserveError): Promise<number | null> {
    const { host, box, requests } = this.#parts;
    const { asked, by, name } = waiting;
    const available = Number(short.details.availableBytes);
    waiting.missing = { bytes: asked.bytes - available, where: String(short.details.where ?? '') };
    if (waiting.left !== null) {
      await this.withdraw(waiting, waiting.left);
      return null;
    }
    // What happened to the entry meanwhile was not looked at.
    if (!(await box.isPending(name))) {
      await requests.leave(waiting);
      return null;
    }
    try {
      await host.judge(asked.path, asked.bytes, asked.options, by);
      return available;
    } catch (error) {
      if (isPassing(error)) throw error;
      await this.#refuse(waiting, asVreserveError(error));
      return null;
    }
  }

  async #refuse(waiting: Waiting, error: VreserveError): Promise<void> {
    const { record, host, clock, box, requests } = this.#parts;
    const { name, seq, lot, at, by, listener } = waiting;
    waiting.busy = true;
    try {
      if (!(await box.claim(name))) return await requests.leave(waiting);
      const outcome = refusal(error, clock());
      try {
        await record.settle({ seq, outcome: JSON.stringify(outcome) }, []);
      } catch (failure) {
        await this.#putBack(waiting);
        throw failure;
      }
      this.#decide(waiting, outcome);
      listener?.refused(error);
      await host.journalRefusal(lot, { request: name, path: at }, by, error);
    } finally {
      waiting.busy = this.#unreturned.has(waiting);
    }
  }

  /** What could not be put back is tried again with the next pass. */
  async #putBack(waiting: Waiting): Promise<void> {
    this.#unreturned.add(waiting);
    await this.#parts.box.putBack(waiting.name);
    this.#unreturned.delete(waiting);
    waiting.busy = false;
  }

  #decide(waiting: Waiting, outcome: Outcome): void {
    this.#parts.requests.line.remove(waiting);
    this.#unmoved.set(waiting.seq, { waiting, outcome });
  }

  async #moveDecided(failures: Failures): Promise<void> {
    const { box } = this.#parts;
    const moves = [...this.#unmoved.values()].map(
      ({ waiting, outcome }) =>
        () =>
          this.#move(waiting, outcome),
    );
    await Promise.all(moves.map((move) => failures.catch(move)));
    for (const [name, { text, owner }] of this.#unrecorded) {
      await failures.catch(async () => {
        await box.finish(name, 'refused', text, owner);
        this.#unrecorded.delete(name);
      });
    }
  }

  async #move(waiting: Waiting, outcome: Outcome): Promise<void> {
    const { box, requests } = this.#parts;
    const { name, text, owner, seq, listener } = waiting;
    // Who was told by the answer to a command needs no entry.
    if (listener !== null) await box.remove(name);
    else await box.finish(name, outcome.decision, decided(text, outcome), owner);
    await requests.end(waiting);
    this.#unmoved.delete(seq);
  }
}

/** The first of several things that fail, when all have been tried. */
export class Failures {
  readonly #errors: unknown[] = [];

  get last(): unknown {
    return this.#errors.at(-1);
  }

  /** undefined where it fails. */
  async catch<T>(work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      this.#errors.push(error);
      return undefined;
    }
  }

  throwFirst(): void {
    if (this.#errors.length > 0) throw this.#errors[0];
  }
}

/** What is missing is only bytes, which may come. */
export function isShort(error: unknown): boolean {
  return error instanceof VreserveError && error.code === 'NO_SPACE';
}

/** Nothing is wrong with the request: it is tried again. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof VreserveError)) return true;
  return ['ENDING', 'INTERNAL', 'PROCESS_GONE'].includes(error.code) || error.code.startsWith('LEDGER_');
}

function refusal({ code, errno, message }: VreserveError, nowMs: number): Outcome {
  return { decision: 'refused', at: new Date(nowMs).toISOString(), code, errno, message };
}

function tooLate({ asked, askedAtMs, missing }: Waiting, nowMs: number): VreserveError {
  const reason = missing === null ? 'others were before it' : `${formatExactBytes(missing.bytes)} were missing${missing.where}`;
  return new VreserveError('WAITED_FOR_NOTHING', {
    path: asked.path,
    askedBytes: asked.bytes,
    askedText: formatExactBytes(asked.bytes),
    waitedText: formatDuration(nowMs - askedAtMs),
    reason,
  });
}
