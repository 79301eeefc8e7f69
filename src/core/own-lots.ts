// The lots that a mount makes by itself: each owns one directory of the root's own `.vreserve`, and nothing else.

import type { ErrorCode } from './errors.js';
import type { Lot } from './lot.js';
import { SPOOL_LOT_NAME, SPOOL_PATH } from './spool-layout.js';
import { BLOBS_PATH, STORE_LOT_NAME } from './store-layout.js';

export interface OwnLot {
  name: string;
  /** In the mount. No command can bind it, so whoever owns it is this lot. */
  path: string;
  /** The option of `mount` that says what it may hold. */
  option: string;
  /** Of a change that it does not take. */
  refusal: ErrorCode;
}

export const SPOOL_LOT: OwnLot = { name: SPOOL_LOT_NAME, path: SPOOL_PATH, option: '--spool-grant', refusal: 'LOT_IS_SPOOL' };
export const STORE_LOT: OwnLot = { name: STORE_LOT_NAME, path: BLOBS_PATH, option: '--store-grant', refusal: 'LOT_IS_STORE' };

const OWN_LOTS: readonly OwnLot[] = [SPOOL_LOT, STORE_LOT];

/** Which of them it is; one of the name that does not own the path is somebody's own. */
export function ownLotOf(lot: Lot): OwnLot | undefined {
  return OWN_LOTS.find((own) => lot.paths.some(({ path }) => path === own.path));
}
