// The commands on one mount: each takes its locks, is judged by the rights, and is made in both planes or not at all.

import { LotBook, type LotChange } from '../core/book.js';
import { checkBytes, formatExactBytes } from '../core/bytes.js';
import { refuseInKernelSpace, refuseSpace, releaseLot } from '../core/change.js';
import type { Clock } from '../core/clock.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { EventFields, EventName, JournalEvent } from '../core/events.js';
import {
  addUsage,
  DEFAULT_LOT_ID,
  grantBytes,
  inPoolOf,
  isReservation,
  type Lot,
  type LotId,
  type LotUsage,
  NO_POLICY,
  NO_USAGE,
  ownPath,
  type Policy,
  recursivePath,
  UNLIMITED,
} from '../core/lot.js';
import { LotsSeen } from '../core/lots-seen.js';
import { phasesOf } from '../core/phase.js';
import type { Claim, WaitingRow } from '../core/waiting.js';
import type { Ledger, ReportedUsage } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import type { By, CheckReport, Commands, Progress, ReserveOptions } from '../views/host.js';
import { Changer, type Making } from './changer.js';
import { journalDifferences, reportOf } from './check.js';
import { type CountResult, type Engine, MAIN_POOL } from './engine.js';
import { PathLocks } from './path-locks.js';
import { Phases } from './phases.js';
import { type Place, Places } from './places.js';
import { noMore, policyFields, policyOf } from './policies.js';
import { mustHold } from './promises.js';
import { RefusalRate } from './refusal-rate.js';
import { noReservation, ownScope, type Refusal, refused } from './refusals.js';
import type { Rights } from './rights.js';
import { bindingsOf, specIn } from './spec.js';
import { UsageLog } from './usage-log.js';

export interface KeeperParts {
  engine: Engine;
  ledger: Ledger;
  rights: Rights;
  clock: Clock;
  log: Log;
  /** Commands are refused with EROFS. */
  readOnly: boolean;
}

/** Where a request for a path stands. */
export interface Judged {
  /** In the mount. */
  path: string;
  around: LotId;
  isReserved: boolean;
}

/** The lots of one mount. A command holds its path (or all) from the look-up to the acknowledgement. */
export class Keeper implements Pick<Commands, 'extend' | 'release' | 'check'> {
  readonly book = new LotBook();
  readonly usage: UsageLog;
  readonly phases: Phases;
  readonly places: Places;
  readonly parts: KeeperParts;
  readonly #changer: Changer;
  readonly #locks = new PathLocks();
  readonly #reported = new Map<LotId, LotUsage>();
  readonly #refusals = new RefusalRate();
  /** Told of the paths of lots that were made, changed or removed. */
  onMade: (paths: readonly string[]) => void = () => {};
  #counting: Promise<unknown> = Promise.resolve();
  #ending = false;
  /** Lots that differed in the last check and were not repaired. */
  unrepaired = 0;

  constructor(parts: KeeperParts) {
    const { engine, ledger, clock, log } = parts;
    this.parts = parts;
    this.places = new Places(engine, this.book, parts.rights);
    this.usage = new UsageLog(engine, ledger, this.book);
    this.phases = new Phases({ engine, ledger, book: this.book, clock, log });
    this.#changer = new Changer({ engine, ledger, book: this.book, usage: this.usage, phases: this.phases, clock, log });
  }

  /** Tells the engine, before its mount, what the ledger has; returns the requests that wait. */
  async load(): Promise<WaitingRow[]> {
    const { engine, ledger, clock } = this.parts;
    const { lots, usage, reported, waiting, lastLineAtMs } = await ledger.load();
    const saved = new Map(usage.map((row) => [row.id, row]));
    this.book.apply({ put: lots, remove: [] });
    const nowMs = clock();
    for (const [lot, phase] of phasesOf(lots, nowMs)) {
      const row = saved.get(lot.id) ?? { id: lot.id, bytes: 0, objects: 0 };
      engine.addLot(specIn(phase, lot), row.bytes, row.objects);
      this.usage.isSaved(row);
      for (const binding of bindingsOf(lot)) engine.bind(binding);
    }
    for (const row of reported) this.#reported.set(row.id, row.usage);
    this.phases.resume(lots, lastLineAtMs ?? nowMs);
    return waiting;
  }

  async reserve(path: string, bytes: number, options: ReserveOptions, by: By): Promise<Lot> {
    checkBytes(bytes);
    return this.#at(path, by, (place) => this.#judged(place, by, () => this.#reserve(place, bytes, options, by)));
  }

  /** `reserve` for a request that waits: a refusal is its own to tell. */
  async reserveWaited(path: string, bytes: number, options: ReserveOptions, by: By, claim?: Claim): Promise<Lot> {
    return this.#at(path, by, (place) => this.#reserve(place, bytes, options, by, claim));
  }

  /**
   * Throws what `reserve` would, but for lack of bytes now; where there can never be enough, NEVER_FITS. Returns where the path
   * is in the mount, the lot around it, and whether it is reserved already.
   */
  async judge(path: string, bytes: number, options: ReserveOptions, by: By): Promise<Judged> {
    const { rights, clock } = this.parts;
    this.#refuseWhere();
    checkBytes(bytes);
    const place = this.places.place(path, by);
    rights.checkKnown(by.caller);
    const lot = this.#ownedAt(place, by);
    if (lot === undefined) await this.places.checkReserve(place, by);
    else rights.checkChange(by.caller, lot, `the reservation of ${place.shown}`, this.book);
    if (options.owner !== undefined) rights.ownerNamed(options.owner, by.caller);
    policyOf(options, clock());
    const around = this.places.around(place.path);
    this.#checkEverFits(place, bytes, around, by);
    return { path: place.path, around, isReserved: lot !== undefined };
  }

  #checkEverFits({ shown }: Place, bytes: number, around: LotId, by: By): void {
    const { capacityBytes, marginBytes } = this.parts.engine.pool(this.book.get(around)?.pool ?? MAIN_POOL);
    let most = capacityBytes - marginBytes;
    let where = 'the pool';
    const seen = this.#seenBy(by);
    for (const lot of this.book.withAncestors(around)) {
      const grant = lot.id === DEFAULT_LOT_ID ? UNLIMITED : grantBytes(lot.policy);
      if (grant === UNLIMITED || grant >= most) continue;
      most = grant;
      const name = seen.namesOf([lot.id])[0];
      where = name === undefined ? 'a lot above' : `lot '${name}'`;
    }
    if (bytes <= most) return;
    const texts = { askedText: formatExactBytes(bytes), mostText: formatExactBytes(most), where };
    throw new VreserveError('NEVER_FITS', { path: shown, askedBytes: bytes, mostBytes: most, ...texts });
  }

  async extend(path: string, addBytes: number, by: By): Promise<Lot> {
    checkBytes(addBytes);
    const extend = async (place: Place) => {
      const lot = this.#ownedAt(place, by);
      if (lot === undefined) throw noReservation(place.shown);
      return this.#resize(lot, place, { dedicatedBytes: checkBytes(lot.policy.dedicatedBytes + addBytes) }, {}, by);
    };
    return this.#at(path, by, (place) => this.#judged(place, by, () => extend(place)));
  }

  /** Sets the dedicated bytes of a lot with one path. Throws NO_SPACE, BELOW_USE, BELOW_CHILDREN, and what `reserve` does. */
  resize(id: LotId, dedicatedBytes: number, by: By): Promise<Lot> {
    return this.alone(async () => {
      const lot = this.book.must(id);
      const path = ownPath(lot) ?? lot.name;
      try {
        return await this.#resize(lot, { path, shown: lot.name }, { dedicatedBytes }, {}, by);
      } catch (error) {
        await this.journalRefusal(id, { path }, by, asVreserveError(error));
        throw error;
      }
    });
  }

  async release(path: string, by: By): Promise<Lot | null> {
    const release = async (place: Place): Promise<Lot | null> => {
      const lot = this.#ownedAt(place, by);
      if (lot === undefined) return null;
      this.parts.rights.checkChange(by.caller, lot, `the reservation of ${place.shown}`, this.book);
      if (!isReservation(lot)) {
        const reason = `${place.shown} is a path of lot '${lot.name}', which is no reservation: vreserve lot remove`;
        throw new VreserveError('NOT_SUPPORTED', { reason });
      }
      await this.#remove(lot, by);
      return lot;
    };
    // Lots below it change too, and those that do not lie below its path are held by nobody.
    const around = async (place: Place) => (this.#hasChildren(place) ? null : { released: await release(place) });
    const done = await this.#at(path, by, (place) => this.#judged(place, by, () => around(place)));
    if (done !== null) return done.released;
    return this.alone(() => {
      const place = this.places.place(path, by);
      return this.#judged(place, by, () => release(place));
    });
  }

  async check(repair: boolean, by: By, onProgress: (progress: Progress) => void): Promise<CheckReport> {
    this.parts.rights.checkKnown(by.caller);
    this.parts.rights.checkAdministrator(by.caller, 'check the whole mount');
    this.parts.rights.checkWhole(by, 'check');
    return this.verify(repair, onProgress);
  }

  /** Counts the live mount and compares, one count at a time; differences are journalled and, with `repair`, corrected. */
  async verify(repair: boolean, onProgress: (progress: Progress) => void): Promise<CheckReport> {
    const { engine, ledger, clock } = this.parts;
    const count = this.#counting.catch(() => {}).then(() => engine.count(repair, onProgress));
    this.#counting = count;
    const result: CountResult = await count;
    const report = reportOf(result, this.book, repair);
    const events = journalDifferences(result, this.book, clock(), repair);
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

  /** Who asked, for the journal. */
  actor({ caller }: By): EventFields {
    return { owner: String(caller.uid), pid: caller.pid };
  }

  event(event: EventName, lotId: LotId | null, fields: EventFields): JournalEvent {
    return { atMs: this.parts.clock(), event, lotId, fields };
  }

  /** What the lot's own files hold, and what was reported for its foreign paths. */
  readonly usageOf = (id: LotId): LotUsage => {
    const measured = this.parts.engine.usageOf(id) ?? NO_USAGE;
    const reported = this.#reported.get(id);
    return reported === undefined ? measured : addUsage(measured, reported);
  };

  /** Of every lot, at one moment. */
  allUsage(): Map<LotId, LotUsage> {
    const all = new Map<LotId, LotUsage>(this.parts.engine.usage().map((row) => [row.id, row]));
    for (const [id, reported] of this.#reported) all.set(id, addUsage(all.get(id) ?? NO_USAGE, reported));
    return all;
  }

  reportedOf(id: LotId): LotUsage | undefined {
    return this.#reported.get(id);
  }

  /** Runs a command alone. Throws READ_ONLY, ENDING. */
  alone<T>(command: () => Promise<T>): Promise<T> {
    this.#refuseWhere();
    return this.#locks.alone(command);
  }

  /** Records what was reported of foreign paths; the caller holds all lots. */
  async saveReported(reported: readonly ReportedUsage[], lines: readonly JournalEvent[]): Promise<void> {
    await this.parts.ledger.saveReported(reported, lines);
    for (const { id, usage } of reported) this.#reported.set(id, usage);
  }

  /** Makes a change of lots; the caller holds their locks. */
  async make(change: LotChange, making: Making): Promise<void> {
    const before = [...change.remove, ...change.put.map(({ id }) => id)].flatMap((id) => this.book.get(id)?.paths ?? []);
    await this.#changer.make(change, making);
    for (const id of change.remove) this.#reported.delete(id);
    this.onMade([...before, ...change.put.flatMap(({ paths }) => paths)].map(({ path }) => path));
  }

  /** Of a command on a path; one that is no path in the mount is no line, either. */
  async journalRefusalAt(path: string, by: By, error: unknown): Promise<void> {
    let place: Place;
    try {
      place = this.places.place(path, by);
    } catch {
      return;
    }
    await this.#journalRefusalAt(place, by, error);
  }

  async journalRefusal(lotId: LotId, fields: EventFields, by: By, error: VreserveError): Promise<void> {
    const { ledger, log, rights, clock } = this.parts;
    const unsaid = rights.isAdministrator(by.caller) ? 0 : this.#refusals.next(by.caller.uid, clock());
    if (unsaid === null) return;
    const numbers = Object.entries(error.details).filter(([, value]) => typeof value === 'number');
    const line = {
      ...fields,
      code: error.code,
      errno: error.errno,
      ...Object.fromEntries(numbers),
      ...this.actor(by),
      unsaid: unsaid || undefined,
    };
    try {
      await ledger.saveUsage([], [this.event('refusal', lotId, line)]);
    } catch (failure) {
      log.error({ err: failure }, 'a refusal could not be journalled');
    }
  }

  /** Runs a command on a path, with the path's lock. */
  async #at<T>(path: string, by: By, command: (place: Place) => Promise<T>): Promise<T> {
    this.#refuseWhere();
    const place = this.places.place(path, by);
    return this.#locks.run(place.path, () => command(place));
  }

  /** A refusal becomes a line of the journal. */
  async #judged<T>(place: Place, by: By, command: () => Promise<T>): Promise<T> {
    try {
      this.parts.rights.checkKnown(by.caller);
      return await command();
    } catch (error) {
      await this.#journalRefusalAt(place, by, error);
      throw error;
    }
  }

  #journalRefusalAt({ path }: Place, by: By, error: unknown): Promise<void> {
    return this.journalRefusal(this.book.ownerOf(path, true), { path }, by, asVreserveError(error));
  }

  #refuseWhere(): void {
    if (this.parts.readOnly) throw new VreserveError('READ_ONLY');
    if (this.#ending) throw new VreserveError('ENDING');
  }

  /** The lot whose path this is; undefined where none is. Throws PATH_TAKEN where it is an exclusion, LOT_IS_SPACE. */
  #ownedAt(place: Place, by: By): Lot | undefined {
    const bound = this.book.at(place.path);
    if (bound === undefined) return undefined;
    const lot = this.book.must(bound.lot);
    if (lot.id === by.scope && by.scope !== DEFAULT_LOT_ID) throw ownScope(place.shown);
    if (bound.exclude) throw new VreserveError('PATH_TAKEN', { path: place.shown, lot: lot.name });
    refuseSpace(this.book, lot);
    return lot;
  }

  #hasChildren(place: Place): boolean {
    const bound = this.book.at(place.path);
    return bound !== undefined && this.book.children(bound.lot).size > 0;
  }

  async #reserve(place: Place, bytes: number, options: ReserveOptions, by: By, claim?: Claim): Promise<Lot> {
    const lot = this.#ownedAt(place, by);
    const policy: Partial<Policy> = { ...policyOf(options, this.parts.clock()), dedicatedBytes: bytes };
    return lot === undefined
      ? this.#admit(place, policy, options, by, claim)
      : this.#resize(lot, place, policy, options, by, claim);
  }

  async #admit(place: Place, policy: Partial<Policy>, options: ReserveOptions, by: By, claim?: Claim): Promise<Lot> {
    const { ledger, rights, clock } = this.parts;
    await this.places.checkReserve(place, by);
    const around = this.places.around(place.path);
    const owner = options.owner === undefined ? rights.ownerFor(by.caller) : rights.ownerNamed(options.owner, by.caller);
    const lot: Lot = {
      id: await ledger.newLotId(),
      name: place.path,
      ...owner,
      selfParent: true,
      parents: around === DEFAULT_LOT_ID ? [] : [around],
      paths: [recursivePath(place.path)],
      policy: { ...NO_POLICY, createdAtMs: clock(), ...policy },
      ...inPoolOf(this.book.get(around)),
    };
    refuseInKernelSpace(this.book, place.path);
    if (this.book.named(lot.name) !== undefined) throw new VreserveError('LOT_EXISTS', { lot: lot.name });
    const parent = around === DEFAULT_LOT_ID ? undefined : this.book.must(around).name;
    const fields = {
      lot: lot.name,
      path: place.path,
      ...policyFields(lot.policy),
      ...this.actor(by),
      parent,
      ...claim?.fields,
    };
    const events = () => [this.event('grant', lot.id, fields)];
    await this.make({ put: [lot], remove: [] }, { ...this.refusing(lot.policy, place.shown, by), events, claim });
    return lot;
  }

  async #resize(
    lot: Lot,
    place: Pick<Place, 'path' | 'shown'>,
    policy: Partial<Policy>,
    options: ReserveOptions,
    by: By,
    claim?: Claim,
  ): Promise<Lot> {
    const { rights } = this.parts;
    rights.checkChange(by.caller, lot, `the reservation of ${place.shown}`, this.book);
    const owner = options.owner === undefined ? {} : rights.ownerNamed(options.owner, by.caller);
    const changed: Lot = { ...lot, ...owner, policy: { ...lot.policy, ...policy } };
    const previousBytes = lot.policy.dedicatedBytes;
    const events = ({ put: [now] }: LotChange) => {
      const is = now?.policy ?? changed.policy;
      const was = now === lot ? changed.policy.dedicatedBytes : previousBytes;
      return [
        this.event('extension', lot.id, {
          lot: lot.name,
          path: place.path,
          ...policyFields(is),
          previousBytes: was,
          ...this.actor(by),
          ...claim?.fields,
        }),
      ];
    };
    const givesBack = noMore(changed.policy, lot.policy);
    if (givesBack) this.#refuseLess(lot, changed, place.shown, by);
    await this.make(
      { put: [changed], remove: [] },
      { ...this.refusing(changed.policy, place.shown, by), events, mustCover: true, givesBack, claim },
    );
    return changed;
  }

  /** Before the ledger is told; the engine has the last word all the same. */
  #refuseLess(lot: Lot, changed: Lot, shown: string, by: By): void {
    const { engine, clock } = this.parts;
    const grant = grantBytes(changed.policy);
    if (grant < 0) return;
    const ownBytes = (id: LotId) => engine.usageOf(id)?.bytes ?? 0;
    const { usedBytes: heldBytes, promisedBytes } = mustHold(this.book, lot, ownBytes, clock());
    if (heldBytes + promisedBytes <= grant) return;
    const refusal: Refusal = { granted: false, errno: 'EINVAL', lot: lot.id, availableBytes: 0, heldBytes };
    throw this.refusing(changed.policy, shown, by).refusal(refusal);
  }

  /** Makes the error of a refusal, for who asked. */
  refusing(policy: Policy, shown: string, by: By): Pick<Making, 'refusal'> {
    const asked = { shown, dedicatedBytes: policy.dedicatedBytes, grantBytes: grantBytes(policy) };
    const seen = this.#seenBy(by);
    return { refusal: (refusal) => refused(refusal, asked, (id) => seen.namesOf([id])[0] ?? null) };
  }

  #seenBy(by: By): LotsSeen {
    return new LotsSeen(this.book, this, { lot: by.scope, directory: by.directory });
  }

  async #remove(lot: Lot, by: By): Promise<void> {
    const { bytes: usedBytes, objects } = this.usageOf(lot.id);
    const fields = { lot: lot.name, path: lot.name, bytes: lot.policy.dedicatedBytes, usedBytes, objects, ...this.actor(by) };
    const events = ({ remove }: LotChange) => [this.event(remove.length > 0 ? 'release' : 'grant', lot.id, fields)];
    await this.make(releaseLot(this.book, lot), { ...this.refusing(lot.policy, lot.name, by), events, givesBack: true });
  }
}
