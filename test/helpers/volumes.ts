// Volumes of a live mount, asked as container engines ask.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type At, ask, until } from './http.js';
import { report } from './lots.js';
import { gone, type Mounted, mount, type Teardown, temporaryDirectory } from './mount.js';

/** The `Err` of an answer, '' where there is none; null: the connection broke off. */
export type Err = string | null;

export interface Reply {
  status: number;
  json: Record<string, unknown> & { Err?: string };
}

export class Plugin {
  readonly where: At;
  readonly m: Mounted;

  constructor(m: Mounted) {
    this.m = m;
    this.where = { socketPath: this.socket };
  }

  get socket(): string {
    return this.m.ready.volumePlugin ?? '';
  }

  /** `kill -9` of the process that serves it; the daemon starts another one. */
  async kill(): Promise<void> {
    const pid = await serviceOf(this.m.ready.pid);
    process.kill(pid, 'SIGKILL');
    await gone(pid);
  }

  /** Resolves when it serves, again maybe. */
  async isUp(): Promise<void> {
    const serves = async () => {
      try {
        return (await this.call('VolumeDriver.List')).status !== 503;
      } catch {
        return false;
      }
    };
    await until(serves, 'volumes are served');
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

/** A mount of 100 MB with volumes. */
export async function mountVolumes(t: Teardown, more: readonly string[] = []): Promise<{ m: Mounted; plugin: Plugin }> {
  // Its directory is made with it.
  const socket = join(await temporaryDirectory(t), 'plugins', 'vreserve.sock');
  const m = await mount(t, {
    args: ['--capacity', '100MB', '--margin', '0', '--volume-plugin', socket, ...more],
  });
  return { m, plugin: new Plugin(m) };
}

/** The service process of a daemon. */
export async function serviceOf(daemon: number): Promise<number> {
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (Number(parent) === daemon && command.includes('cli/main.js\0service\0')) return Number(name);
  }
  throw new Error(`daemon ${daemon} has no service process`);
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
