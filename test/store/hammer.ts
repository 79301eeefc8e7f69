// Many clients at work on one store while it is killed again and again: what they were told, and what is there.
import { Random } from '../helpers/random.js';
import { FileWay, FileWorker } from './file-way.js';
import { CutOff, HttpWay, type Version, type Way } from './ways.js';

/** What is hammered. */
export interface Target {
  /** Where it is asked over HTTP. */
  socketPath: string;
  /** Where the blobs are files; null: nowhere. */
  directory: string | null;
  start(): Promise<void>;
  /** `kill -9`; resolves when it can be started again. */
  kill(): Promise<void>;
  /** Of contents, whole or not, that are on the disk. */
  payloads(): Promise<readonly string[]>;
  /** Names as files, in any order. */
  files(): Promise<readonly string[]>;
}

export interface HammerOptions {
  target: Target;
  clients: number;
  names: number;
  kills: number;
  /** A kill comes after so many answers, at least and at most. */
  answers: [least: number, most: number];
  seed: number;
}

export interface HammerReport {
  answers: number;
  kills: number;
  /** Requests that a kill or the client itself has cut off. */
  cut: number;
  reads: number;
  blobs: number;
  /** What was not as it must be. */
  wrong: string[];
}

/** Of each name one client alone changes it. */
interface Named {
  name: string;
  /** The last that was acknowledged, and those that may be there for all that its client was told. */
  possible: Version[];
  next: number;
}

/** Processes that work with files. */
const WORKERS = 8;

export async function hammer(options: HammerOptions): Promise<HammerReport> {
  const run = new Hammer(options);
  try {
    return await run.run();
  } finally {
    await run.end();
  }
}

class Hammer {
  readonly #options: HammerOptions;
  readonly #random: Random;
  readonly #named: Named[];
  readonly #report: HammerReport = { answers: 0, kills: 0, cut: 0, reads: 0, blobs: 0, wrong: [] };
  readonly #workers: FileWorker[] = [];
  /** Resolves when it can be asked again. */
  #up: Promise<void> = Promise.resolve();
  #life: number | null = null;
  #killAt = 0;
  #isOver = false;

  constructor(options: HammerOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#named = Array.from({ length: options.names }, (_, i) => ({ name: `name ${i}`, possible: [null], next: 1 }));
    const { directory } = options.target;
    if (directory !== null) for (let i = 0; i < WORKERS; i++) this.#workers.push(new FileWorker(directory));
  }

  async run(): Promise<HammerReport> {
    await this.#start();
    this.#planKill();
    await Promise.all(Array.from({ length: this.#options.clients }, (_, id) => this.#client(id)));
    await this.#checkAll();
    return this.#report;
  }

  async end(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.end()));
    await this.#up.catch(() => {});
    await this.#kill();
  }

  async #start(): Promise<void> {
    await this.#options.target.start();
    this.#life = this.#report.kills;
  }

  async #kill(): Promise<void> {
    this.#life = null;
    await this.#options.target.kill();
  }

  #planKill(): void {
    const [least, most] = this.#options.answers;
    this.#killAt = this.#report.answers + this.#random.between(least, most);
  }

  #answered(): void {
    this.#report.answers += 1;
    if (this.#report.answers < this.#killAt || this.#isOver) return;
    this.#report.kills += 1;
    this.#isOver = this.#report.kills === this.#options.kills;
    this.#planKill();
    this.#up = this.#kill().then(() => this.#start());
    this.#up.catch((error: Error) => this.#wrong(error.message));
  }

  #wrong(what: string): void {
    this.#report.wrong.push(what);
    this.#isOver = true;
  }

  async #client(id: number): Promise<void> {
    const random = new Random(this.#options.seed * 1000 + id);
    const own = this.#named.filter((_, i) => i % this.#options.clients === id);
    const ways = this.#ways(id, random);
    while (!this.#isOver) {
      await this.#up;
      const way = random.pick(ways);
      if (random.chance(0.4)) await this.#asks(() => this.#read(random.pick(this.#named), way));
      else await this.#asks(() => this.#change(random.pick(own), way, random));
    }
    await this.#up;
    for (const way of ways) await way.end();
  }

  #ways(id: number, random: Random): Way[] {
    const { socketPath, directory } = this.#options.target;
    const http = new HttpWay(socketPath, () => random.chance(0.3));
    const worker = this.#workers[id % WORKERS];
    if (directory === null || worker === undefined) return [http];
    return [http, new FileWay(directory, worker, () => this.#life)];
  }

  /** Once, whatever comes of it. */
  async #asks(job: () => Promise<void>): Promise<void> {
    try {
      await job();
    } catch (error) {
      if (error instanceof CutOff) this.#report.cut += 1;
      else this.#wrong(error instanceof Error ? error.message : String(error));
    }
  }

  /** Any name, also while it is changed. */
  async #read(named: Named, way: Way): Promise<void> {
    await this.#versionOf(named, way);
    this.#report.reads += 1;
  }

  async #change(named: Named, way: Way, random: Random): Promise<void> {
    if (named.possible.length > 1) return await this.#settle(named, way);
    const { name } = named;
    const [now = null] = named.possible;
    if (now !== null && random.chance(0.3)) {
      named.possible = [now, null];
      await way.remove(name);
      named.possible = [null];
      return this.#answered();
    }
    const version = named.next;
    named.next += 1;
    // Half a body is never a content: what was there is there.
    if (random.chance(0.1)) {
      await way.breakOff(name, version, now === null);
      return;
    }
    named.possible = [now, version];
    // The creation that was cut off a moment ago may still have the name.
    named.possible = (await way.put(name, version, now === null)) === 'taken' ? [now] : [version];
    this.#answered();
  }

  /** After an answer that never came. */
  async #settle(named: Named, way: Way): Promise<void> {
    const found = await this.#versionOf(named, way);
    if (!named.possible.includes(found)) this.#wrong(`${named.name} is ${found}, and can be one of ${named.possible}`);
    named.possible = [found];
  }

  /** Whole, and one that was sent. */
  async #versionOf(named: Named, way: Way): Promise<Version> {
    const version = await way.read(named.name);
    this.#answered();
    if (version !== null && version >= named.next) this.#wrong(`${named.name} has a content that nobody sent: ${version}`);
    return version;
  }

  /** After a last start: every name, the listings, and that no file is there that nobody can read. */
  async #checkAll(): Promise<void> {
    await this.#kill();
    await this.#start();
    const { target } = this.#options;
    const way = new HttpWay(target.socketPath);
    const there: string[] = [];
    for (const named of this.#named) {
      await this.#settle(named, way);
      if (named.possible[0] !== null) there.push(named.name);
    }
    const expected = there.sort().join();
    const listed = await way.names();
    if (listed.join() !== expected) this.#wrong(`${listed.length} names are listed, and ${there.length} are there`);
    const files = target.directory === null ? there : [...(await target.files())].sort();
    if (files.join() !== expected) this.#wrong(`there are ${files.length} files, and ${there.length} names`);
    const payloads = await target.payloads();
    if (payloads.length !== there.length) this.#wrong(`${payloads.length} payloads for ${there.length} names`);
    this.#report.blobs = there.length;
    await way.end();
  }
}
