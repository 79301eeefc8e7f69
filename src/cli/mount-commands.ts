// The commands of a mount, each from the room that has it.

import type { Keeper } from '../engine/keeper.js';
import { KeptLots } from '../engine/kept-lots.js';
import type { Reclaimer } from '../engine/reclaimer.js';
import { runLotFunction } from '../lots/functions.js';
import type { Commands } from '../views/host.js';
import type { Users } from '../views/users.js';
import type { WaitingLine } from '../waiting/line.js';

export interface CommandParts {
  keeper: Keeper;
  line: WaitingLine;
  reclaimer: Reclaimer;
  users: Users;
  space: Commands['space'];
  importBlobs: Commands['importBlobs'];
}

export function mountCommands({ keeper, line, reclaimer, users, space, importBlobs }: CommandParts): Commands {
  const lots = new KeptLots(keeper);
  return {
    reserve: (path, bytes, options, by, wait) => line.reserve(path, bytes, options, by, wait),
    extend: (path, bytes, by) => keeper.extend(path, bytes, by),
    release: (path, by) => keeper.release(path, by),
    check: (repair, by, onProgress) => keeper.check(repair, by, onProgress),
    reclaim: async (apply, low, by, onProgress) => reclaimer.reclaim(apply, low, by, onProgress),
    importBlobs,
    space,
    lot: (request, by) => runLotFunction(lots, request, by, users.name),
  };
}
