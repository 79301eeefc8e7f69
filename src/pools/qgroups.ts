// What btrfs counts and promises by subvolume.

import type { Tools } from './tools.js';

export interface Qgroup {
  /** `LEVEL/ID`, such as `0/256`. */
  id: string;
  usedBytes: number;
  /** null: without limit. */
  limitBytes: number | null;
}

/** The qgroups of a mounted btrfs; none where quotas are off. Throws TOOL_MISSING, TOOL_SLOW. */
export async function qgroupsOf(tools: Tools, directory: string): Promise<Qgroup[]> {
  // Its JSON ends with an internal error in btrfs-progs 6.2 as soon as bytes are asked for.
  const text = await tools.run('btrfs', ['qgroup', 'show', '--raw', '-r', directory]).catch((error: unknown) => {
    if (error instanceof Error && /not enabled|not a btrfs/.test(error.message)) return '';
    throw error;
  });
  return parseQgroups(text);
}

/** Rows `ID REFERENCED EXCLUSIVE MAX-REFERENCED [PATH]`; older versions have no path. Other lines are left out. */
export function parseQgroups(text: string): Qgroup[] {
  return text.split('\n').flatMap((line) => {
    const [id = '', used = '', , limit = ''] = line.trim().split(/\s+/);
    if (!/^[0-9]+\/[0-9]+$/.test(id) || !/^[0-9]+$/.test(used)) return [];
    return [{ id, usedBytes: Number(used), limitBytes: /^[0-9]+$/.test(limit) ? Number(limit) : null }];
  });
}

/** Bytes that limits promise and that are not used yet. Groups of groups are left out: they hold what their members do. */
export function unfilledBytes(qgroups: readonly Qgroup[]): number {
  const promised = qgroups.filter(({ id }) => id.startsWith('0/'));
  return promised.reduce((sum, { usedBytes, limitBytes }) => sum + Math.max(0, (limitBytes ?? 0) - usedBytes), 0);
}
