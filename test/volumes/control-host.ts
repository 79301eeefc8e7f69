// The lots of a live mount for volumes, asked as any program asks: for a process of its own beside the mount's.
import { sendControl } from '../../src/client/control.js';
import { Lots } from '../../src/client/lots.js';
import type { ReserveOptions } from '../../src/views/host.js';
import type { LotJson } from '../../src/views/json.js';
import type { VolumeHost, VolumeLot } from '../../src/volumes/host.js';
import { report } from '../helpers/lots.js';

export class ControlHost implements VolumeHost {
  readonly #mnt: string;
  readonly #lots: Lots;

  constructor(mnt: string) {
    this.#mnt = mnt;
    this.#lots = new Lots(mnt);
  }

  async reserve(path: string, bytes: number, options: ReserveOptions): Promise<void> {
    const { opportunisticBytes: opportunistic, maxObjects: objects, expiresInMs: expires } = options;
    await sendControl(this.#mnt, { cmd: 'reserve', path, bytes, opportunistic, objects, expires });
  }

  async free(path: string): Promise<void> {
    const isInside = (each: string) => each === path || each.startsWith(`${path}/`);
    const { lots } = await report(this.#mnt);
    for (const { name, paths } of lots) {
      const inside = paths.map((each) => each.path).filter(isInside);
      if (inside.length === 0) continue;
      if (inside.length < paths.length) await this.#lots.removePaths({ paths: inside });
      else await this.#lots.remove(name, { assignToOrphans: true });
    }
  }

  async lotOf(path: string): Promise<VolumeLot> {
    const { lots, pool } = await report(this.#mnt);
    const own = lots.find((lot) => lot.paths.some((each) => each.path === path));
    const [name] = own === undefined ? await this.#lots.which(path) : [own.name];
    const lot = lots.find((each) => each.name === name) as LotJson;
    const { usedBytes, dedicatedBytes, opportunisticBytes, objects, maxObjects, expiresAtMs } = lot;
    const unfilledBytes = Math.max(0, dedicatedBytes - usedBytes);
    const leftBytes = opportunisticBytes < 0 ? Number.POSITIVE_INFINITY : dedicatedBytes + opportunisticBytes - usedBytes;
    const roomBytes = Math.max(0, Math.min(leftBytes, unfilledBytes + pool.headroomBytes));
    const numbers = { usedBytes, dedicatedBytes, opportunisticBytes, objects, maxObjects, expiresAtMs };
    const createdAtMs = 0;
    return { name: lot.name, createdAtMs, isOwn: own !== undefined, roomBytes, ...numbers };
  }

  async boundIn(directory: string): Promise<string[]> {
    const { lots } = await report(this.#mnt);
    const all = lots.flatMap(({ paths }) => paths.map(({ path }) => path));
    return all.filter((path) => path.startsWith(`${directory}/`) && !path.slice(directory.length + 1).includes('/'));
  }
}
