// A mount, through its `.vreserve`: commands through `control`, and what it tells of itself.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isWithin, joinBelow, relativeTo } from '../core/paths.js';
import type { Report } from '../views/json.js';
import { objectIn } from './answers.js';
import { noMount, sendControl } from './control.js';
import { MountStore } from './mount-store.js';
import { checkReport } from './report.js';
import type { Stop } from './stop.js';
import type { Target } from './target.js';
import type { CommandJson, StoreTransport, Transport } from './transport.js';
import { sendWaiting } from './waiting.js';

export class MountTransport implements Transport {
  readonly store: StoreTransport;
  readonly #mountpoint: string;
  readonly #where: string;

  constructor({ mountpoint, where }: Target & { kind: 'mount' }) {
    this.#mountpoint = mountpoint;
    this.#where = `'${where}'`;
    this.store = new MountStore(mountpoint);
  }

  async ping(stop: Stop): Promise<void> {
    await this.#read('health', stop);
  }

  async command(command: CommandJson, waitMs: number | null | undefined, stop: Stop): Promise<Record<string, unknown>> {
    const { path } = command;
    const request = typeof path === 'string' ? { ...command, path: this.#inMount(path) } : command;
    if (waitMs !== undefined) return sendWaiting(this.#mountpoint, { ...request, wait: waitMs }, stop);
    return stop.wait(sendControl<Record<string, unknown>>(this.#mountpoint, request));
  }

  async report(stop: Stop): Promise<Report> {
    return checkReport(objectIn(await this.#read('report.json', stop), this.#where), this.#where);
  }

  async reservations(path: string, stop: Stop): Promise<Map<string, number>> {
    const above = isWithin(path, this.#mountpoint) ? this.#mountpoint : '/';
    const { lots } = await this.report(stop);
    const isReservation = ({ name, paths }: Report['lots'][number]) => paths.length === 1 && paths[0]?.path === name;
    return new Map(lots.filter(isReservation).map(({ name, dedicatedBytes }) => [joinBelow(above, name), dedicatedBytes]));
  }

  close(): void {}

  /** A path of the host below the mountpoint is taken as such, as it is over HTTP. */
  #inMount(path: string): string {
    return isWithin(path, this.#mountpoint) ? relativeTo(path, this.#mountpoint) : path;
  }

  async #read(name: string, stop: Stop): Promise<string> {
    stop.check();
    const text = readFile(join(this.#mountpoint, '.vreserve', name), 'utf8').catch((error: unknown) => {
      throw noMount(error, this.#mountpoint, name);
    });
    return stop.wait(text);
  }
}
