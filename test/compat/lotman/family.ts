// A family of lots for LotMan's cases, a fresh mount for each case, and what a case asks besides the client's answers.

import type { Test } from 'tap';
import { Lots } from '../../../src/client/lots.js';
import type { AddLotJson, PathJson, PolicyJson, UpdateLotJson } from '../../../src/lots/schema.js';
import { COLUMNS, whyNotRoot } from '../../helpers/columns.js';
import { type Mounted, mount } from '../../helpers/mount.js';

/** Users that every system has. The cases run as root, who may do everything. */
export const NOBODY = 65534;
export const DAEMON = 1;

/** Unix ms, 2100-01-01: these lots do not expire while a test runs, so what is dedicated to them is set aside. */
export const FAR = 4_102_444_800_000;

/** Why the cases cannot act as other users; false where they can. */
export const whyNotOthers = COLUMNS.find(({ uid }) => uid !== undefined)?.skip ?? whyNotRoot;

/** A policy in GB; without limits that a case could reach, unless it says so. */
export function policy(dedicated: number, opportunistic: number, change: Partial<PolicyJson> = {}): PolicyJson {
  return {
    dedicated_GB: dedicated,
    opportunistic_GB: opportunistic,
    max_num_objects: 1000,
    creation_time: 123,
    expiration_time: FAR,
    deletion_time: FAR,
    ...change,
  };
}

/** A path that its lot owns with all below it. */
export const below = (path: string): PathJson => ({ path, recursive: true });
/** A path that its lot owns alone. */
export const only = (path: string): PathJson => ({ path, recursive: false });

/** A root lot with 1 GB, owned by root, unless the change says otherwise. */
export function lot(name: string, change: Partial<AddLotJson> = {}): AddLotJson {
  return { lot_name: name, owner: 'root', parents: [name], management_policy_attrs: policy(1, 1), ...change };
}

function member(name: string, parents: string[], paths: PathJson[], attributes: PolicyJson): AddLotJson {
  return lot(name, { parents, paths, management_policy_attrs: attributes });
}

function attributes(
  dedicated: number,
  opportunistic: number,
  objects: number,
  created: number,
  expires: number,
  deletes: number,
) {
  return policy(dedicated, opportunistic, {
    max_num_objects: objects,
    creation_time: created,
    expiration_time: FAR + expires,
    deletion_time: FAR + deletes,
  });
}

/**
 *     north   south   island      marsh goes between south and delta
 *       |       |
 *     river     |
 *        \     /
 *         delta
 *
 * Paths are foreign, so that usage can be reported. Every dedicated byte fits where it comes from, also in the later shapes.
 */
export const FAMILY: readonly AddLotJson[] = [
  member('north', ['north'], [only('feed://a/b/c'), below('feed://farm/barn')], attributes(100, 20, 200, 123, 400, 900)),
  member('river', ['north'], [below('feed://a/b/d'), below('feed://farm/barley')], attributes(50, 1.5, 100, 123, 300, 800)),
  member('south', ['south'], [only('feed://other/way'), below('feed://s')], attributes(30, 5, 60, 123, 350, 850)),
  member('delta', ['river', 'south'], [below('feed://a/b/c/d'), below('feed://e')], attributes(3, 2.1, 40, 123, 310, 810)),
  member('island', ['island'], [below('feed://sep/node')], attributes(5, 40, 10, 123, 999, 999)),
];

export const MARSH: AddLotJson = {
  ...member('marsh', ['south'], [only('feed://m'), below('feed://n')], attributes(10, 3.5, 20, 100, 200, 700)),
  children: ['delta'],
};

/** south is no root any more: it comes to lie below river. */
export const SOUTH_BELOW_RIVER: UpdateLotJson = { lot_name: 'south', parents: [{ current: 'south', new: 'river' }] };

/** South below river, and all else of it that an update can change. */
export const SOUTH_CHANGED: UpdateLotJson = {
  ...SOUTH_BELOW_RIVER,
  owner: 'nobody',
  paths: [
    { current: 'feed://other/way', new: 'feed://other/way', recursive: true },
    { current: 'feed://s', new: 'feed://renewed/s', recursive: false },
  ],
  management_policy_attrs: {
    dedicated_GB: 30.111,
    opportunistic_GB: 6.6,
    max_num_objects: 50,
    expiration_time: FAR + 222,
    deletion_time: FAR + 333,
  },
};

/** Usage of two lots, each number another. */
export async function useDeltaAndMarsh(lots: Lots): Promise<void> {
  await lots.setUsage({
    lot_name: 'delta',
    self_GB: 10.5,
    self_objects: 4,
    self_GB_being_written: 2.2,
    self_objects_being_written: 2,
  });
  await lots.setUsage({
    lot_name: 'marsh',
    self_GB: 3.5,
    self_objects: 7,
    self_GB_being_written: 1.2,
    self_objects_being_written: 5,
  });
}

/** A refusal: its code and its text; both '' where nothing was refused. */
export interface Said {
  code: string;
  text: string;
}

export const DONE: Said = { code: '', text: '' };

/** What a refusal must be. A text is the whole text; a pattern, or nothing, where the text is ours to choose. */
export interface Refused {
  code?: string;
  text?: string | RegExp;
}

export async function refusal(asked: Promise<unknown>): Promise<Said> {
  try {
    await asked;
    return DONE;
  } catch (error) {
    if (error instanceof Error && 'code' in error) return { code: String(error.code), text: error.message };
    throw error;
  }
}

export function checkRefusal(t: Test, said: Said, expected: Refused, what: string): void {
  t.not(said.code, '', `${what}: refused`);
  if (expected.code !== undefined) t.equal(said.code, expected.code, `${what}: its code`);
  if (typeof expected.text === 'string') t.equal(said.text, expected.text, `${what}: its text`);
  else if (expected.text !== undefined) t.match(said.text, expected.text, `${what}: its text`);
}

/** Something asked, and how it must be refused. */
export type RefusedRow = readonly [what: string, ask: () => Promise<unknown>, expected: Refused];

export async function refusals(t: Test, rows: readonly RefusedRow[]): Promise<void> {
  for (const [what, ask, expected] of rows) checkRefusal(t, await refusal(ask()), expected, what);
}

/** A fresh mount, with nothing but the default lot. */
export class World {
  constructor(
    readonly m: Mounted,
    readonly lots: Lots,
  ) {}

  /** Adds lots one after the other. */
  async add(...lots: readonly AddLotJson[]): Promise<void> {
    for (const each of lots) await this.lots.add(each);
  }

  /** Removes all lots but the default one. */
  async clear(): Promise<void> {
    for (const name of await this.lots.list())
      if (name !== 'default' && (await this.lots.exists(name))) await this.lots.removeRecursive(name);
  }

  /** `vreserve lot …` as another user. */
  async as(uid: number, ...words: readonly (string | object)[]): Promise<Said> {
    const texts = words.map((word) => (typeof word === 'string' ? word : JSON.stringify(word)));
    const { code, stdout, stderr } = await this.m.run(['lot', ...texts, '--mount', this.m.mnt, '--json'], {
      uid,
      gid: uid,
      cwd: '/',
    });
    if (code === 0) return DONE;
    const reply = JSON.parse(stdout === '' ? 'null' : stdout) as { code: string; message: string } | null;
    return reply === null ? { code: `exit ${code}`, text: stderr } : { code: reply.code, text: reply.message };
  }

  /** Its own usage in GB, and its own objects. */
  async held(name: string): Promise<[gb: number, objects: number]> {
    const usage = (await this.lots.usage({ lot_name: name, total_GB: false, num_objects: false })) as Record<
      'total_GB' | 'num_objects',
      { self_contrib: number }
    >;
    return [usage.total_GB.self_contrib, usage.num_objects.self_contrib];
  }

  /** The lot that a path belongs to. */
  async ownerOf(path: string): Promise<string | undefined> {
    return (await this.lots.which(path))[0];
  }
}

export type LotCase = (t: Test, world: World) => Promise<void>;

/** Runs each case on a mount of its own. The pool is large, and has nothing in it: tmpfs allocates what is written only. */
export async function onFreshMounts(t: Test, cases: Readonly<Record<string, LotCase>>): Promise<void> {
  for (const [name, run] of Object.entries(cases)) {
    await t.test(name, { timeout: 60_000 }, async (t) => {
      const m = await mount(t, { on: 'tmpfs', tmpfsSize: '500g' });
      await run(t, new World(m, new Lots(m.mnt)));
    });
  }
}
