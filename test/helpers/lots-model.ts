// The rules of lots a second time, slow and obvious, to hold src/core and the meter against: plain maps, and everything worked
// out anew by the words of DESIGN "Rules of charging", native/lots.h and LotMan. From src it takes types and constants only.

import {
  DEFAULT_LOT_ID,
  type Lot,
  type LotId,
  type LotPath,
  type LotUsage,
  type Owner,
  type Policy,
  UNLIMITED,
} from '../../src/core/lot.js';

/** A lot and what its own files hold. */
export interface ModelLot extends Lot {
  readonly bytes: number;
  readonly objects: number;
}

export type Lots = ReadonlyMap<LotId, ModelLot>;

/** Everything there is. Worlds are values: what happens makes a new one. */
export interface World {
  readonly lots: Lots;
  readonly nowMs: number;
  readonly capacityBytes: number;
  readonly marginBytes: number;
  readonly blockBytes: number;
  /** Bytes and objects that were given back and that no lot held. */
  readonly drift: number;
}

/** What a command makes of the lots: `named` are new or said anew, `gone` are no more. Or why not. */
export type Planned =
  | { readonly refused: string; readonly text?: string }
  | { readonly lots: Lots; readonly named: readonly LotId[]; readonly gone: readonly LotId[] };

export interface Delta {
  readonly id: LotId;
  readonly bytes: number;
  readonly objects: number;
}

export interface Heir {
  readonly id: LotId;
  readonly heir: LotId;
}

// ---- Who lies where.

export function childrenOf(lots: Lots, id: LotId): LotId[] {
  return [...lots.values()].filter(({ parents }) => parents.includes(id)).map((lot) => lot.id);
}

/** Everything below, each once; the lot itself only in a cycle. */
export function below(lots: Lots, id: LotId): Set<LotId> {
  return closure(id, (each) => childrenOf(lots, each));
}

/** Everything above, each once; the lot itself only in a cycle. */
export function above(lots: Lots, id: LotId): Set<LotId> {
  return closure(id, (each) => lots.get(each)?.parents ?? []);
}

function closure(id: LotId, next: (id: LotId) => readonly LotId[]): Set<LotId> {
  const found = new Set(next(id));
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const each of [...found]) for (const further of next(each)) found.add(further);
  }
  return found;
}

// ---- The commands, by LotMan's words (compat/lotman.md 5.4).

const ADD_CYCLE =
  'Failed to store lot: The lot cannot be added because the combination of parents/children would introduce a dependency cycle in the data structure.';
const UPDATE_CYCLE = 'The requested parent update would introduce a dependency cycle.';
const ADD_TO_CYCLE = 'Failure to add parents: The requested parent addition would introduce a dependency cycle.';
const NO_PARENT_LEFT = 'Failed on call to lot.remove_parents: Could not remove parents because doing so would orphan the lot.';
const IS_DEFAULT = 'Failed to remove lot from database: The default lot cannot be deleted.';
const INCOMPLETE = 'Failed to remove lot from database: The operation cannot be completed as requested because ';
const ROOT_WITH_ORPHANS = `${INCOMPLETE}The lot being removed is a root, and has no parents to assign to its children.`;
const WOULD_ORPHAN = `${INCOMPLETE}deleting the lot would create an orphan that requires explicit assignment to the default lot. Set assign_LTBR_parent_as_parent_to_orphans=true.`;

/** The lots with those changed and those gone; refused where a lot lies above itself, a path is there twice, or an exclusion is astray. */
function planned(lots: Lots, changed: readonly ModelLot[], gone: readonly LotId[], cycleText = ''): Planned {
  const after = new Map(lots);
  for (const lot of changed) after.set(lot.id, lot);
  for (const id of gone) after.delete(id);
  if ([...after.keys()].some((id) => above(after, id).has(id))) return { refused: 'LOT_CYCLE', text: cycleText };
  const paths = [...after.values()].flatMap((lot) => lot.paths.map(({ path }) => path));
  if (new Set(paths).size < paths.length) return { refused: 'PATH_TAKEN' };
  if (changed.some((lot) => hasStrayExclusion(lot, lots.get(lot.id)))) return { refused: 'BAD_PATH' };
  if (changed.some(({ id, paths }) => id === DEFAULT_LOT_ID && paths.length > 0)) return { refused: 'LOT_IS_DEFAULT' };
  return { lots: after, named: changed.map(({ id }) => id), gone };
}

/** An exclusion takes away from a recursive path of its own lot that lies above it, or from what was a path of the lot. */
function hasStrayExclusion({ paths }: ModelLot, before: ModelLot | undefined): boolean {
  const known = before?.paths.map(({ path }) => path) ?? [];
  const owning = paths.filter(({ exclude, recursive }) => !exclude && recursive);
  const isStray = (path: string) => !known.includes(path) && !owning.some((above) => path.startsWith(`${above.path}/`));
  return paths.some(({ path, exclude }) => exclude && isStray(path));
}

function named(lots: Lots, name: string): ModelLot | undefined {
  return [...lots.values()].find((lot) => lot.name === name);
}

/** Every parent that is in `gone` makes room for `heirs`; who would be there twice is there at the first place. */
function inherited(parents: readonly LotId[], gone: readonly LotId[], heirs: readonly LotId[]): LotId[] {
  const result: LotId[] = [];
  for (const parent of parents) {
    for (const id of gone.includes(parent) ? heirs : [parent]) if (!result.includes(id)) result.push(id);
  }
  return result;
}

/** "Adding M with parent P and child C where C had parent P replaces P by M in C's parents." Another C gets M in addition. */
export function add(lots: Lots, lot: Lot, children: readonly LotId[]): Planned {
  if (named(lots, lot.name) !== undefined) return { refused: 'LOT_EXISTS' };
  const changed: ModelLot[] = [{ ...lot, bytes: 0, objects: 0 }];
  for (const id of children) {
    const child = must(lots, id);
    const had = child.parents.some((parent) => lot.parents.includes(parent));
    changed.push({ ...child, parents: had ? inherited(child.parents, lot.parents, [lot.id]) : [...child.parents, lot.id] });
  }
  return planned(lots, changed, [], ADD_CYCLE);
}

export interface ModelUpdate {
  readonly owner?: Owner;
  readonly parents: readonly { current: string; new: string }[];
  readonly paths: readonly { current: string; becomes: LotPath }[];
  readonly policy: Partial<Policy>;
}

export function update(lots: Lots, id: LotId, change: ModelUpdate): Planned {
  const before = must(lots, id);
  let { parents, selfParent, paths } = before;
  for (const { current, new: next } of change.parents) {
    const from = named(lots, current)?.id;
    const to = named(lots, next)?.id;
    if (from === undefined || to === undefined) return { refused: 'NO_SUCH_LOT' };
    if (from === id ? !selfParent : !parents.includes(from)) return { refused: 'NO_SUCH_LOT' };
    // A lot that is its own parent has itself as the last one.
    const all = inherited(selfParent ? [...parents, id] : parents, [from], [to]);
    selfParent = all.includes(id);
    parents = all.filter((each) => each !== id);
  }
  for (const { current, becomes } of change.paths) {
    if (!paths.some(({ path }) => path === current)) return { refused: 'NO_SUCH_LOT' };
    paths = paths.map((path) => (path.path === current ? becomes : path));
  }
  const policy = { ...before.policy, ...change.policy };
  return planned(lots, [{ ...before, ...change.owner, parents, selfParent, paths, policy }], [], UPDATE_CYCLE);
}

export function addTo(lots: Lots, id: LotId, paths: readonly LotPath[], parents: readonly LotId[]): Planned {
  const before = must(lots, id);
  const kept = before.paths.filter(({ path }) => !paths.some((added) => added.path === path));
  const more = parents.filter((parent) => parent !== id && !before.parents.includes(parent));
  const lot = {
    ...before,
    paths: [...kept, ...paths],
    parents: [...before.parents, ...new Set(more)],
    selfParent: before.selfParent || parents.includes(id),
  };
  return planned(lots, [lot], [], ADD_TO_CYCLE);
}

/** "At least one must remain; unknown parents ignored." */
export function removeParents(lots: Lots, id: LotId, names: readonly string[]): Planned {
  const before = must(lots, id);
  const parents = before.parents.filter((parent) => !names.includes(must(lots, parent).name));
  const selfParent = before.selfParent && !names.includes(before.name);
  if (parents.length === 0 && !selfParent) return { refused: 'LOT_ORPHANS', text: NO_PARENT_LEFT };
  return planned(lots, [{ ...before, parents, selfParent }], []);
}

export function removePaths(lots: Lots, paths: readonly string[]): Planned {
  const changed = [...lots.values()]
    .filter((lot) => lot.paths.some(({ path }) => paths.includes(path)))
    .map((lot) => ({ ...lot, paths: lot.paths.filter(({ path }) => !paths.includes(path)) }));
  return planned(lots, changed, []);
}

export function remove(lots: Lots, id: LotId, toOrphans: boolean, toOthers: boolean): Planned {
  if (id === DEFAULT_LOT_ID) return { refused: 'LOT_IS_DEFAULT', text: IS_DEFAULT };
  const lot = must(lots, id);
  const children = childrenOf(lots, id).map((child) => must(lots, child));
  const isOrphan = (child: ModelLot) => !child.selfParent && child.parents.every((parent) => parent === id);
  if (children.some(isOrphan)) {
    if (lot.parents.length === 0) return { refused: 'LOT_ORPHANS', text: ROOT_WITH_ORPHANS };
    if (!toOrphans) return { refused: 'LOT_ORPHANS', text: WOULD_ORPHAN };
  }
  const changed = children.map((child) => {
    const heirs = isOrphan(child) || toOthers ? lot.parents : [];
    return { ...child, parents: inherited(child.parents, [id], heirs) };
  });
  return planned(lots, changed, [id]);
}

export function removeRecursively(lots: Lots, id: LotId): Planned {
  const gone = [id, ...below(lots, id)];
  if (gone.includes(DEFAULT_LOT_ID)) return { refused: 'LOT_IS_DEFAULT', text: IS_DEFAULT };
  return planned(lots, [], gone);
}

/** What is below comes to lie below the lot's parents, or is a root where it has none. */
export function release(lots: Lots, id: LotId): Planned {
  if (id === DEFAULT_LOT_ID) return { refused: 'LOT_IS_DEFAULT', text: IS_DEFAULT };
  const changed = childrenOf(lots, id).map((child) => {
    const before = must(lots, child);
    const parents = inherited(before.parents, [id], must(lots, id).parents);
    return { ...before, parents, selfParent: before.selfParent || parents.length === 0 };
  });
  return planned(lots, changed, [id]);
}

// ---- Times (rule 10).

/** The earliest over the lot and all above it; Infinity: never. */
export function earliest(lots: Lots, id: LotId, time: 'expiresAtMs' | 'deletesAtMs'): number {
  const times = [id, ...above(lots, id)].map((each) => must(lots, each).policy[time] ?? Number.POSITIVE_INFINITY);
  return Math.min(...times);
}

/** Growth is forbidden by the lot's own times here; those above it forbid theirs, which is part of it. */
export function phase({ lots, nowMs }: World, id: LotId): { setsAside: boolean; mayGrow: boolean } {
  const { createdAtMs, deletesAtMs } = must(lots, id).policy;
  return {
    setsAside: earliest(lots, id, 'expiresAtMs') > nowMs,
    mayGrow: createdAtMs <= nowMs && (deletesAtMs === null || deletesAtMs > nowMs),
  };
}

// ---- Bytes (rule 8, native/lots.h).

export interface Weight {
  /** Own and each distinct descendant's once. */
  usedBytes: number;
  usedObjects: number;
  unfilledBytes: number;
  /** What is used, and all that its children have unfilled. */
  claimedBytes: number;
  /** Dedicated bytes that are set aside. */
  dedicatedBytes: number;
  grantBytes: number;
  maxObjects: number;
  mayGrow: boolean;
  /** The longest way up. */
  level: number;
}

export interface Scales {
  lots: Map<LotId, Weight>;
  usedBytes: number;
  setAsideBytes: number;
  promisedBytes: number;
  freeBytes: number;
  headroomBytes: number;
}

const limit = (value: number) => (value === UNLIMITED ? Number.POSITIVE_INFINITY : value);

export function weigh(world: World): Scales {
  const { lots } = world;
  const weights = new Map<LotId, Weight>();
  for (const lot of lots.values()) {
    const all = [lot, ...[...below(lots, lot.id)].map((id) => must(lots, id))];
    const { setsAside, mayGrow } = phase(world, lot.id);
    weights.set(lot.id, {
      usedBytes: sum(all.map(({ bytes }) => bytes)),
      usedObjects: sum(all.map(({ objects }) => objects)),
      unfilledBytes: 0,
      claimedBytes: 0,
      dedicatedBytes: setsAside ? lot.policy.dedicatedBytes : 0,
      grantBytes: lot.policy.dedicatedBytes + limit(lot.policy.opportunisticBytes),
      maxObjects: limit(lot.policy.maxObjects),
      mayGrow,
      level: levelOf(lots, lot),
    });
  }
  const unfilled = (id: LotId): number => {
    const { dedicatedBytes, usedBytes } = must(weights, id);
    const children = childrenOf(lots, id).filter((child) => must(lots, child).parents[0] === id);
    return Math.max(0, dedicatedBytes - usedBytes, sum(children.map(unfilled)));
  };
  for (const [id, weight] of weights) weight.unfilledBytes = unfilled(id);
  for (const [id, weight] of weights) {
    weight.claimedBytes = weight.usedBytes + sum(childrenOf(lots, id).map((child) => must(weights, child).unfilledBytes));
  }
  const roots = [...lots.values()].filter(({ parents }) => parents.length === 0);
  const usedBytes = sum([...lots.values()].map(({ bytes }) => bytes));
  const setAsideBytes = sum(roots.map(({ id }) => must(weights, id).unfilledBytes));
  const promisedBytes = usedBytes + setAsideBytes;
  return {
    lots: weights,
    usedBytes,
    setAsideBytes,
    promisedBytes,
    freeBytes: world.capacityBytes - usedBytes,
    headroomBytes: world.capacityBytes - promisedBytes - world.marginBytes,
  };
}

function levelOf(lots: Lots, { parents }: ModelLot): number {
  return Math.max(0, ...parents.map((id) => 1 + levelOf(lots, must(lots, id))));
}

// ---- Admission (rule 8, native/lots.h).

export type Why =
  | 'may not grow'
  | 'bytes'
  | 'objects'
  | 'claimed'
  | 'headroom'
  | 'unpaid object'
  | 'below children'
  | 'below use'
  | 'no such lot';

/** What refuses, and where; null: the pool. */
export interface Refusal {
  readonly lot: LotId | null;
  readonly why: Why;
}

const NO_WEIGHT = { usedBytes: 0, usedObjects: 0, claimedBytes: 0, grantBytes: 0 };

/** What stands against the second state of things after the first. Lots that are `shaped` may take over what is there. */
function refusalsOf(before: Scales, after: Scales, asked: ReadonlySet<LotId>, shaped: ReadonlySet<LotId>): Refusal[] {
  const found: Refusal[] = [];
  for (const lot of asked) {
    const is = must(after.lots, lot);
    const was = before.lots.get(lot) ?? NO_WEIGHT;
    const bytesGrow = is.usedBytes > was.usedBytes;
    const objectsGrow = is.usedObjects > was.usedObjects;
    if ((bytesGrow || objectsGrow) && !is.mayGrow && !shaped.has(lot)) found.push({ lot, why: 'may not grow' });
    if (bytesGrow && is.usedBytes > is.grantBytes) found.push({ lot, why: 'bytes' });
    if (objectsGrow && is.usedObjects > is.maxObjects) found.push({ lot, why: 'objects' });
    if (is.claimedBytes > was.claimedBytes && is.claimedBytes > is.grantBytes) found.push({ lot, why: 'claimed' });
  }
  const growth = after.promisedBytes - before.promisedBytes;
  if (growth > 0 && growth > before.headroomBytes) found.push({ lot: null, why: 'headroom' });
  return found;
}

/** A change of what lots hold. What takes more than a lot holds takes what there is. */
export function charge(world: World, deltas: readonly Delta[]): { refusals: Refusal[]; world: World } {
  const lots = new Map(world.lots);
  let { drift } = world;
  for (const { id, bytes, objects } of deltas) {
    const lot = lots.get(id);
    if (lot === undefined) return { refusals: [{ lot: id, why: 'no such lot' }], world };
    const after = { ...lot, bytes: Math.max(0, lot.bytes + bytes), objects: Math.max(0, lot.objects + objects) };
    drift += after.bytes - (lot.bytes + bytes) + after.objects - (lot.objects + objects);
    lots.set(id, after);
  }
  const then = { ...world, lots, drift };
  const more = [...lots.values()].map(({ id, bytes, objects }) => {
    const was = must(world.lots, id);
    return { id, bytes: bytes - was.bytes, objects: objects - was.objects };
  });
  if (more.every(({ bytes, objects }) => bytes <= 0 && objects <= 0)) return { refusals: [], world: then };
  const before = weigh(world);
  const after = weigh(then);
  const refusals = refusalsOf(before, after, new Set(lots.keys()), new Set());
  if (before.headroomBytes <= 0 && sum(more.map(({ objects }) => objects)) > 0) {
    for (const { id } of more.filter(({ objects }) => objects > 0)) {
      const { claimedBytes, usedObjects, dedicatedBytes } = must(after.lots, id);
      if (claimedBytes + usedObjects * world.blockBytes > dedicatedBytes) refusals.push({ lot: id, why: 'unpaid object' });
    }
  }
  return { refusals, world: refusals.length === 0 ? then : world };
}

/** The most of `want` bytes that one charge may take. */
export function chargeUpTo(world: World, id: LotId, want: number): { bytes: number; world: World } {
  for (let bytes = want; bytes > 0; bytes--) {
    const charged = charge(world, [{ id, bytes, objects: 0 }]);
    if (charged.refusals.length === 0) return { bytes, world: charged.world };
  }
  return { bytes: 0, world };
}

export interface Reshaping {
  readonly moves: readonly Delta[];
  readonly heirs: readonly Heir[];
  readonly mustCover: boolean;
  readonly force: boolean;
}

export interface Reshaped {
  /** Null: it passes. */
  readonly errno: string | null;
  /** Each of them may be named as the one that refuses. */
  readonly lots: readonly (LotId | null)[];
  readonly refusals: readonly Refusal[];
  /** The lots that the meter has to be told of: those named, and those whose dedicated bytes are set aside now, or no more. */
  readonly told: ReadonlySet<LotId>;
  readonly world: World;
}

/** The lots become what is planned, and bytes change lots by it. */
export function reshape(world: World, plan: Extract<Planned, { lots: Lots }>, how: Reshaping): Reshaped {
  const held = new Map([...world.lots, ...plan.lots].map(([id, { bytes, objects }]) => [id, { bytes, objects }]));
  const give = (id: LotId, bytes: number, objects: number) => {
    const has = must(held, id);
    held.set(id, { bytes: has.bytes + bytes, objects: has.objects + objects });
  };
  for (const { id, bytes, objects } of how.moves) give(id, bytes, objects);
  for (const { id, heir } of how.heirs) {
    const { bytes, objects } = must(held, id);
    give(id, -bytes, -objects);
    give(heir, bytes, objects);
  }
  const then = { ...world, lots: new Map([...plan.lots].map(([id, lot]) => [id, { ...lot, ...must(held, id) }])) };

  const told = new Set(plan.named);
  for (const id of then.lots.keys()) {
    if (world.lots.has(id) && phase(world, id).setsAside !== phase(then, id).setsAside) told.add(id);
  }
  const passed = { errno: null, lots: [], refusals: [], told, world: then };
  if (how.force) return passed;

  const before = weigh(world);
  const after = weigh(then);
  const lowered: Refusal[] = [];
  for (const lot of told) {
    const was = before.lots.get(lot);
    const { grantBytes, claimedBytes, usedBytes } = must(after.lots, lot);
    if (was === undefined || grantBytes >= was.grantBytes) continue;
    const childrenUnfilled = childrenOf(then.lots, lot).some((child) => must(after.lots, child).unfilledBytes > 0);
    if (childrenUnfilled && grantBytes < claimedBytes) lowered.push({ lot, why: 'below children' });
    if (how.mustCover && grantBytes < usedBytes) lowered.push({ lot, why: 'below use' });
  }
  if (lowered.length > 0) {
    return { errno: 'EINVAL', lots: lowered.map(({ lot }) => lot), refusals: lowered, told, world };
  }
  const asked = new Set([...told, ...[...told].flatMap((id) => [...above(then.lots, id)])]);
  const refusals = refusalsOf(before, after, asked, told);
  if (refusals.length === 0) return passed;
  const inLots = refusals.flatMap(({ lot }) => lot ?? []);
  const deepest = Math.max(...inLots.map((id) => must(after.lots, id).level));
  const lots = inLots.filter((id) => must(after.lots, id).level === deepest);
  return { errno: 'ENOSPC', lots: lots.length === 0 ? [null] : lots, refusals, told, world };
}

/** "Dedicated bytes that a new, empty root lot (or child of `parents`) could be given and then fill." */
export function available(world: World, parents: readonly LotId[], newcomer: Lot): number {
  const how = { moves: [], heirs: [], mustCover: false, force: false };
  for (let bytes = 1; ; bytes++) {
    const policy = { ...newcomer.policy, dedicatedBytes: bytes, opportunisticBytes: 0 };
    const plan = add(world.lots, { ...newcomer, parents, policy }, []);
    if ('refused' in plan) throw new Error(plan.refused);
    const given = reshape(world, plan, how);
    if (given.errno !== null || charge(given.world, [{ id: newcomer.id, bytes, objects: 0 }]).refusals.length > 0)
      return bytes - 1;
  }
}

// ---- Paths (rule 7).

/**
 * The longest inclusion that a longer exclusion of the same lot does not override. Either, where it is not recursive, is the
 * path itself, and of a directory the entries that are no directories.
 */
export function pathOwner(lots: Lots, path: string, isDirectory: boolean): LotId {
  const bindings = [...lots.values()].flatMap(({ id, paths }) => paths.map((binding) => ({ ...binding, lot: id })));
  const parent = path.slice(0, path.lastIndexOf('/'));
  const reaching = bindings.filter((binding) => {
    if (path === binding.path) return true;
    return binding.recursive ? path.startsWith(`${binding.path}/`) : !isDirectory && parent === binding.path;
  });
  const exclusions = reaching.filter(({ exclude }) => exclude);
  const owning = reaching.filter(({ exclude, lot, path: { length } }) => {
    return !exclude && !exclusions.some((other) => other.lot === lot && other.path.length > length);
  });
  owning.sort((a, b) => b.path.length - a.path.length);
  return owning[0]?.lot ?? DEFAULT_LOT_ID;
}

// ---- Queries, by LotMan's formulas.

const NOTHING: LotUsage = { bytes: 0, objects: 0, pendingBytes: 0, pendingObjects: 0 };

/** What the lot holds, and what all distinct lots below it do. */
export function split(lots: Lots, id: LotId): { self: LotUsage; children: LotUsage } {
  const children = [...below(lots, id)].map((child) => must(lots, child));
  const { bytes, objects } = must(lots, id);
  return {
    self: { ...NOTHING, bytes, objects },
    children: { ...NOTHING, bytes: sum(children.map((lot) => lot.bytes)), objects: sum(children.map((lot) => lot.objects)) },
  };
}

/** S: own bytes, C: the children's, D: dedicated. */
export function dedicatedUse(S: number, C: number, D: number): { total: number; self: number; children: number } {
  return { total: Math.min(S + C, D), self: Math.min(S, D), children: S >= D ? 0 : S + C >= D ? D - S : C };
}

/** O: opportunistic, which may be Infinity. */
export function opportunisticUse(S: number, C: number, D: number, O: number): { total: number; self: number; children: number } {
  const total = S + C >= O + D ? O : S + C >= D ? S + C - D : 0;
  const self = S >= O + D ? O : S >= D ? S - D : 0;
  if (S >= O + D) return { total, self, children: 0 };
  if (S >= D) return { total, self, children: S + C >= O + D ? O + D - S : C };
  return { total, self, children: S + C >= O + D ? O : S + C > D ? S + C - D : 0 };
}

/** Past deletion, expiration, all bytes, objects, dedicated bytes. */
export function past({ policy }: Lot, bytes: number, objects: number, nowMs: number): Record<string, boolean> {
  const { dedicatedBytes, opportunisticBytes, maxObjects, expiresAtMs, deletesAtMs } = policy;
  return {
    del: deletesAtMs !== null && deletesAtMs <= nowMs,
    exp: expiresAtMs !== null && expiresAtMs <= nowMs,
    opp: bytes >= dedicatedBytes + limit(opportunisticBytes),
    obj: objects >= limit(maxObjects),
    ded: bytes >= dedicatedBytes,
  };
}

/** The least of the lot and all above it, Infinity where nothing limits; and the lots that have it. */
export function least(lots: Lots, id: LotId, attribute: keyof Policy): { value: number; lots: LotId[] } {
  const values = [id, ...above(lots, id)].map((each) => ({
    id: each,
    value: limit(must(lots, each).policy[attribute] ?? UNLIMITED),
  }));
  const value = Math.min(...values.map((each) => each.value));
  return { value, lots: values.filter((each) => each.value === value).map((each) => each.id) };
}

export function must<T>(map: ReadonlyMap<LotId, T>, id: LotId): T {
  const found = map.get(id);
  if (found === undefined) throw new Error(`lot ${id} is missing`);
  return found;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
