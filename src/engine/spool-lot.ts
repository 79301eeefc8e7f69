// The spool of a mount at its start: whether it is served, and the grant of the lot that owns it.

import { join } from 'node:path';
import type { SpoolGrant } from '../config.js';
import type { LotChange } from '../core/book.js';
import { formatBytes } from '../core/bytes.js';
import { dropLot } from '../core/change.js';
import { asVreserveError } from '../core/errors.js';
import type { EventName } from '../core/events.js';
import { DEFAULT_LOT_ID, grantBytes, type Lot, NO_POLICY, recursivePath } from '../core/lot.js';
import { isSpoolLot, SPOOL_DIRECTORY, SPOOL_LAYOUT, SPOOL_LOT_NAME, SPOOL_PATH } from '../core/spool-layout.js';
import type { By } from '../views/host.js';
import type { Making } from './changer.js';
import type { Keeper } from './keeper.js';
import { policyFields } from './policies.js';
import { type Refusal, refused } from './refusals.js';
import { clearSpool, lookAtSpool, makeSpool } from './spool-directory.js';

/** Of the capacity, where no grant is asked for and there is no lot yet. */
const DEFAULT_FRACTION = 0.01;

/** How often what is available may change under a grant before it is left at what the lot has. */
const TRIES = 8;

/** The spool as it is served. */
export interface SpoolServed {
  /** What its lot may hold; UNLIMITED is -1. */
  grantBytes: number;
  /** What was asked for at this mount; null: nothing, and the lot is as it was. */
  askedBytes: number | null;
}

export interface SpoolStart {
  /** null: it is not served. */
  served: SpoolServed | null;
  /** Why it is not served, or has no grant; empty where there is nothing to be said. */
  reason: string;
}

export interface SpoolParts {
  keeper: Keeper;
  /** vreserve's own directory in the backing. */
  directory: string;
  /** null: nothing was asked for. */
  grant: SpoolGrant | null;
  /** Whom the daemon runs as. */
  uid: number;
}

export class Spool {
  readonly #parts: SpoolParts;
  /** Bytes; null: nothing was, and there is a lot, which stays as it is. */
  #asked: number | null = null;
  #isServed = false;
  #reason = '';

  constructor(parts: SpoolParts) {
    this.#parts = parts;
  }

  /** It is served, and not only for what it still holds. */
  get takesMore(): boolean {
    return this.#isServed && this.#asked !== 0 && !this.#parts.keeper.parts.readOnly;
  }

  /** Before the mount: serves the directory, which is made where it is missing. Whatever is in the way, the mount comes about. */
  prepare(): void {
    const { log } = this.#parts.keeper.parts;
    this.#asked = this.#wanted();
    try {
      this.#reason = this.#serve();
    } catch (error) {
      this.#reason = asVreserveError(error).message;
    }
    if (this.#reason !== '') log.warn({ reason: this.#reason }, 'the spool is not served');
  }

  /** After the mount: makes the lot, or sets its grant to what is asked, or to what fits of it. */
  async settle(): Promise<SpoolStart> {
    const { keeper } = this.#parts;
    const { readOnly, log } = keeper.parts;
    if (!readOnly && this.#reason === '') {
      try {
        await keeper.alone(() => this.#grant());
      } catch (error) {
        log.warn({ err: error }, 'the grant of the spool could not be made');
        this.#reason = `its grant could not be made: ${asVreserveError(error).message}`;
      }
    }
    const lot = this.#lot();
    const served = { grantBytes: lot === undefined ? 0 : grantBytes(lot.policy), askedBytes: readOnly ? null : this.#asked };
    return { served: this.#isServed ? served : null, reason: this.#reason };
  }

  /** Why not; empty where it is served, or is not wanted. */
  #serve(): string {
    const { keeper, directory } = this.#parts;
    const { readOnly, engine, log } = keeper.parts;
    const path = join(directory, SPOOL_DIRECTORY);
    if (!readOnly && lookAtSpool(path) === 'filled') {
      const left = clearSpool(path);
      if (left.length > 0) log.warn({ left }, 'directories that were being made in the spool could not be removed');
    }
    const found = lookAtSpool(path);
    if (this.#asked === 0 && found !== 'filled') return '';
    if (found === 'other') return `${SPOOL_PATH} of the backing is not a directory`;
    const namesake = keeper.book.named(SPOOL_LOT_NAME);
    if (namesake !== undefined && !isSpoolLot(namesake)) return `there is another lot of the name '${SPOOL_LOT_NAME}'`;
    if (found === 'absent') {
      if (readOnly) return '';
      makeSpool(path);
    }
    engine.serveSpool(SPOOL_LAYOUT);
    this.#isServed = true;
    return '';
  }

  #lot(): Lot | undefined {
    const bound = this.#parts.keeper.book.at(SPOOL_PATH);
    return bound === undefined ? undefined : this.#parts.keeper.book.get(bound.lot);
  }

  /** Bytes; null: there is a lot, and it stays as it is. */
  #wanted(): number | null {
    const { grant, keeper } = this.#parts;
    if (grant === null && this.#lot() !== undefined) return null;
    if (grant !== null && 'bytes' in grant) return grant.bytes;
    return Math.floor(keeper.parts.engine.pool().capacityBytes * (grant?.fraction ?? DEFAULT_FRACTION));
  }

  async #grant(): Promise<void> {
    const before = this.#lot();
    if (!this.#isServed) {
      if (before !== undefined) await this.#end(before);
      return;
    }
    if (this.#asked === null) return;
    const lot = before ?? (await this.#newLot());
    if (this.#asked === 0) await this.#close(lot, before);
    else await this.#fit(lot, before, this.#asked);
  }

  /** What is asked, or what fits of it; never less than what is there. */
  async #fit(lot: Lot, before: Lot | undefined, asked: number): Promise<void> {
    let bytes = asked;
    for (let tries = 1; ; tries++) {
      const fits = await this.#try(lot, before, bytes);
      if (fits === null) return;
      if (tries > TRIES) throw fits.refusal.shown;
      bytes = tries === TRIES ? fits.least : Math.max(fits.least, Math.min(asked, fits.most));
    }
  }

  /** null: done; else what would have been possible just then. */
  async #try(lot: Lot, before: Lot | undefined, asked: number): Promise<Fits | null> {
    const has = before?.policy.dedicatedBytes ?? 0;
    const bytes = Math.max(asked, this.#parts.keeper.usageOf(lot.id).bytes);
    try {
      const policy = { ...lot.policy, dedicatedBytes: bytes };
      await this.#make({ ...lot, policy }, before, { mustCover: true, givesBack: before !== undefined && bytes <= has });
      return null;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const { errno, availableBytes, heldBytes } = error.refusal;
      if (errno !== 'ENOSPC' && !(errno === 'EINVAL' && heldBytes > bytes)) throw error.shown;
      const least = Math.max(has, heldBytes);
      return { most: least + Math.max(0, availableBytes), least, refusal: error };
    }
  }

  /** What is there can be read and removed. Nobody is asked whether bytes may be taken away. */
  #close(lot: Lot, before: Lot | undefined): Promise<void> {
    const policy = { ...lot.policy, dedicatedBytes: 0, opportunisticBytes: 0 };
    return this.#make({ ...lot, policy }, before, { givesBack: true });
  }

  async #newLot(): Promise<Lot> {
    const { ledger, clock } = this.#parts.keeper.parts;
    return {
      id: await ledger.newLotId(),
      name: SPOOL_LOT_NAME,
      owner: String(this.#parts.uid),
      confinedOwner: false,
      selfParent: true,
      parents: [],
      paths: [recursivePath(SPOOL_PATH)],
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
    const { keeper } = this.#parts;
    return keeper.event(event, id, {
      lot: name,
      path: SPOOL_PATH,
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
    return refused(this.refusal, { shown: SPOOL_PATH, dedicatedBytes, grantBytes: grantBytes(this.lot.policy) }, () => null);
  }
}
