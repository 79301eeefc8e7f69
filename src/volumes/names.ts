// What a volume may be called, and where it is.

import { VreserveError } from '../core/errors.js';
import { MAX_COMPONENT_BYTES } from '../core/paths.js';

/** In the mount: the directory of all volumes. */
export const VOLUMES_PATH = '/volumes';

/** Docker's rule, which keeps away dots at the beginning and slashes. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** The name itself. Throws VOLUME_BAD_NAME. */
export function checkVolumeName(name: string): string {
  const shown = name.slice(0, 60).replace(/\p{Cc}/gu, '?');
  const bad = (reason: string) => new VreserveError('VOLUME_BAD_NAME', { name: shown, reason });
  if (name === '') throw bad('it is empty');
  if (name.length > MAX_COMPONENT_BYTES) throw bad(`it has ${name.length} letters, at most ${MAX_COMPONENT_BYTES} are possible`);
  if (!NAME.test(name)) throw bad('it must have letters, digits, _ . and - only, and begin with a letter or a digit');
  return name;
}

export function isVolumeName(name: string): boolean {
  return name.length <= MAX_COMPONENT_BYTES && NAME.test(name);
}

/** Of a volume, in the mount. */
export function volumePath(name: string): string {
  return `${VOLUMES_PATH}/${name}`;
}
