// Volumes of containers: each is a directory of the mount with a reservation. What there is, is what directory and ledger say.

import { join } from 'node:path';
import { VreserveError } from '../core/errors.js';
import { UNLIMITED } from '../core/lot.js';
import { NameTurns } from '../core/name-turns.js';
import { Garbage } from '../removal/garbage.js';
import { processWith } from '../removal/in-use.js';
import { VolumeChanges } from './changes.js';
import { VolumeDirectory } from './directory.js';
import type { VolumeHost, VolumeLot } from './host.js';
import type { VolumeLog } from './log.js';
import { checkVolumeName, volumePath } from './names.js';
import { parseVolumeOptions } from './options.js';

export interface VolumeDriverParts {
  host: VolumeHost;
  /** Of the mount, as the host sees it. */
  mountpoint: string;
  readOnly: boolean;
  log: VolumeLog;
}

export interface Volume {
  name: string;
  /** Its directory on the host. */
  mountpoint: string;
}

/** `createdAtMs`: when its reservation was made; null where it has none. */
export interface InspectedVolume extends Volume {
  createdAtMs: number | null;
  status: VolumeStatus;
}

/** What `docker volume inspect` shows. Bytes; -1 is without limit. */
export interface VolumeStatus {
  /** The lot that it is charged to: its own, which has the name of its path, unless that was released by hand. */
  lot: string;
  usedBytes: number;
  grantBytes: number;
  dedicatedBytes: number;
  opportunisticBytes: number;
  /** What can still be written. */
  freeBytes: number;
  objects: number;
  maxObjects: number;
  expiresAtMs: number | null;
}

/** How long the answer to a removal waits until its bytes are free again. Engines wait 5 s and more. */
const CLEARING_MS = 3000;

/** All of it throws VOLUME_BAD_NAME, and ENDING when it is closed or the mount is no longer there. */
export class VolumeDriver {
  readonly #parts: VolumeDriverParts;
  /** null: the mount is read-only, and has no volumes. */
  readonly #directory: VolumeDirectory | null;
  /** null: the mount is read-only. */
  readonly #changes: VolumeChanges | null = null;
  readonly #garbage: Garbage | null = null;
  readonly #turns = new NameTurns();
  /** By volume: the ids of who has mounted it, as far as it was told to this process. */
  readonly #mounts = new Map<string, Set<string>>();
  #isClosed = false;

  private constructor(parts: VolumeDriverParts, directory: VolumeDirectory | null) {
    const { host, log, readOnly } = parts;
    this.#parts = parts;
    this.#directory = directory;
    if (directory === null || readOnly) return;
    this.#garbage = new Garbage(directory, 'volumes', log);
    this.#changes = new VolumeChanges({ host, directory, garbage: this.#garbage, log });
  }

  /** Takes the directory of the volumes, and mends what a crash has left. Throws VOLUMES_FOREIGN, SYSTEM. */
  static async open(parts: VolumeDriverParts): Promise<VolumeDriver> {
    const driver = new VolumeDriver(parts, await VolumeDirectory.take(parts.mountpoint, parts.readOnly));
    await driver.#changes?.recover();
    return driver;
  }

  /** Waits for what is under way; then nothing in the mount is in use any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#turns.idle();
    await this.#garbage?.stop();
  }

  /**
   * Makes a volume, or gives the one that is there more where more is asked for. Throws VOLUME_BAD_OPTION, VOLUME_SMALLER, NO_SPACE
   * and what else the host refuses; then nothing is changed.
   */
  async create(name: string, given: Readonly<Record<string, string>>): Promise<void> {
    checkVolumeName(name);
    const options = parseVolumeOptions(given);
    await this.#turn(name, () => this.#writable().create(name, options));
  }

  /** Removes it with all it holds. Throws VOLUME_UNKNOWN, VOLUME_IN_USE. */
  async remove(name: string): Promise<void> {
    await this.#turn(name, async () => {
      const changes = this.#writable();
      // One whose removal got stuck half-way is gone for everybody else.
      if ((await this.#directory?.isChanging('removing', name)) !== true) await this.#mustBeThere(name);
      await this.#refuseInUse(name);
      await changes.remove(name);
    });
    await this.#garbage?.settled(CLEARING_MS);
  }

  /** Returns the directory. `id`: who mounts it, once however often it says so. Throws VOLUME_UNKNOWN. */
  mount(name: string, id: string): Promise<string> {
    return this.#turn(name, async () => {
      await this.#mustBeThere(name);
      this.#mounts.set(name, (this.#mounts.get(name) ?? new Set()).add(id));
      return this.#pathOf(name);
    });
  }

  /** Of what is not known as mounted it is no error: it may have been mounted before this process began. */
  unmount(name: string, id: string): Promise<void> {
    return this.#turn(name, async () => {
      const ids = this.#mounts.get(name);
      ids?.delete(id);
      if (ids?.size === 0) this.#mounts.delete(name);
    });
  }

  /** The directory. Throws VOLUME_UNKNOWN. */
  path(name: string): Promise<string> {
    return this.#turn(name, async () => {
      await this.#mustBeThere(name);
      return this.#pathOf(name);
    });
  }

  /** Throws VOLUME_UNKNOWN. */
  get(name: string): Promise<InspectedVolume> {
    return this.#turn(name, async () => {
      await this.#mustBeThere(name);
      const lot = await this.#parts.host.lotOf(volumePath(name));
      const createdAtMs = lot.isOwn ? lot.createdAtMs : null;
      return { name, mountpoint: this.#pathOf(name), createdAtMs, status: statusOf(lot) };
    });
  }

  /** By name. */
  list(): Promise<Volume[]> {
    // No volume has this name.
    return this.#serve('', async () => {
      const names = (await this.#directory?.names()) ?? [];
      return names.sort().map((name) => ({ name, mountpoint: this.#pathOf(name) }));
    });
  }

  async #turn<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.#serve(checkVolumeName(name), work);
  }

  #serve<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.#turns.run(name, async () => {
      if (this.#isClosed) throw new VreserveError('ENDING');
      return work();
    });
  }

  #writable(): VolumeChanges {
    if (this.#changes === null) throw new VreserveError('READ_ONLY');
    return this.#changes;
  }

  async #mustBeThere(name: string): Promise<void> {
    if ((await this.#directory?.look(name)) !== 'volume') throw new VreserveError('VOLUME_UNKNOWN', { name });
  }

  async #refuseInUse(name: string): Promise<void> {
    const refuse = (reason: string) => new VreserveError('VOLUME_IN_USE', { name, reason });
    const [id, ...others] = this.#mounts.get(name) ?? [];
    if (id !== undefined)
      throw refuse(`mounted by '${id.slice(0, 64)}'${others.length === 0 ? '' : ` and ${others.length} more`}`);
    // Who mounted it before this process began, or by hand.
    const pid = await processWith(this.#parts.mountpoint, volumePath(name));
    if (pid !== null) throw refuse(`process ${pid} has it mounted`);
  }

  #pathOf(name: string): string {
    return join(this.#parts.mountpoint, volumePath(name));
  }
}

function statusOf({
  name,
  dedicatedBytes,
  opportunisticBytes,
  usedBytes,
  roomBytes,
  objects,
  maxObjects,
  expiresAtMs,
}: VolumeLot): VolumeStatus {
  const isUnlimited = opportunisticBytes === UNLIMITED;
  const grantBytes = isUnlimited ? UNLIMITED : dedicatedBytes + opportunisticBytes;
  const grant = { grantBytes, dedicatedBytes, opportunisticBytes };
  return { lot: name, usedBytes, ...grant, freeBytes: roomBytes, objects, maxObjects, expiresAtMs };
}
