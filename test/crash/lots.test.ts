// kill -9 while lots are made, bound over data, changed, expired, removed and reclaimed: what was acknowledged is there, and usage equals a full count.
// Rounds: one for each kind of change, or VRESERVE_ROUNDS of the environment.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { sendControl } from '../../src/client/control.js';
import { startSteps } from '../helpers/fsop.js';
import { CHANGER, type ChangerLine, KINDS, type Kind, type LotsState } from '../helpers/lot-changer.js';
import { addJson, LOT_COLUMNS, LotPlace, MOST } from '../helpers/lot-mount.js';
import { gone, type Mounted, mount } from '../helpers/mount.js';
import { must } from '../helpers/run.js';
import { Load, plainEnvironment } from './load.js';

const ARGS = ['--capacity', '200MB', '--margin', '0'];
const ROUNDS = Number(process.env.VRESERVE_ROUNDS ?? KINDS.length + 1);
const DIRECTORIES = ['/c1', '/c2'];
const WRITTEN = [...DIRECTORIES.flatMap((top) => [`${top}/a`, `${top}/b`, `${top}/a/sub`]), '/free'];

/** Files to be reclaimed in a round, and files that never may be. */
const PLANTED = 200;
const KEPT = 20;

/** Changes one directory's lots; what it was answered, and the one command that it may not have been. */
class Changes {
  acknowledged: LotsState = {};
  asked: LotsState | null = null;
  readonly counts = { acknowledged: 0, refused: 0 };
  readonly failures: string[] = [];
  #child: ChildProcess | undefined;
  #closed: Promise<unknown> = Promise.resolve();

  constructor(
    readonly directory: string,
    readonly mnt: string,
  ) {}

  start(seed: number, most: Kind): void {
    const words = [CHANGER, String(seed), join(this.mnt, '.vreserve/control'), this.directory, most];
    const child = spawn(process.execPath, [...words, JSON.stringify(this.acknowledged)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: plainEnvironment(),
    });
    let said = '';
    child.stderr?.on('data', (part) => {
      said += part;
    });
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (text) => this.#read(lineOf(text)));
    const read = once(lines, 'close');
    this.#child = child;
    this.#closed = once(child, 'close').then(async ([code, signal]) => {
      await read;
      if (code !== 0 && signal !== 'SIGKILL') this.failures.push(`${this.directory}: exit ${code ?? signal}\n${said}`);
    });
  }

  async stop(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#closed;
    if (this.#child?.pid !== undefined) await gone(this.#child.pid);
  }

  /** What is found, as one of the two that may be; else what is wrong. */
  take(found: LotsState): string | null {
    const asked = this.asked;
    this.asked = null;
    const text = inOrder(found);
    if (text === inOrder(this.acknowledged)) return null;
    if (asked !== null && text === inOrder(asked)) {
      this.acknowledged = asked;
      return null;
    }
    const was = { acknowledged: this.acknowledged, asked, found };
    this.acknowledged = found;
    return JSON.stringify(was, null, 1);
  }

  #read(line: ChangerLine | null): void {
    if (line === null) return;
    const { is, state } = line;
    if (is === 'asks') this.asked = state ?? null;
    else if (is !== 'gone') {
      this.counts[is] += 1;
      if (is === 'acknowledged' && this.asked !== null) this.acknowledged = this.asked;
      this.asked = null;
    }
  }
}

/** Null for the last line of a process that was killed in the middle of it: it has not asked. */
function lineOf(text: string): ChangerLine | null {
  try {
    return JSON.parse(text) as ChangerLine;
  } catch {
    return null;
  }
}

/** The same text for the same lots: by name, and the paths by path. */
function inOrder(lots: LotsState): string {
  const sorted = Object.entries(lots).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(
    sorted.map(([name, { parents, paths, dedicated, opportunistic, objects, expiresAtMs }]) => [
      name,
      parents,
      paths.map(({ path, recursive, exclude }) => [path, recursive, exclude]).sort(),
      [dedicated, opportunistic, objects, expiresAtMs],
    ]),
  );
}

async function foundLots(p: LotPlace): Promise<LotsState> {
  const lots = await p.seen();
  return Object.fromEntries(
    lots.map((lot) => [
      lot.name,
      {
        parents: lot.parents,
        paths: [...lot.paths],
        dedicated: lot.dedicatedBytes,
        opportunistic: lot.opportunisticBytes,
        objects: lot.maxObjects,
        expiresAtMs: lot.expiresAtMs,
      },
    ]),
  );
}

/** Reclaims again and again until the mount is gone. */
async function reclaimAll(mnt: string): Promise<number> {
  for (let runs = 0; ; runs++) {
    const request = { cmd: 'reclaim', apply: true, low: '0%' };
    const done = await sendControl(mnt, request).then(
      () => true,
      () => false,
    );
    if (!done) return runs;
  }
}

/** Files that have a name once and never again, in a lot that is past its deletion then. */
async function plant(mnt: string, round: number): Promise<void> {
  const deletion = (deletion_time: number) =>
    sendControl(mnt, { cmd: 'lot', name: 'update', json: { lot_name: 'old', management_policy_attrs: { deletion_time } } });
  await deletion(MOST);
  const names = Array.from({ length: PLANTED }, (_, i) => `${round}-${i}`);
  await Promise.all(names.map((name) => writeFile(join(mnt, 'old', name), name)));
  await deletion(1);
}

async function begin(t: Test): Promise<{ m: Mounted; p: LotPlace; load: Load; changes: Changes[] }> {
  const on = LOT_COLUMNS[0]?.on ?? 'disk';
  const m = await mount(t, { on, args: ARGS });
  const p = new LotPlace(m, await startSteps(t, '/'));
  const load = new Load();
  t.teardown(() => load.stop());
  const changes = DIRECTORIES.map((directory) => new Changes(directory, m.mnt));
  for (const each of changes) t.teardown(() => each.stop());
  for (const path of [...WRITTEN, '/old', '/kept']) await mkdir(join(m.mnt, path), { recursive: true });
  await p.lots.add(addJson('old', { opportunistic: MOST, paths: ['old'] }));
  await p.lots.add(addJson('kept', { dedicated: 1_000_000, paths: ['kept'] }));
  for (let i = 0; i < KEPT; i++) await writeFile(join(m.mnt, 'kept', String(i)), 'kept');
  return { m, p, load, changes };
}

async function verify(t: Test, m: Mounted, p: LotPlace, changes: readonly Changes[], name: string): Promise<void> {
  const found = await foundLots(p);
  for (const each of changes) {
    const own = Object.entries(found).filter(([lot]) => lot.startsWith(`${each.directory.slice(1)}-`));
    t.equal(each.take(Object.fromEntries(own)), null, `${name}: ${each.directory} has what was acknowledged, and no more`);
  }
  await p.usageEqualsCount(t, `${name}: usage and what is set aside are what a count says`);
  t.equal((await p.report()).health, 'ok', `${name}: health`);
  const check = await m.run(['check', m.mnt]);
  t.equal(check.code, 0, `${name}: check ${check.stdout}${check.stderr}`);
  const isThere = (path: string) =>
    access(join(m.data, path)).then(
      () => true,
      () => false,
    );
  const reclaimed = (await p.journal('reclaim')).map(({ path }) => String(path));
  const back: string[] = [];
  for (const path of reclaimed) if (path.startsWith('/old/') && (await isThere(path))) back.push(path);
  t.same(back, [], `${name}: what the journal says was reclaimed is gone`);
  t.same(
    reclaimed.filter((path) => path.startsWith('/kept/')),
    [],
  );
  for (let i = 0; i < KEPT; i++) t.equal(await readFile(join(m.mnt, 'kept', String(i)), 'utf8'), 'kept');
}

t.test(`kill -9 while lots change, ${ROUNDS} rounds`, { skip: LOT_COLUMNS[0]?.skip ?? false }, async (t) => {
  const { m, p, load, changes } = await begin(t);
  let reclaims = 0;
  for (let round = 1; round <= ROUNDS; round++) {
    const kind = [...KINDS, 'reclaim' as const][(round - 1) % (KINDS.length + 1)] ?? 'add';
    const afterMs = 100 + Math.floor(Math.random() * 600);
    const name = `round ${round}, ${kind}, after ${afterMs} ms`;
    if (kind === 'reclaim' || round % 3 === 0) await plant(m.mnt, round);
    for (const [i, each] of changes.entries()) each.start(round * 10 + i + 1, kind === 'reclaim' ? 'update' : kind);
    await load.write(
      [1, 2, 3].map((n) => round * 100 + n),
      WRITTEN.map((path) => join(m.mnt, path)),
    );
    const reclaiming = kind === 'reclaim' || round % 3 === 0 ? reclaimAll(m.mnt) : Promise.resolve(0);
    await sleep(afterMs);
    await m.kill();
    await load.stop();
    for (const each of changes) await each.stop();
    reclaims += await reclaiming;
    t.same(load.failures.splice(0), [], `${name}: no writer saw an error that is none`);
    for (const each of changes) t.same(each.failures.splice(0), [], `${name}: nor who changed lots`);
    await m.remount([...ARGS, ...(round % 2 === 0 ? ['--no-passthrough'] : [])]);
    t.equal(m.ready.counted, true, `${name}: counted anew`);
    await verify(t, m, p, changes, name);
    await must(m.shell('echo works > free/probe; [ "$(cat free/probe)" = works ]; rm free/probe'));
  }
  const sum = (of: 'acknowledged' | 'refused') => changes.reduce((all, { counts }) => all + counts[of], 0);
  t.comment(`${sum('acknowledged')} acknowledged commands, ${sum('refused')} refused, ${reclaims} runs of reclaim`);
  t.ok(sum('acknowledged') > ROUNDS, 'there were promises to keep');
  t.equal((await p.journal('recovery')).length, ROUNDS, 'every recovery is in the journal');
  // A clean end of the same.
  for (const [i, each] of changes.entries()) each.start(9000 + i, 'update');
  await load.write(
    [1, 2],
    WRITTEN.map((path) => join(m.mnt, path)),
  );
  await sleep(200);
  await load.stop();
  for (const each of changes) await each.stop();
  await m.umount();
  await m.remount(ARGS);
  t.equal(m.ready.counted, false, 'after a clean end it serves at once');
  await verify(t, m, p, changes, 'after a clean end');
  await m.umount();
});
