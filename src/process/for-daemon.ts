// The life of a process that works for the daemon alone.

import { Calls } from './calls.js';

/**
 * The calls between this process and the daemon that has started it. From here on it ends as soon as the daemon has gone, and
 * at no signal that the daemon acts on: in the foreground the terminal sends them to all.
 */
export function callsWithDaemon<Daemon>(): Calls<Daemon> {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  // What has not begun by then must not be done in the mount of another daemon.
  process.on('disconnect', () => process.exit(0));
  if (!process.connected) process.exit(0);
  return new Calls<Daemon>(process, 'the daemon');
}
