// The commands of a mount, each from the room that has it.

import type { Keeper } from '../engine/keeper.js';
import { KeptLots } from '../engine/kept-lots.js';
import type { Pools } from '../engine/pools.js';
import type { Reclaimer } from '../engine/reclaimer.js';
import { runLotFunction } from '../lots/functions.js';
import type { Commands } from '../views/host.js';
import type { Users } from '../views/users.js';
import type { WaitingLine } from '../waiting/line.js';

export interface CommandParts {
  keeper: Keeper;
  line: WaitingLine;
  reclaimer: Reclaimer;
  pools: Pools;
  users: Users;
  space: Commands['space'];
  importBlobs: Commands['importBlobs'];
  namespaces: Commands['namespaces'];
}

export function mountCommands(parts: CommandParts): Commands {
  const { keeper, line, reclaimer, pools, users, space, importBlobs, namespaces } = parts;
  const lots = new KeptLots(keeper);
  return {
    reserve: (path, bytes, options, by, wait) => line.reserve(path, bytes, options, by, wait),
    extend: (path, bytes, by) => keeper.extend(path, bytes, by),
    release: (path, by) => keeper.release(path, by),
    check: (repair, by, onProgress) => keeper.check(repair, by, onProgress),
    reclaim: async (request, by, onProgress) => reclaimer.reclaim(request, by, onProgress),
    importBlobs,
    pool: (request, by) => pools.command(request, by),
    namespaces,
    space,
    lot: (request, by) => runLotFunction(lots, request, by, users.name),
  };
}
