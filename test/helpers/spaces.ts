// Spaces of a live mount, asked as people and programs ask.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { sendControl } from '../../src/client/control.js';
import { VreserveError } from '../../src/core/errors.js';
import type { SpaceJson } from '../../src/views/host.js';
import { until } from './http.js';
import { report } from './lots.js';
import type { Mounted } from './mount.js';
import type { Outcome } from './run.js';

/** `vreserve space` with these words. */
export function space(m: Mounted, ...words: string[]): Promise<Outcome> {
  return m.run(['space', ...words, '--mount', m.mnt]);
}

/** The same through `control`, which is quicker: what it answers, or `CODE message` of what it refused; null: the daemon went away. */
export async function ask(m: Mounted, request: object): Promise<unknown> {
  try {
    const { result } = await sendControl<{ result: unknown }>(m.mnt, { cmd: 'space', ...request });
    return result;
  } catch (error) {
    if (!(error instanceof VreserveError)) throw error;
    return ['BROKEN_OFF', 'UNREACHABLE', 'BAD_ANSWER'].includes(error.code) ? null : `${error.code} ${error.message}`;
  }
}

export async function listed(m: Mounted): Promise<SpaceJson[]> {
  return (await ask(m, { do: 'list', all: true })) as SpaceJson[];
}

/** What there is of spaces: listed with their sizes, lots with theirs, directories. */
export async function spacesOf(
  m: Mounted,
): Promise<{ listed: Record<string, number>; lots: Record<string, number>; directories: string[] }> {
  const lots = (await report(m.mnt)).lots.filter(({ path }) => path?.startsWith('/spaces/') === true);
  const directories = await readdir(join(m.mnt, 'spaces')).catch(() => []);
  return {
    listed: Object.fromEntries((await listed(m)).map(({ name, sizeBytes }) => [name, sizeBytes])),
    lots: Object.fromEntries(lots.map(({ name, dedicatedBytes }) => [name, dedicatedBytes])),
    directories: directories.filter((name) => name !== '.work').sort(),
  };
}

/** Nothing is left, and the numbers are those of a count. */
export async function nothingIsLeft(t: Test, m: Mounted): Promise<void> {
  const removed = join(m.mnt, 'spaces/.work/removed');
  await until(async () => (await readdir(removed).catch(() => [])).length === 0, 'removed spaces are cleared away');
  t.same(await spacesOf(m), { listed: {}, lots: {}, directories: [] });
  t.match((await report(m.mnt)).pool, { setAsideBytes: 0, usedBytes: 0 });
  t.match(await m.run(['check', m.mnt]), { code: 0 });
}
