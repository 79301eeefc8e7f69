// What the volumes of containers ask for, from the keeper.

import { freeTree } from '../core/change.js';
import { DEFAULT_LOT_ID } from '../core/lot.js';
import { LotsSeen } from '../core/lots-seen.js';
import { parentPath } from '../core/paths.js';
import type { Keeper } from '../engine/keeper.js';
import { KeptLots } from '../engine/kept-lots.js';
import type { By } from '../views/host.js';
import type { VolumeHost } from '../volumes/host.js';

/** `by`: an administrator. */
export function mountVolumes(keeper: Keeper, by: By): Omit<VolumeHost, 'reserve'> {
  const { book } = keeper;
  const { engine } = keeper.parts;
  const lots = new KeptLots(keeper);
  return {
    free: async (path) => {
      const { put, remove } = freeTree(book, path);
      if (put.length + remove.length === 0) return;
      // Most have their own reservation alone, and others need not wait for that.
      if (put.length === 0 && remove.length === 1 && book.named(path)?.id === remove[0]) await keeper.release(path, by);
      else await lots.change(by, path, 'removal', async () => freeTree(book, path));
    },
    lotOf: async (path) => {
      const own = book.at(path);
      const id = own?.lot ?? book.ownerOf(path, true);
      const found = new LotsSeen(book, keeper, { lot: DEFAULT_LOT_ID, directory: '/' }).get(id);
      if (found === undefined) throw new Error(`lot ${id} is missing`);
      const { name, policy } = found.lot;
      const { bytes: usedBytes, objects } = found.used;
      const roomBytes = id === DEFAULT_LOT_ID ? engine.pool().headroomBytes : engine.room(id);
      const { deletesAtMs: _, ...rest } = policy;
      return { name, isOwn: own !== undefined, usedBytes, objects, roomBytes: Math.max(0, roomBytes), ...rest };
    },
    boundIn: async (directory) => {
      const bound = [...book.all()].flatMap(({ paths }) => paths.filter(({ exclude }) => !exclude));
      return bound.map(({ path }) => path).filter((path) => path.startsWith('/') && parentPath(path) === directory);
    },
  };
}
