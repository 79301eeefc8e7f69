// How many connections a process takes at a time.

import { readFileSync } from 'node:fs';

/** What a connection holds in memory, some tens of KiB, is bounded by this. */
const MOST = 4096;

/** For what the process has open besides. */
const OWN_DESCRIPTORS = 64;

/** By the descriptors that this process may have: each connection can need one more, for a file. */
export function mostConnections(): number {
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  const descriptors = soft === undefined ? MOST * 2 : Number(soft);
  return Math.max(1, Math.min(MOST, Math.floor((descriptors - OWN_DESCRIPTORS) / 2)));
}
