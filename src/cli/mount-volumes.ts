// What the volumes of containers ask for, from the keeper.

import { DEFAULT_LOT_ID, type Lot } from '../core/lot.js';
import { isWithin, parentPath } from '../core/paths.js';
import type { Keeper } from '../engine/keeper.js';
import type { LotRequest } from '../views/host.js';
import type { VolumeHost } from '../volumes/host.js';

/** `lot`: one of LotMan's functions, asked by an administrator. */
export function mountVolumes(keeper: Keeper, lot: (request: LotRequest) => Promise<unknown>): Omit<VolumeHost, 'reserve'> {
  const { book } = keeper;
  const { engine } = keeper.parts;
  const ask = (name: string, rest: Partial<LotRequest>) => lot({ name, word: null, json: undefined, flags: [], ...rest });
  const free = async ({ name, paths }: Lot, path: string) => {
    const inside = paths.map((each) => each.path).filter((each) => isWithin(each, path));
    if (inside.length < paths.length) await ask('remove-paths', { json: { paths: inside } });
    else await ask('remove', { word: name, flags: ['assign-to-orphans'] });
  };
  return {
    free: async (path) => {
      for (const each of [...book.all()]) if (each.paths.some((bound) => isWithin(bound.path, path))) await free(each, path);
    },
    lotOf: async (path) => {
      const own = book.at(path);
      const found = book.must(own?.lot ?? book.ownerOf(path, true));
      const { dedicatedBytes, opportunisticBytes, maxObjects, expiresAtMs } = found.policy;
      let usedBytes = 0;
      let objects = 0;
      for (const id of book.withDescendants(found.id)) {
        const usage = keeper.usageOf(id);
        usedBytes += usage.bytes;
        objects += usage.objects;
      }
      const roomBytes = found.id === DEFAULT_LOT_ID ? engine.pool().headroomBytes : engine.room(found.id);
      const policy = { dedicatedBytes, opportunisticBytes, maxObjects, expiresAtMs };
      return { name: found.name, isOwn: own !== undefined, usedBytes, objects, roomBytes: Math.max(0, roomBytes), ...policy };
    },
    boundIn: async (directory) =>
      [...book.all()].flatMap(({ paths }) => paths.map(({ path }) => path)).filter((path) => parentPath(path) === directory),
  };
}
