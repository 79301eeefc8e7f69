// Volumes of a live mount, served by a process beside it, and asked as container engines ask.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type At, ask, until } from './http.js';
import { report } from './lots.js';
import type { Mounted, Teardown } from './mount.js';
import { ROOT } from './run.js';

/** The `Err` of an answer, '' where there is none; null: the connection broke off. */
export type Err = string | null;

export interface Reply {
  status: number;
  json: Record<string, unknown> & { Err?: string };
}

export class Plugin {
  readonly where: At;
  readonly socket: string;
  readonly #child: ChildProcess;
  readonly #gone: Promise<unknown>;
  said = '';

  private constructor(child: ChildProcess, socket: string) {
    this.#child = child;
    this.socket = socket;
    this.where = { socketPath: socket };
    this.#gone = once(child, 'close');
    child.stderr?.on('data', (part: Buffer) => {
      this.said += part.toString();
    });
  }

  /** Resolves when it serves, or has ended. */
  static async start(t: Teardown, m: Mounted): Promise<Plugin> {
    const socket = join(m.data, '../..', 'vreserve.sock');
    const program = `${ROOT}/build/test/volumes/served.js`;
    const words = [program, m.mnt, socket, m.ready.readOnly ? 'read-only' : ''];
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    const plugin = new Plugin(child, socket);
    t.teardown(() => plugin.kill());
    await Promise.race([once(child.stdout, 'data'), plugin.#gone]);
    return plugin;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#gone;
  }

  /** Ends it as the mount does. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#gone;
  }

  /** A call with JSON, or with a body as it is. */
  async call(name: string, body: object | string = {}): Promise<Reply> {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const { status, body: said } = await ask(this.where, `/${name}`, { method: 'POST', body: text });
    return { status, json: JSON.parse(said) as Reply['json'] };
  }

  create(name: string, options: Record<string, string> = {}): Promise<Err> {
    return this.#err('VolumeDriver.Create', { Name: name, Opts: options });
  }

  remove(name: string): Promise<Err> {
    return this.#err('VolumeDriver.Remove', { Name: name });
  }

  mount(name: string, id: string): Promise<Err> {
    return this.#err('VolumeDriver.Mount', { Name: name, ID: id });
  }

  unmount(name: string, id: string): Promise<Err> {
    return this.#err('VolumeDriver.Unmount', { Name: name, ID: id });
  }

  /** Names of volumes. */
  async list(): Promise<string[]> {
    const { json } = await this.call('VolumeDriver.List');
    return (json.Volumes as { Name: string }[]).map(({ Name }) => Name);
  }

  async status(name: string): Promise<Record<string, unknown>> {
    const { json } = await this.call('VolumeDriver.Get', { Name: name });
    return (json.Volume as { Status: Record<string, unknown> }).Status;
  }

  async #err(name: string, body: object): Promise<Err> {
    try {
      return (await this.call(name, body)).json.Err ?? '';
    } catch {
      return null;
    }
  }
}

/** What there is of volumes: directories, reservations with their bytes, and changes that are under way. */
export async function volumesOf(m: Mounted): Promise<{ directories: string[]; lots: Record<string, number>; work: string[] }> {
  const top = join(m.mnt, 'volumes');
  const directories = (await readdir(top)).filter((name) => name !== '.work').sort();
  const parts = ['creating', 'removing', 'removed'];
  const work = await Promise.all(
    parts.map(async (part) => (await readdir(join(top, '.work', part))).map((name) => `${part} ${name}`)),
  );
  const lots = (await report(m.mnt)).lots.filter(({ path }) => path?.startsWith('/volumes/') === true);
  return {
    directories,
    lots: Object.fromEntries(lots.map(({ path, dedicatedBytes }) => [path?.slice('/volumes/'.length), dedicatedBytes])),
    work: work.flat(),
  };
}

/** Nothing is left, and the numbers are those of a count. */
export async function nothingIsLeft(t: Test, m: Mounted): Promise<void> {
  await allIsGone(t, m);
  t.match(await m.run(['check', m.mnt]), { code: 0 });
}

/** The same without a count. Files of removed volumes may take a moment longer than the answer. */
export async function allIsGone(t: Test, m: Mounted): Promise<void> {
  const removed = join(m.mnt, 'volumes/.work/removed');
  await until(async () => (await readdir(removed)).length === 0, 'removed volumes are cleared away');
  t.same(await volumesOf(m), { directories: [], lots: {}, work: [] });
  t.match((await report(m.mnt)).pool, { setAsideBytes: 0, usedBytes: 0 });
}
