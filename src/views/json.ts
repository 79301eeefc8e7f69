// report.json, and the JSON of lots and refusals in the replies of control.

import { formatBytes } from '../core/bytes.js';
import type { VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_ID, grantBytes, type LotPath, type LotUsage, ownPath, UNLIMITED } from '../core/lot.js';
import type { LotSnapshot, LotsSeen } from '../core/lots-seen.js';
import type { PoolId } from '../core/pool.js';
import type { DaemonSnapshot, PoolRow, PoolSnapshot, Snapshot, WaitingSnapshot } from '../core/snapshot.js';
import type { CheckReport } from './host.js';

/** A lot for programs. `usedBytes` and `objects` count the lots below it too; `opportunisticBytes` -1 is unlimited. */
export interface LotJson {
  name: string;
  /** Its own directory or file, the first of `paths` that it owns; '/' of the default lot; null where all are foreign. */
  path: string | null;
  paths: readonly LotPath[];
  owner: string;
  usedBytes: number;
  dedicatedBytes: number;
  opportunisticBytes: number;
  objects: number;
  /** -1 is unlimited. */
  maxObjects: number;
  pendingObjects: number;
  pendingBytes: number;
  expiresAtMs: number | null;
  deletesAtMs: number | null;
  /** Of a lot in another pool than the main one, in a report that shows pools. */
  pool?: string;
}

/** Prints a user, known by the number as text, for people. */
export type UserName = (owner: string) => string;

export function lotJson({ lot, used }: LotSnapshot, userName: UserName): LotJson {
  return {
    name: lot.name,
    path: lot.id === DEFAULT_LOT_ID ? '/' : ownPath(lot),
    paths: lot.paths,
    owner: userName(lot.owner),
    usedBytes: used.bytes,
    dedicatedBytes: lot.policy.dedicatedBytes,
    opportunisticBytes: lot.policy.opportunisticBytes,
    objects: used.objects,
    maxObjects: lot.policy.maxObjects,
    pendingObjects: used.pendingObjects,
    pendingBytes: used.pendingBytes,
    expiresAtMs: lot.policy.expiresAtMs,
    deletesAtMs: lot.policy.deletesAtMs,
  };
}

/** report.json as text: a lot or a waiting request a line. */
export function reportText(snapshot: Snapshot, userName: UserName): string {
  const { lots, waiting, ...head } = reportJson(snapshot, userName);
  const list = (name: string, rows: readonly object[]) =>
    rows.length === 0 ? `  "${name}": []` : `  "${name}": [\n${rows.map((row) => `    ${JSON.stringify(row)}`).join(',\n')}\n  ]`;
  return `${JSON.stringify(head, null, 2).slice(0, -2)},\n${list('lots', lots)},\n${list('waiting', waiting)}\n}\n`;
}

/** The name of a pool beside the main one; undefined of the main one, and where pools are not seen. */
export function poolNames(pools: readonly PoolRow[]): (id: PoolId | undefined) => string | undefined {
  const names = new Map(pools.map(({ id, name }) => [id, name]));
  return (id) => (id === undefined ? undefined : names.get(id));
}

/** The content of report.json. Bytes are exact integers. */
export interface Report {
  atMs: number;
  daemon: DaemonSnapshot;
  pool: PoolSnapshot;
  /** Those beside the main one. */
  pools: readonly PoolRow[];
  /** `ok`, or what is wrong. */
  health: string;
  /** The default lot first, then by name. */
  lots: LotJson[];
  waiting: WaitingJson[];
}

export function reportJson({ atMs, daemon, pool, pools, lots, waiting, troubles }: Snapshot, userName: UserName): Report {
  const nameOf = poolNames(pools);
  return {
    atMs,
    daemon,
    pool,
    pools,
    health: troubles.length === 0 ? 'ok' : troubles.join('; '),
    lots: lots.all().map((seen) => {
      const pool = nameOf(seen.lot.pool);
      return { ...lotJson(seen, userName), ...(pool === undefined ? {} : { pool }) };
    }),
    waiting: waiting.map((each) => waitingJson(each, lots, userName)),
  };
}

/** A waiting request for programs; `lot` is the one around its path, null where that is not seen. */
export type WaitingJson = Omit<WaitingSnapshot, 'lot'> & { lot: string | null };

function waitingJson({ lot, owner, ...rest }: WaitingSnapshot, lots: LotsSeen, userName: UserName): WaitingJson {
  return { ...rest, owner: userName(owner), lot: lots.namesOf([lot])[0] ?? null };
}

/** `policy.json` of a lot. */
export function policyJson({ lot }: LotSnapshot) {
  const grant = grantBytes(lot.policy);
  return { ...lot.policy, grantBytes: grant, grant: grant === UNLIMITED ? 'unlimited' : formatBytes(grant) };
}

/** `usage.json` of a lot: its own files, and with those of the lots below it. */
export function usageJson({ own, used }: LotSnapshot) {
  return { own: numbers(own), used: numbers(used) };
}

function numbers({ bytes, objects, pendingBytes, pendingObjects }: LotUsage) {
  return { bytes, objects, pendingBytes, pendingObjects };
}

/** The reply to a command that was refused or not understood. */
export function refusalJson(error: VreserveError, cmd: string | null) {
  const details = Object.entries(error.details).filter(([name]) => !/(Text|^errno|^reason)$/.test(name));
  return {
    ok: false,
    ...(cmd === null ? {} : { cmd }),
    code: error.code,
    errno: error.errno,
    message: error.message,
    ...Object.fromEntries(details),
  };
}

/** The reply to `check`. */
export function checkJson(report: CheckReport) {
  return { differences: report.differences, lots: report.lots, straddling: report.straddling };
}
