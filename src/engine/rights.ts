// Who may do what to a lot.

import type { ReserveBy } from '../config.js';
import { VreserveError } from '../core/errors.js';
import { type Lot, type LotId, withAncestors } from '../core/lot.js';
import type { Caller, WriteAccess } from './engine.js';

/** The rules of one mount. `daemonUid` is whom the daemon runs as. */
export class Rights {
  readonly #reserveBy: ReserveBy;
  readonly #daemonUid: number;

  constructor(reserveBy: ReserveBy, daemonUid: number) {
    this.#reserveBy = reserveBy;
    this.#daemonUid = daemonUid;
  }

  /** Root with CAP_SYS_ADMIN, and the daemon's own user. Any other uid 0, such as root in a container, is a stranger. */
  isAdministrator(caller: Caller): boolean {
    if (caller.uid === 0) return caller.sysAdmin;
    return caller.uid === this.#daemonUid;
  }

  /** What a new lot of this caller records as its owner. */
  ownerFor(caller: Caller): { owner: string; confinedOwner: boolean } {
    return { owner: String(caller.uid), confinedOwner: caller.uid === 0 && !this.isAdministrator(caller) };
  }

  /** Throws NOT_YOURS for a caller that cannot be identified: one in another pid namespace that the daemon does not see. */
  checkKnown(caller: Caller): void {
    if (caller.pid === 0) throw notYours('the caller is in a pid namespace that the daemon cannot see into');
  }

  /** Throws NOT_YOURS unless the caller is an administrator. `what` ends the sentence. */
  checkAdministrator(caller: Caller, what: string): void {
    if (!this.isAdministrator(caller)) throw notYours(`only an administrator may ${what}`);
  }

  /** Throws NOT_YOURS unless the caller may change or release the lot: its owner, an owner above it, an administrator. */
  checkChange(caller: Caller, lot: Lot, shownPath: string, lots: ReadonlyMap<LotId, Lot>): void {
    if (this.isAdministrator(caller) || this.#ownsAny(caller, withAncestors(lot.id, lots))) return;
    throw notYours(`the reservation of ${shownPath} belongs to user ${lot.owner}`);
  }

  /** Throws NOT_YOURS unless the caller may reserve a path that lies in the lot `around`. `access` asks the kernel. */
  async checkReserve(
    caller: Caller,
    shownPath: string,
    around: Lot,
    lots: ReadonlyMap<LotId, Lot>,
    access: () => Promise<WriteAccess>,
  ): Promise<void> {
    if (this.isAdministrator(caller)) return;
    if (this.#reserveBy === 'root') throw notYours('only an administrator may reserve here (--reserve-by root)');
    if (this.#ownsAny(caller, withAncestors(around.id, lots))) return;
    if (this.#reserveBy === 'owners') {
      throw notYours(`only an owner of the lot around ${shownPath} may reserve it (--reserve-by owners)`);
    }
    const { mayWrite, stickyOwner } = await access();
    if (!mayWrite) throw notYours(`user ${caller.uid} may not write to the directory of ${shownPath}`);
    if (stickyOwner !== null && stickyOwner !== caller.uid) {
      throw notYours(`the directory of ${shownPath} is sticky: only its owner may reserve in it`);
    }
  }

  #ownsAny(caller: Caller, lots: readonly Lot[]): boolean {
    const { owner, confinedOwner } = this.ownerFor(caller);
    // Host root's lots are not those of a container's root, though both have uid 0.
    return lots.some((lot) => lot.owner === owner && lot.confinedOwner === confinedOwner);
  }
}

function notYours(reason: string): VreserveError {
  return new VreserveError('NOT_YOURS', { reason });
}
