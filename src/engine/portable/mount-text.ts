// The options of a mount as libfuse takes them, in one text.

import type { EngineOptions } from '../engine.js';

/**
 * The argument `-o…`. The binding joins whatever it is given, so that libfuse's own options get through: writes of 128 KiB
 * in place of 4, inode numbers of the backing, and attributes that the kernel keeps for no time, since of one file there may be
 * several inodes here and of `/.vreserve` one for many contents.
 */
export function mountText(options: EngineOptions, allowOther: boolean, isRoot: boolean): string {
  const { readOnly, suid, dev, exec, source } = options;
  const words = [
    `fsname=${escaped(source)}`,
    'subtype=vreserve',
    'default_permissions',
    'big_writes',
    // O_TRUNC comes with the open.
    'atomic_o_trunc',
    'use_ino',
    'attr_timeout=0',
    'entry_timeout=1',
    // RELEASE is a background request and must not be held back.
    'max_background=4096',
  ];
  // A backing that is mounted over itself is not empty.
  words.push('nonempty');
  if (allowOther) words.push('allow_other');
  if (readOnly) words.push('ro');
  if (!exec) words.push('noexec');
  if (isRoot && suid) words.push('suid');
  if (isRoot && dev) words.push('dev');
  return `-o${words.join(',')}`;
}

function escaped(text: string): string {
  return text.replace(/[\\,]/g, (character) => `\\${character}`);
}
