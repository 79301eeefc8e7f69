// Checks the two directories of a mount before anything is started, and clears away a mount whose daemon is gone.
import { type Stats, statfsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { isWithin } from '../core/paths.js';
import { nativeSystem } from '../engine/native.js';
import { isVreserve, mountAt, realPathOf } from './mountinfo.js';

export interface Places {
  /** Real paths; equal for an in-place mount. */
  backing: string;
  mountpoint: string;
  /** A dead mount was found at the mountpoint and detached. */
  recovered: boolean;
}

/** Real paths of both, checked. Throws BACKING_…, MOUNTPOINT_…, ALREADY_SERVED or MOUNT_FAILED. */
export function checkPlaces(typedBacking: string, typedMountpoint: string): Places {
  // The mountpoint first: a dead in-place mount hides its own backing.
  const recovered = detachDead(realOr(typedMountpoint, 'MOUNTPOINT_MISSING'));
  const backing = realOr(typedBacking, 'BACKING_MISSING');
  const mountpoint = realOr(typedMountpoint, 'MOUNTPOINT_MISSING');
  const inPlace = backing === mountpoint;
  const backingStat = statOr(backing, typedBacking, 'BACKING_MISSING');
  if (!backingStat.isDirectory()) throw new VreserveError('BACKING_NOT_DIRECTORY', { path: typedBacking });
  const mountpointStat = statOr(mountpoint, typedMountpoint, 'MOUNTPOINT_MISSING');
  if (!mountpointStat.isDirectory()) throw new VreserveError('MOUNTPOINT_NOT_DIRECTORY', { path: typedMountpoint });
  refuseSecondMount(backing, mountpoint);
  if (!inPlace && isWithin(backing, mountpoint)) throw new VreserveError('BACKING_INSIDE', { path: backing, mountpoint });
  if (!inPlace && isWithin(mountpoint, backing)) {
    const reason = `it lies inside the backing directory '${backing}'; mount elsewhere, or in place: vreserve mount ${backing}`;
    throw new VreserveError('MOUNT_FAILED', { path: mountpoint, reason });
  }
  return { backing, mountpoint, recovered };
}

type Missing = 'BACKING_MISSING' | 'MOUNTPOINT_MISSING';

function realOr(typed: string, missing: Missing): string {
  try {
    return realPathOf(resolve(typed));
  } catch (error) {
    throw refusal(error, typed, missing);
  }
}

function statOr(path: string, typed: string, missing: Missing): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw refusal(error, typed, missing);
  }
}

function refusal(error: unknown, typed: string, missing: Missing): VreserveError {
  const errno = errnoOf(error) ?? 'EIO';
  if (errno === 'ENOENT') return new VreserveError(missing, { path: typed });
  const details = { path: typed, reason: error instanceof Error ? error.message : errno, errno };
  return new VreserveError(missing === 'BACKING_MISSING' ? 'BACKING_FAILED' : 'MOUNT_FAILED', details, {
    cause: error,
  });
}

/** Detaches vreserve mounts at the mountpoint that have lost their daemon (there may lie several on each other). */
function detachDead(mountpoint: string): boolean {
  let detached = false;
  while (isDead(mountpoint)) {
    const mount = mountAt(mountpoint);
    if (mount === undefined || !isVreserve(mount)) {
      const reason = `a dead mount of type ${mount?.type ?? 'unknown'} lies there`;
      throw new VreserveError('MOUNT_FAILED', { path: mountpoint, reason });
    }
    nativeSystem().unmount(mountpoint, true);
    detached = true;
  }
  return detached;
}

function isDead(mountpoint: string): boolean {
  try {
    statSync(mountpoint);
    // Attributes and listings can still be cached by the kernel; the free space is asked of the daemon.
    const mount = mountAt(mountpoint);
    if (mount !== undefined && isVreserve(mount)) statfsSync(mountpoint);
    return false;
  } catch (error) {
    // The second of these is said to who asked just before.
    return ['ENOTCONN', 'ECONNABORTED'].includes(errnoOf(error) ?? '');
  }
}

function refuseSecondMount(backing: string, mountpoint: string): void {
  const there = mountAt(mountpoint);
  if (there === undefined || !isVreserve(there)) return;
  if (there.source === backing || backing === mountpoint) throw new VreserveError('ALREADY_SERVED', { path: backing });
  const reason = `the vreserve mount of '${there.source}' is there already`;
  throw new VreserveError('MOUNT_FAILED', { path: mountpoint, reason });
}
