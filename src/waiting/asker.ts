// Who asks by putting a file into the spool, as far as the file tells.

import { DEFAULT_LOT_ID } from '../core/lot.js';
import type { By } from '../views/host.js';
import type { FileOwner } from './box.js';

/**
 * The owner of the file, with no more rights than that: a file of uid 0 may be that of a container's root, and of its other
 * groups a file says nothing.
 */
export function askerOf({ uid, gid }: FileOwner): By {
  const caller = { pid: process.pid, uid, gid, groups: [], home: false, sysAdmin: false, dacOverride: false };
  return { caller, scope: DEFAULT_LOT_ID, directory: '/' };
}
