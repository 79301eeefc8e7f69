// The report for people: the pool, then a line a lot.

import { formatBytes, formatCount } from '../core/bytes.js';
import { formatDuration } from '../core/duration.js';
import { DEFAULT_LOT_ID, grantBytes, type LotId, UNLIMITED } from '../core/lot.js';
import type { LotSnapshot, LotsSeen } from '../core/lots-seen.js';
import { MAIN_POOL_NAME } from '../core/pool.js';
import type { Snapshot } from '../core/snapshot.js';
import { poolNames, type UserName } from './json.js';
import { type Column, printable, shorten, table } from './text.js';

const LOT_COLUMNS: readonly Column[] = [
  { heading: 'LOT', align: 'left' },
  { heading: 'USED', align: 'right' },
  { heading: 'GRANT', align: 'right' },
  { heading: '%', align: 'right' },
  { heading: 'OBJECTS', align: 'right' },
  { heading: 'PENDING', align: 'right' },
  { heading: 'OWNER', align: 'left' },
  { heading: 'EXPIRES', align: 'left' },
];

/** Where there are several pools. */
const LOT_POOL_COLUMN: Column = { heading: 'POOL', align: 'left' };

const POOL_COLUMNS: readonly Column[] = [
  { heading: 'POOL', align: 'left' },
  { heading: 'TYPE', align: 'left' },
  { heading: 'CAPACITY', align: 'right' },
  { heading: 'USED', align: 'right' },
  { heading: 'FREE', align: 'right' },
  { heading: 'SET ASIDE', align: 'right' },
  { heading: 'HEADROOM', align: 'right' },
  { heading: 'IO', align: 'left' },
  { heading: 'AT', align: 'left' },
];

const WAITING_COLUMNS: readonly Column[] = [
  { heading: 'WAITING', align: 'right' },
  { heading: 'PATH', align: 'left' },
  { heading: 'BYTES', align: 'right' },
  { heading: 'FOR', align: 'left' },
  { heading: 'OWNER', align: 'left' },
  { heading: 'SINCE', align: 'left' },
  { heading: 'LEFT', align: 'left' },
];

/** A lot's name is shortened beyond this, so that the table fits 100 columns. */
const NAME_WIDTH = 40;
const OWNER_WIDTH = 12;

export function renderReport(snapshot: Snapshot, userName: UserName): string {
  const several = snapshot.pools.length > 0;
  const nameOf = poolNames(snapshot.pools);
  const rows = snapshot.lots.all().map((seen) => {
    const row = lotRow(seen, snapshot.atMs, userName);
    return several ? [...row, nameOf(seen.lot.pool) ?? MAIN_POOL_NAME] : row;
  });
  const lots = table(several ? [...LOT_COLUMNS, LOT_POOL_COLUMN] : LOT_COLUMNS, rows);
  const parts = [heading(snapshot), '\n', poolLines(snapshot), '\n', lots];
  if (several) parts.splice(4, 0, poolsTable(snapshot), '\n');
  if (snapshot.waiting.length > 0) parts.push('\n', waitingTable(snapshot, userName));
  return parts.join('');
}

/** The line, in the order of its positions; lots have lines of their own. */
function waitingTable({ waiting, lots, atMs }: Snapshot, userName: UserName): string {
  const rows = waiting.map(({ position, path, bytes, owner, lot, missingBytes, askedAtMs, deadlineMs }) => [
    String(position),
    shorten(printable(path), NAME_WIDTH),
    formatBytes(bytes),
    missingBytes === null ? 'its turn' : `${formatBytes(missingBytes)} more${whereOf(lot, lots)}`,
    shorten(printable(userName(owner)), OWNER_WIDTH),
    formatDuration(atMs - askedAtMs),
    deadlineMs === null ? 'ever' : formatDuration(Math.max(0, deadlineMs - atMs)),
  ]);
  return table(WAITING_COLUMNS, rows);
}

function whereOf(lot: LotId, lots: LotsSeen): string {
  const name = lot === DEFAULT_LOT_ID ? undefined : lots.namesOf([lot])[0];
  return name === undefined ? '' : ` in ${shorten(printable(name), NAME_WIDTH)}`;
}

function heading({ atMs, daemon, troubles }: Snapshot): string {
  const at = `${new Date(atMs).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
  const where = daemon.backing === daemon.mountpoint ? daemon.mountpoint : `${daemon.backing} on ${daemon.mountpoint}`;
  const how = `${daemon.filesystem}, ${daemon.io}${daemon.readOnly ? ', read-only' : ''}`;
  const io = daemon.ioReason === '' ? '' : `not passthrough: ${daemon.ioReason}\n`;
  const health = troubles.map((trouble) => `! ${trouble}\n`).join('');
  const pid = daemon.pid === 0 ? '' : `pid ${daemon.pid}, `;
  return `${printable(where)} (${how})\nvreserve ${daemon.version}, ${pid}${at}\n${io}${health}`;
}

function poolLines({ pool }: Snapshot): string {
  const lines: [string, number, string][] = [
    ['capacity', pool.capacityBytes, ''],
    ['used', pool.usedBytes, percentOf(pool.usedBytes, pool.capacityBytes)],
    ['free', pool.freeBytes, ''],
    ['set aside', pool.setAsideBytes, 'promised to lots and not used yet'],
    ['margin', pool.marginBytes, 'kept for directories and the filesystem itself'],
    ['headroom', pool.headroomBytes, 'what can still be given to anyone'],
  ];
  const left = Math.max(...lines.map(([name]) => name.length));
  const right = Math.max(...lines.map(([, bytes]) => formatBytes(bytes).length));
  return lines
    .map(([name, bytes, note]) => `${name.padEnd(left)}  ${formatBytes(bytes).padStart(right)}  ${note}`.trimEnd())
    .map((line) => `${line}\n`)
    .join('');
}

/** Pools beside the main one, which has the lines above. */
function poolsTable({ pools }: Snapshot): string {
  const rows = pools.map((pool) => [
    pool.name,
    pool.type,
    formatBytes(pool.capacityBytes),
    formatBytes(pool.usedBytes),
    formatBytes(pool.freeBytes),
    formatBytes(pool.setAsideBytes),
    formatBytes(pool.headroomBytes),
    pool.broken === null ? pool.io : 'BROKEN',
    shorten(printable(pool.directory), NAME_WIDTH),
  ]);
  return table(POOL_COLUMNS, rows);
}

function lotRow({ lot, used }: LotSnapshot, nowMs: number, userName: UserName): string[] {
  const grant = grantBytes(lot.policy);
  const limited = grant !== UNLIMITED;
  return [
    shorten(printable(lot.name), NAME_WIDTH),
    formatBytes(used.bytes),
    limited ? formatBytes(grant) : 'unlimited',
    limited ? percentOf(used.bytes, grant) : '-',
    formatCount(used.objects),
    used.pendingObjects === 0 ? '-' : formatCount(used.pendingObjects),
    shorten(printable(userName(lot.owner)), OWNER_WIDTH),
    expiry(lot.policy.expiresAtMs, nowMs),
  ];
}

/** Rounded down, so that 100 % is full and nothing less. */
function percentOf(part: number, whole: number): string {
  if (whole === 0) return part === 0 ? '-' : 'over';
  return `${Math.floor((part / whole) * 100)}%`;
}

function expiry(atMs: number | null, nowMs: number): string {
  if (atMs === null) return 'never';
  return atMs <= nowMs ? 'expired' : `in ${formatDuration(atMs - nowMs)}`;
}
