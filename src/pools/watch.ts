// Devices and pools that come and go, as events: looked at in intervals, since udev's netlink socket is out of reach of Node.js.

import { setTimeout as sleep } from 'node:timers/promises';
import { asVreserveError } from '../core/errors.js';
import type { DiskType } from '../core/space.js';
import type { Device } from './devices.js';

/** A pool as the watch sees it. */
export interface PoolSight {
  name: string;
  directory: string;
  /** What is wrong with it, a sentence each; none: nothing. */
  troubles: readonly string[];
}

/** All there is to be seen at one time. */
export interface Sight {
  devices: readonly Device[];
  pools: readonly PoolSight[];
}

export type WatchEvent =
  | { event: 'device-added' | 'device-removed'; device: string; type: DiskType; bytes: number; serial: string | null }
  | { event: 'pool-added' | 'pool-removed' | 'pool-back'; pool: string; directory: string }
  | { event: 'pool-broken'; pool: string; directory: string; reason: string };

export interface WatcherParts {
  look: () => Promise<Sight>;
  tell: (event: WatchEvent) => void;
  /** A look that failed (once for each reason in a row); the watch goes on. */
  failed: (reason: string) => void;
  everyMs: number;
}

/** Watches from `begin` on, until the signal is aborted. */
export class Watcher {
  readonly #parts: WatcherParts;
  #before: Sight = { devices: [], pools: [] };
  #trouble = '';

  constructor(parts: WatcherParts) {
    this.#parts = parts;
  }

  /** The first look, of which nothing is told but what is broken already. Throws what `look` throws. */
  async begin(): Promise<Sight> {
    const sight = await this.#parts.look();
    const broken = { devices: sight.devices, pools: sight.pools.map((pool) => ({ ...pool, troubles: [] })) };
    this.#compare(broken, sight);
    return sight;
  }

  /** Resolves when the signal is aborted. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { everyMs } = this.#parts;
    while (!signal.aborted) {
      await sleep(everyMs, undefined, { signal, ref: true }).catch(() => {});
      if (!signal.aborted) await this.#lookAgain(signal);
    }
  }

  async #lookAgain(signal: AbortSignal): Promise<void> {
    try {
      const sight = await this.#parts.look();
      if (signal.aborted) return;
      this.#compare(this.#before, sight);
      this.#trouble = '';
    } catch (error) {
      const reason = asVreserveError(error).message;
      if (reason !== this.#trouble) this.#parts.failed(reason);
      this.#trouble = reason;
    }
  }

  #compare(before: Sight, now: Sight): void {
    this.#before = now;
    for (const event of changes(before, now)) this.#parts.tell(event);
  }
}

/** What has happened between two looks: what went before what came. */
export function changes(before: Sight, now: Sight): WatchEvent[] {
  const was = new Map(before.devices.map((device) => [identity(device), device]));
  const is = new Map(now.devices.map((device) => [identity(device), device]));
  const gone = before.devices.filter((device) => !is.has(identity(device)));
  const come = now.devices.filter((device) => !was.has(identity(device)));
  const poolsBefore = new Map(before.pools.map((pool) => [pool.name, pool]));
  const names = new Set(now.pools.map(({ name }) => name));
  return [
    ...before.pools.filter(({ name }) => !names.has(name)).map((pool) => poolEvent('pool-removed', pool)),
    ...gone.map((device) => deviceEvent('device-removed', device)),
    ...come.map((device) => deviceEvent('device-added', device)),
    ...now.pools.flatMap((pool) => poolChanges(poolsBefore.get(pool.name), pool)),
  ];
}

function poolChanges(before: PoolSight | undefined, now: PoolSight): WatchEvent[] {
  const { name: pool, directory, troubles } = now;
  const events: WatchEvent[] = [];
  if (before === undefined) events.push(poolEvent('pool-added', now));
  const reason = troubles.join('; ');
  const reasonBefore = before?.troubles.join('; ') ?? '';
  if (reason === reasonBefore) return events;
  events.push(reason === '' ? poolEvent('pool-back', now) : { event: 'pool-broken', pool, directory, reason });
  return events;
}

/** A device that was replaced by another of the same name has gone, and another has come. */
function identity({ name, sequence, serial, sizeBytes }: Device): string {
  return `${name} ${sequence ?? serial} ${sizeBytes}`;
}

function deviceEvent(event: 'device-added' | 'device-removed', device: Device): WatchEvent {
  return { event, device: device.path, type: device.type, bytes: device.sizeBytes, serial: device.serial };
}

function poolEvent(event: 'pool-added' | 'pool-removed' | 'pool-back', { name, directory }: PoolSight): WatchEvent {
  return { event, pool: name, directory };
}
