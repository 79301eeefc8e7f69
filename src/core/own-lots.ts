// Lots that commands on lots do not end: each owns one directory of the root's own `.vreserve`, and nothing else.

import type { ErrorCode } from './errors.js';
import type { Lot } from './lot.js';
import { namespaceAt } from './namespace-layout.js';
import { SPOOL_LOT_NAME, SPOOL_PATH } from './spool-layout.js';
import { BLOBS_PATH, STORE_LOT_NAME } from './store-layout.js';

export interface OwnLot {
  name: string;
  /** In the mount. No command can bind it, so whoever owns it is this lot. */
  path: string;
  /** What ends it. */
  end: string;
  /** Of a change that it does not take. */
  refusal: ErrorCode;
}

export const SPOOL_LOT: OwnLot = {
  name: SPOOL_LOT_NAME,
  path: SPOOL_PATH,
  end: 'mount --spool-grant 0',
  refusal: 'LOT_IS_SPOOL',
};
export const STORE_LOT: OwnLot = {
  name: STORE_LOT_NAME,
  path: BLOBS_PATH,
  end: 'mount --store-grant 0',
  refusal: 'LOT_IS_STORE',
};

const OWN_LOTS: readonly OwnLot[] = [SPOOL_LOT, STORE_LOT];

/** Which of them it is; one of the name that does not own the path is somebody's own. */
export function ownLotOf(lot: Lot): OwnLot | undefined {
  const own = OWN_LOTS.find(({ path: of }) => lot.paths.some(({ path }) => path === of));
  if (own !== undefined) return own;
  for (const { path } of lot.paths) {
    const namespace = namespaceAt(path);
    if (namespace === null) continue;
    return { name: `namespace '${namespace}'`, path, end: `ns release ${namespace}`, refusal: 'LOT_IS_NAMESPACE' };
  }
  return undefined;
}
