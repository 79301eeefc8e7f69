// A bind mount of the cache, made and taken away by mount(8) and umount(8): they walk the mount, which the daemon must not.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { VreserveError } from '../core/errors.js';
import type { CachePlace } from '../spaces/cache.js';
import { isVreserve, mountAt, readMounts } from './mountinfo.js';

const run = promisify(execFile);

export interface CachePlaceParts {
  mountpoint: string;
  /** As /proc/self/mountinfo has it: the backing directory. */
  source: string;
  /** Of the cache, in the mount. */
  directory: string;
  /** Where it is to be seen: a real path. */
  path: string;
}

export function cachePlace({ mountpoint, source, directory, path }: CachePlaceParts): CachePlace {
  /** What is seen there is a directory of a mount of this backing, of now or of a daemon before. */
  const isShown = () => {
    const mount = mountAt(path);
    return mount !== undefined && isVreserve(mount) && mount.source === source && mount.root === directory;
  };
  let device: string | undefined;
  return {
    path,
    async show() {
      while (isShown()) await system('umount', ['--lazy', path]);
      device = mountAt(mountpoint)?.device;
      await system('mount', ['--bind', join(mountpoint, directory), path]);
    },
    async hide() {
      if (!isShown()) return;
      await system('umount', [path]).catch(() => system('umount', ['--lazy', path]));
    },
    isMounted: () =>
      readMounts().some((mount) => mount.mountpoint === mountpoint && mount.device === device && mount.root === '/'),
  };
}

/** Throws SYSTEM with what it said. */
async function system(command: string, words: readonly string[]): Promise<void> {
  try {
    await run(command, words, { cwd: '/' });
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    const reason = said === '' ? String(error) : said;
    throw new VreserveError('SYSTEM', { errno: 'EIO', reason }, { cause: error });
  }
}
