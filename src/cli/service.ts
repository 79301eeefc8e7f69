// The service process of a mount: everything over HTTP.

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { LogLevel } from '../config.js';
import { VreserveError } from '../core/errors.js';
import { LOG_LEVELS } from '../mount-options.js';
import type { Command } from './command.js';

export const service: Command = {
  usage: 'service MNT LEVEL',
  description: ['Serves a mount over HTTP for its daemon. Started by the daemon, and by nobody else.'],
  examples: [],
  options: {},
  words: [2, 2],
  async run({ positionals: [mountpoint = '', text] }) {
    const level = LOG_LEVELS.find((each) => each === text);
    if (process.send === undefined || level === undefined) {
      throw new VreserveError('USAGE', { reason: 'service is started by the daemon' });
    }
    process.umask(0o077);
    // The daemon, which starts it by this file, need not load it.
    const { runService } = await import('../service/service-process.js');
    return runService(mountpoint, level);
  },
};

/** Starts it. */
export function forkService(mountpoint: string, level: LogLevel): ChildProcess {
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  return spawn(process.execPath, [main, 'service', mountpoint, level], {
    // A working directory of its own would keep a filesystem busy.
    cwd: '/',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
}
