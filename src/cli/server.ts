// One mount, from its backing directory to its end: constructs the planes, and takes them down in the right order.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MountConfig, OwnGrant } from '../config.js';
import type { Clock } from '../core/clock.js';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import type { JournalEvent } from '../core/events.js';
import { formatAddress, formatEndpoint } from '../core/http-address.js';
import { DEFAULT_LOT_ID } from '../core/lot.js';
import { LotsSeen, type Scope } from '../core/lots-seen.js';
import { OWN_DIRECTORY } from '../core/paths.js';
import { confined, type DaemonSnapshot, type Snapshot } from '../core/snapshot.js';
import { CACHE_NAME, spacePath } from '../core/space.js';
import { SPOOL_PATH } from '../core/spool-layout.js';
import { BLOBS_PATH, STORE_PATH } from '../core/store-layout.js';
import { differs, journalDifferences } from '../engine/check.js';
import { type BackingInfo, type CountResult, type Engine, MAIN_POOL, type MountInfo } from '../engine/engine.js';
import { Heartbeat } from '../engine/heartbeat.js';
import { Keeper } from '../engine/keeper.js';
import { NamespaceLots } from '../engine/namespace-lots.js';
import { type OwnDirectory, OwnLotStart, type OwnStart } from '../engine/own-lot.js';
import { Pools } from '../engine/pools.js';
import { Reclaimer } from '../engine/reclaimer.js';
import { Rights } from '../engine/rights.js';
import { SPOOL } from '../engine/spool-directory.js';
import { STORE } from '../engine/store-directory.js';
import { StoreLots } from '../engine/store-lots.js';
import type { Ledger } from '../ledger/ledger.js';
import { openLedger } from '../ledger/sqlite.js';
import { type Log, openLog } from '../log.js';
import { systemTools } from '../pools/tools.js';
import { Cache } from '../spaces/cache.js';
import { Spaces } from '../spaces/spaces.js';
import { readVersion } from '../version.js';
import { ViewHandler } from '../views/handler.js';
import type { Commands } from '../views/host.js';
import { NamespaceView } from '../views/namespace-view.js';
import { StoreView } from '../views/store-view.js';
import { Users } from '../views/users.js';
import { REQUESTS_PATH } from '../waiting/box.js';
import type { WaitingLine } from '../waiting/line.js';
import { makeBox } from '../waiting/make-box.js';
import type { RemoteBox } from '../waiting/remote-box.js';
import { startBox } from './box.js';
import { cachePlace } from './cache-place.js';
import { diskTypeOf } from './disk-type.js';
import type { ProgressMessage, ReadyMessage } from './messages.js';
import { mountCommands } from './mount-commands.js';
import { administrator } from './mount-host.js';
import { mountLine } from './mount-line.js';
import { MountService } from './mount-service.js';
import { mountSpaces } from './mount-spaces.js';
import { MountWatch } from './mount-watch.js';
import { logFileOf, openBacking } from './open-backing.js';

/** What the daemon hands in. `uid` is whom it runs as. */
export interface ServerParts {
  config: MountConfig;
  engine: Engine;
  clock: Clock;
  uid: number;
  onProgress: (progress: ProgressMessage) => void;
}

/** How long a forced end waits for the engine. */
const STOP_MS = 5000;

/** How long the end waits for what is under way over HTTP. */
const FINISH_MS = 3000;

/** A mount that is served. */
export class Server {
  readonly #parts: ServerParts;
  readonly #ledger: Ledger;
  readonly #keeper: Keeper;
  readonly #heartbeat: Heartbeat;
  readonly #users: Users;
  readonly #reclaimer: Reclaimer;
  readonly #line: WaitingLine;
  readonly #pools: Pools;
  readonly #spool: OwnLotStart;
  readonly #store: OwnLotStart;
  #box: RemoteBox | null = null;
  readonly #service: MountService;
  readonly #storeLots: StoreLots;
  readonly #namespaceLots: NamespaceLots;
  /** null: nobody asked for it. */
  readonly #watch: MountWatch | null;
  readonly #spaces: Spaces;
  /** null: none is asked for. */
  readonly #cache: Cache | null;
  readonly #commands: Commands;
  /** Where the backing is reached. */
  readonly #view: string;
  readonly log: Log;
  readonly #daemon: DaemonSnapshot;
  /** Files were forced to close, so what is recorded may differ from what is there. */
  #forced = false;
  #hasEnded = false;
  #unmounted = () => {};
  readonly #end = new Promise<void>((resolve) => {
    this.#unmounted = () => {
      this.#hasEnded = true;
      resolve();
    };
  });

  /** Throws VreserveError with everything closed again. */
  static async start(parts: ServerParts): Promise<{ server: Server; ready: ReadyMessage }> {
    const { config, engine } = parts;
    let ledger: Ledger | undefined;
    let server: Server | undefined;
    try {
      const info = openBacking(config, engine);
      const directory = join(info.viewPath, OWN_DIRECTORY);
      const log = openLog(logFileOf(config, directory), config.logLevel);
      ledger = openLedger({ directory, readOnly: config.readOnly, owner: String(parts.uid), nowMs: parts.clock() });
      server = new Server(parts, info, ledger, log);
      return { server, ready: await server.#begin() };
    } catch (error) {
      if (server !== undefined) await Promise.all([server.#service.finish(0), server.#box?.end()]);
      await ledger?.close();
      await engine.stop();
      throw error;
    }
  }

  private constructor(parts: ServerParts, info: BackingInfo, ledger: Ledger, log: Log) {
    const { config, engine, clock } = parts;
    this.#parts = parts;
    this.#ledger = ledger;
    this.#view = info.viewPath;
    this.log = log;
    this.#users = new Users(clock);
    const rights = new Rights(config.reserveBy, parts.uid, this.#users);
    const { readOnly } = config;
    this.#keeper = new Keeper({ engine, ledger, rights, clock, log, readOnly });
    const { highWatermark: high, lowWatermark: low } = config;
    const { backing, mountpoint } = config;
    // Before the mount, which may be over the backing itself.
    const mainType = config.type ?? diskTypeOf(backing);
    const diskType = (path: string) => (path === backing ? mainType : diskTypeOf(path));
    const { viewPath: view, filesystem } = info;
    this.#pools = new Pools({ keeper: this.#keeper, view, filesystem, backing, mountpoint, diskType });
    this.#reclaimer = new Reclaimer({ keeper: this.#keeper, pools: this.#pools, high, low });
    const directory = join(info.viewPath, OWN_DIRECTORY);
    const own = (what: OwnDirectory, grant: OwnGrant | null) =>
      new OwnLotStart({ keeper: this.#keeper, directory, what, grant, uid: parts.uid });
    this.#spool = own(SPOOL, config.spoolGrant);
    this.#store = own(STORE, config.storeGrant);
    this.#storeLots = new StoreLots(this.#keeper, directory);
    this.#namespaceLots = new NamespaceLots(this.#keeper, this.#pools, directory, parts.uid);
    const { journalKeep } = config;
    const { allowOvertaking } = config;
    this.#line = mountLine(this.#keeper, { allowOvertaking, keepMs: journalKeep.ageMs });
    const { uid } = parts;
    this.#spaces = new Spaces({
      host: mountSpaces({
        keeper: this.#keeper,
        view: info.viewPath,
        pools: this.#pools,
        tools: systemTools(),
        log,
        waiting: () => (allowOvertaking ? 0 : this.#line.list().filter(({ lot }) => lot === DEFAULT_LOT_ID).length),
        directories: () => this.#service.spaceDirectories(),
      }),
      log,
      self: administrator(uid),
    });
    this.#cache = this.#makeCache();
    const common = { keeper: this.#keeper, users: this.#users };
    const importBlobs: Commands['importBlobs'] = (dir, by, onProgress) => this.#service.importBlobs(dir, by, onProgress);
    const namespaces: Commands['namespaces'] = (request, by) => this.#service.namespaces(request, by);
    this.#commands = mountCommands({
      ...common,
      line: this.#line,
      reclaimer: this.#reclaimer,
      pools: this.#pools,
      space: (request, by) => this.#spaces.run(request, by),
      importBlobs,
      namespaces,
    });
    const snapshot = () => this.#whole();
    const lots = { storeLots: this.#storeLots, namespaceLots: this.#namespaceLots };
    this.#service = new MountService({ ...common, ...lots, config, commands: this.#commands, uid, snapshot });
    const watched = { keeper: this.#keeper, backing: config.backing, view: info.viewPath };
    this.#watch = config.watchDevices ? new MountWatch(watched) : null;
    this.#heartbeat = new Heartbeat({
      engine,
      ledger,
      keeper: this.#keeper,
      reclaimer: this.#reclaimer,
      pools: this.#pools,
      clock,
      log,
      journalKeep,
    });
    this.#daemon = {
      pid: process.pid,
      version: readVersion(),
      engine: '',
      io: '',
      ioReason: '',
      backing: config.backing,
      mountpoint: config.mountpoint,
      filesystem: info.filesystem,
      readOnly,
      startedAtMs: clock(),
    };
  }

  /**
   * Detaches the mount. One that is in use is served until the last close, or until the grace is over: then what is
   * under way gets ENOTCONN.
   */
  async stop(): Promise<void> {
    const { engine, config } = this.#parts;
    await this.#line.stop();
    await this.#cache?.stop();
    await this.#closeSpaces();
    // It may have files of the mount open.
    await this.#service.finish(FINISH_MS);
    // Somebody else has unmounted it: what is at the mountpoint now is not ours.
    if (this.#hasEnded) return;
    try {
      engine.unmount(false);
    } catch (error) {
      this.log.info(
        { errno: errnoOf(error), graceMs: config.graceMs },
        'the mount is in use: detached, and served until the last close',
      );
      try {
        engine.unmount(true);
      } catch (failure) {
        this.log.warn({ err: failure }, 'the mount could not be detached');
      }
    }
    const grace = setTimeout(() => {
      this.log.warn('the grace is over: what is open is closed');
      this.#forced = true;
      this.#unmounted();
    }, config.graceMs);
    await this.#end;
    clearTimeout(grace);
  }

  /** The mount was detached: the processes of the daemon use it no longer, so that it can end with its last user. */
  async letGo(): Promise<void> {
    await this.#line.stop();
    await this.#service.finish(FINISH_MS);
  }

  /** Resolves after the end of the mount, when usage is saved and everything is closed; false when it was forced. */
  async ended(): Promise<boolean> {
    const { engine } = this.#parts;
    await this.#end;
    this.#line.abandon();
    await this.#cache?.stop();
    await this.#service.finish(FINISH_MS);
    await this.#closeSpaces();
    const boxGone = this.#box?.end();
    this.#keeper.phases.stop();
    await this.#watch?.stop();
    await this.#heartbeat.stop();
    this.#keeper.refuse();
    if (!this.#forced) await this.#reclaimer.stop();
    // What hangs when the grace is over is not waited for: stopping the engine ends it.
    if (!this.#forced) await this.#keeper.idle();
    try {
      await this.#saveEnd();
    } finally {
      // The ledger first: the engine takes away the view of the backing in which SQLite puts its files away.
      await this.#ledger.close();
      // A count that is under way is not waited for, either: stopping ends it.
      const stopped = engine.stop().then(() => Promise.all([this.#keeper.settled(), boxGone]));
      await (this.#forced ? Promise.race([stopped, sleep(STOP_MS)]) : stopped);
    }
    this.log.info({ clean: !this.#forced }, 'unmounted');
    return !this.#forced;
  }

  /** What is broken off is mended at the next start. */
  async #closeSpaces(): Promise<void> {
    await Promise.race([this.#spaces.close(), sleep(FINISH_MS, undefined, { ref: false })]);
  }

  snapshot(scope: Scope): Snapshot | null {
    const { engine, clock } = this.#parts;
    const { book } = this.#keeper;
    if (book.get(scope.lot) === undefined) return null;
    const lots = new LotsSeen(book, this.#keeper, scope);
    const whole: Snapshot = {
      atMs: clock(),
      daemon: this.#daemon,
      pool: engine.pool(),
      pools: this.#pools.rows(),
      lots,
      waiting: this.#line.list(),
      requests: engine.requests(),
      troubles: [
        ...this.#heartbeat.troubles(),
        ...this.#pools.troubles(),
        ...this.#line.troubles,
        ...this.#service.troubles,
        ...(this.#watch?.troubles ?? []),
        ...this.#spaces.troubles,
        ...(this.#cache?.troubles ?? []),
      ],
    };
    const top = scope.lot === DEFAULT_LOT_ID ? undefined : lots.get(scope.lot);
    if (top === undefined) return whole;
    const { capacityBytes } = engine.pool(top.lot.pool ?? MAIN_POOL);
    return confined(whole, top, scope, { roomBytes: engine.room(scope.lot), capacityBytes });
  }

  #whole(): Snapshot {
    const seen = this.snapshot({ lot: DEFAULT_LOT_ID, directory: '/' });
    if (seen === null) throw new Error('the default lot is gone');
    return seen;
  }

  async #saveEnd(): Promise<void> {
    const { usage, events } = this.#keeper.usage.takeAll(this.#parts.clock());
    const lines = [...events, this.#keeper.event('unmount', null, { clean: !this.#forced })];
    // After a forced end the next mount counts anew.
    if (this.#forced) await this.#ledger.saveUsage(usage, lines);
    else await this.#ledger.endServing(usage, lines);
  }

  async #begin(): Promise<ReadyMessage> {
    const { config, engine } = this.#parts;
    // First: where the address is taken, nothing has begun.
    await this.#service.listen();
    engine.setPool(config.capacityBytes, config.marginBytes);
    await this.#pools.open(config.pools);
    const waiting = await this.#keeper.load();
    await this.#spaces.load();
    this.#storeLots.load();
    const counted = this.#ledger.endedCleanly === true ? null : await engine.count(true, this.#tellProgress);
    // After a clean end the ledger has it.
    const usage = counted === null ? [] : engine.usage().map(({ id, bytes, objects }) => ({ id, bytes, objects }));
    await this.#ledger.beginServing(usage, this.#firstLines(counted));
    for (const row of usage) this.#keeper.usage.isSaved(row);
    this.#spool.prepare();
    this.#store.prepare();
    this.#namespaceLots.prepare(config.zdb !== null);
    const handler = new ViewHandler({
      host: {
        snapshot: (scope) => this.snapshot(scope),
        refresh: () => this.#spaces.refresh(),
        inScope: (lot) => this.#keeper.book.withDescendants(lot),
        commands: this.#commands,
        journal: this.#ledger,
      },
      users: this.#users,
      clock: this.#parts.clock,
      log: this.log,
      readOnly: this.#daemon.readOnly,
      store: this.#storeView(),
      namespaces: this.#namespaceView(),
      reply: (token, reply) => engine.reply(token, reply),
    });
    const box = await this.#makeBox();
    this.#box = box;
    const mounted = await this.#mount(handler);
    this.#daemon.engine = mounted.engine;
    this.#daemon.io = mounted.io;
    this.#daemon.ioReason = mounted.ioReason;
    this.#keeper.phases.start();
    this.#heartbeat.start();
    const own = { spool: await this.#spool.settle(), store: await this.#store.settle() };
    if (box !== null) await this.#line.start(waiting, box);
    if (counted === null && !config.trust) void this.#verify();
    const { readOnly, gcIntervalMs } = config;
    const store = this.#store.isServed ? { gcIntervalMs } : null;
    await this.#service.serve({ readOnly, store, namespaces: config.zdb !== null }, this.#store.isFilled);
    this.#watch?.start();
    await this.#spaces.recover();
    await this.#cache?.start();
    const { kernelMinor, engineReason } = mounted;
    this.log.info({ daemon: this.#daemon, engineReason, kernelMinor, ...own }, 'mounted');
    return this.#ready(counted !== null, own, engineReason);
  }

  #makeCache(): Cache | null {
    const { cache, cacheIntervalMs: intervalMs, mountpoint, backing, readOnly } = this.#parts.config;
    if (cache === null || readOnly) return null;
    const { bytes, path } = cache;
    const place = path === null ? null : cachePlace({ mountpoint, source: backing, directory: spacePath(CACHE_NAME), path });
    return new Cache({ spaces: this.#spaces, log: this.log, bytes, intervalMs, place });
  }

  /** null: there is no store. */
  #storeView(): StoreView | null {
    if (!this.#store.isServed) return null;
    const { config, uid, clock } = this.#parts;
    const { storeMode: mode, readOnly } = config;
    const gid = process.getgid?.() ?? 0;
    return new StoreView({ store: this.#service.blobs, mode, uid, gid, readOnly, clock, log: this.log });
  }

  /** null: none are served. */
  #namespaceView(): NamespaceView | null {
    const { config, uid, clock } = this.#parts;
    if (config.zdb === null) return null;
    return new NamespaceView({ namespaces: this.#service.namespaceReader, uid, gid: process.getgid?.() ?? 0, clock });
  }

  /** Makes the spool in which requests wait, and starts the process that uses it; null where there can be none. */
  async #makeBox(): Promise<RemoteBox | null> {
    const { config } = this.#parts;
    if (!this.#spool.takesMore) return null;
    try {
      await makeBox(join(this.#view, REQUESTS_PATH), config.allowOther && config.reserveBy !== 'root');
      return startBox(join(config.mountpoint, REQUESTS_PATH));
    } catch (error) {
      this.log.error({ err: error }, 'no request can wait: its spool could not be made');
      this.#line.unserved(asVreserveError(error).message);
      return null;
    }
  }

  async #mount(handler: ViewHandler): Promise<MountInfo> {
    const { engine, config } = this.#parts;
    try {
      return await engine.mount((request) => handler.handle(request), this.#unmounted);
    } catch (error) {
      // Nothing was served, so what was just recorded still holds.
      await this.#ledger.endServing([], []);
      if (error instanceof VreserveError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new VreserveError('MOUNT_FAILED', { path: config.mountpoint, reason }, { cause: error });
    }
  }

  readonly #tellProgress = ({ files, directories, bytes }: { files: number; directories: number; bytes: number }) => {
    this.#parts.onProgress({ type: 'progress', files, directories, bytes });
  };

  /** What the journal is told of the start: a recovery after a crash with what differed, and the mount. */
  #firstLines(counted: CountResult | null): JournalEvent[] {
    const { config, clock } = this.#parts;
    const lines: JournalEvent[] = [];
    if (counted !== null && this.#ledger.endedCleanly === false) {
      const bytes = counted.lots.reduce((sum, lot) => sum + lot.bytes, 0);
      const objects = counted.lots.reduce((sum, lot) => sum + lot.objects, 0);
      const differences = counted.lots.filter(differs).length;
      lines.push(this.#keeper.event('recovery', null, { bytes, objects, differences }));
      lines.push(...journalDifferences(counted, this.#keeper.book, clock(), true));
    }
    const { version, pid, filesystem, readOnly } = this.#daemon;
    const fields = { backing: config.backing, mountpoint: config.mountpoint, version, pid, filesystem, readOnly };
    lines.push(this.#keeper.event('mount', null, { ...fields, counted: counted !== null }));
    return lines;
  }

  /** After a clean end the saved usage serves at once, and is verified meanwhile. */
  async #verify(): Promise<void> {
    try {
      const { differences } = await this.#keeper.verify(true, () => {});
      if (differences > 0) this.log.warn({ differences }, 'saved usage differed from the backing, and was corrected');
    } catch (error) {
      this.log.warn({ err: error }, 'the saved usage could not be verified');
    }
  }

  #ready(counted: boolean, own: { spool: OwnStart; store: OwnStart }, engineReason: string): ReadyMessage {
    const { engine, io, ioReason, backing, mountpoint, pid, filesystem, readOnly } = this.#daemon;
    const { capacityBytes, freeBytes, headroomBytes, marginBytes } = this.#parts.engine.pool();
    const pool = { capacityBytes, freeBytes, headroomBytes, marginBytes };
    const mounted = { type: 'ready' as const, pid, backing, mountpoint, filesystem, readOnly, ...pool };
    const shown = ({ served }: OwnStart, path: string) => (served === null ? null : { path: join(mountpoint, path), ...served });
    const spool = shown(own.spool, SPOOL_PATH);
    const store = shown(own.store, STORE_PATH);
    const reasons = { spoolReason: own.spool.reason, storeReason: own.store.reason };
    // Those that the mount makes are no reservations, nor is the default lot.
    const made = [SPOOL_PATH, BLOBS_PATH].filter((path) => this.#keeper.book.at(path) !== undefined);
    const reservations = this.#keeper.book.size - 1 - made.length - this.#namespaceLots.count;
    const { address } = this.#service;
    const http = address === null ? null : formatAddress(address);
    const { volumePlugin } = this.#parts.config;
    const { zdbAddress: zdb } = this.#service;
    return {
      ...mounted,
      engine,
      engineReason,
      volumePlugin,
      zdb: zdb === null ? null : formatEndpoint(zdb),
      pools: this.#pools
        .rows()
        .map(({ name, directory, headroomBytes: room, broken }) => ({ name, directory, headroomBytes: room, broken })),
      io: io === 'passthrough' ? io : 'cached',
      ioReason,
      reservations,
      spool,
      store,
      ...reasons,
      ...this.#cacheMessage(),
      http,
      counted,
    };
  }

  #cacheMessage(): Pick<ReadyMessage, 'cache' | 'cacheTroubles'> {
    const made = this.#cache === null ? null : this.#spaces.own(CACHE_NAME);
    const { mountpoint, cache } = this.#parts.config;
    const cacheTroubles = this.#cache?.troubles ?? [];
    if (made?.hidden !== true || cache === null) return { cache: null, cacheTroubles };
    const shownAt = cacheTroubles.length === 0 ? cache.path : null;
    return { cache: { path: join(mountpoint, made.path), sizeBytes: made.sizeBytes, shownAt }, cacheTroubles };
  }
}
