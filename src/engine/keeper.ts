// Keeps lots and data plane in step: commands set aside in the engine first, then commit to the ledger, then acknowledge.

import { checkBytes } from '../core/bytes.js';
import type { Clock } from '../core/clock.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { EventFields, EventName, JournalEvent } from '../core/events.js';
import { DEFAULT_LOT_ID, type Lot, type LotId, reservation, withDedicated } from '../core/lot.js';
import { checkBindable, checkPath, isWithin, joinBelow, longestPrefix } from '../core/paths.js';
import type { Ledger } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import type { By, CheckReport, Commands, Progress } from '../views/host.js';
import { journalDifferences, reportOf } from './check.js';
import type { CountResult, Engine, ResolvedPath } from './engine.js';
import { PathLocks } from './path-locks.js';
import { refused, tooSmall } from './refusals.js';
import type { Rights } from './rights.js';
import { specOf } from './spec.js';
import { UsageLog } from './usage-log.js';
import { usedBytes } from './used.js';

export interface KeeperParts {
  engine: Engine;
  ledger: Ledger;
  rights: Rights;
  clock: Clock;
  log: Log;
  /** Commands are refused with EROFS. */
  readOnly: boolean;
}

/** A path of a command: as the asker wrote it, and as the mount has it. */
interface Place extends ResolvedPath {
  shown: string;
}

/** The lots of one mount. Guarded by the path locks: a command holds its path from the look-up to the acknowledgement. */
export class Keeper implements Commands {
  readonly lots = new Map<LotId, Lot>();
  readonly usage: UsageLog;
  readonly #parts: KeeperParts;
  readonly #byPath = new Map<string, LotId>();
  readonly #locks = new PathLocks();
  #counting: Promise<unknown> = Promise.resolve();
  #ending = false;
  /** Lots that differed in the last check and were not repaired. */
  unrepaired = 0;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
    this.usage = new UsageLog(parts.engine, parts.ledger, this.lots);
  }

  /** Tells the engine, before its mount, what the ledger has. */
  async load(): Promise<void> {
    const { engine, ledger, clock } = this.#parts;
    const { lots, usage } = await ledger.load();
    const saved = new Map(usage.map((row) => [row.id, row]));
    for (const lot of lots) {
      const row = saved.get(lot.id) ?? { id: lot.id, bytes: 0, objects: 0 };
      engine.addLot(specOf(lot, clock()), row.bytes, row.objects);
      this.#remember(lot);
      this.usage.isSaved(row);
      for (const path of lot.paths) engine.bind(path, lot.id);
    }
  }

  async reserve(path: string, bytes: number, by: By): Promise<Lot> {
    checkBytes(bytes);
    return this.#at(path, by, (place) => {
      const lot = this.#boundAt(place.path);
      return lot === undefined ? this.#admit(place, bytes, by) : this.#resize(lot, place, bytes, by);
    });
  }

  async extend(path: string, addBytes: number, by: By): Promise<Lot> {
    checkBytes(addBytes);
    return this.#at(path, by, (place) => {
      const lot = this.#boundAt(place.path);
      if (lot === undefined) throw new VreserveError('NO_SUCH_LOT', { path: place.shown });
      return this.#resize(lot, place, checkBytes(lot.policy.dedicatedBytes + addBytes), by);
    });
  }

  async release(path: string, by: By): Promise<Lot | null> {
    return this.#at(path, by, async (place) => {
      const lot = this.#boundAt(place.path);
      if (lot === undefined) return null;
      this.#parts.rights.checkChange(by.caller, lot, place.shown, this.lots);
      await this.#remove(lot, by);
      return lot;
    });
  }

  async check(repair: boolean, by: By, onProgress: (progress: Progress) => void): Promise<CheckReport> {
    this.#parts.rights.checkKnown(by.caller);
    this.#parts.rights.checkAdministrator(by.caller, 'check the whole mount');
    return this.verify(repair, onProgress);
  }

  /** Counts the live mount and compares, one count at a time; differences are journalled and, with `repair`, corrected. */
  async verify(repair: boolean, onProgress: (progress: Progress) => void): Promise<CheckReport> {
    const { engine, ledger, clock } = this.#parts;
    const count = this.#counting.catch(() => {}).then(() => engine.count(repair, onProgress));
    this.#counting = count;
    const result: CountResult = await count;
    const report = reportOf(result, this.lots, repair);
    const events = journalDifferences(result, this.lots, clock(), repair);
    this.unrepaired = repair ? 0 : report.differences;
    if (events.length > 0) await ledger.saveUsage([], events);
    return report;
  }

  /** From now on commands are refused. */
  refuse(): void {
    this.#ending = true;
  }

  /** Resolves when no command is under way. */
  idle(): Promise<void> {
    return this.#locks.idle();
  }

  /** Resolves when no command and no count is under way. */
  async settled(): Promise<void> {
    await this.idle();
    await this.#counting.catch(() => {});
  }

  event(event: EventName, lotId: LotId | null, fields: EventFields): JournalEvent {
    return { atMs: this.#parts.clock(), event, lotId, fields };
  }

  /** Runs a command on a path, with the path's lock; a refusal becomes a line of the journal. */
  async #at<T>(path: string, by: By, command: (place: Place) => Promise<T>): Promise<T> {
    if (this.#parts.readOnly) throw new VreserveError('READ_ONLY');
    if (this.#ending) throw new VreserveError('ENDING');
    const place = this.#place(path, by);
    return this.#locks.run(place.path, async () => {
      try {
        this.#parts.rights.checkKnown(by.caller);
        return await command(place);
      } catch (error) {
        await this.#journalRefusal(place, by, asVreserveError(error));
        throw error;
      }
    });
  }

  /** Where a path of a command is in the mount. Throws BAD_PATH, PATH_TOO_LONG, NO_SUCH_LOT (the scope is gone) or SYSTEM. */
  #place(path: string, by: By): Place {
    const shown = checkPath(path);
    const directory = this.#scopeDirectory(by);
    const resolved = this.#parts.engine.resolve(checkPath(joinBelow(directory, shown)));
    // A symlink below the scope may lead out of it.
    if (!isWithin(resolved.path, directory)) {
      throw new VreserveError('BAD_PATH', { path: shown, reason: 'it leads outside the lot whose .vreserve was asked' });
    }
    if (directory !== '/' && resolved.path === directory) {
      throw new VreserveError('BAD_PATH', { path: shown, reason: 'a lot is not changed through its own .vreserve' });
    }
    checkBindable(resolved.path);
    return { ...resolved, shown };
  }

  #scopeDirectory(by: By): string {
    if (by.scope === DEFAULT_LOT_ID) return '/';
    const directory = this.lots.get(by.scope)?.paths[0];
    if (directory === undefined) throw new VreserveError('NO_SUCH_LOT', { path: '/' });
    return directory;
  }

  async #admit(place: Place, bytes: number, by: By): Promise<Lot> {
    const { engine, ledger, rights, clock } = this.#parts;
    const around = this.#around(place.path);
    await rights.checkReserve(by.caller, place.shown, around, this.lots, () => engine.access(place.directory, by.caller));
    const parents = around.id === DEFAULT_LOT_ID ? [] : [around.id];
    const id = await ledger.newLotId();
    const lot = reservation(id, place.path, bytes, rights.ownerFor(by.caller), parents, clock());
    const admission = await engine.admit(specOf(lot, clock()), place.path);
    if (!admission.granted) throw refused(admission, place.shown, bytes);
    const event = this.event('grant', id, {
      lot: lot.name,
      path: place.path,
      bytes,
      ...actor(by),
      parent: parents.length === 0 ? undefined : around.name,
    });
    try {
      await ledger.addLot(lot, admission.usage, event);
    } catch (error) {
      await engine.release(id);
      this.usage.forget(id);
      throw error;
    }
    this.#remember(lot);
    this.usage.isSaved(admission.usage);
    return lot;
  }

  async #resize(lot: Lot, place: Place, bytes: number, by: By): Promise<Lot> {
    this.#parts.rights.checkChange(by.caller, lot, place.shown, this.lots);
    const changed = withDedicated(lot, bytes);
    const previousBytes = lot.policy.dedicatedBytes;
    const event = this.event('extension', lot.id, { lot: lot.name, path: place.path, bytes, previousBytes, ...actor(by) });
    if (bytes >= previousBytes) await this.#grow(lot, changed, event, place.shown);
    else await this.#shrink(lot, changed, event, place.shown);
    this.#remember(changed);
    return changed;
  }

  async #grow(lot: Lot, changed: Lot, event: JournalEvent, shown: string): Promise<void> {
    const { engine, ledger, clock } = this.#parts;
    const bytes = changed.policy.dedicatedBytes;
    const admission = engine.setLot(specOf(changed, clock()));
    if (!admission.granted) throw refused(admission, shown, bytes);
    try {
      await ledger.updateLot(changed, event);
    } catch (error) {
      const undone = engine.setLot(specOf(lot, clock()));
      // What was written meanwhile stays; the ledger's grant is the smaller one, as it is after a crash.
      if (!undone.granted) this.#parts.log.warn({ lot: lot.name, undone }, 'a grant that was not recorded is in use');
      throw error;
    }
  }

  /** A shrinking gives bytes back, so it commits first: after a crash nobody else can have been promised them. */
  async #shrink(lot: Lot, changed: Lot, event: JournalEvent, shown: string): Promise<void> {
    const { engine, ledger, clock } = this.#parts;
    const bytes = changed.policy.dedicatedBytes;
    const heldBytes = usedBytes(lot.id, this.lots, engine.usage());
    if (heldBytes > bytes && lot.policy.opportunisticBytes === 0) throw tooSmall(shown, bytes, heldBytes);
    await ledger.updateLot(changed, event);
    const admission = engine.setLot(specOf(changed, clock()));
    if (admission.granted) return;
    // It was written to in between: the engine has the last word, and the ledger follows.
    const fields = { ...event.fields, bytes: lot.policy.dedicatedBytes, previousBytes: bytes };
    await ledger.updateLot(lot, this.event('extension', lot.id, fields));
    throw tooSmall(shown, bytes, usedBytes(lot.id, this.lots, engine.usage()));
  }

  async #remove(lot: Lot, by: By): Promise<void> {
    const { engine, ledger } = this.#parts;
    const own = engine.usage().find(({ id }) => id === lot.id);
    const held = { usedBytes: own?.bytes ?? 0, objects: own?.objects ?? 0 };
    const bytes = lot.policy.dedicatedBytes;
    await ledger.removeLot(
      lot.id,
      this.event('release', lot.id, { lot: lot.name, path: lot.paths[0], bytes, ...held, ...actor(by) }),
    );
    try {
      await engine.release(lot.id);
    } catch (error) {
      const usage = { id: lot.id, bytes: held.usedBytes, objects: held.objects };
      const event = this.event('grant', lot.id, { lot: lot.name, path: lot.paths[0], bytes, owner: lot.owner, restored: true });
      await ledger.addLot(lot, usage, event);
      throw error;
    }
    this.#forget(lot);
  }

  #remember(lot: Lot): void {
    this.lots.set(lot.id, lot);
    for (const path of lot.paths) this.#byPath.set(path, lot.id);
  }

  /** Lots below it become children of its parents, as in the engine and in the ledger. */
  #forget(lot: Lot): void {
    this.lots.delete(lot.id);
    for (const path of lot.paths) this.#byPath.delete(path);
    this.usage.forget(lot.id);
    for (const below of this.lots.values()) {
      if (!below.parents.includes(lot.id)) continue;
      const parents = new Set([...below.parents.filter((id) => id !== lot.id), ...lot.parents]);
      this.lots.set(below.id, { ...below, parents: [...parents] });
    }
  }

  #boundAt(path: string): Lot | undefined {
    const id = this.#byPath.get(path);
    return id === undefined ? undefined : this.lots.get(id);
  }

  /** The lot that a path lies in. */
  #around(path: string): Lot {
    const bound = longestPrefix(path, (prefix) => this.#byPath.has(prefix));
    const lot = bound === null ? this.lots.get(DEFAULT_LOT_ID) : this.#boundAt(bound);
    if (lot === undefined) throw new Error('the default lot is missing');
    return lot;
  }

  async #journalRefusal(place: Place, by: By, error: VreserveError): Promise<void> {
    const { ledger, log } = this.#parts;
    const numbers = Object.entries(error.details).filter(([, value]) => typeof value === 'number');
    const fields = { path: place.path, code: error.code, errno: error.errno, ...Object.fromEntries(numbers), ...actor(by) };
    try {
      await ledger.saveUsage([], [this.event('refusal', this.#around(place.path).id, fields)]);
    } catch (failure) {
      log.error({ err: failure }, 'a refusal could not be journalled');
    }
  }
}

function actor({ caller }: By): EventFields {
  return { owner: String(caller.uid), pid: caller.pid };
}
