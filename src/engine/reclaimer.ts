// Deletes what lots hold past their policy: on command, or by itself when the pool fills up.

import { asVreserveError, VreserveError } from '../core/errors.js';
import { type LotId, type LotUsage, NO_USAGE } from '../core/lot.js';
import { planReclaim, type ReclaimChoice, reclaimableLots } from '../core/reclaim.js';
import type { By, ReclaimedFile, ReclaimProgress, ReclaimReport } from '../views/host.js';
import type { Keeper } from './keeper.js';
import { filesOf } from './scan.js';

export interface ReclaimerParts {
  keeper: Keeper;
  /** The backing. */
  view: string;
  /** Fractions of the capacity: when to begin by itself (null: never), and where to stop. */
  high: number | null;
  low: number;
}

/** Files that a report lists. */
const MOST_LISTED = 10_000;

/** Files deleted between two commits of the journal. */
const BATCH = 200;

/** How long it leaves the pool alone after it has found too little. */
const REST_MS = 60_000;

/** One run at a time. */
export class Reclaimer {
  readonly #parts: ReclaimerParts;
  #running: Promise<unknown> = Promise.resolve();
  #isRunning = false;
  #restUntilMs = 0;
  #ending = false;

  constructor(parts: ReclaimerParts) {
    this.#parts = parts;
  }

  /** On command. Throws NOT_YOURS, READ_ONLY. `low` null: the mount's. */
  reclaim(apply: boolean, low: number | null, by: By, onProgress: (progress: ReclaimProgress) => void): Promise<ReclaimReport> {
    const { rights, readOnly } = this.#parts.keeper.parts;
    rights.checkKnown(by.caller);
    rights.checkAdministrator(by.caller, 'reclaim');
    rights.checkWhole(by, 'reclaim');
    if (readOnly && apply) throw new VreserveError('READ_ONLY');
    return this.#inTurn(() => this.#run(apply, low ?? this.#parts.low, onProgress));
  }

  /** Looks whether the pool is filled beyond the high watermark; called once a second. */
  watch(): void {
    const { high, low, keeper } = this.#parts;
    const { clock, log } = keeper.parts;
    if (high === null || this.#isRunning || clock() < this.#restUntilMs || this.#fill() < high) return;
    this.#inTurn(() => this.#run(true, low, () => {})).then(
      (report) => {
        log.info({ files: report.files, bytes: report.bytes, fill: report.fillAfter }, 'reclaimed');
        if (report.fillAfter > low) this.#restUntilMs = clock() + REST_MS;
      },
      (error: unknown) => {
        log.error({ err: error }, 'reclaiming failed');
        this.#restUntilMs = clock() + REST_MS;
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

  async #run(apply: boolean, low: number, onProgress: (progress: ReclaimProgress) => void): Promise<ReclaimReport> {
    const { keeper } = this.#parts;
    const fillBefore = this.#fill();
    const { capacityBytes } = keeper.parts.engine.pool();
    const wantedBytes = Math.ceil((fillBefore - low) * capacityBytes);
    const chosen: ReclaimChoice[] = [];
    const done: boolean[] = [];
    const left = new Set<string>();
    let bytes = 0;
    // What is in use is left, and others go in its place.
    while (bytes < wantedBytes && !this.#ending) {
      const more = await this.#choose(wantedBytes - bytes, left, (looked) =>
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
    const fillAfter = apply ? this.#fill() : Math.max(0, fillBefore - bytes / capacityBytes);
    return { applied: apply, fillBefore, fillAfter, low, files, bytes, list };
  }

  /** Only what is measured counts: what somebody reports deletes no file. */
  async #choose(wantedBytes: number, left: ReadonlySet<string>, onLooked: (files: number) => void): Promise<ReclaimChoice[]> {
    const { keeper, view } = this.#parts;
    const { book } = keeper;
    const { clock, engine, rights } = keeper.parts;
    const nowMs = clock();
    const usage = new Map<LotId, LotUsage>(engine.usage().map((row) => [row.id, row]));
    const usageOf = (id: LotId) => usage.get(id) ?? NO_USAGE;
    const files = await filesOf(reclaimableLots(book, usageOf, nowMs), book, view, onLooked);
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

  #fill(): number {
    const { capacityBytes, freeBytes } = this.#parts.keeper.parts.engine.pool();
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
