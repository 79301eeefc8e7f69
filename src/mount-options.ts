// Every option of `mount` once: its name, unit, default, check and line of help.

import type { CacheConfig, JournalKeep, MountConfig, OwnGrant } from './config.js';
import { parseBytes } from './core/bytes.js';
import { parseDurationMs, parseTimerMs } from './core/duration.js';
import { VreserveError } from './core/errors.js';
import { parseHttpAddress, parseSocketPath } from './core/http-address.js';
import { parsePercent } from './core/percent.js';
import { type PoolGiven, parsePool } from './core/pool.js';
import { checkSpaceSize, DISK_TYPES } from './core/space.js';
import { LEAST_GC_INTERVAL_MS } from './core/store-layout.js';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
/** The data planes, and auto: the native one, and fuse-native where that cannot start. */
export const ENGINES = ['auto', 'native', 'fuse-native'] as const;
export const ZDB_MODES = ['user', 'seq'] as const;
export const RESERVE_BY = ['writers', 'owners', 'root'] as const;

/** The default of `--journal-keep`: 30 days or 1 GiB, whichever is less. */
export const JOURNAL_KEEP: JournalKeep = { ageMs: 30 * 86_400_000, bytes: 1024 ** 3 };

/** An option without a value. */
export interface Switch {
  kind: 'switch';
  help: string;
  short?: string;
  /** Also taken as --no-NAME, and noNAME in -o. */
  negatable?: boolean;
  /** What the switch sets. */
  set: (on: boolean) => Partial<MountConfig>;
}

/** An option with one. */
export interface Value {
  kind: 'value';
  /** Shown in the help: BYTES, FILE … */
  unit: string;
  /** The default, as text for the help. */
  default: string;
  help: string;
  /** What the value sets; throws USAGE, BAD_BYTES or BAD_DURATION. */
  set: (text: string, before: MountConfig) => Partial<MountConfig>;
}

/** All options of `mount`, in the order of the help. */
export const MOUNT_OPTIONS: Record<string, Switch | Value> = {
  engine: {
    kind: 'value',
    unit: 'ENGINE',
    default: 'auto',
    help: 'what serves the kernel: native, fuse-native, or auto, the first of the two that can start',
    set: (text) => ({ engine: oneOf('engine', ENGINES, text) }),
  },
  capacity: {
    kind: 'value',
    unit: 'BYTES',
    default: 'what the filesystem has',
    help: 'never let the mount hold more than this',
    set: (text) => ({ capacityBytes: parseBytes(text) }),
  },
  margin: {
    kind: 'value',
    unit: 'BYTES',
    default: '1 % of the capacity, at most 1 GiB',
    help: 'keep this much free for directories and the filesystem itself',
    set: (text) => ({ marginBytes: parseBytes(text) }),
  },
  pool: {
    kind: 'value',
    unit: 'NAME=DIR',
    default: 'those that it had',
    help: 'a directory on another disk; ,type=ssd|hdd ,capacity= ,margin= may follow',
    set: (text, { pools }) => ({ pools: withPool(pools, parsePool(text)) }),
  },
  'spool-grant': {
    kind: 'value',
    unit: 'BYTES|%',
    default: '1%, later as it is',
    help: 'set aside so much for .vreserve/spool, or what fits of it; 0: no spool',
    set: (text) => ({ spoolGrant: parseGrant(text) }),
  },
  'store-grant': {
    kind: 'value',
    unit: 'BYTES|%',
    default: 'the headroom, later as it is',
    help: 'set aside so much for .vreserve/store, or what fits of it; 0: no store',
    set: (text) => ({ storeGrant: parseGrant(text) }),
  },
  'store-mode': {
    kind: 'value',
    unit: 'MODE',
    default: '700',
    help: 'permissions of .vreserve/store; its files have the same without execution',
    set: (text) => ({ storeMode: parseMode('store-mode', text) }),
  },
  'gc-interval': {
    kind: 'value',
    unit: 'DURATION',
    default: '5s',
    help: 'how often files of removed and replaced blobs are removed',
    set: (text) => ({ gcIntervalMs: parseTimerMs(text, LEAST_GC_INTERVAL_MS) }),
  },
  'read-only': {
    kind: 'switch',
    help: 'refuse every change (ro)',
    set: (on) => ({ readOnly: on }),
  },
  'reserve-by': {
    kind: 'value',
    unit: 'WHO',
    default: 'writers',
    help: 'who may reserve a path: writers of its directory, owners of the lot it lies in, or root',
    set: (text) => ({ reserveBy: oneOf('reserve-by', RESERVE_BY, text) }),
  },
  'allow-overtaking': {
    kind: 'switch',
    help: 'grant what fits even where requests that do not fit yet wait before it (see reserve --wait)',
    set: (on) => ({ allowOvertaking: on }),
  },
  'journal-keep': {
    kind: 'value',
    unit: 'AGE|BYTES',
    default: '30d,1GiB',
    help: 'how much of the journal is kept, such as 30d, 1GiB, or both as 30d,1GiB',
    set: (text) => ({ journalKeep: parseJournalKeep(text) }),
  },
  'high-watermark': {
    kind: 'value',
    unit: 'PERCENT',
    default: 'never by itself',
    help: 'when a pool is this full, delete what lots hold past their policy (see reclaim)',
    set: (text) => ({ highWatermark: parsePercent(text) }),
  },
  'low-watermark': {
    kind: 'value',
    unit: 'PERCENT',
    default: '85%',
    help: 'where reclaiming stops',
    set: (text) => ({ lowWatermark: parsePercent(text) }),
  },
  trust: {
    kind: 'switch',
    help: 'do not verify the saved usage after a clean end',
    set: (on) => ({ trust: on }),
  },
  'allow-other': {
    kind: 'switch',
    negatable: true,
    help: 'let other users use the mount (the default as root)',
    set: (on) => ({ allowOther: on, othersAsked: on }),
  },
  'i-trust-all-users': {
    kind: 'switch',
    help: 'let other users use a mount that cannot tell who asks (fuse-native): they may do what you may',
    set: (on) => ({ trustAllUsers: on }),
  },
  passthrough: {
    kind: 'switch',
    negatable: true,
    help: 'let the kernel read the backing files itself (the default where it can)',
    set: (on) => ({ passthrough: on }),
  },
  threads: {
    kind: 'value',
    unit: 'N',
    default: '0, chosen by the number of cores',
    help: 'threads that serve the kernel, at most 64',
    set: (text) => ({ threads: parseCount('threads', text, 64) }),
  },
  grace: {
    kind: 'value',
    unit: 'DURATION',
    default: '30s',
    help: 'how long a busy mount is still served after SIGTERM',
    set: (text) => ({ graceMs: parseDurationMs(text) }),
  },
  http: {
    kind: 'value',
    unit: 'ADDRESS',
    default: 'none',
    help: 'serve HTTP there, such as 127.0.0.1:8188 or unix:/run/vreserve.sock',
    set: (text) => ({ http: parseHttpAddress(text) }),
  },
  'http-any': {
    kind: 'switch',
    help: 'let --http listen where other machines can connect',
    set: (on) => ({ httpAny: on }),
  },
  'http-mode': {
    kind: 'value',
    unit: 'MODE',
    default: '600',
    help: 'permissions of the socket of --http unix:…',
    set: (text) => ({ httpMode: parseMode('http-mode', text) }),
  },
  'http-token-file': {
    kind: 'value',
    unit: 'FILE',
    default: 'none is asked for',
    help: 'ask over HTTP for the token in this file; else who connects may do all',
    set: (text) => ({ httpTokenFile: nonEmpty('http-token-file', text) }),
  },
  'volume-plugin': {
    kind: 'value',
    unit: 'PATH',
    default: 'none',
    help: 'serve volumes of containers on this socket, such as /run/docker/plugins/vreserve.sock',
    set: (text) => ({ volumePlugin: parseSocketPath(text) }),
  },
  zdb: {
    kind: 'value',
    unit: 'ADDRESS',
    default: 'none',
    help: 'serve key-value namespaces there, as 0-db does, such as 127.0.0.1:9900 or unix:/run/zdb.sock',
    set: (text) => ({ zdb: parseHttpAddress(text) }),
  },
  'zdb-any': {
    kind: 'switch',
    help: 'let --zdb listen where other machines can connect',
    set: (on) => ({ zdbAny: on }),
  },
  'zdb-admin-file': {
    kind: 'value',
    unit: 'FILE',
    default: 'everybody is an administrator',
    help: 'the password in this file makes an administrator of namespaces (AUTH)',
    set: (text) => ({ zdbAdminFile: nonEmpty('zdb-admin-file', text) }),
  },
  'zdb-mode': {
    kind: 'value',
    unit: 'MODE',
    default: 'each namespace has its own',
    help: 'user or seq, for all namespaces',
    set: (text) => ({ zdbMode: oneOf('zdb-mode', ZDB_MODES, text) }),
  },
  'zdb-protect': {
    kind: 'switch',
    help: 'let administrators alone write into the default namespace',
    set: (on) => ({ zdbProtect: on }),
  },
  'zdb-sync': {
    kind: 'switch',
    help: 'bring every value to the disk before it is answered',
    set: (on) => ({ zdbSync: on }),
  },
  'watch-devices': {
    kind: 'switch',
    help: 'write disks and pools that come, go and break to the journal',
    set: (on) => ({ watchDevices: on }),
  },
  type: {
    kind: 'value',
    unit: 'ssd|hdd',
    default: 'what the kernel says',
    help: 'what the backing lies on, for the policies of spaces',
    set: (text) => ({ type: oneOf('type', DISK_TYPES, text) }),
  },
  cache: {
    kind: 'value',
    unit: 'SIZE[:PATH]',
    default: 'none',
    help: 'a space that grows and shrinks with its use, also to be seen at PATH',
    set: (text) => ({ cache: parseCache(text) }),
  },
  'cache-interval': {
    kind: 'value',
    unit: 'DURATION',
    default: '5m',
    help: 'how often the size of the cache is looked at',
    set: (text) => ({ cacheIntervalMs: parseTimerMs(text, LEAST_CACHE_INTERVAL_MS) }),
  },
  log: {
    kind: 'value',
    unit: 'FILE',
    default: '.vreserve/daemon.log of the backing; stderr in the foreground',
    help: 'where the daemon logs to',
    set: (text) => ({ logFile: nonEmpty('log', text) }),
  },
  'log-level': {
    kind: 'value',
    unit: 'LEVEL',
    default: 'info',
    help: LOG_LEVELS.join(', '),
    set: (text) => ({ logLevel: oneOf('log-level', LOG_LEVELS, text) }),
  },
  foreground: {
    kind: 'switch',
    short: 'f',
    help: 'stay in the foreground',
    set: (on) => ({ foreground: on }),
  },
  json: {
    kind: 'switch',
    help: 'print JSON',
    set: (on) => ({ json: on }),
  },
  suid: {
    kind: 'switch',
    negatable: true,
    help: 'honour set-uid and set-gid programs of the mount (not by default)',
    set: (on) => ({ suid: on }),
  },
  dev: {
    kind: 'switch',
    negatable: true,
    help: 'honour device nodes of the mount (not by default)',
    set: (on) => ({ dev: on }),
  },
  exec: {
    kind: 'switch',
    negatable: true,
    help: 'with --no-exec no program of the mount can be executed',
    set: (on) => ({ exec: on }),
  },
  charging: {
    kind: 'switch',
    negatable: true,
    help: 'with --no-charging nothing is charged or refused: only for measuring what charging costs',
    set: (on) => ({ charging: on }),
  },
};

function withPool(pools: readonly PoolGiven[], pool: PoolGiven): PoolGiven[] {
  if (pools.some(({ name }) => name === pool.name))
    throw new VreserveError('USAGE', { reason: `there are two pools '${pool.name}'` });
  return [...pools, pool];
}

const LEAST_CACHE_INTERVAL_MS = 100;

function parseCache(text: string): CacheConfig {
  const at = text.indexOf(':');
  const bytes = checkSpaceSize(parseBytes(at < 0 ? text : text.slice(0, at)));
  return { bytes, path: at < 0 ? null : nonEmpty('cache SIZE:', text.slice(at + 1)) };
}

function parseGrant(text: string): OwnGrant {
  return text.endsWith('%') ? { fraction: parsePercent(text) } : { bytes: parseBytes(text) };
}

function parseJournalKeep(text: string): JournalKeep {
  const keep = { ageMs: Number.MAX_SAFE_INTEGER, bytes: Number.MAX_SAFE_INTEGER };
  const parts = text.split(',');
  if (parts.length > 2) throw new VreserveError('USAGE', { reason: `--journal-keep takes an age, a number of bytes, or both` });
  for (const part of parts) {
    if (/^[0-9]+(ms|s|m|h|d|w)$/.test(part)) keep.ageMs = parseDurationMs(part);
    else keep.bytes = parseBytes(part);
  }
  return keep;
}

function nonEmpty(name: string, text: string): string {
  if (text === '') throw new VreserveError('USAGE', { reason: `--${name} needs a value` });
  return text;
}

function parseCount(name: string, text: string, most: number): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (count <= most) return count;
  throw new VreserveError('USAGE', { reason: `--${name} must be a number from 0 to ${most}, not '${text}'` });
}

function parseMode(name: string, text: string): number {
  if (/^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
  throw new VreserveError('USAGE', { reason: `--${name} must be three octal digits, such as 660, not '${text}'` });
}

function oneOf<T extends string>(name: string, choices: readonly T[], text: string): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  throw new VreserveError('USAGE', { reason: `--${name} must be one of ${choices.join(', ')}, not '${text}'` });
}
