// Paths in the mount: what may be one, and which bound path a path lies under. Bytewise, by whole components.

import { VreserveError } from './errors.js';

/** Longest path, in bytes of UTF-8: PATH_MAX without the NUL. */
export const MAX_PATH_BYTES = 4095;

/** Longest component, in bytes of UTF-8. */
export const MAX_COMPONENT_BYTES = 255;

/** The name that is vreserve's own at the root of the mount, and in each lot's own top directory. */
export const OWN_DIRECTORY = '.vreserve';

/**
 * The path without a trailing slash, checked: absolute, no `.`, `..` or empty component, no NUL, at most 4095 bytes,
 * components at most 255. Throws BAD_PATH or PATH_TOO_LONG.
 */
export function checkPath(path: string): string {
  const bad = (reason: string) => new VreserveError('BAD_PATH', { path: clip(path), reason });
  if (path === '') throw bad('it is empty');
  if (!path.startsWith('/')) throw bad('it must begin with /');
  if (path.includes('\0')) throw bad('it contains a NUL');
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_PATH_BYTES) {
    throw new VreserveError('PATH_TOO_LONG', { reason: `${bytes} bytes, at most ${MAX_PATH_BYTES} are possible` });
  }
  if (path === '/') return path;
  const trimmed = path.endsWith('/') ? path.slice(0, -1) : path;
  for (const component of trimmed.slice(1).split('/')) {
    if (component === '') throw bad('it has an empty component');
    if (component === '.' || component === '..') throw bad(`it has the component '${component}'`);
    const componentBytes = Buffer.byteLength(component);
    if (componentBytes > MAX_COMPONENT_BYTES) {
      throw new VreserveError('PATH_TOO_LONG', {
        reason: `a component has ${componentBytes} bytes, at most ${MAX_COMPONENT_BYTES} are possible`,
      });
    }
  }
  return trimmed;
}

/** The path, checked as one that may be bound: not the root, and nothing in a `.vreserve`. Throws BAD_PATH. */
export function checkBindable(path: string): string {
  if (path === '/') {
    throw new VreserveError('BAD_PATH', { path, reason: 'the root of the mount belongs to the default lot' });
  }
  if (path.split('/').includes(OWN_DIRECTORY)) {
    throw new VreserveError('BAD_PATH', { path: clip(path), reason: `${OWN_DIRECTORY} is vreserve's own` });
  }
  return path;
}

/** True when `path` is `directory` or lies below it. */
export function isWithin(path: string, directory: string): boolean {
  return directory === '/' || path === directory || path.startsWith(`${directory}/`);
}

/** What is bound at a path, as far as it decides who owns what. */
export interface Owning<Lot> {
  lot: Lot;
  recursive: boolean;
  exclude: boolean;
}

/**
 * Who owns a path: the longest binding, unless a longer exclusion of the same lot takes the path away; null for nobody.
 * One that is not recursive reaches only the path itself and, of its directory, what is no directory (`isDirectory`).
 */
export function ownerOf<Lot>(path: string, isDirectory: boolean, at: (path: string) => Owning<Lot> | undefined): Lot | null {
  const excluded = new Set<Lot>();
  const directory = isDirectory ? path : cut(path);
  for (let prefix = path; prefix !== ''; prefix = cut(prefix)) {
    const bound = at(prefix);
    if (bound === undefined) continue;
    if (!bound.recursive && prefix !== path && prefix !== directory) continue;
    if (bound.exclude) excluded.add(bound.lot);
    else if (!excluded.has(bound.lot)) return bound.lot;
  }
  return null;
}

/** The path without its last component; '' when there is none left. */
function cut(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

/** The path in which `path` is, '/' for what is at the root. */
export function parentPath(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

/** The path as it is seen from `directory`: '/' for the directory itself. The path must be within it. */
export function relativeTo(path: string, directory: string): string {
  if (directory === '/') return path;
  return path === directory ? '/' : path.slice(directory.length);
}

/** The reverse of relativeTo. */
export function joinBelow(directory: string, path: string): string {
  if (directory === '/') return path;
  return path === '/' ? directory : directory + path;
}

function clip(path: string): string {
  return path.length > 100 ? `${path.slice(0, 97)}...` : path;
}
