// One run of model.test.ts, in a process of its own: `node model-run.js SEED REQUESTS [overtaking]` prints what happened as JSON.

import { deepStrictEqual } from 'node:assert/strict';
import { mock } from 'node:test';
import { VreserveError } from '../../src/core/errors.js';
import { DEFAULT_LOT_ID, grantBytes } from '../../src/core/lot.js';
import { Monitor } from '../../src/spool/index.js';
import { crashingFiles } from '../helpers/crashing.js';
import { Random } from '../helpers/random.js';
import { WaitingModel } from '../helpers/waiting-model.js';
import { BY_ROOT, QUEUES, type Queue, until, WaitingWorld } from '../helpers/waiting-world.js';

const CAPACITY_BYTES = 1000;
const LOOK_MS = 250;
/** Directories around whose paths lots come and go. */
const AROUND = ['/d0', '/d1', '/d2'];
/** So many wait that they get in each other's way, and so few that many are decided. */
const MOST_WAITING = 25;

/** How often each thing that has to happen did. */
const seen = new Map<string, number>();

function count(what: string): void {
  seen.set(what, (seen.get(what) ?? 0) + 1);
}

/** What is not right takes as many bytes as the text has fields to keep. */
const BAD: readonly [text: string, code: string][] = [
  ['{"path":"/f","bytes":-1,"tag":1}', 'BAD_BYTES'],
  ['{"path":"f","bytes":1,"tag":1}', 'BAD_PATH'],
  ['{"path":"/f","bytes":1,"wait":"soon","tag":1}', 'BAD_DURATION'],
  ['{"path":"/f","tag":1}', 'BAD_COMMAND'],
  ['nonsense', 'BAD_COMMAND'],
];

interface Command {
  path: string;
  bytes: number;
  /** null: no answer yet. */
  answer: string | null;
  controller: AbortController;
}

class Run {
  readonly #random: Random;
  readonly #world: WaitingWorld;
  readonly #model: WaitingModel;
  /** Commands that somebody waits for, by the name of their request. */
  #commands = new Map<string, Command>();
  /** Answers that came just before a kill. */
  readonly #told = new Map<string, string>();
  /** Decisions that were found where they belong. */
  readonly #found = new Set<string>();
  #requests = 0;
  readonly log: string[] = [];

  constructor(seed: number, world: WaitingWorld) {
    this.#random = new Random(seed);
    this.#world = world;
    this.#model = new WaitingModel(CAPACITY_BYTES, world.allowOvertaking, world.now.ms);
  }

  get requests(): number {
    return this.#requests;
  }

  /** What the journal has of the requests that are told apart, for whoever has to find out. */
  async about(text: string): Promise<string> {
    const names = new Set(text.match(/(f\d{6}|reserve_\w+)/g));
    const lines = (await this.#world.journal()).filter(({ request }) => names.has(String(request)));
    return lines.map((line) => JSON.stringify(line)).join('\n');
  }

  async step(): Promise<void> {
    const operation = this.#random.pick(this.#model.waiting.length > MOST_WAITING ? this.#freeing : this.#operations);
    await operation();
    await this.#compare();
  }

  readonly #freeing = [
    ...times(10, () => this.#release()),
    ...times(2, () => this.#passTime()),
    ...times(2, () => this.#withdraw()),
    ...times(1, () => this.#restart()),
  ];

  readonly #operations = [
    ...times(24, () => this.#putFiles()),
    ...times(14, () => this.#command()),
    ...times(3, () => this.#reserveNow()),
    ...times(26, () => this.#release()),
    ...times(3, () => this.#extend()),
    ...times(3, () => this.#makeAround()),
    ...times(5, () => this.#passTime()),
    ...times(2, () => this.#look()),
    ...times(3, () => this.#withdraw()),
    ...times(2, () => this.#abort()),
    ...times(1, () => this.#restart()),
  ];

  // ---- Requests.

  async #putFiles(): Promise<void> {
    const random = this.#random;
    const names: string[] = [];
    await this.#maybeKilled(async () => {
      for (let left = random.between(1, 5); left > 0; left--) {
        const name = `f${String(++this.#requests).padStart(6, '0')}`;
        names.push(name);
        if (random.chance(0.04)) {
          const [text, code] = random.pick(BAD);
          await this.#put(name, text);
          this.#model.decisions.set(name, code);
          continue;
        }
        const path = this.#path('f');
        const bytes = this.#bytes(path);
        const waitMs = random.chance(0.4) ? random.between(1, 400) : null;
        await this.#put(name, JSON.stringify({ path, bytes, wait: waitMs, tag: this.#requests }));
        this.#model.join({ name, path, bytes, deadlineMs: waitMs === null ? null : this.#world.now.ms + waitMs });
      }
      this.log.push(`put ${names}`);
      return () => this.#world.life.hear(names);
    });
  }

  /** By the library where time allows. */
  async #put(name: string, text: string): Promise<void> {
    if (this.#random.chance(0.1)) await this.#world.put(name, text);
    else this.#world.putQuickly(name, text);
  }

  async #command(): Promise<void> {
    const { allowOvertaking } = this.#model;
    const random = this.#random;
    // Its name is made of the time, and no two of the run are to have the same.
    this.#model.nowMs = ++this.#world.now.ms;
    await this.#settle();
    const path = random.chance(0.15) ? random.pick(AROUND) : this.#path('c');
    const bytes = this.#bytes(path);
    const waitMs = random.chance(0.3) ? random.between(1, 400) : null;
    // A lot that would have less than is promised below it is refused after the ledger was told: not in the middle of that.
    const isKilled = random.chance(0.25) && !(AROUND.includes(path) && bytes < (this.#model.lot(path)?.bytes ?? 0));
    this.log.push(`reserve ${path} ${bytes} wait ${waitMs}${isKilled ? ', killed' : ''}`);
    const isReserved = this.#model.lot(path) !== undefined;
    const hasWaited = this.#model.waiting.some((request) => request.path === path);
    const command: Command = { path, bytes, answer: null, controller: new AbortController() };
    const names = new Set(this.#world.line.list().map(({ name }) => name));
    if (isKilled) this.#world.life.point.arm(random.chance(0.3) ? random.between(1, 3) : random.between(1, 60));
    this.#reserve(command, waitMs);
    const joined = () => this.#world.line.list().find(({ name }) => !names.has(name) && !this.#commands.has(name))?.name;
    const { point } = this.#world.life;
    await until('a command', () => command.answer !== null || joined() !== undefined || point.isStopped);
    point.disarm();
    this.#requests += 1;
    if (point.isStopped) {
      await this.#startAgain();
      const event = await this.#lastWaiting(path, names);
      // Nobody knows whether it came in, whoever asked neither; a request that did is as good as a file.
      if (event !== null) {
        count('command killed, in line');
        this.#model.join({ name: event, path, bytes, deadlineMs: waitMs === null ? null : this.#world.now.ms + waitMs });
      } else if (this.#bytesOf(path) !== this.#model.lot(path)?.bytes && !hasWaited) {
        count('command killed, granted');
        deepStrictEqual(this.#model.reserve(path, bytes), 'granted');
      } else count('command killed, nothing');
      await this.#settle();
      return;
    }
    if (this.#model.neverFits(path, bytes)) {
      deepStrictEqual(command.answer, 'NEVER_FITS');
      count('command never fits');
      return;
    }
    const mustWait = !allowOvertaking && !isReserved && this.#model.line(this.#model.around(path)).length > 0;
    const now = mustWait ? 'NO_SPACE' : this.#model.reserve(path, bytes);
    if (now !== 'NO_SPACE') {
      deepStrictEqual(command.answer, now);
      count(`command at once: ${now}`);
    } else {
      const name = joined() ?? `${command.answer} at once`;
      this.#commands.set(name, command);
      this.#model.join({ name, path, bytes, deadlineMs: waitMs === null ? null : this.#world.now.ms + waitMs });
      count(mustWait ? 'command behind others' : 'command first in line');
    }
    await this.#settle();
  }

  #reserve(command: Command, waitMs: number | null): void {
    const { path, bytes, controller } = command;
    this.#world.commands.reserve(path, bytes, {}, BY_ROOT, { waitMs, signal: controller.signal }).then(
      () => {
        command.answer = 'granted';
      },
      (error: unknown) => {
        command.answer = error instanceof VreserveError ? error.code : String(error);
      },
    );
  }

  /** The request's name where a command for the path has come into the line since. */
  async #lastWaiting(path: string, before: ReadonlySet<string>): Promise<string | null> {
    const lines = await this.#world.journal('waiting');
    const last = lines.findLast((line) => line.path === path && !before.has(String(line.request)));
    const name = last === undefined ? null : String(last.request);
    if (name === null || !name.startsWith('reserve_') || this.#model.decisions.has(name)) return null;
    const withdrawn = (await this.#world.journal('withdrawal')).some(({ request }) => request === name);
    return withdrawn ? null : name;
  }

  /** Without wait. */
  async #reserveNow(): Promise<void> {
    const path = this.#path('c');
    const bytes = this.#bytes(path);
    this.log.push(`reserve ${path} ${bytes}`);
    const isBehind =
      !this.#model.allowOvertaking &&
      this.#model.lot(path) === undefined &&
      this.#model.line(this.#model.around(path)).length > 0;
    // There is no line for what can never fit.
    const expected = isBehind && !this.#model.neverFits(path, bytes) ? 'OTHERS_WAIT' : this.#model.reserve(path, bytes);
    const answer = await outcomeOf(this.#world.commands.reserve(path, bytes, {}, BY_ROOT, null));
    deepStrictEqual(answer, expected);
    count(`without wait: ${expected}`);
    await this.#settle();
  }

  #path(kind: 'c' | 'f'): string {
    const random = this.#random;
    // Only those of one kind, whose owner may change them, and outside of the lots around.
    const known = this.#model.lots.filter(({ path }) => path.startsWith(`/${kind}`));
    if (known.length > 0 && random.chance(0.1)) return random.pick(known).path;
    const directory = random.chance(0.4) ? random.pick(AROUND) : '';
    return `${directory}/${kind}${this.#requests}x${random.below(1e6)}`;
  }

  #bytes(path: string): number {
    const random = this.#random;
    if (random.chance(0.02)) return CAPACITY_BYTES + random.between(1, 100);
    if (AROUND.includes(path) && this.#model.lot(path) === undefined) return random.between(50, 400);
    const known = this.#model.lot(path)?.bytes;
    // What gives back in the middle of a line that may be overtaken is tested elsewhere.
    if (known !== undefined && this.#model.allowOvertaking) return known + random.between(1, 100);
    // Less than what was promised below it.
    if (known !== undefined && AROUND.includes(path)) return random.between(1, known);
    return random.chance(0.1) ? random.between(300, 900) : random.between(1, 120);
  }

  // ---- What gives back, or takes away.

  async #release(): Promise<void> {
    if (this.#model.lots.length === 0) return;
    const { path } = this.#random.pick(this.#model.lots);
    this.log.push(`release ${path}`);
    await this.#maybeKilled(async () => {
      await this.#world.keeper.release(path, BY_ROOT);
      this.#model.release(path);
      return () => this.#world.line.wake();
    });
  }

  async #extend(): Promise<void> {
    const reserved = this.#model.lots;
    if (reserved.length === 0) return;
    const { path, bytes } = this.#random.pick(reserved);
    const more = this.#random.between(1, 100);
    this.log.push(`extend ${path} ${more}`);
    const expected = this.#model.reserve(path, bytes + more);
    deepStrictEqual(await outcomeOf(this.#world.commands.extend(path, more, BY_ROOT)), expected, 'growth does not wait');
    count(`extend: ${expected}`);
    await this.#settle();
  }

  /** As the functions of lots do it, which wait for nobody. */
  async #makeAround(): Promise<void> {
    const path = this.#random.pick(AROUND);
    if (this.#model.lot(path) !== undefined) return;
    const bytes = this.#random.between(30, 300);
    this.log.push(`make ${path} ${bytes}`);
    const moved = this.#model.waiting.filter((request) => request.path.startsWith(`${path}/`)).length;
    const expected = this.#model.reserve(path, bytes);
    deepStrictEqual(await outcomeOf(this.#world.keeper.reserve(path, bytes, {}, BY_ROOT)), expected);
    if (expected === 'granted' && moved > 0) count('lot made around requests');
    await this.#settle();
  }

  async #passTime(): Promise<void> {
    this.#world.now.ms += this.#random.between(1, 150);
    this.#model.nowMs = this.#world.now.ms;
    this.log.push(`time ${this.#world.now.ms}`);
    await this.#settle();
  }

  async #look(): Promise<void> {
    this.log.push('look');
    mock.timers.tick(LOOK_MS);
    await this.#settle();
  }

  // ---- What changes its mind.

  async #withdraw(): Promise<void> {
    const files = this.#model.waiting.filter(({ name }) => !this.#commands.has(name));
    if (files.length === 0) return;
    const { name } = this.#random.pick(files);
    this.log.push(`withdraw ${name}`);
    await this.#maybeKilled(async () => {
      const entry = this.#world.spool.entry('pending', name);
      await this.#world.spool.withEntry(entry, async () => ({ remove: true }));
      this.#model.leave(name);
      count('withdrawn');
      return () => this.#world.life.hear([name]);
    });
  }

  async #abort(): Promise<void> {
    const [name, command] = this.#random.pick([...this.#commands, [null, null] as const]);
    if (name === null) return;
    this.log.push(`abort ${name}`);
    command.controller.abort();
    const isListed = () => this.#world.line.list().some((request) => request.name === name);
    await until('an abort', () => command.answer !== null && !isListed());
    deepStrictEqual(command.answer, 'WITHDRAWN');
    this.#commands.delete(name);
    this.#model.leave(name);
    count('aborted');
    await this.#settle();
  }

  async #restart(): Promise<void> {
    this.log.push('restart');
    await this.#world.end();
    for (const [name, command] of this.#commands) {
      deepStrictEqual(command.answer, 'ENDING', `${command.path} at the end`);
      this.#model.leave(name);
      count('ended');
    }
    this.#commands = new Map();
    await this.#world.start();
    mock.timers.tick(LOOK_MS);
    count('restart');
    await this.#settle();
  }

  // ---- Kills.

  /** `prepare` is done in peace and tells the model; what it returns is what the line may be killed at. */
  async #maybeKilled(prepare: () => Promise<() => void>): Promise<void> {
    const go = await prepare();
    const isKilled = this.#random.chance(0.15);
    if (isKilled) this.#world.life.point.arm(this.#random.between(1, 80));
    go();
    await this.#world.settle();
    this.#world.life.point.disarm();
    if (this.#world.life.point.isStopped) await this.#startAgain();
    await this.#settle();
  }

  async #startAgain(): Promise<void> {
    do {
      this.log.push('killed');
      count('killed');
      // Those who asked are gone with the daemon; their requests are not.
      if (this.#commands.size > 0) count('killed while commands waited');
      for (const [name, { answer }] of this.#commands) if (answer !== null) this.#told.set(name, answer);
      this.#commands = new Map();
      await this.#world.kill();
      await this.#world.start(() => {}, this.#random.chance(0.3) ? this.#random.between(1, 60) : null);
      if (this.#world.life.point.isStopped) count('killed at the start');
    } while (this.#world.life.point.isStopped);
    this.#world.life.point.disarm();
    mock.timers.tick(LOOK_MS);
    await this.#world.quiet();
  }

  async #settle(): Promise<void> {
    this.#model.settle();
    await this.#world.settle();
  }

  // ---- Comparisons.

  async #compare(): Promise<void> {
    const { line, keeper } = this.#world;
    const model = this.#model;
    const named = (lot: number) => (lot === DEFAULT_LOT_ID ? null : keeper.book.must(lot).name);
    deepStrictEqual(
      line
        .list()
        .map(({ name, path, bytes, lot, position, deadlineMs }) => [name, path, bytes, named(lot), position, deadlineMs]),
      model.waiting.map(({ name, path, bytes, deadlineMs }) => {
        const around = model.around(path);
        return [name, path, bytes, around, model.line(around).findIndex((other) => other.name === name) + 1, deadlineMs];
      }),
      'who waits',
    );
    const lots = [...keeper.book.all()].filter(({ id }) => id !== DEFAULT_LOT_ID);
    deepStrictEqual(
      lots.map(({ name, policy, parents }) => [name, policy.dedicatedBytes, named(parents[0] ?? DEFAULT_LOT_ID)]).sort(byName),
      model.lots.map(({ path, bytes, parent }) => [path, bytes, parent]).sort(byName),
      'lots',
    );
    deepStrictEqual(this.#world.life.engine.pool().headroomBytes, model.available(null), 'headroom');
    if (model.available(null) < 0) throw new Error('more is promised than there is');
    deepStrictEqual(line.troubles, []);
    for (const [name, decision] of model.decisions) if (!this.#found.has(name)) await this.#find(name, decision);
    deepStrictEqual(this.#world.names('pending'), model.waiting.map(({ name }) => name).sort(), 'pending');
    deepStrictEqual(this.#world.names('pending', '.checkout'), [], 'checked out');
    deepStrictEqual(this.#world.names('.claimed'), [], 'claimed');
  }

  /** Where its asker finds it, there and nowhere else; some take it away. */
  async #find(name: string, decision: string): Promise<void> {
    this.#found.add(name);
    count(`decided: ${decision}`);
    const command = this.#commands.get(name);
    if (command !== undefined) {
      deepStrictEqual([command.answer, this.#world.decision(name)], [decision, null], name);
      this.#commands.delete(name);
      return;
    }
    const found = this.#world.decision(name);
    const told = this.#told.get(name);
    if (told !== undefined) {
      // Whether its entry was taken away already nobody can say.
      count('killed after the answer');
      deepStrictEqual(told, decision, name);
      if (found === null) return;
    }
    if (found === null) throw new Error(`${name} is not where its asker finds it: ${decision}`);
    const { queue, meta, outcome } = found;
    const { decision: is, code } = outcome;
    deepStrictEqual([queue, is === 'refused' ? code : is], [decision === 'granted' ? 'granted' : 'refused', decision], name);
    if (name.startsWith('f') && meta.request === undefined)
      deepStrictEqual(typeof meta.tag, 'number', "what is its asker's own is kept");
    if (this.#random.chance(0.97)) await this.#fetch(name, queue);
  }

  async #fetch(name: string, queue: Queue): Promise<void> {
    if (this.#told.has(name) || this.#random.chance(0.9)) {
      this.#world.takeQuickly(name, queue);
      return;
    }
    const entry = this.#world.spool.entry(queue, name);
    await this.#world.spool.withEntry(entry, async () => ({ remove: true }));
  }

  /** All is released, and whoever cannot be served has had time enough. */
  async finish(): Promise<void> {
    const model = this.#model;
    while (model.waiting.length > 0 || model.lots.length > 0) {
      const path = model.lots[0]?.path;
      if (path === undefined) throw new Error('nothing is reserved, and they wait');
      await this.#world.keeper.release(path, BY_ROOT);
      model.release(path);
      await this.#settle();
      await this.#compare();
    }
    const { waiting } = await this.#world.life.ledger.load();
    deepStrictEqual(waiting, [], 'the table of those who wait');
    await this.#compareGrants();
    const monitor = await Monitor.load(this.#world.spoolDirectory, QUEUES);
    await this.#restart();
    deepStrictEqual(await monitor.runOnce(), [], 'the spool');
    deepStrictEqual(this.#world.names('.tmp'), [], '.tmp');
  }

  /** Each once, and first come, first served in each line. */
  async #compareGrants(): Promise<void> {
    const lines = (await this.#world.journal()).filter(
      ({ request, restored }) => request !== undefined && restored === undefined,
    );
    const granted = lines.filter(({ event }) => event === 'grant' || event === 'extension').map(({ request }) => String(request));
    deepStrictEqual(new Set(granted).size, granted.length, 'granted twice');
    const { grants } = this.#model;
    deepStrictEqual([...granted].sort(), grants.map(({ name }) => name).sort(), 'grants');
    for (const around of [null, ...AROUND]) {
      const expected = grants.filter(({ line }) => line === around).map(({ name }) => name);
      const names = new Set(expected);
      deepStrictEqual(
        granted.filter((name) => names.has(name)),
        expected,
        `order of grants in the line of ${around}`,
      );
    }
  }

  /** What is bound at a path holds so many bytes. */
  #bytesOf(path: string): number | undefined {
    const lot = this.#world.keeper.book.named(path);
    return lot === undefined ? undefined : grantBytes(lot.policy);
  }
}

function times<T>(count: number, value: T): T[] {
  return Array.from({ length: count }, () => value);
}

function byName([a]: readonly unknown[], [b]: readonly unknown[]): number {
  return String(a) < String(b) ? -1 : 1;
}

async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'granted';
  } catch (error) {
    return error instanceof VreserveError ? error.code : String(error);
  }
}

const [seed = '1', requests = '100', overtaking] = process.argv.slice(2);
// Looks are taken when the test says so.
mock.timers.enable({ apis: ['setInterval'] });
const world = await WaitingWorld.make({ capacityBytes: CAPACITY_BYTES, allowOvertaking: overtaking === 'overtaking' });
crashingFiles(world.pointOf);
const run = new Run(Number(seed), world);
let failure: string | null = null;
try {
  mock.timers.tick(LOOK_MS);
  while (run.requests < Number(requests)) await run.step();
  await run.finish();
} catch (error) {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  failure = [`after ${run.requests} requests:`, ...run.log.slice(-12), text, await run.about(text)].join('\n');
}
await world.remove();
process.stdout.write(JSON.stringify({ failure, seen: [...seen] }));
process.exit(0);
