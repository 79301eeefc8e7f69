// What the control plane does once a second: save usage, watch the promise, trim the journal, mend the ballast.

import { formatExactBytes } from '../core/bytes.js';
import type { Clock } from '../core/clock.js';
import type { Ledger } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import type { Engine } from './engine.js';
import type { Keeper } from './keeper.js';
import type { Pools } from './pools.js';
import type { Reclaimer } from './reclaimer.js';

const BEAT_MS = 1000;
const TRIM_MS = 60_000;

export interface HeartbeatParts {
  engine: Engine;
  ledger: Ledger;
  keeper: Keeper;
  reclaimer: Reclaimer;
  pools: Pick<Pools, 'watch'>;
  clock: Clock;
  log: Log;
  journalKeep: { ageMs: number; bytes: number };
}

/** The beat of one mount. It keeps the process alive until it is stopped. */
export class Heartbeat {
  readonly #parts: HeartbeatParts;
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> = Promise.resolve();
  #idle = true;
  #short = false;
  #ledgerTrouble: string | null = null;
  #trimAtMs: number;

  constructor(parts: HeartbeatParts) {
    this.#parts = parts;
    this.#trimAtMs = parts.clock();
  }

  start(): void {
    this.#timer = setInterval(() => {
      // A beat that outlasts a second (a slow disk) is not joined by the next.
      if (this.#idle) void this.beat();
    }, BEAT_MS);
  }

  /** Resolves when the last beat is over. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#beating;
  }

  /** What is wrong, one sentence each. */
  troubles(): string[] {
    const { engine, ledger, keeper } = this.#parts;
    const troubles: string[] = [];
    const { shortBytes, drift } = engine.pool();
    if (drift > 0) troubles.push('the backing was changed behind the mount: check --repair counts it anew');
    if (shortBytes > 0) troubles.push(`the backing is short of ${formatExactBytes(shortBytes)} that are promised`);
    if (this.#ledgerTrouble !== null) troubles.push(this.#ledgerTrouble);
    else if (ledger.outOfSpace) troubles.push('the disk is full: the space kept for releasing is in use');
    if (keeper.unrepaired > 0) {
      troubles.push(`the last check found ${keeper.unrepaired} lots whose usage is not what was recorded: check --repair`);
    }
    return troubles;
  }

  /** One beat; never rejects. */
  async beat(): Promise<void> {
    this.#idle = false;
    this.#beating = this.#beat().then(
      () => {
        this.#ledgerTrouble = null;
      },
      (error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        if (this.#ledgerTrouble === null) this.#parts.log.error({ err: error }, 'the ledger cannot be kept up');
        this.#ledgerTrouble = reason;
      },
    );
    await this.#beating;
    this.#idle = true;
  }

  async #beat(): Promise<void> {
    const { ledger, keeper, reclaimer, clock } = this.#parts;
    const nowMs = clock();
    reclaimer.watch();
    if (ledger.outOfSpace) ledger.recoverSpace();
    await keeper.usage.save(nowMs);
    await this.#watch();
    await this.#parts.pools.watch();
    if (nowMs >= this.#trimAtMs) {
      this.#trimAtMs = nowMs + TRIM_MS;
      await this.#trim(nowMs);
    }
  }

  async #watch(): Promise<void> {
    const { engine, ledger, keeper, log } = this.#parts;
    const { shortBytes, freeBytes, setAsideBytes } = engine.pool();
    if (shortBytes > 0 === this.#short) return;
    this.#short = shortBytes > 0;
    if (this.#short) log.warn({ shortBytes }, 'the backing is short of what is promised');
    await ledger.saveUsage([], [keeper.event('shortage', null, { shortBytes, freeBytes, setAsideBytes })]);
  }

  async #trim(nowMs: number): Promise<void> {
    const { ledger, journalKeep } = this.#parts;
    const limits = { beforeMs: nowMs - journalKeep.ageMs, keepBytes: journalKeep.bytes };
    while (await ledger.trim(limits)) {
      // A batch a turn: requests are answered in between.
    }
  }
}
