// What the commands on spaces share: the mount that is asked, and a space as a line.
import { join } from 'node:path';
import { sendControl } from '../client/control.js';
import { formatExactBytes } from '../core/bytes.js';
import type { SpaceJson, SpaceResult } from '../views/host.js';
import type { OptionHelp, Parsed } from './command.js';
import { findMount, onlyMount } from './where.js';

export const MOUNT_OPTION: Record<string, OptionHelp> = {
  mount: { type: 'string', unit: 'MNT', help: 'the mount; may be left out where there is one vreserve mount only' },
};

export interface Answered<Result> {
  mountpoint: string;
  result: Result;
}

/** Asks the mount that is meant. Throws what it refuses, NOT_MOUNTED, USAGE. */
export async function askSpaces<Result extends SpaceResult>(request: object, { text }: Parsed): Promise<Answered<Result>> {
  const typed = text('mount');
  const { mountpoint } = typed === undefined ? onlyMount() : findMount(typed);
  const reply = await sendControl<{ ok: true; result: Result }>(mountpoint, { cmd: 'space', ...request });
  return { mountpoint, result: reply.result };
}

/** `500 GB at /mnt/data/spaces/data, on pool main (ssd), 12 MB used`. */
export function spaceLine({ path, sizeBytes, usedBytes, pool, type }: SpaceJson, mountpoint: string): string {
  const disk = type === null ? '' : ` (${type})`;
  return `${formatExactBytes(sizeBytes)} at ${join(mountpoint, path)}, on pool ${pool}${disk}, ${formatExactBytes(usedBytes)} used`;
}
