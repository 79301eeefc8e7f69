// The daemon: the process behind a mount. Started by `vreserve mount`, which it tells how the start went.

import type { MountConfig } from '../config.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { Engine } from '../engine/engine.js';
import { createEngine } from '../engine/engines.js';
import type { Command } from './command.js';
import { type DaemonMessage, LET_GO, type StartMessage } from './messages.js';
import { Server } from './server.js';

export const daemon: Command = {
  usage: 'daemon',
  description: ['Serves a mount. Started by vreserve mount, and by nobody else.'],
  examples: [],
  options: {},
  words: [0, 0],
  async run() {
    if (process.send === undefined) throw new VreserveError('USAGE', { reason: 'daemon is started by vreserve mount' });
    const { config } = await firstMessage();
    return runDaemon(config, tellParent);
  },
};

/** Serves the mount until its end; returns the exit code. `notify` is told of progress, then once of ready or failed. */
export async function runDaemon(config: MountConfig, notify: (message: DaemonMessage) => void): Promise<number> {
  // The engine makes files with exactly the modes that it is asked for.
  process.umask(0);
  const signals = new Signals();
  let engine: Engine;
  let server: Server;
  try {
    engine = createEngine(config.engine);
    signals.onStop = () => process.exit(1);
    const parts = { config, engine, clock: Date.now, uid: process.getuid?.() ?? 0, onProgress: notify };
    const started = await Server.start(parts);
    server = started.server;
    dieLoudly(server);
    signals.onStop = () => void server.stop();
    signals.onLetGo = () => void server.letGo();
    notify(started.ready);
  } catch (error) {
    notify(failedMessage(error));
    return asVreserveError(error).exitCode;
  }
  const clean = await server.ended();
  signals.off();
  // What was forced may have left threads behind that never end.
  if (!clean) process.exit(0);
  return 0;
}

/** SIGTERM and SIGINT stop the mount; the end of the terminal that it was started from does not. */
class Signals {
  onStop: () => void = () => {};
  onLetGo: () => void = () => {};
  #stopped = false;
  readonly #stop = () => {
    if (this.#stopped) return;
    this.#stopped = true;
    this.onStop();
  };
  readonly #ignore = () => {};
  readonly #letGo = () => this.onLetGo();

  constructor() {
    process.on('SIGTERM', this.#stop).on('SIGINT', this.#stop).on('SIGHUP', this.#ignore).on(LET_GO, this.#letGo);
  }

  off(): void {
    process.off('SIGTERM', this.#stop).off('SIGINT', this.#stop).off('SIGHUP', this.#ignore).off(LET_GO, this.#letGo);
  }
}

/** A broken invariant ends the daemon at once: the next mount counts anew, which is better than serving wrong numbers. */
function dieLoudly(server: Server): void {
  const die = (error: unknown) => {
    try {
      server.log.fatal({ err: error }, 'the daemon ends: something that must not happen did');
    } finally {
      process.abort();
    }
  };
  process.on('uncaughtException', die).on('unhandledRejection', die);
}

function firstMessage(): Promise<StartMessage> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(new VreserveError('DAEMON_FAILED', { reason: 'the mount command is gone' }));
    process.once('disconnect', gone);
    process.once('message', (message: StartMessage) => {
      process.off('disconnect', gone);
      resolve(message);
    });
  });
}

/** The channel is closed after the last message; a parent that is gone is no reason to stop. */
function tellParent(message: DaemonMessage): void {
  if (!process.connected) return;
  process.send?.(message, () => {
    if (message.type !== 'progress' && process.connected) process.disconnect();
  });
}

function failedMessage(thrown: unknown): DaemonMessage {
  const error = asVreserveError(thrown);
  const { code, errno, exitCode, message, details } = error;
  return { type: 'failed', code, errno, exitCode, message, details, stack: error.stack ?? message };
}
