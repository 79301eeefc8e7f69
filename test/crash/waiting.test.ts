// kill -9 of the daemon while requests come in by file and by control, are granted and refused, outcomes are fetched and reservations
// released: each request is decided once, nothing is lost, and nothing is stuck. Rounds: 8, or VRESERVE_ROUNDS of the environment.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { mountAt } from '../../src/cli/mountinfo.js';
import { whyNotRoot } from '../helpers/columns.js';
import { gone, type Mounted, mount } from '../helpers/mount.js';
import { Random } from '../helpers/random.js';
import { type JournalLine, RequestSpool, until, WITHOUT_TAP } from '../helpers/requests.js';
import { must } from '../helpers/run.js';
import type { AskerLine, Role } from './asker.js';
import { plainEnvironment } from './load.js';

const ROUNDS = Number(process.env.VRESERVE_ROUNDS ?? 8);
const ARGS = ['--capacity', '64MB', '--margin', '0', '--spool-grant', '16MB'];
const PROGRAM = fileURLToPath(new URL('./asker.js', import.meta.url));

/** How a round ends. */
const ENDS = ['kill', 'kill', 'kill twice', 'term'] as const;

/** Who asks, as which user. */
const CREW: readonly (readonly [Role, uid: number])[] = [
  ['file', 3001],
  ['file', 3002],
  ['control', 3001],
  ['control', 3003],
  ['control', 3004],
  ['fetch', 0],
  ['release', 0],
];

/** Processes that ask and release, and all that they said, over all rounds. */
class Crew {
  /** Names that were put in, by how. */
  readonly asked = new Map<string, 'file' | 'control'>();
  /** Of those, what was answered. */
  readonly answered = new Map<string, 'done' | 'refused'>();
  readonly released = new Set<string>();
  /** How often an outcome was fetched, and which. */
  readonly took = new Map<string, string[]>();
  /** The one that may not have been removed. */
  lastTook: string | null = null;
  readonly failures: string[] = [];
  #running: { child: ChildProcess; closed: Promise<void> }[] = [];

  async start(seed: number, mnt: string): Promise<void> {
    await Promise.all(CREW.map(([role, uid], i) => this.#start(role, seed * 10 + i, uid, mnt)));
  }

  async stop(): Promise<void> {
    for (const { child } of this.#running) child.kill('SIGKILL');
    for (const { child, closed } of this.#running.splice(0)) {
      await closed;
      if (child.pid !== undefined) await gone(child.pid);
    }
  }

  #start(role: Role, seed: number, uid: number, mnt: string): Promise<void> {
    const child = spawn('env', [...WITHOUT_TAP.slice(1), process.execPath, PROGRAM, role, String(seed), mnt], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: plainEnvironment(),
      uid,
      gid: uid,
    });
    let said = '';
    child.stderr.on('data', (part) => {
      said += part;
    });
    const lines = createInterface({ input: child.stdout });
    const begun = new Promise<void>((resolve) => {
      lines.on('line', (text) => {
        resolve();
        const line = lineOf(text);
        if (line !== null) this.#hear(role, line);
      });
      lines.on('close', resolve);
    });
    const closed = Promise.all([once(child, 'close'), once(lines, 'close')]).then(([[code, signal]]) => {
      if (code !== 0 && signal !== 'SIGKILL') this.failures.push(`${role} ${seed}: exit ${code ?? signal}\n${said}`);
    });
    this.#running.push({ child, closed });
    return begun;
  }

  #hear(role: Role, { is, name, decision = '' }: AskerLine): void {
    if (is === 'took') {
      this.took.set(name, [...(this.took.get(name) ?? []), decision]);
      this.lastTook = name;
    }
    if (role === 'release' && is === 'done') this.released.add(name);
    if (role !== 'file' && role !== 'control') return;
    if (is === 'asks') this.asked.set(name, role);
    if (is === 'done' || is === 'refused') this.answered.set(name, is);
  }
}

/** Null for the last line of a process that was killed in the middle of it. */
function lineOf(text: string): AskerLine | null {
  try {
    return JSON.parse(text) as AskerLine;
  } catch {
    return null;
  }
}

/** What the journal says of each path below /u: the grants of requests, and whether it is reserved now. */
function byPath(journal: readonly JournalLine[]): Map<string, { grants: number; reserved: boolean; withdrawn: boolean }> {
  const found = new Map<string, { grants: number; reserved: boolean; withdrawn: boolean }>();
  for (const { event, path } of journal) {
    const name = /^\/u\/(.*)$/.exec(String(path))?.[1];
    if (name === undefined || !['grant', 'release', 'withdrawal'].includes(event)) continue;
    const was = found.get(name) ?? { grants: 0, reserved: false, withdrawn: false };
    if (event === 'withdrawal') was.withdrawn = true;
    else was.reserved = event === 'grant';
    if (event === 'grant') was.grants += 1;
    found.set(name, was);
  }
  return found;
}

/** Right after a mount, before anything else is asked. */
async function recovered(t: Test, s: RequestSpool, crew: Crew, name: string): Promise<void> {
  const journal = byPath(await s.journal());
  // What is decided meanwhile is in the journal before it is in the report.
  const reserved = (await s.reserved()).map((path) => path.slice(3));
  t.same(
    reserved.filter((each) => journal.get(each)?.reserved !== true && (journal.get(each)?.grants ?? 0) > 0),
    [],
    `${name}: nothing is reserved that was released`,
  );
  const now = new Set(reserved);
  t.same(
    [...journal].filter(([each, { reserved: is }]) => is && !now.has(each)).map(([each]) => each),
    [],
    `${name}: every grant that was not released is there`,
  );
  t.same(
    [...crew.released].filter((each) => now.has(each)),
    [],
    `${name}: what was released stays so`,
  );
}

/** Lets everybody in by releasing what there is, and fetches what is decided. */
async function drain(s: RequestSpool, crew: Crew, name: string): Promise<void> {
  await until(`${name}: the line is empty`, async () => {
    const waiting = await s.waiting();
    if (waiting.length === 0 && (await s.names('pending')).length === 0) return true;
    // The head only: what it is granted is released by the next round.
    await s.release(...(await s.reserved()));
    return false;
  });
  await until(`${name}: all is moved`, async () => (await readdir(join(s.dir, '.claimed')).catch(() => [])).length === 0);
  await until(`${name}: and nothing is behind`, async () => (await s.files()).every((file) => !file.startsWith('pending/')));
  for (const queue of ['granted', 'refused'] as const) {
    for (const directory of [queue, `${queue}/.checkout`]) {
      for (const each of await readdir(join(s.dir, directory))) {
        if (each === '.checkout') continue;
        const { outcome } = JSON.parse(await readFile(join(s.dir, directory, each), 'utf8')) as { outcome: { decision: string } };
        // Who was killed with it in hand may have said so before.
        const said = crew.took.get(each) ?? [];
        if (directory === queue || said.length === 0) crew.took.set(each, [...said, outcome.decision]);
        await must(s.shell(`rm -f '${directory}/${each}' '.data/${each}' '.registry/${each}'`));
      }
    }
  }
  // Who was putting one in when the mount went leaves what every spool's user leaves then.
  const begun = [...crew.asked.keys()].filter((each) => !crew.answered.has(each));
  const parts = begun.flatMap((each) => {
    const temporary = `${each.replaceAll('-', '_')}.tmp.*`;
    return [`.registry/${each}`, `.data/${each}`, `.tmp/${each}`, `.tmp/${temporary}`, `.data/${temporary}`];
  });
  // And so does who was removing one.
  if (crew.lastTook !== null) parts.push(`.registry/${crew.lastTook}`, `.data/${crew.lastTook}`);
  await must(s.shell(`rm -f ${parts.join(' ')}`));
  await s.release(...(await s.reserved()));
}

/** Nothing waits any more: what became of every request. */
async function verify(t: Test, s: RequestSpool, crew: Crew, name: string): Promise<void> {
  const journal = byPath(await s.journal());
  const names = new Map(
    (await s.journal()).flatMap(({ event, request, path }) =>
      event === 'waiting' ? [[String(request), String(path).slice(3)]] : [],
    ),
  );
  const wrong: string[] = [];
  const outcomes = new Map<string, string[]>();
  for (const [request, decisions] of crew.took) {
    // Requests of commands have names of the daemon's.
    const wish = crew.asked.has(request) ? request : names.get(request);
    if (wish === undefined) wrong.push(`an outcome of nobody: ${request}`);
    else outcomes.set(wish, [...(outcomes.get(wish) ?? []), ...decisions]);
  }
  const joined = new Set(names.values());
  let lost = 0;
  for (const [wish, how] of crew.asked) {
    const { grants, withdrawn } = journal.get(wish) ?? { grants: 0, withdrawn: false };
    const answer = crew.answered.get(wish);
    const got = outcomes.get(wish) ?? [];
    const says = `${wish}: ${answer ?? 'no answer'}, granted ${grants} times${withdrawn ? ', withdrawn' : ''}, outcomes ${got.join() || 'none'}`;
    if (grants > 1 || got.length > 1) wrong.push(`decided more than once: ${says}`);
    if (how === 'file') {
      if (answer === 'done' && got.length !== 1) wrong.push(`not decided: ${says}`);
      if (got.length > 0 && grants !== (got[0] === 'granted' ? 1 : 0)) wrong.push(`told what is not so: ${says}`);
      if (answer === 'done' && withdrawn) wrong.push(`withdrawn by nobody: ${says}`);
    } else if (answer !== undefined) {
      if (grants !== (answer === 'done' ? 1 : 0)) wrong.push(`told what is not so: ${says}`);
      // Killed between the answer and the end of the entry, it finds the outcome there, too.
      if (got.some((each) => each !== (answer === 'done' ? 'granted' : 'refused'))) wrong.push(`told two things: ${says}`);
    } else if (got.length > 0) {
      if (grants !== (got[0] === 'granted' ? 1 : 0)) wrong.push(`told what is not so: ${says}`);
    } else if (joined.has(wish) && !withdrawn) {
      // Its outcome may have been under way to the command when both were killed.
      if (grants === 0) wrong.push(`not decided: ${says}`);
      lost += 1;
    }
  }
  t.same(wrong, [], `${name}: each request is decided once, and its asker is told the truth`);
  if (lost > 0) t.comment(`${name}: ${lost} granted just when the answer could not be given`);
  t.same(await s.files(), [], `${name}: nothing is left in the spool`);
  await s.sound(t, name);
}

async function end(m: Mounted, how: (typeof ENDS)[number], random: Random): Promise<void> {
  if (how !== 'term') await m.kill();
  else {
    process.kill(m.ready.pid, 'SIGTERM');
    await until('the mount is detached', async () => mountAt(m.mnt) === undefined);
  }
  if (how !== 'kill twice') return;
  await m.remount();
  await sleep(random.below(60));
  await m.kill();
}

t.test(`kill -9 while requests wait, ${ROUNDS} rounds`, { skip: whyNotRoot, timeout: 60_000 + ROUNDS * 60_000 }, async (t) => {
  const m = await mount(t, { args: ARGS });
  const s = new RequestSpool(t, m);
  const crew = new Crew();
  t.teardown(() => crew.stop());
  await must(m.shell('mkdir u; chmod 777 u'));
  for (let round = 1; round <= ROUNDS; round++) {
    const random = new Random(round);
    const how = ENDS[(round - 1) % ENDS.length] ?? 'kill';
    const afterMs = random.between(20, 900);
    const name = `round ${round}, ${how} after ${afterMs} ms`;
    await crew.start(round, m.mnt);
    await sleep(afterMs);
    await end(m, how, random);
    await crew.stop();
    if (how === 'term') await gone(m.ready.pid);
    t.same(crew.failures.splice(0), [], `${name}: nobody saw an error that is none`);
    await m.remount([...ARGS, ...(round % 3 === 0 ? ['--no-passthrough'] : [])]);
    t.equal(m.ready.counted, how !== 'term', `${name}: counted anew after a crash`);
    await recovered(t, s, crew, name);
    await drain(s, crew, name);
    await verify(t, s, crew, name);
  }
  const said = [...crew.took.values()].flat();
  const count = (of: string) => said.filter((each) => each === of).length;
  t.comment(
    `${crew.asked.size} requests, ${crew.answered.size} answered, ${count('granted')} outcomes granted, ${count('refused')} refused`,
  );
  t.ok(count('granted') > ROUNDS && count('refused') > 0, 'there was something to decide');
  await m.umount();
});
