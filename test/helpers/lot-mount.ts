// Lots of any shape on a real mount: rows that name lots, a second opinion on what each holds and on what is set aside, and mounts for tables of cases.
import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Lots } from '../../src/client/lots.js';
import { errnoOf, VreserveError } from '../../src/core/errors.js';
import type { AddLotJson, PathJson } from '../../src/lots/schema.js';
import type { LotJson } from '../../src/views/json.js';
import { type Column, type LotRow, Place, ROOT_COLUMNS, type Row, soon } from './columns.js';
import { type Steps, startSteps } from './fsop.js';
import { whyNotWith } from './limits.js';
import { type Mounted, mount } from './mount.js';
import { must, run } from './run.js';

export type T = Test;

/** Both I/O modes, on tmpfs where it is among the backings that are asked for. */
export const LOT_COLUMNS: readonly Column[] = ((columns) => {
  const fast = columns.filter(({ on }) => on === 'tmpfs');
  return fast.length > 0 ? fast : columns.slice(-2);
})(ROOT_COLUMNS);

export const CAPACITY = 64_000_000;

/** Why the ledger's rows cannot be read by another program; false where they can. */
export const lacksSqlite: string | false =
  (await run('/bin/sh', ['-c', 'command -v sqlite3'])).code === 0 ? false : 'sqlite3 is not installed';

/** No limit, and never: the end of what JSON can say. */
export const MOST = Number.MAX_SAFE_INTEGER;

/** A lot to be made. Bytes and times are integers; what is left out is 0, without limit or never; no parents: a root. */
export interface Terms {
  owner?: string;
  parents?: readonly string[];
  children?: readonly string[];
  /** Recursive where only the path is said. Below the case's directory, unless foreign. */
  paths?: readonly (string | PathJson)[];
  dedicated?: number;
  opportunistic?: number;
  objects?: number;
  createdAtMs?: number;
  expiresAtMs?: number;
  deletesAtMs?: number;
}

/** LotMan's attributes of the terms: only those that are said. */
export function attributes(terms: Terms) {
  const { dedicated, opportunistic, objects, expiresAtMs, deletesAtMs } = terms;
  return {
    ...(dedicated === undefined ? {} : { dedicated_GB: dedicated / 1e9 }),
    ...(opportunistic === undefined ? {} : { opportunistic_GB: opportunistic / 1e9 }),
    ...(objects === undefined ? {} : { max_num_objects: objects }),
    ...(expiresAtMs === undefined ? {} : { expiration_time: expiresAtMs }),
    ...(deletesAtMs === undefined ? {} : { deletion_time: deletesAtMs }),
  };
}

/** What `lot add` takes. */
export function addJson(name: string, terms: Terms, top = ''): AddLotJson {
  const paths = (terms.paths ?? []).map((path) => (typeof path === 'string' ? { path, recursive: true } : path));
  return {
    lot_name: name,
    owner: terms.owner ?? 'root',
    parents: terms.parents ?? [name],
    ...(terms.children === undefined ? {} : { children: terms.children }),
    paths: paths.map(({ path, ...how }) => ({ ...how, path: path.includes('://') ? path : `${top}/${path}`.replace(/\/$/, '') })),
    management_policy_attrs: {
      dedicated_GB: 0,
      opportunistic_GB: 0,
      max_num_objects: MOST,
      creation_time: terms.createdAtMs ?? 0,
      expiration_time: MOST,
      deletion_time: MOST,
      ...attributes(terms),
    },
  };
}

/** '' where it was done, else the code of the refusal. */
export async function codeOf(done: Promise<unknown>): Promise<string> {
  try {
    await done;
    return '';
  } catch (error) {
    if (error instanceof VreserveError) return error.code === 'SYSTEM' ? `SYSTEM ${error.errno}` : error.code;
    return errnoOf(error) ?? String(error);
  }
}

/** A lot as the report has it, with its parents in their order. */
export interface Seen extends Omit<LotJson, 'path'>, Pick<LotRow, 'path'> {
  parents: string[];
}

export interface SeenReport {
  atMs: number;
  daemon: { io: string; pid: number };
  pool: { capacityBytes: number; freeBytes: number; setAsideBytes: number; headroomBytes: number; usedBytes: number };
  health: string;
  lots: Omit<Seen, 'parents'>[];
}

/** The name of a lot as that of a file: without slashes, and one that is too long cut, with a mark of the whole. */
export function fileOf(name: string): string {
  const encoded = /^\.+$/.test(name) ? name.replaceAll('.', '%2E') : name.replaceAll('%', '%25').replaceAll('/', '%2F');
  if (Buffer.byteLength(encoded) <= 255) return encoded;
  return `${encoded.slice(0, 238)}~${createHash('sha256').update(name).digest('hex').slice(0, 16)}`;
}

/** A place that knows lots by their names. Words of rows besides those of Place: `aside` and `headroom` of the pool. */
export class LotPlace extends Place {
  readonly lots: Lots;

  constructor(m: Mounted, ops: Steps, top = '') {
    super(m, ops, top);
    this.lots = new Lots(m.mnt);
  }

  /** As this process reads it: only root has these mounts, and the journal may be long. */
  override text(name: string): Promise<string> {
    return readFile(join(this.m.mnt, '.vreserve', name), 'utf8');
  }

  add(name: string, terms: Terms): Promise<void> {
    return this.lots.add(addJson(name, terms, this.top));
  }

  update(name: string, terms: Omit<Terms, 'createdAtMs'>): Promise<void> {
    return this.lots.update({ lot_name: name, management_policy_attrs: attributes(terms) });
  }

  /** By its name, or by its path below the case's directory. */
  override async lot(name: string): Promise<LotRow> {
    const { lots } = await this.report();
    return lots.find((lot) => lot.name === name) ?? super.lot(name);
  }

  seenReport(): Promise<SeenReport> {
    return this.report() as unknown as Promise<SeenReport>;
  }

  async seen(report?: SeenReport): Promise<Seen[]> {
    const { lots } = report ?? (await this.seenReport());
    const parents = (name: string) => this.text(`lots/${fileOf(name)}/parents`).then((text) => text.split('\n').filter(Boolean));
    return Promise.all(lots.map(async (lot) => ({ ...lot, path: lot.path ?? '', parents: await parents(lot.name) })));
  }

  override async table(t: Pick<Test, 'same' | 'fail' | 'comment'>, rows: readonly Row[], ops?: Steps): Promise<void> {
    for (const row of rows) {
      const [step, expected] = row;
      const words = step.split(' ');
      const [word = ''] = words[0] === 'soon' ? words.slice(1) : words;
      if (word !== 'aside' && word !== 'headroom') await super.table(t, [row], ops);
      else {
        const ask = async () => (await this.report()).pool[word === 'aside' ? 'setAsideBytes' : 'headroomBytes'];
        t.same(words[0] === 'soon' ? await soon(ask, (value) => value === expected) : await ask(), expected, step);
      }
    }
  }

  /** What must not change by what is refused: lots and pool as reported, and the ledger's own rows. */
  async state(): Promise<object> {
    const report = await this.seenReport();
    const tables = ['lots', 'parents', 'paths', 'reported_usage'].map((table) => `SELECT * FROM ${table} ORDER BY 1, 2, 3;`);
    const words = ['-readonly', join(this.m.data, '.vreserve/ledger.db'), tables.join(' ')];
    const rows = lacksSqlite === false ? (await must(run('sqlite3', words))).stdout.split('\n') : [];
    return { lots: await this.seen(report), setAside: report.pool.setAsideBytes, rows };
  }

  /** Compares every lot, and the pool, with a count of the backing under the rules of owning and of what is set aside. */
  override async usageEqualsCount(
    t: Pick<Test, 'same'>,
    name = 'usage equals a full count',
    unlinked: Record<string, { bytes: number; objects: number }> = {},
  ): Promise<void> {
    const compare = async () => {
      const report = await this.seenReport();
      const lots = await this.seen(report);
      const expected = await expectedOf(this.m.data, lots, report, unlinked);
      const reported = {
        lots: Object.fromEntries(lots.map((lot) => [lot.name, { bytes: lot.usedBytes, objects: lot.objects }])),
        setAside: report.pool.setAsideBytes,
        used: report.pool.usedBytes,
      };
      return { reported, expected };
    };
    // RELEASE is asynchronous: what is closed counts until the daemon has read it.
    const { reported, expected } = await soon(compare, (both) => JSON.stringify(both.reported) === JSON.stringify(both.expected));
    t.same(reported, expected, name);
  }
}

interface Counted {
  bytes: number;
  objects: number;
}

type Shape = Pick<Seen, 'name' | 'paths' | 'parents' | 'dedicatedBytes' | 'expiresAtMs'>;

/**
 * Rule 7: a path reaches itself and all below it, or (not recursive) itself and the files in it. The longest that reaches the
 * file decides, unless a longer exclusion of its lot reaches it too.
 */
export function ownerOf(file: string, lots: readonly Pick<Seen, 'name' | 'paths'>[]): string {
  const directory = file.slice(0, file.lastIndexOf('/'));
  const reaching = lots
    .flatMap(({ name, paths }) => paths.map((path) => ({ ...path, lot: name })))
    .filter(({ path, recursive }) => file === path || (recursive ? file.startsWith(`${path}/`) : directory === path));
  const longestFirst = reaching.sort((a, b) => b.path.length - a.path.length);
  const isExcluded = (from: string, lot: string) =>
    reaching.some((each) => each.exclude && each.lot === lot && each.path.length > from.length);
  return longestFirst.find(({ path, lot, exclude }) => !exclude && !isExcluded(path, lot))?.lot ?? 'default';
}

/** What lots hold of their own, by find(1): an inode counts once, in the lot of its bytewise first path. */
async function ownCount(data: string, lots: readonly Shape[]): Promise<Map<string, Counted>> {
  const own = new Map(lots.map(({ name }) => [name, { bytes: 0, objects: 0 }]));
  const prune = ['-path', `${data}/.vreserve`, '-prune', '-o'];
  const { stdout } = await must(run('find', [data, ...prune, '!', '-type', 'd', '-printf', '%i %y %s /%P\\0']));
  const first = new Map<string, { path: string; bytes: number }>();
  for (const entry of stdout.split('\0').filter(Boolean)) {
    const [inode = '', type = '', size = '0', ...words] = entry.split(' ');
    const path = words.join(' ');
    const known = first.get(inode);
    if (known === undefined || Buffer.compare(Buffer.from(path), Buffer.from(known.path)) < 0) {
      first.set(inode, { path, bytes: type === 'f' ? Number(size) : 0 });
    }
  }
  for (const { path, bytes } of first.values()) {
    const held = own.get(ownerOf(path, lots));
    if (held === undefined) continue;
    held.bytes += bytes;
    held.objects += 1;
  }
  return own;
}

/** Rule 8: what each lot uses, each lot below it once, and what is set aside, as native/lots.h has it. */
async function expectedOf(
  data: string,
  lots: readonly Shape[],
  { atMs }: SeenReport,
  unlinked: Readonly<Record<string, Counted>>,
) {
  const own = await ownCount(data, lots);
  for (const [name, { bytes, objects }] of Object.entries(unlinked)) {
    const held = own.get(name);
    if (held !== undefined) own.set(name, { bytes: held.bytes + bytes, objects: held.objects + objects });
  }
  const shapes = new Map(lots.map((lot) => [lot.name, lot]));
  const childrenOf = (name: string) => lots.filter(({ parents }) => parents.includes(name));
  const below = (name: string, into = new Set<string>()): Set<string> => {
    into.add(name);
    for (const child of childrenOf(name)) below(child.name, into);
    return into;
  };
  const used = (name: string): Counted => {
    const sum = { bytes: 0, objects: 0 };
    for (const each of below(name)) {
      sum.bytes += own.get(each)?.bytes ?? 0;
      sum.objects += own.get(each)?.objects ?? 0;
    }
    return sum;
  };
  const isExpired = (name: string): boolean => {
    const lot = shapes.get(name);
    if (lot === undefined) return false;
    return (lot.expiresAtMs !== null && lot.expiresAtMs <= atMs) || lot.parents.some(isExpired);
  };
  const unfilled = (lot: Shape): number => {
    const dedicated = isExpired(lot.name) ? 0 : lot.dedicatedBytes;
    const children = childrenOf(lot.name).filter(({ parents }) => parents[0] === lot.name);
    return Math.max(0, dedicated - used(lot.name).bytes, sumOf(children.map(unfilled)));
  };
  return {
    lots: Object.fromEntries(lots.map(({ name }) => [name, used(name)])),
    setAside: sumOf(lots.filter(({ parents }) => parents.length === 0).map(unfilled)),
    used: sumOf([...own.values()].map(({ bytes }) => bytes)),
  };
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}

/** A case: a name, and what is done in a directory of its own on each mount. */
export type LotCase = readonly [
  name: string,
  test: (t: T, p: LotPlace, column: Column) => Promise<void>,
  needs?: readonly string[],
];

export interface LotMountOptions {
  columns?: readonly Column[];
  args?: readonly string[];
  fill?: (data: string) => Promise<void>;
}

/** Ends what a case has left on the mount: lots first, then files. */
export async function clear(m: Mounted, top: string): Promise<void> {
  const lots = new Lots(m.mnt);
  for (const name of await lots.list()) {
    if (name !== 'default' && (await lots.exists(name))) await lots.removeRecursive(name);
  }
  await must(run('rm', ['-rf', `${m.mnt}${top}`]));
}

/** Mounts for each column and runs every case on an empty pool; after each, usage must equal a count, and health be ok. */
export async function onEachLotMount(
  t: T,
  cases: readonly LotCase[],
  { columns = LOT_COLUMNS, args = [], fill }: LotMountOptions = {},
): Promise<void> {
  for (const column of columns) {
    await t.test(column.name, { skip: column.skip, timeout: 120_000 }, async (t) => {
      const m = await mount(t, {
        ...column,
        args: [...(column.args ?? []), '--capacity', String(CAPACITY), '--margin', '0', ...args],
        ...(fill === undefined ? {} : { fill }),
      });
      for (const [i, [name, test, needs]] of cases.entries()) {
        await t.test(name, { skip: whyNotWith(m.ready.engine, needs) }, async (t) => {
          const top = `/case${i}`;
          await mkdir(`${m.mnt}${top}`);
          t.teardown(() => clear(m, top));
          // A process of its own: what a case that fails has open is closed before the next one.
          const ops = await startSteps(t, `${m.mnt}${top}`);
          const p = new LotPlace(m, ops, top);
          t.match(await p.report(), { daemon: { io: column.io } }, 'the report says which I/O it is');
          await test(t, p, column);
          await p.usageEqualsCount(t);
          t.equal((await p.report()).health, 'ok', 'health');
        });
      }
    });
  }
}

/** A mount that the test ends and begins itself. */
export async function lotMount(
  t: T,
  column: Column,
  args: readonly string[] = [],
  tmpfsSize = '256m',
): Promise<{ m: Mounted; p: LotPlace; ops: Steps }> {
  const m = await mount(t, {
    ...column,
    tmpfsSize,
    args: [...(column.args ?? []), '--margin', '0', ...args],
  });
  const ops = await startSteps(t, '/');
  return { m, ops, p: new LotPlace(m, ops) };
}
