// From what a user typed to a mount and a path in it.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { MountEntry } from '../core/mountinfo.js';
import { checkPath } from '../core/paths.js';
import { isVreserve, mountAt, type Place, placeOf, readMounts, realPathOf, vreserveMounts } from './mountinfo.js';

/** Leading `./` and `../` are a place to start from; further on `.` and `..` are refused, as the mount refuses them. */
function checkTyped(path: string): void {
  if (path === '') throw new VreserveError('BAD_PATH', { path, reason: 'it is empty' });
  const words = path.split('/');
  let start = 0;
  while (words[start] === '.' || words[start] === '..') start++;
  checkPath(`/${words.slice(start).filter(Boolean).join('/')}`);
}

function realOf(path: string): string {
  try {
    return realPathOf(resolve(path));
  } catch (error) {
    throw asVreserveError(error);
  }
}

/** The vreserve mount and the path in it: `MNT/job1` as seen, or with `mountOption` the path as in the mount. */
export function findPlace(typed: string, mountOption?: string): Place {
  checkTyped(typed);
  if (mountOption !== undefined) {
    const absolute = `/${typed.split('/').filter(Boolean).join('/')}`;
    return { mount: findMount(mountOption), path: checkPath(absolute) };
  }
  const place = placeOf(realOf(typed));
  if (place === undefined) throw new VreserveError('OUTSIDE', { path: typed });
  return place;
}

/** The mount at exactly this mountpoint. Throws NOT_MOUNTED. */
export function findMount(typed: string): MountEntry {
  checkTyped(typed);
  const real = realOf(typed);
  const mount = mountAt(real);
  if (mount !== undefined && isVreserve(mount)) return mount;
  const error = new VreserveError('NOT_MOUNTED', { path: typed });
  const place = placeOf(real);
  if (place !== undefined) error.message += `; it lies in the one at '${place.mount.mountpoint}'`;
  else if (!existsSync(real)) error.message += ', and does not exist';
  throw error;
}

/** The one vreserve mount there is, where none is named. Throws USAGE where there are none or several. */
export function onlyMount(): MountEntry {
  const mounts = vreserveMounts(readMounts());
  const [first, second] = mounts;
  if (first !== undefined && second === undefined) return first;
  throw new VreserveError('USAGE', {
    reason:
      first === undefined
        ? 'there is no vreserve mount'
        : `there are several vreserve mounts, name one: ${mounts.map((m) => m.mountpoint).join(', ')}`,
  });
}
