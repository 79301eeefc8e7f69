// The service process of a mount: HTTP and the store, away from the daemon's event loop. It may use the mount as any program does,
// which the daemon must not.

import type { LogLevel } from '../config.js';
import { HttpService } from '../http/service.js';
import { storeRoutes } from '../http/store-routes.js';
import { logTo } from '../log.js';
import { callsWithDaemon } from '../process/for-daemon.js';
import { readVersion } from '../version.js';
import type { DaemonMethods, ServiceMethods } from './methods.js';
import { ServedStore } from './served-store.js';
import { ToldLines } from './told-lines.js';

/** The address may still be held by the service process of a daemon that was killed, or by the one before this. */
const PATIENCE_MS = 2000;

/** Serves the mount at the mountpoint for the daemon, and ends the process when that has gone. */
export async function runService(mountpoint: string, logLevel: LogLevel): Promise<never> {
  const calls = callsWithDaemon<DaemonMethods>();
  const daemon = calls.other;
  const lines = new ToldLines((text) => calls.tell('log', text));
  const log = logTo(lines, logLevel);
  const store = new ServedStore({ mountpoint, daemon, log, onImport: (progress) => calls.tell('importProgress', progress) });
  let http: HttpService | null = null;
  const methods: ServiceMethods = {
    ...store.files,
    listen: async (listening) => {
      const options = { ...listening, mountpoint, log, version: readVersion(), patienceMs: PATIENCE_MS };
      http = await HttpService.forMount(daemon, options, [storeRoutes({ store: () => store.opened, lots: store.lots })]);
      return http.address;
    },
    serve: async (serving) => {
      const trouble = serving === null ? null : await store.open(serving);
      http?.serve();
      return trouble;
    },
    importBlobs: (dir) => store.import(dir),
    finish: async (withinMs) => {
      await http?.finish(AbortSignal.timeout(withinMs));
      await store.close();
      lines.flush();
    },
  };
  calls.answer(methods);
  return new Promise<never>(() => {});
}
