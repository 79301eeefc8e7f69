// What the service process asks for, from the keeper and the rooms beside it.

import { compareBytes } from '../core/bytes.js';
import { noLot } from '../core/change.js';
import { DEFAULT_LOT_ID, DEFAULT_LOT_NAME, isReservation, type Lot } from '../core/lot.js';
import { statusOf } from '../core/phase.js';
import type { Snapshot } from '../core/snapshot.js';
import type { Keeper } from '../engine/keeper.js';
import type { HttpHost, LotsAsked } from '../http/host.js';
import type { LotAsJson } from '../lots/queries.js';
import type { By, Commands, LotRequest } from '../views/host.js';
import { reportText } from '../views/json.js';
import { renderMetrics } from '../views/metrics.js';
import { commandRunner } from '../views/run.js';
import type { Users } from '../views/users.js';
import type { VolumeHost } from '../volumes/host.js';
import { mountVolumes } from './mount-volumes.js';

export interface MountHostParts {
  keeper: Keeper;
  commands: Commands;
  users: Users;
  /** Whom the daemon runs as. */
  uid: number;
  /** As seen from the root of the mount. */
  snapshot: () => Snapshot;
}

/** What is done at once is not withdrawn. */
const NOBODY_LEAVES = new AbortController().signal;

export function mountHost({ keeper, commands, users, uid, snapshot }: MountHostParts): HttpHost & VolumeHost {
  const { engine, ledger, clock } = keeper.parts;
  const { book } = keeper;
  const by = administrator(uid);
  const lot = (request: LotRequest) => commands.lot(request, by);
  const run = commandRunner(commands, by, snapshot, users.name);
  const status = (each: Lot) => statusOf(each, (id) => book.get(id), clock());
  const showLot = async (name: string, recursive: boolean) => {
    const found = book.named(name);
    if (found === undefined) throw noLot(name);
    const flags = recursive ? ['recursive'] : [];
    const shown = (await lot({ name: 'show', word: name, json: undefined, flags })) as LotAsJson;
    return { ...shown, status: status(found) };
  };
  const isWanted = (name: string, asked: LotsAsked): boolean => {
    const found = book.named(name);
    if (found === undefined || (asked.after !== undefined && !isBehind(name, asked.after))) return false;
    if (asked.owner !== undefined && asked.owner !== found.owner && asked.owner !== users.name(found.owner)) return false;
    return asked.status === undefined || asked.status === status(found);
  };
  return {
    ...mountVolumes(keeper, by),
    command: (command) => run(command, () => {}, NOBODY_LEAVES),
    lot,
    showLot,
    reserve: async (path, bytes, options) => void (await commands.reserve(path, bytes, options, by, null)),
    release: async (path) => void (await commands.release(path, by)),
    reservations: async () => {
      const found = new Map<string, number>();
      for (const each of book.all()) if (isReservation(each)) found.set(each.name, each.policy.dedicatedBytes);
      return found;
    },
    listLots: async (asked) => {
      const all = (await lot({ name: 'list', word: null, json: undefined, flags: [] })) as string[];
      const wanted: string[] = [];
      for (const name of all) if (wanted.length <= asked.limit && isWanted(name, asked)) wanted.push(name);
      const names = wanted.slice(0, asked.limit);
      const next = wanted.length > asked.limit ? (names.at(-1) ?? null) : null;
      return { lots: await Promise.all(names.map((name) => showLot(name, false))), next };
    },
    room: async (lotName) => {
      const id = book.named(lotName)?.id ?? DEFAULT_LOT_ID;
      return { bytes: id === DEFAULT_LOT_ID ? engine.pool().headroomBytes : engine.room(id), atMs: clock() };
    },
    report: async () => reportText(snapshot(), users.name),
    metrics: () => renderMetrics(snapshot()),
    journalRange: () => ledger.journalRange(),
    readJournal: (offsetBytes, lengthBytes) => ledger.readJournal(offsetBytes, lengthBytes),
  };
}

/** Nothing tells who is at the other end: whoever may connect, or has the token, acts as the user of the daemon. */
export function administrator(uid: number): By {
  const groups = process.getgroups?.() ?? [];
  const gid = process.getgid?.() ?? 0;
  const caller = { pid: process.pid, uid, gid, groups, home: true, sysAdmin: uid === 0, dacOverride: uid === 0 };
  return { caller, scope: DEFAULT_LOT_ID, directory: '/' };
}

/** In the order of the list: the default lot, then by name. A lot that is gone keeps its place. */
function isBehind(name: string, other: string): boolean {
  return name !== DEFAULT_LOT_NAME && (other === DEFAULT_LOT_NAME || compareBytes(name, other) > 0);
}
