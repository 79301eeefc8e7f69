// Turns what the data plane refused into the error that the asker gets.

import { formatExactBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import type { LotId } from '../core/lot.js';
import type { Admission } from './engine.js';

export type Refusal = Extract<Admission, { granted: false }>;

/** Fewer bytes than the path holds already. */
export function tooSmall(shown: string, askedBytes: number, heldBytes: number): VreserveError {
  return new VreserveError('BELOW_USE', {
    path: shown,
    askedBytes,
    heldBytes,
    askedText: formatExactBytes(askedBytes),
    heldText: formatExactBytes(heldBytes),
  });
}

/** What was asked: the path or lot as the asker wrote it, dedicated bytes, and with the opportunistic ones (-1: unlimited). */
export interface Asked {
  shown: string;
  dedicatedBytes: number;
  grantBytes: number;
}

/** `nameOf`: as the asker sees the lot; null where it does not. */
export function refused(refusal: Refusal, asked: Asked, nameOf: (lot: LotId) => string | null): VreserveError {
  const { errno, availableBytes, heldBytes, lot } = refusal;
  const { shown, dedicatedBytes: askedBytes, grantBytes } = asked;
  const name = lot === null ? null : nameOf(lot);
  switch (errno) {
    case 'EINVAL':
      return heldBytes > grantBytes && grantBytes >= 0
        ? tooSmall(shown, askedBytes, heldBytes)
        : new VreserveError('BELOW_CHILDREN', { lot: name ?? shown });
    case 'ENOSPC': {
      if (grantBytes >= 0 && heldBytes > grantBytes) return tooSmall(shown, askedBytes, heldBytes);
      return new VreserveError('NO_SPACE', {
        path: shown,
        askedBytes,
        availableBytes,
        heldBytes,
        askedText: formatExactBytes(askedBytes),
        availableText: formatExactBytes(availableBytes),
        where: name === null ? '' : ` in lot '${name}'`,
      });
    }
    case 'EXDEV':
      // The names of one file are of no lot's doing.
      if (lot !== null) return new VreserveError('OTHER_POOL', { path: shown });
      return new VreserveError('SPLIT_NAMES', { path: shown, inTheWay: refusal.path ?? shown });
    case 'EEXIST':
      return new VreserveError('REAL_VRESERVE', { path: shown });
    case 'ELOOP':
      return new VreserveError('LOT_CYCLE', { reason: `'${name ?? shown}' would lie below itself` });
    default:
      return new VreserveError('SYSTEM', { path: shown, errno, reason: `'${shown}' cannot be bound: ${errno}` });
  }
}

/** A command through a lot's own `.vreserve` on that lot itself. */
export function ownScope(shown: string): VreserveError {
  return new VreserveError('BAD_PATH', { path: shown, reason: 'a lot is not changed through its own .vreserve' });
}

/** Nothing is reserved at the path. */
export function noReservation(shown: string): VreserveError {
  return new VreserveError('NO_SUCH_LOT', { path: shown, reason: `no reservation at '${shown}'` });
}
