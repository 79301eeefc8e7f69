// The spool of a mount: where it is, which lot owns it, and what a spool and a queue are made of.

import { OWN_DIRECTORY } from './paths.js';

/** The name of the spool in `.vreserve` of the root, in the mount and in the backing. */
export const SPOOL_DIRECTORY = 'spool';

/** Its path in the mount. No command can bind it, so whoever owns it is the lot of the spool. */
export const SPOOL_PATH = `/${OWN_DIRECTORY}/${SPOOL_DIRECTORY}`;

/** The spool in it that is the daemon's: requests that wait. */
export const REQUESTS = 'requests';

/** The name of the lot that owns it. */
export const SPOOL_LOT_NAME = 'spool';

/** Directories of a spool that are no queues. */
export const SPOOL_PARTS = ['.registry', '.tmp', '.data'] as const;

/** The directory of a queue for what is checked out of it. */
export const CHECKOUT = '.checkout';

/** The queue that every spool begins with. */
export const FIRST_QUEUE = 'new';

/** Directories that are made along with another one, parents first. */
export interface SpoolLayout {
  /** In a directory that is made in the spool. */
  spool: readonly string[];
  /** In one that is made in such a directory. A name that begins with a dot is neither. */
  queue: readonly string[];
  /** How the names begin under which they are made, until they are whole. */
  making: string;
}

export const SPOOL_LAYOUT: SpoolLayout = {
  spool: [...SPOOL_PARTS, FIRST_QUEUE, `${FIRST_QUEUE}/${CHECKOUT}`],
  queue: [CHECKOUT],
  making: '.vreserve-making-',
};
