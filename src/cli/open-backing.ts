// Opening the backing directory of a mount: one daemon has it, by a lock; and where that daemon's log is.
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { MountConfig } from '../config.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import { OWN_DIRECTORY } from '../core/paths.js';
import type { BackingInfo, Engine } from '../engine/engine.js';

const LOG_FILE = 'daemon.log';
const LOCK_FILE = 'lock';

/** Opens the backing and takes its lock. Throws BACKING_…, ALREADY_SERVED. */
export function openBacking(config: MountConfig, engine: Engine): BackingInfo {
  const { backing, mountpoint, readOnly, passthrough, threads, suid, dev, exec, charging } = config;
  const { allowOther, othersAsked, trustAllUsers } = config;
  const others = { allowOther, othersAsked, trustAllUsers };
  const behaviour = { readOnly, ...others, passthrough, threads, suid, dev, exec, charging };
  let info: BackingInfo;
  try {
    info = engine.openBacking({ backing, mountpoint, source: backing, ...behaviour });
  } catch (error) {
    throw backingError(error, backing);
  }
  if (info.readOnly && !readOnly) throw new VreserveError('BACKING_READ_ONLY', { path: backing });
  const directory = join(info.viewPath, OWN_DIRECTORY);
  // A read-only mount changes nothing in the backing, not even by a lock file; one that is there, it respects.
  if (!readOnly) takeLock(directory, backing, engine);
  else if (!info.readOnly && existsSync(join(directory, LOCK_FILE))) takeLock(directory, backing, engine);
  return info;
}

function takeLock(directory: string, backing: string, engine: Engine): void {
  try {
    mkdirSync(directory, { mode: 0o700, recursive: true });
    if (!statSync(directory).isDirectory()) throw new Error(`${OWN_DIRECTORY} is not a directory`);
    if (engine.lock(join(directory, LOCK_FILE))) return;
  } catch (error) {
    throw backingError(error, backing);
  }
  throw new VreserveError('ALREADY_SERVED', { path: backing });
}

function backingError(error: unknown, path: string): VreserveError {
  if (error instanceof VreserveError) return error;
  const errno = errnoOf(error) ?? 'EIO';
  if (errno === 'ENOENT') return new VreserveError('BACKING_MISSING', { path }, { cause: error });
  if (errno === 'ENOTDIR') return new VreserveError('BACKING_NOT_DIRECTORY', { path }, { cause: error });
  if (errno === 'EROFS') return new VreserveError('BACKING_READ_ONLY', { path }, { cause: error });
  const reason = error instanceof Error ? error.message : String(error);
  return new VreserveError('BACKING_FAILED', { path, reason, errno }, { cause: error });
}

/** null is stderr. */
export function logFileOf(config: MountConfig, directory: string): string | null {
  if (config.logFile !== null) return config.logFile;
  return config.foreground || config.readOnly ? null : join(directory, LOG_FILE);
}
