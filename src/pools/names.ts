// What a pool may be called, and what a device is told by.

import { VreserveError } from '../core/errors.js';

/** The name is a directory and the label of a filesystem; no option and no hidden file. */
const POOL_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const MOST_LETTERS = 63;

/** What the mount calls its own backing directory. */
const RESERVED = 'main';

/** The name itself. Throws POOL_BAD_NAME. */
export function checkPoolName(name: string): string {
  const bad = (reason: string) => new VreserveError('POOL_BAD_NAME', { name: name.slice(0, 80), reason });
  if (name === '') throw bad('it is empty');
  if (name.length > MOST_LETTERS) throw bad(`it has ${name.length} letters, at most ${MOST_LETTERS} are possible`);
  if (!POOL_NAME.test(name)) throw bad('it must have letters, digits, _ . and - only, and begin with a letter or a digit');
  if (name === RESERVED) throw bad('that is the backing directory of a mount');
  return name;
}

/** Whether a label can be the name of a pool. */
export function isPoolName(label: string): boolean {
  return label.length <= MOST_LETTERS && label !== RESERVED && POOL_NAME.test(label);
}

/** The path itself, where it can be that of a device: below /dev, without detours. Throws DEVICE_BAD_NAME. */
export function checkDevicePath(path: string): string {
  const bad = (reason: string) => new VreserveError('DEVICE_BAD_NAME', { path: path.slice(0, 200), reason });
  if (path === '') throw bad('it is empty');
  if (/\p{Cc}/u.test(path)) throw bad('it has a control character');
  const words = path.split('/').slice(1);
  if (words.includes('..') || words.includes('.')) throw bad("it has the component '.' or '..'");
  if (!path.startsWith('/dev/') || words.includes('')) throw bad('write it as /dev/NAME, as vreserve pool devices lists it');
  return path;
}
