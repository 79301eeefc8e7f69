// The watch of a mount's disks: what comes and goes becomes lines of the journal.
import { asVreserveError } from '../core/errors.js';
import { MAIN_POOL_NAME } from '../core/pool.js';
import type { Keeper } from '../engine/keeper.js';
import { listDevices } from '../pools/devices.js';
import { poolsAt } from '../pools/sights.js';
import { systemTools } from '../pools/tools.js';
import { type WatchEvent, Watcher } from '../pools/watch.js';

const EVERY_MS = 2000;

export interface MountWatchParts {
  keeper: Keeper;
  /** The backing directory. */
  backing: string;
  /** Where the daemon reaches it. */
  view: string;
}

/** All it asks of the system is asked by other processes and threads. */
export class MountWatch {
  readonly #parts: MountWatchParts;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #trouble: string | null = null;

  constructor(parts: MountWatchParts) {
    this.#parts = parts;
  }

  /** What is wrong, one sentence each. */
  get troubles(): string[] {
    return this.#trouble === null ? [] : [`disks are not watched: ${this.#trouble}`];
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when nothing of it is under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const tools = systemTools();
    const { backing, view } = this.#parts;
    const look = async () => {
      const devices = await listDevices(tools, { usb: true, loop: true });
      // The mount looks after those beside it by itself.
      const pools = await poolsAt([{ name: MAIN_POOL_NAME, directory: view }]);
      this.#trouble = null;
      return { devices, pools: pools.map((pool) => ({ ...pool, directory: backing })) };
    };
    const watcher = new Watcher({ look, tell: this.#tell, failed: this.#failed, everyMs: EVERY_MS });
    try {
      await watcher.begin();
    } catch (error) {
      this.#failed(asVreserveError(error).message);
    }
    await watcher.run(this.#stop.signal);
  }

  readonly #failed = (reason: string) => {
    this.#trouble = reason;
    this.#parts.keeper.parts.log.warn({ reason }, 'disks are not watched');
  };

  readonly #tell = ({ event, ...fields }: WatchEvent) => {
    const { keeper } = this.#parts;
    const { ledger, log } = keeper.parts;
    log.info({ event, ...fields }, 'disks');
    const known = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, value ?? undefined]));
    // A ledger that cannot be written is told by the heartbeat.
    ledger.saveUsage([], [keeper.event(event, null, known)]).catch((error: unknown) => {
      log.warn({ err: error }, 'the journal lacks what became of a disk');
    });
  };
}
