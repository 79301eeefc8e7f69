// The service process of a mount: HTTP and the store, away from the daemon's event loop. It may use the mount as any program does,
// which the daemon must not.

import type { LogLevel } from '../config.js';
import type { HttpHost } from '../http/host.js';
import { HttpService } from '../http/service.js';
import { storeRoutes } from '../http/store-routes.js';
import { logTo } from '../log.js';
import { callsWithDaemon } from '../process/for-daemon.js';
import { readVersion } from '../version.js';
import { Gate } from './gate.js';
import type { DaemonMethods, ServiceMethods } from './methods.js';
import { ServedNamespaces } from './served-namespaces.js';
import { ServedSpaces } from './served-spaces.js';
import { ServedStore } from './served-store.js';
import { ToldLines } from './told-lines.js';
import { VolumePlugin } from './volume-plugin.js';

/** The address may still be held by the service process of a daemon that was killed, or by the one before this. */
const PATIENCE_MS = 2000;

/** Commands that the daemon is asked for at a time: what comes in one turn of its event loop shares a commit. */
const MOST_COMMANDS = 64;
const PATIENCE_WITH_COMMANDS_MS = 1000;

/** Serves the mount at the mountpoint for the daemon, and ends the process when that has gone. */
export async function runService(mountpoint: string, logLevel: LogLevel): Promise<never> {
  const calls = callsWithDaemon<DaemonMethods>();
  const daemon = calls.other;
  const lines = new ToldLines((text) => calls.tell('log', text));
  const log = logTo(lines, logLevel);
  const store = new ServedStore({ mountpoint, daemon, log, onImport: (progress) => calls.tell('importProgress', progress) });
  const namespaces = new ServedNamespaces({ mountpoint, daemon, log, patienceMs: PATIENCE_MS });
  const spaces = new ServedSpaces(mountpoint, log);
  let http: HttpService | null = null;
  let plugin: VolumePlugin | null = null;
  const methods: ServiceMethods = {
    ...store.files,
    ...namespaces.methods,
    ...spaces.methods,
    listen: async (sockets) => {
      const options = { log, version: readVersion(), patienceMs: PATIENCE_MS };
      if (sockets.http !== null) {
        const routes = [storeRoutes({ store: () => store.opened, lots: store.lots })];
        http = await HttpService.forMount(gated(daemon), { ...options, ...sockets.http, mountpoint }, routes);
      }
      if (sockets.volumePlugin !== null) plugin = await VolumePlugin.listen(sockets.volumePlugin, options);
      const zdb = sockets.zdb === null ? null : await namespaces.listen(sockets.zdb);
      return { http: http?.address ?? null, zdb };
    },
    serve: async ({ readOnly, store: storing, namespaces: isZdb }) => {
      const troubles = [
        await spaces.open(readOnly),
        storing === null ? null : await store.open({ ...storing, readOnly }),
        (await plugin?.serve({ host: daemon, mountpoint, readOnly, log })) ?? null,
        isZdb ? await namespaces.open() : null,
      ];
      http?.serve();
      return troubles.filter((trouble) => trouble !== null);
    },
    importBlobs: (dir) => store.import(dir),
    finish: async (withinMs) => {
      const late = AbortSignal.timeout(withinMs);
      await Promise.all([http?.finish(late), plugin?.finish(late), namespaces.close()]);
      await Promise.all([store.close(), spaces.close()]);
      lines.flush();
    },
  };
  calls.answer(methods);
  return new Promise<never>(() => {});
}

/** What is made once for all who ask, and the journal piece by piece, need not wait. */
function gated(host: HttpHost): HttpHost {
  const gate = new Gate(MOST_COMMANDS, PATIENCE_WITH_COMMANDS_MS);
  const { reserve, release, command, lot, showLot, listLots, room } = host;
  const { reservations, report, metrics, journalRange, readJournal } = host;
  return {
    reserve: gate.behind(reserve),
    release: gate.behind(release),
    command: gate.behind(command),
    lot: gate.behind(lot),
    showLot: gate.behind(showLot),
    listLots: gate.behind(listLots),
    room: gate.behind(room),
    ...{ reservations, report, metrics, journalRange, readJournal },
  };
}
