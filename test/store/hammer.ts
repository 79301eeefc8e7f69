// Many clients at work on one store over HTTP while its process is killed again and again: what they were told, and what is there.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { Agent, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { plainEnvironment } from '../crash/load.js';
import { Random } from '../helpers/random.js';
import { payloadFiles } from './blobs.js';

export interface HammerOptions {
  /** Empty; the store and the socket are made in it. */
  top: string;
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

/** A content of a name; null: none. Of each name one client alone changes it. */
type Version = number | null;

interface Named {
  name: string;
  /** The last that was acknowledged, and those that may be there for all that its client was told. */
  possible: Version[];
  next: number;
}

const SERVED = fileURLToPath(new URL('./served.js', import.meta.url));

/** Bytes that only this name and version have, of a length that they say: half of them cannot be taken for all. */
export function contentOf(name: string, version: number): Buffer {
  const hash = createHash('sha256').update(`${name} ${version}`).digest();
  const size = version % 50 === 0 ? 1_000_000 : hash.readUInt16LE(0) % (version % 7 === 0 ? 65_536 : 4096);
  const head = Buffer.from(`${name} ${version} ${size}\n`);
  return Buffer.concat([head, Buffer.alloc(size, hash)]);
}

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
  #server: ChildProcess | null = null;
  /** Resolves when the server can be asked again. */
  #up: Promise<void> = Promise.resolve();
  #killAt = 0;
  #isOver = false;

  constructor(options: HammerOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#named = Array.from({ length: options.names }, (_, i) => ({ name: `name ${i}`, possible: [null], next: 1 }));
  }

  async run(): Promise<HammerReport> {
    await this.#start();
    this.#planKill();
    await Promise.all(Array.from({ length: this.#options.clients }, (_, id) => this.#client(id)));
    await this.#checkAll();
    return this.#report;
  }

  async end(): Promise<void> {
    await this.#kill();
  }

  get #dir(): string {
    return join(this.#options.top, 'store');
  }

  get #socketPath(): string {
    return join(this.#options.top, 'socket');
  }

  async #start(): Promise<void> {
    await rm(this.#socketPath, { force: true });
    const child = spawn(process.execPath, [SERVED, this.#dir, this.#socketPath, '200'], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: plainEnvironment(),
    });
    this.#server = child;
    const ready = new Promise<void>((resolve, reject) => {
      child.stdout?.once('data', () => resolve());
      child.once('close', (code) => reject(new Error(`the server ended with ${code}`)));
    });
    await ready;
  }

  async #kill(): Promise<void> {
    const child = this.#server;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
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
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    while (!this.#isOver) {
      await this.#up;
      if (random.chance(0.4)) await this.#read(random.pick(this.#named), agent, random);
      else await this.#change(random.pick(own), agent, random);
    }
    await this.#up;
    agent.destroy();
  }

  /** Any name, also while it is changed. */
  async #read(named: Named, agent: Agent, random: Random): Promise<void> {
    const answer = await this.#ask('GET', named.name, agent, null, random);
    if (answer === null) return;
    this.#report.reads += 1;
    if (answer.status === 200) this.#versionOf(named, answer.body);
    else if (answer.status !== 404) this.#wrong(`GET ${named.name}: ${answer.status}`);
  }

  async #change(named: Named, agent: Agent, random: Random): Promise<void> {
    if (named.possible.length > 1) return await this.#settle(named, agent, random);
    const [now = null] = named.possible;
    const version = named.next;
    if (now !== null && random.chance(0.3)) {
      named.possible = [now, null];
      const answer = await this.#ask('DELETE', named.name, agent, null, random);
      if (answer !== null) this.#tell(named, answer.status, { 200: null });
      return;
    }
    const body = contentOf(named.name, version);
    const method = now === null ? 'POST' : 'PUT';
    named.next += 1;
    // Half a body is never a content: what was there is there.
    if (random.chance(0.1)) return void (await this.#ask(method, named.name, agent, body, random, true));
    named.possible = [now, version];
    const answer = await this.#ask(method, named.name, agent, body, random);
    if (answer === null) return;
    // The creation that was cut off a moment ago may still have the name.
    const isTaken = method === 'POST' && answer.status === 500 && answer.body.includes('already exists');
    this.#tell(named, answer.status, isTaken ? { 500: now } : method === 'POST' ? { 204: version } : { 200: version });
  }

  #tell(named: Named, status: number, outcomes: Record<number, Version>): void {
    const outcome = outcomes[status];
    if (outcome === undefined) this.#wrong(`${named.name}, which has one of ${named.possible}: answered with ${status}`);
    else named.possible = [outcome];
  }

  /** After an answer that never came. */
  async #settle(named: Named, agent: Agent, random: Random): Promise<void> {
    const answer = await this.#ask('GET', named.name, agent, null, random);
    if (answer === null) return;
    const found = answer.status === 404 ? null : this.#versionOf(named, answer.body);
    if (!named.possible.includes(found)) this.#wrong(`${named.name} is ${found}, and can be one of ${named.possible}`);
    named.possible = [found];
  }

  /** Whole, and one that was sent. */
  #versionOf(named: Named, body: Buffer): number {
    const [, version] = /^name \d+ (\d+) /.exec(body.toString('latin1', 0, 60)) ?? [];
    if (version === undefined || Number(version) >= named.next || !body.equals(contentOf(named.name, Number(version)))) {
      this.#wrong(`${named.name}: ${body.length} bytes that are no content of it, ${body.toString('latin1', 0, 40)}`);
    }
    return Number(version);
  }

  /** null: cut off, and nobody knows whether it was done; with `isCut`, by us in the middle of the body. */
  async #ask(
    method: string,
    name: string,
    agent: Agent,
    body: Buffer | null,
    random: Random,
    isCut = false,
  ): Promise<{ status: number; body: Buffer } | null> {
    try {
      const asked = request({
        socketPath: this.#socketPath,
        path: `/store/${encodeURIComponent(name)}`,
        method,
        agent,
        headers: body === null ? {} : { 'content-length': body.length },
      });
      const halfAt = body !== null && (isCut || random.chance(0.3)) ? body.length >> 1 : 0;
      if (body !== null && halfAt > 0) asked.write(body.subarray(0, halfAt));
      if (isCut) setImmediate(() => asked.destroy());
      else asked.end(body?.subarray(halfAt));
      const [response] = (await once(asked, 'response')) as [IncomingMessage];
      const parts: Buffer[] = [];
      for await (const part of response) parts.push(part as Buffer);
      if (!response.complete) throw new Error('cut off');
      this.#answered();
      return { status: response.statusCode ?? 0, body: Buffer.concat(parts) };
    } catch {
      this.#report.cut += 1;
      return null;
    }
  }

  /** After a last start: every name, the listing, and that no file is there that nobody can read. */
  async #checkAll(): Promise<void> {
    await this.#kill();
    await this.#start();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const random = new Random(1);
    const there: string[] = [];
    for (const named of this.#named) {
      await this.#settle(named, agent, random);
      if (named.possible[0] !== null) there.push(named.name);
    }
    const listed: string[] = [];
    for (let after: string | null = ''; after !== null; ) {
      const page = await this.#list(after, agent);
      listed.push(...page.blobs.map(({ name }) => name));
      after = page.next;
    }
    if (listed.join() !== there.sort().join()) this.#wrong(`${listed.length} names are listed, and ${there.length} are there`);
    const files = await payloadFiles(this.#dir);
    if (files.length !== there.length) this.#wrong(`${files.length} files for ${there.length} names`);
    this.#report.blobs = there.length;
    agent.destroy();
  }

  async #list(after: string, agent: Agent): Promise<{ blobs: { name: string }[]; next: string | null }> {
    const path = `/store/?limit=300&after=${encodeURIComponent(after)}`;
    const asked = request({ socketPath: this.#socketPath, path, agent }).end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    const parts: Buffer[] = [];
    for await (const part of response) parts.push(part as Buffer);
    return JSON.parse(Buffer.concat(parts).toString()) as { blobs: { name: string }[]; next: string | null };
  }
}
