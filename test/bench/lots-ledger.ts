// Ledgers of many lots, made at once: what a mount has to bear that was served for years.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Lot, type LotId, NO_POLICY, recursivePath } from '../../src/core/lot.js';
import { openLedger } from '../../src/ledger/sqlite.js';

/** Lots from a root down to the deepest, both counted. */
export const DEPTH = 20;

/** A lot without others above or below it, in every ledger. */
export const FLAT = '/flat';

/** Of the lots that are written to: more than the jobs hold at any time. */
const WRITTEN_BYTES = 256 * 2 ** 20;
/** What each of a chain has besides for itself; little, since all of them together are set aside. */
const OWN_BYTES = 4096;
/** The same in the chain below which lots are added. */
const ADDED_BYTES = 2 ** 20;
const LOTS_AT_ONCE = 10_000;

/** Of a lot of the chain that is written to; the root of it has level 1. */
export function chainPath(level: number): string {
  return pathIn(0, level);
}

function pathIn(chain: number, level: number): string {
  return `/c${chain}${Array.from({ length: level - 1 }, (_, i) => `/d${i + 2}`).join('')}`;
}

/** FLAT, then chains of DEPTH lots, the last of which may be shorter. */
function* lotsOf(count: number, firstId: LotId): Generator<Lot> {
  const nowMs = Date.now();
  const lot = (id: LotId, path: string, parents: LotId[], dedicatedBytes: number): Lot => ({
    id,
    name: path,
    owner: String(process.getuid?.() ?? 0),
    confinedOwner: false,
    selfParent: true,
    parents,
    paths: [recursivePath(path)],
    policy: { ...NO_POLICY, dedicatedBytes, opportunisticBytes: 0, createdAtMs: nowMs },
  });
  yield lot(firstId, FLAT, [], WRITTEN_BYTES);
  for (let i = 0; i < count - 1; i++) {
    const chain = Math.floor(i / DEPTH);
    const level = (i % DEPTH) + 1;
    const id = firstId + 1 + i;
    const levels = DEPTH + 1 - level;
    const bytes = chain === 0 ? WRITTEN_BYTES + ADDED_BYTES * levels : OWN_BYTES * levels;
    yield lot(id, pathIn(chain, level), level === 1 ? [] : [id - 1], bytes);
  }
}

/** A backing directory whose ledger has so many lots and ended cleanly, with the directories of those that are written to. */
export async function makeBacking(backing: string, count: number): Promise<void> {
  const directory = join(backing, '.vreserve');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await mkdir(join(backing, FLAT));
  if (count > DEPTH) await mkdir(join(backing, chainPath(DEPTH)), { recursive: true });
  const ledger = openLedger({ directory, readOnly: false, owner: String(process.getuid?.() ?? 0), nowMs: Date.now() });
  const firstId = await ledger.newLotId();
  for (let i = 1; i < count; i++) await ledger.newLotId();
  let put: Lot[] = [];
  const store = async () => {
    await ledger.changeLots({ put, remove: [] }, [], []);
    put = [];
  };
  for (const lot of lotsOf(count, firstId)) {
    put.push(lot);
    if (put.length === LOTS_AT_ONCE) await store();
  }
  await store();
  await ledger.endServing([], []);
  await ledger.close();
}
