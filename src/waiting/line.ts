// The waiting line of a mount: composes what comes in and what is decided, and is what commands wait in.

import { formatCount, formatExactBytes } from '../core/bytes.js';
import type { Clock } from '../core/clock.js';
import { VreserveError } from '../core/errors.js';
import type { Lot } from '../core/lot.js';
import type { WaitingSnapshot } from '../core/snapshot.js';
import type { WaitingRow } from '../core/waiting.js';
import type { Log } from '../log.js';
import type { By, ReserveOptions, Wait } from '../views/host.js';
import type { Box } from './box-messages.js';
import { Decisions, isShort } from './decisions.js';
import type { Judged, LineHost, LineRecord } from './host.js';
import { Intake } from './intake.js';
import { type Asked, type Outcome, requestText } from './request.js';
import { Requests } from './requests.js';
import { FRESH, type Listener, type Waiting, waitingOf } from './waiting.js';

/** How often room is looked for that came back by itself, and deadlines: ms. */
const LOOK_MS = 250;
/** So many looks until all is looked at anew, whatever seems to have changed. */
const LOOKS_TO_ALL = 240;
/** So many looks until what could not be taken in is looked at again. */
const LOOKS_TO_RETRY = 20;
const TRIM_MS = 3_600_000;

export interface WaitingLineParts {
  host: LineHost;
  record: LineRecord;
  clock: Clock;
  log: Log;
  /** Who fits may go before who does not. */
  allowOvertaking: boolean;
  /** What is decided and not fetched is kept so long. */
  keepMs: number;
}

type Work = 'watching' | 'taking in' | 'deciding';

/** What there is from the start on, until the end. */
interface Served {
  box: Box;
  intake: Intake;
  decisions: Decisions;
}

export class WaitingLine {
  readonly #parts: WaitingLineParts;
  readonly #requests: Requests;
  /** null: the mount has no spool, or is not served yet, and nothing can wait. */
  #served: Served | null = null;
  /** One pass runs at a time. */
  #pass: Promise<void> | null = null;
  #again = false;
  #timer: NodeJS.Timeout | undefined;
  #looks = 0;
  #trimAtMs: number;
  /** Commands whose requests are on their way into the line. */
  readonly #entering = new Set<Promise<Waiting>>();
  /** By what could not be done. */
  readonly #troubles = new Map<Work, string>();
  #ended = false;

  constructor(parts: WaitingLineParts) {
    this.#parts = parts;
    this.#requests = new Requests(parts.host, parts.record);
    this.#trimAtMs = parts.clock();
  }

  /** What is wrong, one sentence each. */
  get troubles(): string[] {
    return [...new Set(this.#troubles.values())].map((reason) => `requests in the spool cannot be served: ${reason}`);
  }

  /** Goes on where the last daemon ended; the mount must be served. */
  async start(rows: readonly WaitingRow[], box: Box): Promise<void> {
    const { host } = this.#parts;
    const requests = this.#requests;
    const decisions = new Decisions({ ...this.#parts, requests, box });
    const guarded = (work: () => Promise<void>) => this.#guarded('taking in', work);
    const intake = new Intake({ ...this.#parts, requests, decisions, box, guarded, onChange: () => this.wake() });
    this.#served = { box, intake, decisions };
    const known: { waiting: Waiting; outcome: Outcome }[] = [];
    for (const row of rows) {
      const waiting = waitingOf(row, (path) => host.around(path));
      requests.resume(waiting, row.outcome !== null);
      if (row.outcome !== null) known.push({ waiting, outcome: JSON.parse(row.outcome) as Outcome });
    }
    await intake.inTurn(async () => {
      await box.attach();
      this.#watch(intake);
      await decisions.resume(known);
      await intake.lookAtAll();
    });
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#wake();
  }

  /** Nothing can wait, for that reason. */
  unserved(reason: string): void {
    this.#troubles.set('watching', reason);
  }

  /** Nothing is decided any more; who waits for an answer gets ENDING. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.abandon();
    await this.idle();
    await Promise.allSettled(this.#entering);
    const listening = this.#requests.line.filter(({ listener }) => listener !== null);
    const leave = (waiting: Waiting) => this.#withdraw(waiting, new VreserveError('ENDING'));
    await Promise.all(listening.map(leave));
  }

  /** The mount is gone: what waits is decided after the next. */
  abandon(): void {
    this.#ended = true;
    clearInterval(this.#timer);
    this.#served?.intake.stop();
    this.#served?.decisions.stop();
  }

  /** Resolves when what has come in is taken in, and what fits is granted. */
  async idle(): Promise<void> {
    await this.#served?.intake.idle();
    while (this.#pass !== null) await this.#pass;
  }

  /** Lots were made, changed or removed at these paths. */
  lotsChanged(paths: readonly string[]): void {
    if (this.#requests.line.size === 0) return;
    this.#requests.rehome(paths);
    this.#wake();
  }

  /** Something came in, or may have been given back. */
  wake(): void {
    if (this.#requests.line.size > 0 || this.#served?.decisions.hasUnmoved === true) this.#wake();
  }

  /** Every request in the line, in the order in which they came. */
  list(): WaitingSnapshot[] {
    const { line } = this.#requests;
    return line.all().map((waiting) => ({
      name: waiting.name,
      path: waiting.at,
      bytes: waiting.asked.bytes,
      owner: String(waiting.by.caller.uid),
      lot: waiting.lot,
      position: line.position(waiting),
      missingBytes: waiting.missing?.bytes ?? null,
      askedAtMs: waiting.askedAtMs,
      deadlineMs: waiting.deadlineMs,
    }));
  }

  /** Reserves now, or (`wait`) when the bytes are there. Throws OTHERS_WAIT, and what the host throws. */
  async reserve(path: string, bytes: number, options: ReserveOptions, by: By, wait: Wait | null): Promise<Lot> {
    const { host, allowOvertaking } = this.#parts;
    const { line } = this.#requests;
    if (wait === null && (allowOvertaking || line.size === 0)) return host.reserve(path, bytes, options, by);
    const before = ({ around, isReserved }: Judged) => (allowOvertaking || isReserved ? 0 : line.of(around).length);
    if (wait === null) {
      // What is wrong with it, the host says.
      const judged = await host.judge(path, bytes, options, by).catch(() => null);
      const count = judged === null ? 0 : before(judged);
      if (count === 0) return host.reserve(path, bytes, options, by);
      return this.#journalled(path, by, async () => {
        throw othersWait(path, bytes, count);
      });
    }
    const asked = { path, bytes, options };
    const judged = await this.#journalled(path, by, () => host.judge(path, bytes, options, by));
    const lot = before(judged) > 0 ? null : await this.#journalled(path, by, () => this.#reserveIfThere(asked, by));
    return lot ?? this.#waitFor(asked, judged, by, wait);
  }

  /** null where it is bytes that are missing. */
  async #reserveIfThere({ path, bytes, options }: Asked, by: By): Promise<Lot | null> {
    try {
      return await this.#parts.host.reserveWaited(path, bytes, options, by);
    } catch (error) {
      if (isShort(error)) return null;
      throw error;
    }
  }

  async #journalled<T>(path: string, by: By, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.#parts.host.journalRefusalAt(path, by, error);
      throw error;
    }
  }

  /** Puts the request of a command into the spool, and resolves when it is granted. */
  async #waitFor(asked: Asked, { path: at, around }: Judged, by: By, { waitMs, signal }: Wait): Promise<Lot> {
    const { clock } = this.#parts;
    if (this.#ended) throw new VreserveError('ENDING');
    if (this.#served === null) throw new VreserveError('NOT_SUPPORTED', { reason: 'nothing can wait: the mount has no spool' });
    const { box } = this.#served;
    const owner = { uid: by.caller.uid, gid: by.caller.gid };
    const askedAtMs = clock();
    const deadlineMs = waitMs === null ? null : askedAtMs + waitMs;
    const text = requestText({ ...asked, path: at }, waitMs);
    const name = await box.reserveName(askedAtMs);
    if (this.#ended) {
      await box.giveUp(name);
      throw new VreserveError('ENDING');
    }
    let listener: Listener | null = null;
    const answer = new Promise<Lot>((granted, refused) => {
      listener = { granted, refused };
    });
    // Who has gone may have been told by then.
    answer.catch(() => {});
    const joining = { name, askedAtMs, deadlineMs, asked, text, by, owner, at, ...FRESH, listener };
    const entering = this.#requests.join(joining, around, () => box.put(name, text, owner));
    this.#entering.add(entering);
    const waiting = await entering
      .catch(async (error: unknown) => {
        await box.giveUp(name);
        throw error;
      })
      .finally(() => this.#entering.delete(entering));
    const leave = () => void this.#withdraw(waiting, new VreserveError('WITHDRAWN'));
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    this.#wake();
    return answer.finally(() => signal.removeEventListener('abort', leave));
  }

  async #withdraw(waiting: Waiting, error: VreserveError): Promise<void> {
    try {
      await this.#served?.decisions.withdraw(waiting, error);
    } catch (failure) {
      this.#fail('deciding', failure);
    }
  }

  /** Looks whether a deadline has come, or room has come back by itself. */
  look(): void {
    const { clock, keepMs } = this.#parts;
    if (this.#served === null) return;
    const { box, intake } = this.#served;
    this.#looks += 1;
    const nowMs = clock();
    const isBlind = this.#troubles.has('watching');
    const isTimeToRetry = this.#troubles.has('taking in') && this.#looks % LOOKS_TO_RETRY === 0;
    if (isBlind || isTimeToRetry || this.#isTimeForAll) {
      void intake.inTurn(async () => {
        if (isBlind) {
          await box.attach();
          this.#watch(intake);
        }
        await intake.lookAtAll();
      });
    }
    if (nowMs >= this.#trimAtMs) {
      this.#trimAtMs = nowMs + TRIM_MS;
      void intake.inTurn(() => box.trim(nowMs - keepMs));
    }
    this.wake();
  }

  #watch(intake: Intake): void {
    this.#troubles.delete('watching');
    try {
      intake.watch((error) => this.#fail('watching', error));
    } catch (error) {
      this.#fail('watching', error);
    }
  }

  get #isTimeForAll(): boolean {
    return this.#looks % LOOKS_TO_ALL === 0;
  }

  #wake(): void {
    if (this.#ended || this.#served === null) return;
    if (this.#pass !== null) {
      this.#again = true;
      return;
    }
    const { decisions } = this.#served;
    this.#pass = this.#guarded('deciding', () => decisions.pass(this.#isTimeForAll)).finally(() => {
      this.#pass = null;
      if (this.#again) {
        this.#again = false;
        this.#wake();
      }
    });
  }

  /** What fails is tried again at the next look. */
  async #guarded(what: Work, work: () => Promise<void>): Promise<void> {
    try {
      await work();
      this.#troubles.delete(what);
    } catch (error) {
      this.#fail(what, error);
    }
  }

  #fail(what: Work, error: unknown): void {
    if (this.#ended) return;
    const reason = error instanceof Error ? error.message : String(error);
    if (this.#troubles.get(what) !== reason) this.#parts.log.error({ err: error, what }, 'the line of requests is not served');
    this.#troubles.set(what, reason);
  }
}

function othersWait(path: string, bytes: number, count: number): VreserveError {
  const othersText = count === 1 ? '1 request waits' : `${formatCount(count)} requests wait`;
  return new VreserveError('OTHERS_WAIT', { path, askedBytes: bytes, count, askedText: formatExactBytes(bytes), othersText });
}
