// Reads the lots of a live mount as programs do, from report.json.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Report } from '../../src/cli/live.js';
import { Lots } from '../../src/client/lots.js';
import type { LotJson } from '../../src/views/json.js';

export async function report(mnt: string): Promise<Report> {
  return JSON.parse(await readFile(join(mnt, '.vreserve/report.json'), 'utf8')) as Report;
}

/** A root lot of somebody's own, with this name, of 1 MB on `/theirs`. */
export async function addTheirs(mnt: string, name: string): Promise<void> {
  await new Lots(mnt).add({
    lot_name: name,
    owner: 'root',
    parents: [name],
    paths: [{ path: '/theirs', recursive: true }],
    management_policy_attrs: {
      dedicated_GB: 0.001,
      opportunistic_GB: 0,
      max_num_objects: 100,
      creation_time: 0,
      expiration_time: Number.MAX_SAFE_INTEGER,
      deletion_time: Number.MAX_SAFE_INTEGER,
    },
  });
}

/** The lot bound to the path, absolute in the mount. Throws where there is none. */
export async function lotAt(mnt: string, path: string): Promise<LotJson> {
  const lot = (await report(mnt)).lots.find((candidate) => candidate.path === path);
  if (lot === undefined) throw new Error(`no lot at ${path}`);
  return lot;
}

/**
 * What the lot holds when it holds `bytes`, else after 10 s: the kernel tells of a last close after the close, so a file that
 * was unlinked while open is charged for a moment longer.
 */
export async function usedAt(mnt: string, path: string, bytes: number): Promise<number> {
  for (let tries = 0; ; tries++) {
    const { usedBytes } = await lotAt(mnt, path);
    if (usedBytes === bytes || tries === 200) return usedBytes;
    await sleep(50);
  }
}
