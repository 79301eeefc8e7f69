// Watches over a spool: finds what crashes and forgotten entries left behind, once or for ever (Multispool 3.6).

import { setTimeout as pauseFor } from 'node:timers/promises';
import type { Clock } from '../core/clock.js';
import { Disk } from './disk.js';
import { checkSpool } from './make.js';
import { checkQueueNames } from './names.js';
import { type MonitorLimits, type Problem, problemId, problemsOf } from './problems.js';
import { scanSpool } from './scan.js';

export type { MonitorLimits } from './problems.js';

/** 10 minutes checked out, 10 minutes in `.tmp`, any time in a queue. */
export const DEFAULT_LIMITS: MonitorLimits<never> = { maxCheckedOutAgeMs: 600_000, maxTmpFileAgeMs: 600_000, maxQueueAgesMs: {} };
export const DEFAULT_CHECK_EVERY_MS = 15_000;
export const DEFAULT_ALERT_AFTER_CYCLES = 2;

/** What is left out has its default. */
export interface MonitorOptions<Queue extends string> {
  limits?: Partial<MonitorLimits<Queue>>;
  /** From the end of a check to the next one. */
  checkEveryMs?: number;
  /** A problem starts when it is seen once more than this, each time as it was. */
  alertAfterCycles?: number;
  /** Ends the watch. */
  signal?: AbortSignal;
}

/** A problem has lasted; a problem that had started is gone, or has become another one. */
export interface MonitorEvent {
  event: 'start' | 'end';
  problem: Problem;
}

/** What a monitor is handed for tests. */
export interface MonitorHost {
  clock?: Clock;
  /** Resolves after so long, or when the signal is aborted. */
  pause?: (durationMs: number, signal: AbortSignal | undefined) => Promise<void>;
}

/** Reads only. Does not lock: files that move during a check can look wrong in that one check. */
export class Monitor<Queue extends string = string> {
  readonly dir: string;
  readonly queues: readonly Queue[];
  readonly #clock: Clock;
  readonly #pause: (durationMs: number, signal: AbortSignal | undefined) => Promise<void>;

  /** Does not look at the directory. Throws SPOOL_BAD_QUEUE. */
  constructor(dir: string, queues: readonly Queue[], host: MonitorHost = {}) {
    checkQueueNames(queues);
    this.dir = dir;
    this.queues = queues;
    this.#clock = host.clock ?? Date.now;
    this.#pause = host.pause ?? pause;
  }

  /** Throws SPOOL_NOT_A_DIRECTORY, SPOOL_NOT_ACCESSIBLE where there is no such spool; never makes one. */
  static async load<Queue extends string>(
    dir: string,
    queues: readonly Queue[],
    host: MonitorHost = {},
  ): Promise<Monitor<Queue>> {
    const monitor = new Monitor(dir, queues, host);
    await checkSpool(dir, queues, new Disk(undefined, undefined));
    return monitor;
  }

  /** All problems of now. Throws ENOENT where a directory of the spool is missing. */
  async runOnce(limits: Partial<MonitorLimits<Queue>> = {}): Promise<Problem[]> {
    const scan = await scanSpool(this.dir, this.queues);
    return problemsOf(scan, { ...DEFAULT_LIMITS, ...limits }, this.#clock());
  }

  /**
   * Checks at once and then every so often, tells of problems that last and of their end (of one check, ends first), and waits for
   * `onEvent`. Resolves when the signal is aborted, keeps the process alive until then, and rejects with the first error.
   */
  async start(options: MonitorOptions<Queue>, onEvent: (event: MonitorEvent) => void | Promise<void>): Promise<void> {
    const { checkEveryMs = DEFAULT_CHECK_EVERY_MS, alertAfterCycles = DEFAULT_ALERT_AFTER_CYCLES, signal } = options;
    let seen = new Map<string, Sighting>();
    while (signal?.aborted !== true) {
      const now = sightings(await this.runOnce(options.limits), seen);
      for (const [id, { problem, started }] of seen) {
        if (started && !now.has(id)) await onEvent({ event: 'end', problem });
      }
      for (const sighting of now.values()) {
        if (sighting.started || sighting.count <= alertAfterCycles) continue;
        sighting.started = true;
        await onEvent({ event: 'start', problem: sighting.problem });
      }
      seen = now;
      await this.#pause(checkEveryMs, signal);
    }
  }
}

interface Sighting {
  problem: Problem;
  /** Checks in a row. */
  count: number;
  /** Whether it has been told of. */
  started: boolean;
}

function sightings(problems: readonly Problem[], before: Map<string, Sighting>): Map<string, Sighting> {
  const now = new Map<string, Sighting>();
  for (const problem of problems) {
    const id = problemId(problem);
    const last = before.get(id);
    now.set(id, { problem, count: (last?.count ?? 0) + 1, started: last?.started ?? false });
  }
  return now;
}

async function pause(durationMs: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await pauseFor(durationMs, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    if (signal?.aborted !== true) throw error;
  }
}
