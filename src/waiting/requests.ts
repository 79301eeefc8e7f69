// The requests that wait, in their order and by name, together with their record in the ledger.

import { VreserveError } from '../core/errors.js';
import { Line } from '../core/line.js';
import type { LotId } from '../core/lot.js';
import { isWithin } from '../core/paths.js';
import type { LineHost, LineRecord } from './host.js';
import { recordOf, type Waiting } from './waiting.js';

/** A request that is not in the line yet. */
export type Joining = Omit<Waiting, 'seq' | 'lot'>;

export class Requests {
  readonly line = new Line<Waiting>();
  readonly #byName = new Map<string, Waiting>();
  /** Names that are on their way into the line. */
  readonly #joining = new Set<string>();
  /** That no pass has looked at. */
  #fresh = new Set<Waiting>();
  readonly #host: LineHost;
  readonly #record: LineRecord;

  constructor(host: LineHost, record: LineRecord) {
    this.#host = host;
    this.#record = record;
  }

  /** Until its entry is where it belongs: waiting, or decided. */
  named(name: string): Waiting | undefined {
    return this.#byName.get(name);
  }

  isJoining(name: string): boolean {
    return this.#joining.has(name);
  }

  isWaiting(waiting: Waiting): boolean {
    return this.line.get(waiting.seq) === waiting;
  }

  /** One of the ledger's. */
  resume(waiting: Waiting, isDecided: boolean): void {
    this.#byName.set(waiting.name, waiting);
    if (!isDecided) this.line.add(waiting);
  }

  /** Tells those that have joined since the last time. */
  takeFresh(): (waiting: Waiting) => boolean {
    const fresh = this.#fresh;
    this.#fresh = new Set();
    return (waiting) => fresh.has(waiting);
  }

  /** Lots changed at these paths: whoever waits below is in the line of the lot that is around its path now. */
  rehome(paths: readonly string[]): void {
    const affected = this.line.filter(({ at }) => paths.some((path) => isWithin(at, path)));
    for (const waiting of affected) {
      const lot = this.#host.around(waiting.at);
      if (lot === waiting.lot) continue;
      waiting.isMoved = true;
      this.line.move(waiting, lot);
    }
  }

  /** Records a request; it takes its place when `put` has been done, else nothing is left of it. */
  async join(joining: Joining, around: LotId, put: () => Promise<void>): Promise<Waiting> {
    const { name, at, asked, by, deadlineMs } = joining;
    const until = deadlineMs === null ? undefined : new Date(deadlineMs).toISOString();
    const fields = { request: name, path: at, bytes: asked.bytes, until, ...this.#host.actor(by) };
    this.#joining.add(name);
    try {
      const seq = await this.#record.joinLine(recordOf(joining), [this.#host.event('waiting', around, fields)]);
      const waiting: Waiting = { ...joining, seq, lot: this.#host.around(at) };
      try {
        await put();
      } catch (error) {
        await this.leave(waiting);
        throw error;
      }
      this.#byName.set(name, waiting);
      this.line.add(waiting);
      this.#fresh.add(waiting);
      return waiting;
    } finally {
      this.#joining.delete(name);
    }
  }

  /** It is not wanted any more. */
  async leave(waiting: Waiting): Promise<void> {
    const { name, at, by, lot, seq, listener } = waiting;
    this.forget(waiting);
    listener?.refused(new VreserveError('WITHDRAWN'));
    const fields = { request: name, path: at, ...this.#host.actor(by) };
    await this.#record.leaveLine(seq, [this.#host.event('withdrawal', lot, fields)]);
  }

  /** Its entry is where it belongs, and the record may go. */
  async end(waiting: Waiting): Promise<void> {
    await this.#record.leaveLine(waiting.seq, []);
    this.forget(waiting);
  }

  forget(waiting: Waiting): void {
    this.line.remove(waiting);
    if (this.#byName.get(waiting.name) === waiting) this.#byName.delete(waiting.name);
  }
}
