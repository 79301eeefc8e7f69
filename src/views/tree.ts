// The tree of /.vreserve as a table: what each name is, and what it holds.

import type { LotPath } from '../core/lot.js';
import type { LotSnapshot } from '../core/lots-seen.js';
import type { Snapshot } from '../core/snapshot.js';
import type { VirtualNode } from '../engine/engine.js';
import { policyJson, reportText, type UserName, usageJson } from './json.js';
import { fileNameOf, nameOfFile } from './lot-names.js';
import { renderMetrics } from './metrics.js';
import { README } from './readme.js';
import { renderReport } from './report.js';

/** What a name of the tree is. */
export type Entry =
  | { kind: 'directory'; list: () => { name: string; kind: VirtualNode['kind'] }[] }
  | { kind: 'snapshot'; render: () => string | Promise<string> }
  | { kind: 'stream' }
  | { kind: 'control' };

type Render = (snapshot: Snapshot, userName: UserName) => string | Promise<string>;

const FILES: Record<string, Render | 'stream' | 'control'> = {
  README: () => README,
  control: 'control',
  health: ({ troubles }) => (troubles.length === 0 ? 'ok\n' : troubles.map((trouble) => `${trouble}\n`).join('')),
  ledger: 'stream',
  metrics: renderMetrics,
  report: renderReport,
  'report.json': reportText,
};

const LOTS = 'lots';

type RenderLot = (lot: LotSnapshot, snapshot: Snapshot, userName: UserName) => string;

const LOT_FILES: Record<string, RenderLot> = {
  'policy.json': (lot) => pretty(policyJson(lot)),
  'usage.json': (lot) => pretty(usageJson(lot)),
  paths: ({ lot }) => lines(lot.paths.map(pathLine)),
  owner: ({ lot }, _, userName) => lines([userName(lot.owner)]),
  parents: ({ lot }, snapshot) => lines(snapshot.lots.namesOf(lot.parents)),
  children: ({ lot }, snapshot) => lines(snapshot.lots.childrenOf(lot.id)),
};

/** The entry at a path relative to `.vreserve` ('' is the directory itself); null where there is none. */
export function entryAt(path: string, snapshot: () => Snapshot, userName: UserName): Entry | null {
  const [first = '', name, file, ...more] = path.split('/');
  if (path === '') return { kind: 'directory', list: listTop };
  if (first === LOTS) return more.length > 0 ? null : inLots(name, file, snapshot, userName);
  const known = Object.hasOwn(FILES, first) ? FILES[first] : undefined;
  if (known === undefined || name !== undefined) return null;
  if (typeof known === 'string') return { kind: known };
  return { kind: 'snapshot', render: () => known(snapshot(), userName) };
}

function inLots(name: string | undefined, file: string | undefined, snapshot: () => Snapshot, userName: UserName): Entry | null {
  const now = snapshot();
  if (name === undefined) {
    return {
      kind: 'directory',
      list: () => now.lots.names().map((each) => ({ name: fileNameOf(each), kind: 'directory' })),
    };
  }
  const found = lotOfFile(name, now);
  if (found === undefined) return null;
  if (file === undefined) {
    return { kind: 'directory', list: () => Object.keys(LOT_FILES).map((each) => ({ name: each, kind: 'snapshot' })) };
  }
  const render = Object.hasOwn(LOT_FILES, file) ? LOT_FILES[file] : undefined;
  return render === undefined ? null : { kind: 'snapshot', render: () => render(found, now, userName) };
}

function listTop(): { name: string; kind: VirtualNode['kind'] }[] {
  const files = Object.entries(FILES).map(
    ([name, what]) => ({ name, kind: typeof what === 'string' ? what : 'snapshot' }) as const,
  );
  return [...files, { name: LOTS, kind: 'directory' }];
}

function lotOfFile(file: string, { lots }: Snapshot): LotSnapshot | undefined {
  const name = nameOfFile(file);
  // Of a name that was cut only its file name tells which it is.
  if (name === null) return lots.all().find(({ lot }) => fileNameOf(lot.name) === file);
  const lot = lots.named(name);
  return lot === undefined ? undefined : lots.get(lot.id);
}

/** `/job1`, `/job1 (not recursive)`, `/job1/tmp (excluded)`. */
function pathLine({ path, recursive, exclude }: LotPath): string {
  return exclude ? `${path} (excluded)` : recursive ? path : `${path} (not recursive)`;
}

/** One a line; a name with a newline in it is quoted as JSON. */
function lines(texts: readonly string[]): string {
  return texts.map((text) => `${text.includes('\n') ? JSON.stringify(text) : text}\n`).join('');
}

function pretty(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
