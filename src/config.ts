// The configuration of a mount, from the words of the command line or a -o list.

import { parseArgs } from 'node:util';
import { VreserveError } from './core/errors.js';
import { formatAddress, formatEndpoint, type HttpAddress, isLoopback } from './core/http-address.js';
import { type PoolGiven, poolOfList } from './core/pool.js';
import type { DiskType } from './core/space.js';
import {
  type ENGINES,
  JOURNAL_KEEP,
  type LOG_LEVELS,
  MOUNT_OPTIONS,
  type RESERVE_BY,
  type Switch,
  type Value,
} from './mount-options.js';

export type LogLevel = (typeof LOG_LEVELS)[number];

/** Who may reserve a path: writers of its directory, owners of the lot it lies in, or administrators only. */
export type ReserveBy = (typeof RESERVE_BY)[number];

/** Which data plane serves; auto: the first that can. */
export type EngineChoice = (typeof ENGINES)[number];

/** How much of the journal is kept: what is older, or beyond that many bytes, may go. */
export interface JournalKeep {
  ageMs: number;
  bytes: number;
}

/** Of a lot that the mount makes: bytes, or a fraction of the capacity; 0 bytes: there is none. */
export type OwnGrant = { bytes: number } | { fraction: number };

/** The cache of the mount: its first size, and where it is to be seen besides the mount; null: nowhere. */
export interface CacheConfig {
  bytes: number;
  path: string | null;
}

/** A mount as asked for; plain JSON. `backing` and `mountpoint` are as given (equal for an in-place mount). */
export interface MountConfig {
  backing: string;
  mountpoint: string;
  engine: EngineChoice;
  /** null: what the filesystem has. */
  capacityBytes: number | null;
  /** null: 1 % of the capacity, at most 1 GiB. */
  marginBytes: number | null;
  /** null: 1 % of the capacity where there is no lot of the spool yet, else what that lot has. */
  spoolGrant: OwnGrant | null;
  /** null: nothing set aside, and opportunistic the capacity, where there is no lot of the store yet, else what that lot has. */
  storeGrant: OwnGrant | null;
  /** Permission bits of `.vreserve/store`; those of its files without execution. */
  storeMode: number;
  /** How often the store removes files of what failed, was replaced or was removed. */
  gcIntervalMs: number;
  /** Pools beside the backing directory. */
  pools: readonly PoolGiven[];
  readOnly: boolean;
  reserveBy: ReserveBy;
  /** Requests that fit may go before those that wait. */
  allowOvertaking: boolean;
  journalKeep: JournalKeep;
  /** Fractions of the capacity: beyond the high one what is past its policy is deleted, down to the low one; null: never by itself. */
  highWatermark: number | null;
  lowWatermark: number;
  /** Do not verify the saved usage after a clean start. */
  trust: boolean;
  allowOther: boolean;
  /** It is no default: others were asked in. */
  othersAsked: boolean;
  /** Others may do what the mounting user may, where the engine cannot tell who asks. */
  trustAllUsers: boolean;
  passthrough: boolean;
  /** 0: chosen by the engine. */
  threads: number;
  graceMs: number;
  /** null: no HTTP service. */
  http: HttpAddress | null;
  /** It may listen on other addresses than those of the machine itself. */
  httpAny: boolean;
  /** Permission bits of the socket. */
  httpMode: number;
  httpTokenFile: string | null;
  /** Path of the socket for container engines; null: none. */
  volumePlugin: string | null;
  /** Where key-value namespaces are served; null: nowhere. */
  zdb: HttpAddress | null;
  /** It may listen on other addresses than those of the machine itself. */
  zdbAny: boolean;
  /** In it the password of administrators of namespaces; null: everybody is one. */
  zdbAdminFile: string | null;
  /** null: each namespace has its own. */
  zdbMode: 'user' | 'seq' | null;
  /** Only administrators write into the default namespace. */
  zdbProtect: boolean;
  /** What was set is on the disk before it is answered. */
  zdbSync: boolean;
  /** Disks that come and go become lines of the journal. */
  watchDevices: boolean;
  /** What the backing lies on; null: what the kernel says. */
  type: DiskType | null;
  /** null: no cache. */
  cache: CacheConfig | null;
  /** How often it is looked whether the cache has the right size. */
  cacheIntervalMs: number;
  /** null: `.vreserve/daemon.log` of the backing, or stderr in the foreground. */
  logFile: string | null;
  logLevel: LogLevel;
  foreground: boolean;
  json: boolean;
  suid: boolean;
  dev: boolean;
  exec: boolean;
  charging: boolean;
}

const IGNORED_NAMES =
  'defaults auto noauto nofail _netdev user users nouser owner group async atime relatime noatime strictatime lazytime nodiratime diratime nostrictatime nolazytime norelatime default_permissions'.split(
    ' ',
  );

/** Names that mount(8) and fstab use in -o; those that change nothing here are accepted and ignored. */
const KERNEL_OPTIONS: Record<string, Partial<MountConfig>> = {
  ro: { readOnly: true },
  rw: { readOnly: false },
  ...Object.fromEntries(IGNORED_NAMES.map((name) => [name, {}])),
};

/** fstab's own keys for systemd and comments, and those that /proc/mounts shows for a FUSE mount. */
const IGNORED_KEYS = /^(x-.*|comment|fsname|subtype|fd|rootmode|user_id|group_id|max_read)$/;

/**
 * A configuration from the words after `mount`: DATA [MNT] and options. `uid` is who mounts: root lets other users in.
 * Throws USAGE (or BAD_BYTES, BAD_DURATION), which name the option.
 */
export function parseMount(argv: readonly string[], uid: number): MountConfig {
  const { tokens } = parseArgs({
    args: [...argv],
    options: { ...parseArgsOptions(), o: { type: 'string', short: 'o', multiple: true } },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const config = defaultConfig(uid);
  const places: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') places.push(token.value);
    else if (token.kind === 'option') applyOption(config, token.name, token.rawName, token.value);
  }
  const [backing, mountpoint = backing, ...more] = places;
  if (backing === undefined || mountpoint === undefined || backing === '' || mountpoint === '') {
    throw new VreserveError('USAGE', { reason: 'mount needs a backing directory: mount DATA [MNT] [options]' });
  }
  if (more.length > 0) throw new VreserveError('USAGE', { reason: `mount takes two directories, '${more[0]}' is one too many` });
  if (config.highWatermark !== null && config.lowWatermark > config.highWatermark) {
    throw new VreserveError('USAGE', { reason: '--low-watermark must not be above --high-watermark' });
  }
  if (config.http !== null && !config.httpAny && !isLoopback(config.http)) {
    const reason = `--http ${formatAddress(config.http)} can be reached from other machines: say --http-any too, best with --http-token-file`;
    throw new VreserveError('USAGE', { reason });
  }
  if (config.zdb !== null && !config.zdbAny && !isLoopback(config.zdb)) {
    const reason = `--zdb ${formatEndpoint(config.zdb)} can be reached from other machines: say --zdb-any too, best with --zdb-admin-file`;
    throw new VreserveError('USAGE', { reason });
  }
  if (config.zdb !== null && config.readOnly) {
    throw new VreserveError('USAGE', { reason: '--zdb needs a mount that can be written to: leave out --read-only' });
  }
  if (config.cache !== null && config.cache.path !== null && uid !== 0) {
    throw new VreserveError('USAGE', {
      reason: '--cache SIZE:PATH mounts the cache at PATH, which only root may: leave out :PATH',
    });
  }
  return { ...config, backing, mountpoint };
}

/** The options as lines for the help of `mount`. */
export function mountOptionsHelp(): string {
  const rows = Object.entries(MOUNT_OPTIONS).map(([name, option]) => {
    const short = option.kind === 'switch' && option.short !== undefined ? `-${option.short}, ` : '';
    const long = option.kind === 'switch' && option.negatable ? `--[no-]${name}` : `--${name}`;
    const unit = option.kind === 'value' ? ` ${option.unit}` : '';
    const note = option.kind === 'value' && option.unit !== 'LEVEL' ? ` (${option.default})` : '';
    return [`${short}${long}${unit}`, `${option.help}${note}`] as const;
  });
  rows.push(['-o LIST', 'the same names, and those of fstab, between commas: capacity=1T,ro,nofail']);
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}\n`).join('');
}

function defaultConfig(uid: number): MountConfig {
  return {
    backing: '',
    mountpoint: '',
    engine: 'auto',
    capacityBytes: null,
    marginBytes: null,
    spoolGrant: null,
    storeGrant: null,
    storeMode: 0o700,
    gcIntervalMs: 5000,
    pools: [],
    readOnly: false,
    reserveBy: 'writers',
    allowOvertaking: false,
    journalKeep: { ...JOURNAL_KEEP },
    highWatermark: null,
    lowWatermark: 0.85,
    trust: false,
    allowOther: uid === 0,
    othersAsked: false,
    trustAllUsers: false,
    passthrough: true,
    threads: 0,
    graceMs: 30_000,
    http: null,
    httpAny: false,
    httpMode: 0o600,
    httpTokenFile: null,
    volumePlugin: null,
    zdb: null,
    zdbAny: false,
    zdbAdminFile: null,
    zdbMode: null,
    zdbProtect: false,
    zdbSync: false,
    watchDevices: false,
    type: null,
    cache: null,
    cacheIntervalMs: 300_000,
    logFile: null,
    logLevel: 'info',
    foreground: false,
    json: false,
    suid: false,
    dev: false,
    exec: true,
    charging: true,
  };
}

function parseArgsOptions(): Record<string, { type: 'boolean' | 'string'; short?: string }> {
  const options: Record<string, { type: 'boolean' | 'string'; short?: string }> = {};
  for (const [name, option] of Object.entries(MOUNT_OPTIONS)) {
    if (option.kind === 'value') options[name] = { type: 'string' };
    else {
      options[name] = option.short === undefined ? { type: 'boolean' } : { type: 'boolean', short: option.short };
      if (option.negatable) options[`no-${name}`] = { type: 'boolean' };
    }
  }
  return options;
}

function applyOption(config: MountConfig, name: string, rawName: string, value: string | undefined): void {
  if (name === 'o' && rawName === '-o') {
    if (value === undefined) throw new VreserveError('USAGE', { reason: '-o needs a list of options' });
    for (const item of value.split(',')) if (item !== '') applyListed(config, item);
    return;
  }
  const known = rawName.startsWith('--') ? find(name) : findShort(name);
  if (known === null) throw new VreserveError('USAGE', { reason: `unknown option '${rawName}'` });
  set(config, known, rawName, value);
}

/** One item of a -o list: `NAME`, `noNAME` or `NAME=VALUE`, with `_` as good as `-`. */
function applyListed(config: MountConfig, item: string): void {
  const at = item.indexOf('=');
  const key = at < 0 ? item : item.slice(0, at);
  const value = at < 0 ? undefined : item.slice(at + 1);
  const kernel = Object.hasOwn(KERNEL_OPTIONS, key) ? KERNEL_OPTIONS[key] : undefined;
  if (kernel !== undefined && value === undefined) {
    Object.assign(config, kernel);
    return;
  }
  if (IGNORED_KEYS.test(key)) return;
  const name = key.replaceAll('_', '-');
  const known = find(name) ?? (name.startsWith('no') ? find(`no-${name.slice(2)}`) : null);
  if (known === null) throw new VreserveError('USAGE', { reason: `unknown option '${key}' in -o` });
  set(config, known, `-o ${key}`, key === 'pool' && value !== undefined ? poolOfList(value) : value);
}

interface Known {
  option: Switch | Value;
  on: boolean;
}

function find(name: string): Known | null {
  const option = Object.hasOwn(MOUNT_OPTIONS, name) ? MOUNT_OPTIONS[name] : undefined;
  if (option !== undefined) return { option, on: true };
  if (!name.startsWith('no-')) return null;
  const positive = name.slice(3);
  const negated = Object.hasOwn(MOUNT_OPTIONS, positive) ? MOUNT_OPTIONS[positive] : undefined;
  return negated?.kind === 'switch' && negated.negatable ? { option: negated, on: false } : null;
}

function findShort(name: string): Known | null {
  const found = Object.entries(MOUNT_OPTIONS).find(
    ([long, option]) => option.kind === 'switch' && option.short !== undefined && (option.short === name || long === name),
  );
  return found === undefined ? null : { option: found[1], on: true };
}

function set(config: MountConfig, known: Known, shown: string, value: string | undefined): void {
  if (known.option.kind === 'switch') {
    if (value !== undefined) throw new VreserveError('USAGE', { reason: `${shown} takes no value` });
    Object.assign(config, known.option.set(known.on));
  } else {
    if (value === undefined) throw new VreserveError('USAGE', { reason: `${shown} needs a value: ${known.option.unit}` });
    try {
      Object.assign(config, known.option.set(value, config));
    } catch (error) {
      if (error instanceof VreserveError && error.code !== 'USAGE') {
        throw new VreserveError('USAGE', { reason: `${shown}: ${error.message}` }, { cause: error });
      }
      throw error;
    }
  }
}
