// Deletes what lots hold past their policy: on command, or by itself when a pool fills up, each by itself.

import { asVreserveError, VreserveError } from '../core/errors.js';
import { type LotId, type LotUsage, NO_USAGE } from '../core/lot.js';
import { MAIN_POOL_NAME, type PoolId } from '../core/pool.js';
import { planReclaim, type ReclaimChoice, reclaimableLots } from '../core/reclaim.js';
import type { By, ReclaimedFile, ReclaimProgress, ReclaimReport, ReclaimRequest } from '../views/host.js';
import { MAIN_POOL } from './engine.js';
import type { Keeper } from './keeper.js';
import type { Pools } from './pools.js';
import { filesOf } from './scan.js';

export interface ReclaimerParts {
  keeper: Keeper;
  pools: Pick<Pools, 'locate' | 'served' | 'servedNamed' | 'nameOf'>;
  /** Fractions of the capacity: when to begin by itself (null: never), and where to stop. */
  high: number | null;
  low: number;
}

/** Files that a report lists. */
const MOST_LISTED = 10_000;

/** Files deleted between two commits of the journal. */
const BATCH = 200;

/** How long it leaves a pool alone after it has found too little. */
const REST_MS = 60_000;

/** One run at a time. */
export class Reclaimer {
  readonly #parts: ReclaimerParts;
  #running: Promise<unknown> = Promise.resolve();
  #isRunning = false;
  /** Pools that are left alone, and until when. */
  readonly #restUntilMs = new Map<PoolId, number>();
  #ending = false;

  constructor(parts: ReclaimerParts) {
    this.#parts = parts;
  }

  /** On command. Throws NOT_YOURS, READ_ONLY, NO_POOL, POOL_FAILED. `low` null: the mount's; `pool` null: the main one. */
  reclaim({ apply, low, pool }: ReclaimRequest, by: By, onProgress: (progress: ReclaimProgress) => void): Promise<ReclaimReport> {
    const { rights, readOnly } = this.#parts.keeper.parts;
    rights.checkKnown(by.caller);
    rights.checkAdministrator(by.caller, 'reclaim');
    rights.checkWhole(by, 'reclaim');
    if (readOnly && apply) throw new VreserveError('READ_ONLY');
    const id = this.#parts.pools.servedNamed(pool ?? MAIN_POOL_NAME);
    return this.#inTurn(() => this.#run(id, apply, low ?? this.#parts.low, onProgress));
  }

  /** Looks whether a pool is filled beyond the high watermark; called once a second. */
  watch(): void {
    const { high, low, keeper, pools } = this.#parts;
    const { clock, log } = keeper.parts;
    if (high === null || this.#isRunning) return;
    const isFull = (id: PoolId) => clock() >= (this.#restUntilMs.get(id) ?? 0) && this.#fill(id) >= high;
    const id = pools.served().find(isFull);
    if (id === undefined) return;
    const rest = () => this.#restUntilMs.set(id, clock() + REST_MS);
    this.#inTurn(() => this.#run(id, true, low, () => {})).then(
      ({ pool, files, bytes, fillAfter }) => {
        log.info({ pool, files, bytes, fill: fillAfter }, 'reclaimed');
        if (fillAfter > low) rest();
      },
      (error: unknown) => {
        log.error({ err: error, pool: pools.nameOf(id) }, 'reclaiming failed');
        rest();
      },
    );
  }

  /** Stops after the file that is under way. */
  async stop(): Promise<void> {
    this.#ending = true;
    await this.#running.catch(() => {});
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#running
      .catch(() => {})
      .then(async () => {
        this.#isRunning = true;
        try {
          return await run();
        } finally {
          this.#isRunning = false;
        }
      });
    this.#running = next;
    return next;
  }

  async #run(pool: PoolId, apply: boolean, low: number, onProgress: (progress: ReclaimProgress) => void): Promise<ReclaimReport> {
    const { keeper } = this.#parts;
    const fillBefore = this.#fill(pool);
    const { capacityBytes } = keeper.parts.engine.pool(pool);
    const wantedBytes = Math.ceil((fillBefore - low) * capacityBytes);
    const chosen: ReclaimChoice[] = [];
    const done: boolean[] = [];
    const left = new Set<string>();
    let bytes = 0;
    // What is in use is left, and others go in its place.
    while (bytes < wantedBytes && !this.#ending) {
      const more = await this.#choose(pool, wantedBytes - bytes, left, (looked) =>
        onProgress({ looked, files: chosen.length, ofFiles: 0, bytes, ofBytes: 0 }),
      );
      if (more.length === 0) break;
      const before = chosen.length;
      chosen.push(...more);
      if (!apply) {
        bytes = sum(more);
        break;
      }
      const ofBytes = bytes + sum(more);
      const gone = await this.#delete(more, (files, doneBytes) => {
        onProgress({ looked: 0, files: before + files, ofFiles: chosen.length, bytes: bytes + doneBytes, ofBytes });
      });
      done.push(...gone);
      bytes += sum(more.filter((_, i) => gone[i] === true));
      for (const file of more.filter((_, i) => gone[i] !== true)) left.add(file.path);
    }
    const list = chosen.slice(0, MOST_LISTED).map((choice, i) => this.#listed(choice, done[i] === true));
    const files = chosen.length - left.size;
    const fillAfter = apply ? this.#fill(pool) : Math.max(0, fillBefore - bytes / capacityBytes);
    return { pool: this.#parts.pools.nameOf(pool), applied: apply, fillBefore, fillAfter, low, files, bytes, list };
  }

  /** Only what is measured counts: what somebody reports deletes no file. */
  async #choose(
    pool: PoolId,
    wantedBytes: number,
    left: ReadonlySet<string>,
    onLooked: (files: number) => void,
  ): Promise<ReclaimChoice[]> {
    const { keeper, pools } = this.#parts;
    const { book } = keeper;
    const { clock, engine, rights } = keeper.parts;
    const nowMs = clock();
    const usage = new Map<LotId, LotUsage>(engine.usage().map((row) => [row.id, row]));
    const usageOf = (id: LotId) => usage.get(id) ?? NO_USAGE;
    const lots = [...reclaimableLots(book, usageOf, nowMs)].filter((id) => (book.must(id).pool ?? MAIN_POOL) === pool);
    const files = await filesOf(new Set(lots), book, (path) => pools.locate(path), onLooked);
    const others = files.filter(({ path }) => !left.has(path));
    return planReclaim(book, usageOf, others, wantedBytes, nowMs, (lot, { uid, directoryUid }) =>
      rights.mayTake(lot, [uid, directoryUid]),
    );
  }

  /** For each file whether it is gone. One that is in use, or is another one by now, is left. */
  async #delete(chosen: readonly ReclaimChoice[], onDone: (files: number, bytes: number) => void): Promise<boolean[]> {
    const { keeper } = this.#parts;
    const { engine, ledger } = keeper.parts;
    const done: boolean[] = [];
    let doneBytes = 0;
    for (let at = 0; at < chosen.length && !this.#ending; at += BATCH) {
      const batch = chosen.slice(at, at + BATCH);
      const deleted: ReclaimChoice[] = [];
      for (const choice of batch) {
        const gone = !this.#ending && (await engine.unlink(choice.path, choice.inode, choice.lot).then(() => true, leftAlone));
        done.push(gone);
        doneBytes += choice.bytes;
        if (gone) deleted.push(choice);
        onDone(done.length, doneBytes);
      }
      const lines = deleted.map(({ path, lot, bytes, past, accessedAtMs }) =>
        keeper.event('reclaim', lot, {
          lot: keeper.book.get(lot)?.name ?? '',
          path,
          bytes,
          past,
          accessedAtMs: Math.floor(accessedAtMs),
        }),
      );
      if (lines.length > 0) await ledger.saveUsage([], lines);
    }
    return done;
  }

  #listed({ path, lot, past, bytes, accessedAtMs }: ReclaimChoice, deleted: boolean): ReclaimedFile {
    const name = this.#parts.keeper.book.get(lot)?.name ?? String(lot);
    return { path, lot: name, past, bytes, accessedAtMs: Math.floor(accessedAtMs), deleted };
  }

  #fill(pool: PoolId): number {
    const { capacityBytes, freeBytes } = this.#parts.keeper.parts.engine.pool(pool);
    return capacityBytes === 0 ? 0 : (capacityBytes - freeBytes) / capacityBytes;
  }
}

function sum(files: readonly ReclaimChoice[]): number {
  return files.reduce((total, { bytes }) => total + bytes, 0);
}

/** What the engine says of a file that must not go now; anything else is an error. */
function leftAlone(error: unknown): false {
  if (['ENOENT', 'EBUSY', 'EPERM', 'EISDIR', 'ENOTDIR'].includes(asVreserveError(error).errno)) return false;
  throw error;
}
