// The store of a mount: where its contents are, where it is seen, and which lot owns it.

import { OWN_DIRECTORY } from './paths.js';

/** The name of the view of the store in `.vreserve` of the root: a file for each blob. */
export const STORE_DIRECTORY = 'store';

/** Its path in the mount. */
export const STORE_PATH = `/${OWN_DIRECTORY}/${STORE_DIRECTORY}`;

/** The name, in `.vreserve` of the mount and of the backing, of the real directory that holds the contents. */
export const BLOBS_DIRECTORY = 'blobs';

/** Its path in the mount. */
export const BLOBS_PATH = `/${OWN_DIRECTORY}/${BLOBS_DIRECTORY}`;

/** The directory in it for contents that the store's own lot pays for. */
export const DATA_DIRECTORY = 'data';

/** The directory in it for contents that other lots than the store's own pay for, each in one named by the lot's number. */
export const LOTS_DIRECTORY = 'lots';

/** The name of the lot that owns it. */
export const STORE_LOT_NAME = 'store';

/** A blob's name could be a file's: one component of a path. */
export const MAX_BLOB_NAME_BYTES = 255;

/** Between two collections of its garbage: more often is work for nothing. */
export const LEAST_GC_INTERVAL_MS = 10;
