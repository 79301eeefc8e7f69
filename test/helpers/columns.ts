// Every way to mount that the rules must hold on, as a table, and what a test asks of a lot there: steps, usage, a full count.
import { constants } from 'node:fs';
import { access, lstat, readdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { type ControlOutcome, type Outcome, type Steps, startSteps } from './fsop.js';
import { whyNotWith } from './limits.js';
import { type Mounted, type MountOptions, mount, testBackings } from './mount.js';
import { PATIENCE, ROOT, type RunOptions, run } from './run.js';

/** An ordinary user: the one without rights of every distribution. */
export const NOBODY = 65534;

/** A way to mount. */
export interface Column extends MountOptions {
  name: string;
  /** What the report must say. */
  io: 'passthrough' | 'cached';
  on: 'disk' | 'tmpfs';
  skip: string | false;
}

/** Why the tests cannot mount as root; false where they can. */
export const whyNotRoot: string | false = process.getuid?.() === 0 ? false : 'the rules are tested on mounts that root makes';

/** Why the tests cannot act as an ordinary user; false where they can. */
async function whyNotUser(): Promise<string | false> {
  if (whyNotRoot !== false) return whyNotRoot;
  const places = (process.env.PATH ?? '').split(delimiter).map((place) => access(join(place, 'fusermount3'), constants.X_OK));
  if ((await Promise.allSettled(places)).every(({ status }) => status === 'rejected')) return 'there is no fusermount3';
  const { code } = await run(process.execPath, ['-e', `require('fs').readdirSync(${JSON.stringify(ROOT)})`], {
    uid: NOBODY,
    gid: NOBODY,
    cwd: '/',
  }).catch(() => ({ code: 1 }));
  return code === 0 ? false : 'an ordinary user may not read this project or run this node';
}

const asRoot = { skip: whyNotRoot };
const asUser = { skip: await whyNotUser(), uid: NOBODY, io: 'cached' as const };
const disk = { on: 'disk' as const };
const tmpfs = { on: 'tmpfs' as const };
const cached = { io: 'cached' as const, args: ['--no-passthrough'] };

/** Over an overlay there is no passthrough. */
const overlay = (process.env.VRESERVE_TEST_BACKINGS ?? '').split(',').includes('overlay');

/** Both I/O modes on both filesystems as root, and both filesystems as an ordinary user, whom the kernel gives no passthrough. */
const ALL: readonly Column[] = [
  { name: 'root, passthrough, disk', io: overlay ? 'cached' : 'passthrough', ...disk, ...asRoot },
  { name: 'root, passthrough, tmpfs', io: 'passthrough', ...tmpfs, ...asRoot },
  { name: 'root, cached, disk', ...cached, ...disk, ...asRoot },
  { name: 'root, cached, tmpfs', ...cached, ...tmpfs, ...asRoot },
  { name: 'user, disk', ...disk, ...asUser },
  { name: 'user, tmpfs', ...tmpfs, ...asUser },
  { name: 'root, fuse-native, disk', engine: 'fuse-native', io: 'cached', ...disk, ...asRoot },
  { name: 'root, fuse-native, tmpfs', engine: 'fuse-native', io: 'cached', ...tmpfs, ...asRoot },
  { name: 'user, fuse-native, tmpfs', engine: 'fuse-native', ...tmpfs, ...asUser },
];

/** Those on the backings that are asked for. */
const asked = process.env.VRESERVE_TEST_ENGINE;
export const COLUMNS = ALL.filter(({ on, engine }) => {
  if (!testBackings().includes(on)) return false;
  // Of the engine that is not the usual one, one backing will do.
  return asked === undefined ? engine === undefined || on === testBackings().at(-1) : engine === asked;
});

/** The columns of root. */
export const ROOT_COLUMNS = COLUMNS.filter(({ uid }) => uid === undefined);

/** A lot of report.json. */
export interface LotRow {
  name: string;
  path: string;
  usedBytes: number;
  dedicatedBytes: number;
  objects: number;
  pendingObjects: number;
  pendingBytes: number;
}

export interface Report {
  daemon: { io: string; filesystem: string; pid: number };
  pool: { capacityBytes: number; freeBytes: number; setAsideBytes: number; headroomBytes: number; shortBytes: number };
  health: string;
  lots: LotRow[];
}

interface Held {
  bytes: number;
  objects: number;
}

/** What lots must hold, by path: the lots' own files and those of the lots below them. */
export type Count = Record<string, Held>;

/** A step and what must come of it. Besides steps: `used LOT` and `objects LOT` ask the report now, `soon used LOT` waits. */
export type Row = readonly [step: string, expected: Outcome];

/** Steps that make a file of so many bytes. */
export const file = (path: string, bytes: number): Row[] => [
  [`open f ${path} CREAT|WRONLY`, 0],
  [`fill f ${bytes} 0`, bytes],
  ['close f', 0],
];

const DEADLINE_MS = 10_000 * PATIENCE;

/** What of the table of limits a step needs, by its words. */
export function needsOf(step: string): string[] {
  const [word = '', ...rest] = step.split(' ');
  if (word === 'fallocate') return ['fallocate'];
  if (rest.some((each) => each.split('|').includes('TMPFILE'))) return ['tmpfile'];
  return word === 'rename' && ['EXCHANGE', 'NOREPLACE'].includes(rest.at(-1) ?? '') ? ['rename-flags'] : [];
}

/** Asks until `isTrue` likes the answer, 10 s at most if nothing else is said; the last answer. */
export async function soon<T>(ask: () => Promise<T>, isTrue: (answer: T) => boolean, deadlineMs = DEADLINE_MS): Promise<T> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    const answer = await ask();
    if (isTrue(answer) || performance.now() > endMs) return answer;
    await sleep(5);
  }
}

/** A mount with a process that works in it. All that is asked of the mount goes through that process: root may not look into a user's mount. */
export class Place {
  constructor(
    readonly m: Mounted,
    readonly ops: Steps,
    /** The directory of the present case: absolute in the mount, '' for the root. */
    readonly top = '',
  ) {}

  /** Another process, in the same directory; as somebody else with `options`. */
  another(t: Pick<Test, 'teardown'>, options: RunOptions = this.m.identity): Promise<Steps> {
    return startSteps(t, `${this.m.mnt}${this.top}`, options);
  }

  async text(name: string, ops = this.ops): Promise<string> {
    return String(await ops.do(`text ${this.m.mnt}/.vreserve/${name}`));
  }

  async report(): Promise<Report> {
    return JSON.parse(await this.text('report.json')) as Report;
  }

  /** The journal's lines of one event. */
  async journal(event: string): Promise<Record<string, unknown>[]> {
    const lines = (await this.text('ledger')).trim().split('\n');
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => line.event === event);
  }

  /** A command to `control`; paths in it are absolute in the mount. */
  async control(command: string, ops = this.ops): Promise<ControlOutcome> {
    const outcome = await ops.do(`control ${this.m.mnt}/.vreserve/control ${command}`);
    return typeof outcome === 'object' ? (outcome as ControlOutcome) : { errno: String(outcome), reply: null };
  }

  /** Reserves below the case's directory; '' or the errno. */
  async reserve(path: string, bytes: number | string, ops = this.ops): Promise<string> {
    return (await this.control(`reserve ${this.#absolute(path)} ${bytes}`, ops)).errno;
  }

  async release(path: string, ops = this.ops): Promise<string> {
    return (await this.control(`release ${this.#absolute(path)}`, ops)).errno;
  }

  #absolute(path: string): string {
    return `${this.top}/${path}`.replace(/\/$/, '');
  }

  /** The lot at a path below the case's directory. */
  async lot(path: string): Promise<LotRow> {
    const { lots } = await this.report();
    const found = lots.find((lot) => lot.path === (this.#absolute(path) || '/'));
    if (found === undefined) throw new Error(`no lot at ${this.#absolute(path)}`);
    return found;
  }

  /** Runs a table of steps, and compares each outcome. */
  async table(t: Pick<Test, 'same' | 'fail' | 'comment'>, rows: readonly Row[], ops = this.ops): Promise<void> {
    for (const [step, expected] of rows) {
      const words = step.split(' ');
      const waits = words[0] === 'soon';
      const [word = '', path = ''] = waits ? words.slice(1) : words;
      if (word === 'used' || word === 'objects') {
        const ask = async () => (await this.lot(path))[word === 'used' ? 'usedBytes' : 'objects'];
        t.same(waits ? await soon(ask, (value) => value === expected) : await ask(), expected, step);
      } else if (typeof expected === 'string' && whyNotWith(this.m.ready.engine, needsOf(step)) !== false) {
        t.comment(`refused anyway: ${step}`);
      } else if (word === 'reserve' || word === 'release') {
        t.same(word === 'reserve' ? await this.reserve(path, words[2] ?? '') : await this.release(path), expected, step);
      } else {
        t.same(await ops.do(step), expected, step);
      }
    }
  }

  /** Compares what the report says with a full count of the backing. `unlinked`: what is in no directory, and open. */
  async usageEqualsCount(t: Pick<Test, 'same'>, name = 'usage equals a full count', unlinked: Count = {}): Promise<void> {
    const differs = async () => {
      const { lots } = await this.report();
      const counted = await countBacking(this.m.data, lots, unlinked);
      const reported = Object.fromEntries(lots.map((lot) => [lot.path, { bytes: lot.usedBytes, objects: lot.objects }]));
      return { reported, counted, same: JSON.stringify(reported) === JSON.stringify(counted) };
    };
    // RELEASE is asynchronous: what is closed counts until the daemon has read it.
    const { reported, counted } = await soon(differs, ({ same }) => same);
    t.same(reported, counted, name);
  }
}

/** Reads every name below the backing directory: an inode counts once, in the lot of its bytewise first path. */
async function countBacking(data: string, lots: readonly LotRow[], unlinked: Count): Promise<Count> {
  const count: Count = Object.fromEntries(lots.map(({ path }) => [path, { bytes: 0, objects: 0 }]));
  const isIn = (path: string, lot: string) => path === lot || path.startsWith(`${lot}/`);
  const add = (path: string, bytes: number, objects: number) => {
    const owners = lots.filter((lot) => lot.path !== '/' && isIn(path, lot.path)).map((lot) => lot.path);
    for (const owner of owners.length === 0 ? ['/'] : owners) {
      const held = count[owner];
      if (held === undefined) continue;
      held.bytes += bytes;
      held.objects += objects;
    }
  };
  const seen = new Set<number>();
  const walk = async (directory: string): Promise<void> => {
    const names = (await readdir(join(data, directory))).sort();
    for (const name of names) {
      const path = `${directory}/${name}`;
      // Of vreserve's own only the spool and the contents of the store are served.
      if (directory === '/.vreserve' && name !== 'spool' && name !== 'blobs') continue;
      const st = await lstat(join(data, path)).catch(() => null);
      if (st === null || seen.has(st.ino)) continue;
      if (st.isDirectory()) await walk(path);
      else {
        seen.add(st.ino);
        add(path, st.isFile() ? st.size : 0, 1);
      }
    }
  };
  await walk('');
  for (const [path, { bytes, objects }] of Object.entries(unlinked)) add(path, bytes, objects);
  return count;
}

/** What a table of steps cannot do without: steps that are refused here are refused anyway. */
export function needsOfRows(rows: readonly Row[]): string[] {
  return rows.filter(([, expected]) => typeof expected !== 'string').flatMap(([step]) => needsOf(step));
}

/** A case: a name, what is done in a directory of its own on each mount, and what of the table of limits it needs. */
export type Case = readonly [name: string, test: (t: Test, p: Place, column: Column) => Promise<void>, needs?: readonly string[]];

/** Mounts for each column and runs every case there; after each one usage must equal a count of the backing. */
export async function onEachMount(
  t: Test,
  columns: readonly Column[],
  cases: readonly Case[],
  args: readonly string[] = ['--capacity', '64MB', '--margin', '0'],
): Promise<void> {
  for (const column of columns) {
    await t.test(column.name, { skip: column.skip, timeout: 120_000 }, async (t) => {
      const m = await mount(t, { ...column, args: [...(column.args ?? []), ...args] });
      const ops = await startSteps(t, m.mnt, m.identity);
      const whole = new Place(m, ops);
      t.match(await whole.report(), { daemon: { io: column.io } }, 'the report says which I/O it is');
      for (const [i, [name, test, needs]] of cases.entries()) {
        await t.test(name, { skip: whyNotWith(m.ready.engine, needs) }, async (t) => {
          const top = `/case${i}`;
          t.same(await ops.all([`chdir ${m.mnt}`, `mkdir ${m.mnt}${top}`, `chdir ${m.mnt}${top}`]), [0, 0, 0]);
          await test(t, new Place(m, ops, top), column);
          await ops.do(`chdir ${m.mnt}`);
          await whole.usageEqualsCount(t);
          for (const lot of (await whole.report()).lots) if (lot.path !== '/') await whole.control(`release ${lot.path}`);
        });
      }
    });
  }
}
