// The service process of a mount: all of HTTP, away from the daemon's event loop. It may use the mount as any program does, which
// the daemon must not.

import type { LogLevel } from '../config.js';
import { HttpService } from '../http/service.js';
import { logTo } from '../log.js';
import { callsWithDaemon } from '../process/for-daemon.js';
import { readVersion } from '../version.js';
import type { DaemonMethods, ServiceMethods } from './methods.js';
import { ToldLines } from './told-lines.js';

/** The address may still be held by the service process of a daemon that was killed, or by the one before this. */
const PATIENCE_MS = 2000;

/** Serves the mount at the mountpoint for the daemon, and ends the process when that has gone. */
export async function runService(mountpoint: string, logLevel: LogLevel): Promise<never> {
  const daemon = callsWithDaemon<DaemonMethods>();
  const lines = new ToldLines((text) => daemon.tell('log', text));
  const log = logTo(lines, logLevel);
  let http: HttpService | null = null;
  const methods: ServiceMethods = {
    listen: async (listening) => {
      const options = { ...listening, mountpoint, log, version: readVersion(), patienceMs: PATIENCE_MS };
      http = await HttpService.forMount(daemon.other, options);
      return http.address;
    },
    serve: async () => http?.serve(),
    finish: async (withinMs) => {
      await http?.finish(AbortSignal.timeout(withinMs));
      lines.flush();
    },
  };
  daemon.answer(methods);
  return new Promise<never>(() => {});
}
