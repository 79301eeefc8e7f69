// Turns what the data plane refused into the error that the asker gets.

import { formatExactBytes } from '../core/bytes.js';
import { VreserveError } from '../core/errors.js';
import type { Admission } from './engine.js';

type Refusal = Extract<Admission, { granted: false }>;

/** Fewer bytes than the path holds already. */
export function tooSmall(path: string, askedBytes: number, heldBytes: number): VreserveError {
  return new VreserveError('BELOW_USE', {
    path,
    askedBytes,
    heldBytes,
    askedText: formatExactBytes(askedBytes),
    heldText: formatExactBytes(heldBytes),
  });
}

/** `path` as the asker wrote it. */
export function refused(refusal: Refusal, path: string, askedBytes: number): VreserveError {
  const { errno, availableBytes, heldBytes } = refusal;
  if (heldBytes > askedBytes && (errno === 'ENOSPC' || errno === 'EINVAL')) return tooSmall(path, askedBytes, heldBytes);
  if (errno === 'ENOSPC') {
    return new VreserveError('NO_SPACE', {
      path,
      askedBytes,
      availableBytes,
      heldBytes,
      askedText: formatExactBytes(askedBytes),
      availableText: formatExactBytes(availableBytes),
    });
  }
  if (errno === 'EXDEV') return new VreserveError('SPLIT_NAMES', { path, inTheWay: refusal.path ?? path });
  if (errno === 'EEXIST') return new VreserveError('REAL_VRESERVE', { path });
  return new VreserveError('SYSTEM', { path, errno, reason: `'${path}' cannot be bound: ${errno}` });
}
