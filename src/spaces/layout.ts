// Where in the mount removed spaces wait until their files are gone.

import { SPACES_PATH } from '../core/space.js';

/** Of vreserve alone. No space has such a name. */
export const WORK_PATH = `${SPACES_PATH}/.work`;

/** What was taken away. */
export const REMOVED_PATH = `${WORK_PATH}/removed`;
