// The waiting line of a mount, with what it asks of the keeper.

import { DEFAULT_LOT_ID, type LotId } from '../core/lot.js';
import type { Keeper } from '../engine/keeper.js';
import { WaitingLine, type WaitingLineParts } from '../waiting/line.js';

export function mountLine(keeper: Keeper, options: Pick<WaitingLineParts, 'allowOvertaking' | 'keepMs'>): WaitingLine {
  const { engine, ledger, clock, log } = keeper.parts;
  const roomIn = (lot: LotId) => (lot === DEFAULT_LOT_ID ? engine.pool().headroomBytes : engine.room(lot));
  const line = new WaitingLine({
    ...options,
    host: {
      judge: (path, bytes, options, by) => keeper.judge(path, bytes, options, by),
      reserve: (path, bytes, options, by) => keeper.reserve(path, bytes, options, by),
      reserveWaited: (path, bytes, options, by, claim) => keeper.reserveWaited(path, bytes, options, by, claim),
      around: (path) => keeper.places.around(path),
      isReserved: (path) => keeper.book.at(path) !== undefined,
      room: (path) => lotsOver(keeper, path).map(roomIn).join(),
      journalRefusalAt: (path, by, error) => keeper.journalRefusalAt(path, by, error),
      journalRefusal: (lot, fields, by, error) => keeper.journalRefusal(lot, fields, by, error),
      event: (event, lot, fields) => keeper.event(event, lot, fields),
      actor: (by) => keeper.actor(by),
    },
    record: ledger,
    clock,
    log,
  });
  keeper.onMade = (paths) => line.lotsChanged(paths);
  return line;
}

/** The lots from which a reservation of the path takes its bytes; the default lot stands for the pool. */
function lotsOver({ book, places }: Keeper, path: string): readonly LotId[] {
  const own = book.at(path);
  const parents = own === undefined ? [places.around(path)] : book.must(own.lot).parents;
  return parents.length === 0 ? [DEFAULT_LOT_ID] : parents;
}
