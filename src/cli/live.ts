// Reads what a live mount says of itself under `.vreserve`.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { ownerOf } from '../core/paths.js';
import type { LotJson, WaitingJson } from '../views/json.js';

/** report.json, as far as commands read it. Bytes are exact integers. */
export interface Report {
  daemon: { pid: number; version: string; engine: string; io: string };
  pool: { capacityBytes: number; freeBytes: number; setAsideBytes: number; headroomBytes: number };
  lots: LotJson[];
  waiting: WaitingJson[];
}

/** The text of `.vreserve/NAME`. Throws SYSTEM, which tells a mount whose daemon is gone. */
export function readOwn(mountpoint: string, name: string): string {
  try {
    return readFileSync(join(mountpoint, '.vreserve', name), 'utf8');
  } catch (error) {
    const errno = errnoOf(error) ?? 'EIO';
    const reason =
      errno === 'ENOTCONN'
        ? `the daemon of '${mountpoint}' is gone; vreserve mount recovers the mount`
        : `'${join(mountpoint, '.vreserve', name)}' cannot be read: ${errno}`;
    throw new VreserveError('SYSTEM', { reason, errno }, { cause: error });
  }
}

export function readReport(mountpoint: string): Report {
  return JSON.parse(readOwn(mountpoint, 'report.json')) as Report;
}

/** The lot that owns the path: the first (default) lot where no other does. */
export function owningLot(report: Report, path: string, isDirectory: boolean): LotJson | undefined {
  const bound = new Map(report.lots.flatMap((lot) => lot.paths.map((each) => [each.path, { ...each, lot }] as const)));
  return ownerOf(path, isDirectory, (each) => bound.get(each)) ?? report.lots[0];
}
