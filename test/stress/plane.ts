// The data plane under a sanitizer, without Node: a real mount that is hammered while reservations come and go.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT } from '../helpers/run.js';
import type { Session } from '../helpers/session.js';

export interface Hammering {
  /** thread, address or undefined. */
  sanitizer: string;
  mode: 'passthrough' | 'cached';
  seed: number;
  seconds: number;
  processes: number;
}

/** Of each answer; sanitizers are slow, and counting waits for what moves. */
const ANSWER_MS = 120_000;
/** Of the names that the hammer uses, so many are reclaimed now and then. */
const RECLAIMED_NAMES = 6;
/** Grants so tight that writes are refused all the time. */
const [JOB_BYTES, OTHER_BYTES, STORE_BYTES] = [20_000_000, 24_000_000, 6_000_000];
const STORE_ID = 1_000_000;
/** Another pool, of which a directory is served as `pool`, and lots in it. */
const [POOL, POOL_LOT, BELOW_LOT] = [7, 2_000_000, 3_000_000];
const [POOL_BYTES, BELOW_BYTES] = [16_000_000, 4_000_000];
/** After so many bindings the pool breaks once. */
const BREAKS_EVERY = 12;

/** native/test/serve.cc: a line in, a line out. */
class Plane {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #lines: AsyncIterator<string>;
  readonly ended: Promise<number | string | null>;
  complaints = '';

  constructor(program: string, args: readonly string[]) {
    // The shadow memory of ThreadSanitizer does not fit every randomized address space.
    this.#child = spawn('setarch', ['-R', program, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr.on('data', (part: Buffer) => {
      this.complaints += part.toString();
    });
    this.#child.stdin.on('error', () => {});
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.ended = new Promise((done, failed) => {
      this.#child.on('error', failed);
      this.#child.on('close', (code, signal) => done(code ?? signal));
    });
    this.ended.catch(() => {});
  }

  /** The next line; throws where none comes. */
  async line(): Promise<string> {
    const timer = setTimeout(() => this.kill(), ANSWER_MS);
    const { value, done } = await this.#lines.next();
    clearTimeout(timer);
    if (done) throw new Error(`the server ended (${await this.ended})\n${this.complaints}`);
    return value;
  }

  ask(words: string): Promise<string> {
    this.#child.stdin.write(`${words}\n`);
    return this.line();
  }

  async quit(): Promise<number | string | null> {
    this.#child.stdin.end('quit\n');
    const timer = setTimeout(() => this.kill(), ANSWER_MS);
    const code = await this.ended;
    clearTimeout(timer);
    return code;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

/** Every lot that differs must be one that was written to during the count. */
function isPlausible(answer: string): boolean {
  if (answer === 'equal') return true;
  const lots = answer.replace(/DIFFERENT$/, '').split('; ');
  return lots.every((lot) => lot.trim() === '' || lot.includes('(moving)'));
}

/** Another pool on a tmpfs of its own, in a place that it can be lost from with all that is in it. */
async function addPool(session: Session, plane: Plane, top: string, mnt: string): Promise<void> {
  const [disk, at] = [join(top, 'disk'), join(top, 'pool')];
  for (const directory of [disk, at]) await mkdir(directory);
  await session.command('mount', ['-t', 'tmpfs', '-o', 'size=512m', 'vreserve-stress', disk]);
  await session.command('mount', ['--bind', disk, at]);
  await mkdir(join(at, 'space'));
  await mkdir(join(mnt, 'pool'));
  for (const [words, answer] of [
    [`pool ${POOL} ${at}`, 'pool 0'],
    [`graft /pool ${POOL} space`, 'grafted 0'],
    [`admit ${POOL_LOT} /pool ${POOL_BYTES}`, 'granted'],
  ] as const) {
    const said = await plane.ask(words);
    if (!said.startsWith(answer)) throw new Error(`${words}: ${said}`);
  }
}

async function untilPool(plane: Plane, state: 'served' | 'broken'): Promise<void> {
  const endMs = performance.now() + ANSWER_MS;
  for (let said = ''; !said.startsWith(state); await sleep(50)) {
    said = await plane.ask(`broken ${POOL}`);
    if (performance.now() > endMs) throw new Error(`the pool is ${said}`);
  }
}

/** The pool goes under its writers, and comes back. */
async function breakPool(session: Session, plane: Plane, top: string): Promise<void> {
  await session.command('umount', ['--lazy', join(top, 'pool')]);
  await untilPool(plane, 'broken');
  const count = await plane.ask('count');
  if (!isPlausible(count)) throw new Error(`count while a pool is broken: ${count}`);
  await session.command('mount', ['--bind', join(top, 'disk'), join(top, 'pool')]);
  await untilPool(plane, 'served');
}

/** Takes files of the lot away while they are in use; how many went. */
async function reclaim(plane: Plane, id: number): Promise<number> {
  let gone = 0;
  for (let file = 0; file < RECLAIMED_NAMES; file++) {
    const answer = await plane.ask(`unlink ${id} /other/f${String(file).padStart(2, '0')}`);
    if (!/^unlinked -?\d+ \d+$/.test(answer)) throw new Error(`unlink: ${answer}`);
    if (answer.startsWith('unlinked 0')) gone++;
  }
  return gone;
}

/** Returns one line on what was done; throws at a report of the sanitizer, a difference, or an unexpected error. */
export async function hammerPlane(session: Session, hammer: string, what: Hammering): Promise<string> {
  const { sanitizer, mode, seed, seconds, processes } = what;
  const top = await session.directory();
  const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
  for (const directory of [data, mnt]) await mkdir(directory);
  await session.command('mount', ['-t', 'tmpfs', '-o', 'size=1g', 'vreserve-stress', data]);
  const program = join(ROOT, 'native/build/test', sanitizer, 'serve');
  const plane = new Plane(program, [data, mnt, ...(mode === 'cached' ? ['cached'] : [])]);
  session.defer(program, async () => plane.kill());

  const serving = await plane.line();
  if (serving !== `serving ${mode}`) throw new Error(`not ${mode}: ${serving}`);
  for (const name of ['job1', 'other']) await mkdir(join(mnt, name));
  const granted = await plane.ask(`admit 2 /job1 ${JOB_BYTES}`);
  if (!granted.startsWith('granted')) throw new Error(`admit /job1: ${granted}`);

  const stored = await plane.ask(`admit ${STORE_ID} /.vreserve/blobs ${STORE_BYTES}`);
  if (!stored.startsWith('granted')) throw new Error(`admit the store: ${stored}`);

  await addPool(session, plane, top, mnt);

  const words = [mnt, String(seed), String(seconds), String(processes)];
  let hammering = true;
  const hammered = session.command(hammer, words, { timeoutMs: seconds * 1000 + ANSWER_MS }).finally(() => {
    hammering = false;
  });
  hammered.catch(() => {});
  let admitted = 0;
  let refused = 0;
  let unlinked = 0;
  let broken = 0;
  for (let id = 3; hammering; id++) {
    const answer = await plane.ask(`admit ${id} /other ${OTHER_BYTES}${id % 3 === 0 ? ' nonrecursive' : ''}`);
    if (answer.startsWith('granted')) {
      admitted++;
      // Refused where a file has names on both sides.
      if (id % 2 === 0) await plane.ask(`exclude ${id} /other/s`);
      unlinked += await reclaim(plane, id);
      await sleep(50);
      const released = await plane.ask(`release ${id}`);
      if (!/^released -?\d+$/.test(released)) throw new Error(`release: ${released}`);
    } else refused++;
    const below = await plane.ask(`admit ${BELOW_LOT + id} /pool/s ${BELOW_BYTES}`);
    if (below.startsWith('granted')) {
      const released = await plane.ask(`release ${BELOW_LOT + id}`);
      if (!/^released -?\d+$/.test(released)) throw new Error(`release: ${released}`);
    }
    const count = await plane.ask('count');
    if (!isPlausible(count)) throw new Error(`count under load: ${count}`);
    if (id % BREAKS_EVERY === 0) {
      await breakPool(session, plane, top);
      broken++;
    }
    await sleep(50);
  }
  const operations = (await hammered).split('\n').reduce((sum, line) => sum + Number(line), 0);
  const final = await plane.ask('count');
  if (final !== 'equal') throw new Error(`count at the end: ${final}; usage ${await plane.ask('usage')}`);
  // Releases come behind the last closes, and the view is told of them after that.
  let known = '';
  for (let tries = 0; tries < 100 && !/^known \d+ \d+ 0 0$/.test(known); tries++) {
    known = await plane.ask('known');
    await sleep(50);
  }
  if (!known.endsWith(' 0 0')) throw new Error(`blobs are open at the end: ${known}`);
  const code = await plane.quit();
  if (code !== 0 || plane.complaints !== '') throw new Error(`the server ended with ${code}\n${plane.complaints}`);
  return `${operations} operations, ${admitted} bindings admitted, ${refused} refused, ${unlinked} files reclaimed, a pool broken ${broken} times`;
}
