// `vreserve mount`: checks, starts the daemon, and returns when the mount is usable.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CacheConfig, type MountConfig, mountOptionsHelp, parseMount } from '../config.js';
import { formatBytes, formatCount } from '../core/bytes.js';
import { ERRORS, type ErrorCode, VreserveError } from '../core/errors.js';
import { type HttpAddress, isLoopback } from '../core/http-address.js';
import { isWithin } from '../core/paths.js';
import type { Command } from './command.js';
import type { CacheMessage, DaemonMessage, FailedMessage, OwnMessage, ReadyMessage, StartMessage } from './messages.js';
import { realPathOf } from './mountinfo.js';
import { alignColumns, note, ProgressLine, print, printJson } from './output.js';
import { checkPlaces } from './places.js';

export const mount: Command = {
  usage: 'mount DATA [MNT] [options]',
  description: [
    'Mounts the backing directory DATA at MNT, or in place (over itself) where MNT is left out, and returns when the',
    'mount is usable. The daemon stays behind; vreserve umount or SIGTERM ends it. A mountpoint whose daemon is gone is',
    'detached and mounted anew.',
  ],
  examples: ['vreserve mount /data /mnt/data', 'vreserve mount /data --capacity 500GB'],
  options: {},
  optionsHelp: mountOptionsHelp,
  words: [1, 2],
  raw: true,
  async run(_, argv) {
    const asked = parseMount(argv, process.getuid?.() ?? 0);
    const { backing, mountpoint, recovered } = checkPlaces(asked.backing, asked.mountpoint);
    if (recovered) note(`the mount at ${mountpoint} had lost its daemon; it was detached and is mounted anew`);
    const logFile = asked.logFile === null ? null : resolve(asked.logFile);
    const volumePlugin = asked.volumePlugin === null ? null : resolve(asked.volumePlugin);
    const httpTokenFile = asked.httpTokenFile === null ? null : resolve(asked.httpTokenFile);
    const http = resolved(asked.http);
    const cache = resolvedCache(asked.cache, mountpoint);
    const pools = asked.pools.map((pool) => ({ ...pool, directory: realPathOrTyped(pool.directory) }));
    const zdb = resolved(asked.zdb);
    const zdbAdminFile = asked.zdbAdminFile === null ? null : resolve(asked.zdbAdminFile);
    const places = { backing, mountpoint, logFile, http, httpTokenFile, volumePlugin, cache, pools, zdb, zdbAdminFile };
    const config: MountConfig = { ...asked, ...places };
    const daemon = startDaemon(config);
    const ready = await whenReady(daemon, config);
    if (ready.engineReason !== '')
      note(`mounted with ${ready.engine}, because the native engine cannot start: ${ready.engineReason}`);
    for (const trouble of ready.cacheTroubles) note(trouble);
    if (config.json) printJson(ready);
    else for (const line of summary(ready)) print(line);
    if (config.http !== null && config.httpTokenFile === null && !isLoopback(config.http)) note(NO_AUTHENTICATION);
    if (config.foreground) return follow(daemon);
    daemon.disconnect();
    daemon.unref();
    return 0;
  },
};

const NO_AUTHENTICATION =
  'other machines can reach the service, and nobody is asked who they are: whoever connects can release everything (see --http-token-file)';

/** The daemon works elsewhere. A pool that is known may be away. */
function realPathOrTyped(typed: string): string {
  try {
    return realpathSync(typed);
  } catch {
    return resolve(typed);
  }
}

/** The daemon works elsewhere. */
function resolved(address: HttpAddress | null): HttpAddress | null {
  return address !== null && 'socketPath' in address ? { socketPath: resolve(address.socketPath) } : address;
}

/** A place that has lost its daemon counts as there. Throws MOUNT_FAILED. */
function resolvedCache(cache: CacheConfig | null, mountpoint: string): CacheConfig | null {
  if (cache === null || cache.path === null) return cache;
  const path = realPathOf(resolve(cache.path));
  if (!isWithin(path, mountpoint)) return { ...cache, path };
  throw new VreserveError('MOUNT_FAILED', {
    path: mountpoint,
    reason: `the cache cannot be seen at '${cache.path}', which lies in it`,
  });
}

function startDaemon(config: MountConfig): ChildProcess {
  const errors = config.foreground ? 'inherit' : openErrors(config);
  const daemon = spawn(process.execPath, [fileURLToPath(new URL('./main.js', import.meta.url)), 'daemon'], {
    // A working directory of its own would keep a filesystem busy.
    cwd: '/',
    detached: !config.foreground,
    stdio: ['ignore', 'ignore', errors, 'ipc'],
  });
  if (typeof errors === 'number') closeSync(errors);
  return daemon;
}

/** Where the daemon's stderr goes, which is what the native engine says before it aborts. */
function openErrors(config: MountConfig): number | 'ignore' {
  const file = config.logFile ?? join(config.backing, '.vreserve', 'daemon.log');
  try {
    if (config.logFile === null && !config.readOnly) mkdirSync(dirname(file), { mode: 0o700, recursive: true });
    return openSync(file, 'a', 0o600);
  } catch (error) {
    if (config.logFile === null) return 'ignore';
    const reason = `the log cannot be written: ${error instanceof Error ? error.message : String(error)}`;
    throw new VreserveError('MOUNT_FAILED', { path: config.mountpoint, reason }, { cause: error });
  }
}

/** Resolves when the mount is usable. Ctrl-C until then ends the daemon. */
function whenReady(daemon: ChildProcess, config: MountConfig): Promise<ReadyMessage> {
  const progress = new ProgressLine();
  const stop = () => daemon.kill('SIGTERM');
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const settled = new Promise<ReadyMessage>((done, failed) => {
    daemon.on('message', (message: DaemonMessage) => {
      if (message.type === 'ready') done(message);
      else if (message.type === 'failed') failed(failure(message));
      else progress.update(`counting what is there: ${formatCount(message.files)} files, ${formatBytes(message.bytes)}`, null);
    });
    daemon.on('error', (error) => failed(new VreserveError('DAEMON_FAILED', { reason: error.message }, { cause: error })));
    daemon.on('exit', (code, signal) => {
      // What it said last may still be on its way.
      setTimeout(() => {
        const log = config.logFile ?? (config.foreground ? null : join(config.backing, '.vreserve', 'daemon.log'));
        const where = log === null ? '' : `; see ${log}`;
        const reason = `it ended before the mount was usable (${signal ?? `exit ${code}`})${where}`;
        failed(new VreserveError('DAEMON_FAILED', { reason }));
      }, 50);
    });
    const start: StartMessage = { type: 'start', config };
    daemon.send(start, (error) => error && failed(new VreserveError('DAEMON_FAILED', { reason: error.message })));
  });
  return settled.finally(() => {
    progress.clear();
    process.off('SIGINT', stop).off('SIGTERM', stop);
    daemon.removeAllListeners('message').removeAllListeners('error').removeAllListeners('exit');
  });
}

/** The daemon's error as it was there. */
function failure(message: FailedMessage): VreserveError {
  const code = Object.hasOwn(ERRORS, message.code) ? (message.code as ErrorCode) : 'DAEMON_FAILED';
  const error = new VreserveError(code, { ...message.details, errno: message.errno });
  error.message = message.message;
  error.stack = message.stack;
  return error;
}

/** In the foreground: passes signals on, and ends as the daemon ends. */
function follow(daemon: ChildProcess): Promise<number> {
  const pass = () => daemon.kill('SIGTERM');
  process.on('SIGTERM', pass).on('SIGINT', pass).on('SIGHUP', pass);
  return new Promise((done) => {
    if (daemon.exitCode !== null || daemon.signalCode !== null) done(daemon.exitCode ?? 1);
    daemon.on('exit', (code) => done(code ?? 1));
  });
}

function summary(ready: ReadyMessage): string[] {
  const where = ready.backing === ready.mountpoint ? `${ready.mountpoint}, in place` : `${ready.backing} at ${ready.mountpoint}`;
  const counted = ready.counted ? ', usage counted' : '';
  return [
    `mounted ${where}${ready.readOnly ? ', read-only' : ''}`,
    ...alignColumns([
      ['  backing', `${ready.backing} (${ready.filesystem})`],
      ['  capacity', `${formatBytes(ready.capacityBytes)}, ${formatBytes(ready.freeBytes)} free`],
      ['  headroom', `${formatBytes(ready.headroomBytes)}, after a margin of ${formatBytes(ready.marginBytes)}`],
      ['  engine', ready.engine],
      ['  io', ready.io === 'passthrough' ? ready.io : `${ready.io}: ${ready.ioReason}`],
      ['  reservations', `${ready.reservations}${counted}`],
      ['  spool', ownLine(ready.spool, ready.spoolReason)],
      ['  store', ownLine(ready.store, ready.storeReason)],
      ...(ready.cache === null ? [] : [['  cache', cacheLine(ready.cache)]]),
      ...ready.pools.map(({ name, directory, headroomBytes, broken }) => [
        `  pool ${name}`,
        broken === null ? `${directory}, ${formatBytes(headroomBytes)} of headroom` : `${directory}, broken: ${broken}`,
      ]),
      ...(ready.http === null ? [] : [['  http', ready.http]]),
      ...(ready.volumePlugin === null ? [] : [['  volumes', ready.volumePlugin]]),
      ...(ready.zdb === null ? [] : [['  zdb', ready.zdb]]),
    ]),
  ];
}

function cacheLine({ path, sizeBytes, shownAt }: CacheMessage): string {
  return `${formatBytes(sizeBytes)}, ${path}${shownAt === null ? '' : `, also at ${shownAt}`}`;
}

function ownLine(own: OwnMessage | null, reason: string): string {
  if (own === null) return reason === '' ? 'off' : `off: ${reason}`;
  if (reason !== '') return `nothing set aside: ${reason}`;
  if (own.askedBytes === 0) return 'nothing set aside: what is there can be read and removed';
  if (own.grantBytes < 0) return 'without limit';
  const dedicated = own.dedicatedBytes === 0 ? 'nothing set aside' : `${formatBytes(own.dedicatedBytes)} set aside`;
  if (own.askedBytes !== null && own.grantBytes < own.askedBytes) {
    return `${formatBytes(own.grantBytes)} of the ${formatBytes(own.askedBytes)} asked for: no more is available`;
  }
  return own.grantBytes === own.dedicatedBytes
    ? dedicated
    : `${dedicated}, ${formatBytes(own.grantBytes)} while there is headroom`;
}
