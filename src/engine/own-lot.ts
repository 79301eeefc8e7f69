// A lot that the mount makes by itself, at its start: whether its directory is served, and what it is granted.

import { join } from 'node:path';
import type { OwnGrant } from '../config.js';
import type { LotChange } from '../core/book.js';
import { formatBytes } from '../core/bytes.js';
import { dropLot } from '../core/change.js';
import { asVreserveError } from '../core/errors.js';
import type { EventName } from '../core/events.js';
import { DEFAULT_LOT_ID, grantBytes, type Lot, NO_POLICY, type Policy, recursivePath } from '../core/lot.js';
import { type OwnLot, ownLotOf } from '../core/own-lots.js';
import type { By } from '../views/host.js';
import type { Making } from './changer.js';
import type { Engine } from './engine.js';
import type { Keeper } from './keeper.js';
import { noMore, policyFields } from './policies.js';
import { type Refusal, refused } from './refusals.js';

/** How often what is available may change under a grant before it is left at what the lot has. */
const TRIES = 8;

/** Bytes that it may hold. */
type Granted = Pick<Policy, 'dedicatedBytes' | 'opportunisticBytes'>;

/** What is there in its place; `other`: it is no directory. */
export type FoundDirectory = 'absent' | 'empty' | 'filled' | 'other';

/** What sets one such lot apart: its directory in the backing, and what it gets where nothing is asked for. */
export interface OwnDirectory {
  lot: OwnLot;
  /** In vreserve's own directory. */
  name: string;
  /** Where there is no lot yet. */
  firstGrant(capacityBytes: number): Granted;
  look(path: string): FoundDirectory;
  make(path: string): void;
  /** Removes what was left half made; the paths that could not be removed. */
  clear(path: string): string[];
  serve(engine: Engine): void;
}

/** As it is served. */
export interface OwnServed {
  /** What its lot may hold; UNLIMITED is -1. */
  grantBytes: number;
  /** Of these, set aside. */
  dedicatedBytes: number;
  /** What was asked for at this mount; null: nothing, and the lot is as it was. */
  askedBytes: number | null;
}

export interface OwnStart {
  /** null: it is not served. */
  served: OwnServed | null;
  /** Why it is not served, or has no grant; empty where there is nothing to be said. */
  reason: string;
}

export interface OwnParts {
  keeper: Keeper;
  /** vreserve's own directory in the backing. */
  directory: string;
  what: OwnDirectory;
  /** null: nothing was asked for. */
  grant: OwnGrant | null;
  /** Whom the daemon runs as. */
  uid: number;
}

export class OwnLotStart {
  readonly #parts: OwnParts;
  /** null: nothing was, and there is a lot, which stays as it is. */
  #asked: Granted | null = null;
  #isServed = false;
  #isFilled = false;
  #reason = '';

  constructor(parts: OwnParts) {
    this.#parts = parts;
  }

  /** It is served, if only for what it still holds. */
  get isServed(): boolean {
    return this.#isServed;
  }

  /** There was something in it before the mount. */
  get isFilled(): boolean {
    return this.#isFilled;
  }

  /** It is served, and takes more. */
  get takesMore(): boolean {
    return this.#isServed && !isNothing(this.#asked) && !this.#parts.keeper.parts.readOnly;
  }

  /** Before the mount: serves the directory, which is made where it is missing. Whatever is in the way, the mount comes about. */
  prepare(): void {
    const { keeper, what } = this.#parts;
    const { log } = keeper.parts;
    this.#asked = this.#wanted();
    try {
      this.#reason = this.#serve();
    } catch (error) {
      this.#reason = asVreserveError(error).message;
    }
    if (this.#reason !== '') log.warn({ reason: this.#reason }, `the ${what.lot.name} is not served`);
  }

  /** After the mount: makes the lot, or sets its grant to what is asked, or to what fits of it. */
  async settle(): Promise<OwnStart> {
    const { keeper, what } = this.#parts;
    const { readOnly, log } = keeper.parts;
    if (!readOnly && this.#reason === '') {
      try {
        await keeper.alone(() => this.#grant());
      } catch (error) {
        log.warn({ err: error }, `the grant of the ${what.lot.name} could not be made`);
        this.#reason = `its grant could not be made: ${asVreserveError(error).message}`;
      }
    }
    const lot = this.#lot();
    const { dedicatedBytes } = lot?.policy ?? NO_POLICY;
    const askedBytes = readOnly || this.#asked === null ? null : this.#asked.dedicatedBytes + this.#asked.opportunisticBytes;
    const served = { grantBytes: lot === undefined ? 0 : grantBytes(lot.policy), dedicatedBytes, askedBytes };
    return { served: this.#isServed ? served : null, reason: this.#reason };
  }

  /** Why not; empty where it is served, or is not wanted. */
  #serve(): string {
    const { keeper, directory, what } = this.#parts;
    const { readOnly, engine, log } = keeper.parts;
    const path = join(directory, what.name);
    if (!readOnly && what.look(path) === 'filled') {
      const left = what.clear(path);
      if (left.length > 0) log.warn({ left }, `what was being made in the ${what.lot.name} could not be removed`);
    }
    const found = what.look(path);
    if (isNothing(this.#asked) && found !== 'filled') return '';
    if (found === 'other') return `${what.lot.path} of the backing is not a directory`;
    const namesake = keeper.book.named(what.lot.name);
    if (namesake !== undefined && ownLotOf(namesake) !== what.lot) return `there is another lot of the name '${what.lot.name}'`;
    if (found === 'absent') {
      if (readOnly) return '';
      what.make(path);
    }
    what.serve(engine);
    this.#isServed = true;
    this.#isFilled = found === 'filled';
    return '';
  }

  #lot(): Lot | undefined {
    const { keeper, what } = this.#parts;
    const bound = keeper.book.at(what.lot.path);
    return bound === undefined ? undefined : keeper.book.get(bound.lot);
  }

  /** null: there is a lot, and it stays as it is. */
  #wanted(): Granted | null {
    const { grant, keeper, what } = this.#parts;
    if (grant === null && this.#lot() !== undefined) return null;
    const { capacityBytes } = keeper.parts.engine.pool();
    if (grant === null) return what.firstGrant(capacityBytes);
    const dedicatedBytes = 'bytes' in grant ? grant.bytes : Math.floor(capacityBytes * grant.fraction);
    return { dedicatedBytes, opportunisticBytes: 0 };
  }

  async #grant(): Promise<void> {
    const before = this.#lot();
    if (!this.#isServed) {
      if (before !== undefined) await this.#end(before);
      return;
    }
    if (this.#asked === null) return;
    const lot = before ?? (await this.#newLot());
    if (isNothing(this.#asked)) await this.#close(lot, before);
    else await this.#fit(lot, before, this.#asked);
  }

  /** What is asked, or what fits of it; never less than what is there. */
  async #fit(lot: Lot, before: Lot | undefined, { dedicatedBytes: asked, opportunisticBytes }: Granted): Promise<void> {
    let bytes = asked;
    for (let tries = 1; ; tries++) {
      const fits = await this.#try(lot, before, { dedicatedBytes: bytes, opportunisticBytes });
      if (fits === null) return;
      if (tries > TRIES) throw fits.refusal.shown;
      bytes = tries === TRIES ? fits.least : Math.max(fits.least, Math.min(asked, fits.most));
    }
  }

  /** null: done; else what would have been possible just then. */
  async #try(lot: Lot, before: Lot | undefined, asked: Granted): Promise<Fits | null> {
    const has = before?.policy.dedicatedBytes ?? 0;
    const held = this.#parts.keeper.usageOf(lot.id).bytes - asked.opportunisticBytes;
    const bytes = Math.max(asked.dedicatedBytes, held);
    try {
      const policy = { ...lot.policy, ...asked, dedicatedBytes: bytes };
      const givesBack = before !== undefined && noMore(policy, before.policy);
      await this.#make({ ...lot, policy }, before, { mustCover: true, givesBack });
      return null;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const { errno, availableBytes, heldBytes } = error.refusal;
      if (errno !== 'ENOSPC' && !(errno === 'EINVAL' && heldBytes > bytes + asked.opportunisticBytes)) throw error.shown;
      const least = Math.max(has, heldBytes - asked.opportunisticBytes);
      return { most: least + Math.max(0, availableBytes), least, refusal: error };
    }
  }

  /** What is there can be read and removed. Nobody is asked whether bytes may be taken away. */
  #close(lot: Lot, before: Lot | undefined): Promise<void> {
    const policy = { ...lot.policy, dedicatedBytes: 0, opportunisticBytes: 0 };
    return this.#make({ ...lot, policy }, before, { givesBack: true });
  }

  async #newLot(): Promise<Lot> {
    const { keeper, uid, what } = this.#parts;
    const { ledger, clock } = keeper.parts;
    return {
      id: await ledger.newLotId(),
      name: what.lot.name,
      owner: String(uid),
      confinedOwner: false,
      selfParent: true,
      parents: [],
      paths: [recursivePath(what.lot.path)],
      policy: { ...NO_POLICY, createdAtMs: clock() },
    };
  }

  async #make(lot: Lot, before: Lot | undefined, how: Pick<Making, 'mustCover' | 'givesBack'>): Promise<void> {
    if (before !== undefined && JSON.stringify(before.policy) === JSON.stringify(lot.policy)) return;
    const event: EventName = before === undefined ? 'grant' : 'extension';
    const previousBytes = before?.policy.dedicatedBytes;
    const events = ({ put: [now = lot] }: LotChange) => [this.#line(event, now, { previousBytes })];
    await this.#parts.keeper.make(
      { put: [lot], remove: [] },
      { ...how, events, refusal: (refusal) => new Refused(refusal, lot) },
    );
  }

  async #end(lot: Lot): Promise<void> {
    const { keeper } = this.#parts;
    await keeper.make(dropLot(keeper.book, lot), {
      givesBack: true,
      events: () => [this.#line('release', lot, {})],
      refusal: (refusal) => new Refused(refusal, lot).shown,
    });
  }

  #line(event: EventName, { id, name, policy }: Lot, more: { previousBytes?: number | undefined }) {
    const { keeper, what } = this.#parts;
    return keeper.event(event, id, {
      lot: name,
      path: what.lot.path,
      ...policyFields(policy),
      ...more,
      ...keeper.actor(this.#self()),
    });
  }

  #self(): By {
    const { uid } = this.#parts;
    const caller = { pid: process.pid, uid, gid: 0, groups: [], home: true, sysAdmin: true, dacOverride: true };
    return { caller, scope: DEFAULT_LOT_ID, directory: '/' };
  }
}

interface Fits {
  most: number;
  /** What the lot has, or holds. */
  least: number;
  refusal: Refused;
}

/** What the engine refused, with its numbers. */
class Refused extends Error {
  constructor(
    readonly refusal: Refusal,
    readonly lot: Lot,
  ) {
    super(`${formatBytes(lot.policy.dedicatedBytes)} refused`);
  }

  get shown(): Error {
    const { dedicatedBytes } = this.lot.policy;
    const shown = ownLotOf(this.lot)?.path ?? this.lot.name;
    return refused(this.refusal, { shown, dedicatedBytes, grantBytes: grantBytes(this.lot.policy) }, () => null);
  }
}

function isNothing(granted: Granted | null): boolean {
  return granted !== null && granted.dedicatedBytes === 0 && granted.opportunisticBytes === 0;
}
