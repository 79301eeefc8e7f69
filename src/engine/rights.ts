// Who may do what to a lot. A caller is what the kernel says of the process that asks, never what a text says.

import type { ReserveBy } from '../config.js';
import type { LotBook } from '../core/book.js';
import { VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_ID, type Lot, type LotId, type Owner } from '../core/lot.js';
import type { Users } from '../views/users.js';
import type { Caller, WriteAccess } from './engine.js';

const MOST_OWNER_BYTES = 256;

/** The rules of one mount. `daemonUid` is whom the daemon runs as. */
export class Rights {
  readonly #reserveBy: ReserveBy;
  readonly #daemonUid: number;
  readonly #users: Users;

  constructor(reserveBy: ReserveBy, daemonUid: number, users: Users) {
    this.#reserveBy = reserveBy;
    this.#daemonUid = daemonUid;
    this.#users = users;
  }

  /** Root with CAP_SYS_ADMIN, and the daemon's own user outside of user namespaces. Any other uid 0, such as root in a container, is a stranger. */
  isAdministrator(caller: Caller): boolean {
    if (caller.uid === 0) return caller.sysAdmin;
    return caller.uid === this.#daemonUid && caller.home;
  }

  /**
   * The owner that a text names: a user's name or number. One that is not known (yet) stays as it is. Root named by a
   * stranger with uid 0 is that stranger. Throws BAD_OWNER.
   */
  ownerNamed(text: string, caller: Caller): Owner {
    const owner = this.#users.uidOf(text) ?? text;
    if (/[\s\p{Cc}]/u.test(owner) || owner === '' || Buffer.byteLength(owner) > MOST_OWNER_BYTES) {
      throw new VreserveError('BAD_OWNER', { name: owner.slice(0, 60) });
    }
    return { owner, confinedOwner: owner === '0' && this.#isConfined(caller) };
  }

  /** What a new lot of this caller records as its owner. */
  ownerFor(caller: Caller): Owner {
    return { owner: String(caller.uid), confinedOwner: this.#isConfined(caller) };
  }

  /** Throws NOT_YOURS for a caller that cannot be identified: one in another pid namespace that the daemon does not see. */
  checkKnown(caller: Caller): void {
    if (caller.pid === 0) throw notYours('the caller is in a pid namespace that the daemon cannot see into');
  }

  /** Throws NOT_YOURS unless the caller is an administrator. `what` ends the sentence. */
  checkAdministrator(caller: Caller, what: string): void {
    if (!this.isAdministrator(caller)) throw notYours(`only an administrator may ${what}`);
  }

  /**
   * Throws NOT_YOURS unless the caller may change or remove the lot: an owner of a lot above it, its own where it is a
   * parent of its own (as every reservation is), an administrator.
   */
  checkChange(caller: Caller, lot: Lot, shown: string | null, book: LotBook, kind: 'parents' | 'children' = 'parents'): void {
    if (this.isAdministrator(caller)) return;
    const [, ...above] = book.withAncestors(lot.id);
    if (this.#ownsAny(caller, lot.selfParent ? [lot, ...above] : above)) return;
    throw shown === null ? noContext(kind) : notYours(`${shown} belongs to user ${this.#users.name(lot.owner)}`);
  }

  /** For a lot that another is put below, or taken away from: its owner, an owner above it, an administrator. */
  checkOwns(caller: Caller, lot: Lot, book: LotBook): void {
    if (!this.owns(caller, lot.id, book)) throw noContext('parents');
  }

  /** Throws NOT_YOURS for a command through a lot's own `.vreserve` that is about the whole mount. */
  checkWhole({ scope }: { scope: LotId }, what: string): void {
    if (scope !== DEFAULT_LOT_ID) throw notYours(`to ${what} is for the .vreserve at the root of the mount`);
  }

  /** Whether a lot's policy may take a file away: its owner is an administrator, or one of those who could delete it. */
  mayTake({ owner, confinedOwner }: Lot, uids: readonly number[]): boolean {
    if (confinedOwner) return uids.includes(0);
    const uid = this.#users.uidOf(owner);
    return uid !== null && (uid === '0' || uid === String(this.#daemonUid) || uids.includes(Number(uid)));
  }

  /** Whether the caller owns the lot or one above it, or is an administrator. */
  owns(caller: Caller, lot: LotId, book: LotBook): boolean {
    return this.isAdministrator(caller) || this.#ownsAny(caller, book.withAncestors(lot));
  }

  /** Throws NOT_YOURS unless the caller may reserve a path that lies in the lot `around`. `access` asks the kernel. */
  async checkReserve(
    caller: Caller,
    shownPath: string,
    around: LotId,
    book: LotBook,
    access: () => Promise<WriteAccess>,
  ): Promise<void> {
    if (this.isAdministrator(caller)) return;
    if (this.#reserveBy === 'root') throw notYours('only an administrator may reserve here (--reserve-by root)');
    if (this.#ownsAny(caller, book.withAncestors(around))) return;
    if (this.#reserveBy === 'owners') {
      throw notYours(`only an owner of the lot around ${shownPath} may reserve it (--reserve-by owners)`);
    }
    const { mayWrite, stickyOwner, mayWriteIn } = await access();
    if (!mayWrite) throw notYours(`user ${caller.uid} may not write to the directory of ${shownPath}`);
    if (stickyOwner !== null && stickyOwner !== caller.uid) {
      throw notYours(`the directory of ${shownPath} is sticky: only its owner may reserve in it`);
    }
    if (stickyOwner === null && !mayWriteIn) throw notYours(`user ${caller.uid} may not write in ${shownPath}`);
  }

  #isConfined(caller: Caller): boolean {
    return caller.uid === 0 && !this.isAdministrator(caller);
  }

  #ownsAny(caller: Caller, lots: readonly Lot[]): boolean {
    const { owner, confinedOwner } = this.ownerFor(caller);
    // An owner who was not known when the lot was made is known by name. Host root's lots are not those of a container's root.
    const name = this.#users.name(owner);
    return lots.some((lot) => (lot.owner === owner || lot.owner === name) && lot.confinedOwner === confinedOwner);
  }
}

/** LotMan's words. */
function noContext(kind: 'parents' | 'children'): VreserveError {
  return notYours(
    `Error while checking context for ${kind}: Current context prohibits action on lot: Caller does not have proper ownership.`,
  );
}

function notYours(reason: string): VreserveError {
  return new VreserveError('NOT_YOURS', { reason });
}
