// Spaces that btrfs enforces: each is a subvolume with a limit of its qgroup. What is past it is refused with EDQUOT.

import { lstat } from 'node:fs/promises';
import { qgroupsOf } from '../pools/qgroups.js';
import type { Tools } from '../pools/tools.js';
import type { KernelQuota, Quota } from './kernel-quota.js';

export class Subvolumes implements KernelQuota {
  readonly #tools: Tools;
  /** By path: the id of the subvolume. */
  readonly #ids = new Map<string, string>();

  constructor(tools: Tools) {
    this.#tools = tools;
  }

  /** Quotas are switched on where they are off. */
  whyNot(): null {
    return null;
  }

  async make(path: string, pool: string): Promise<void> {
    if ((await lstat(path).catch(() => null)) !== null) return;
    this.#ids.delete(path);
    if ((await qgroupsOf(this.#tools, pool)).length === 0) await this.#switchOn(pool);
    await this.#run('subvolume', 'create', path);
  }

  async limit(path: string, bytes: number, pool: string): Promise<void> {
    const set = () => this.#run('qgroup', 'limit', String(bytes), path);
    await set().catch(async () => {
      await this.#switchOn(pool);
      // It is there unless somebody has taken it away.
      await this.#run('qgroup', 'create', `0/${await this.#id(path)}`, pool).catch(() => {});
      await set();
    });
  }

  async read(paths: readonly string[], pool: string): Promise<Map<string, Quota>> {
    const groups = new Map((await qgroupsOf(this.#tools, pool)).map((group) => [group.id, group]));
    const found = new Map<string, Quota>();
    for (const path of paths) {
      const id = await this.#id(path).catch(() => null);
      const group = id === null ? undefined : groups.get(`0/${id}`);
      if (group !== undefined) found.set(path, group);
    }
    return found;
  }

  /** It goes with all that is in it, subvolumes and snapshots that somebody has made there included. */
  async release(path: string, pool: string): Promise<void> {
    const id = await this.#id(path);
    this.#ids.delete(path);
    // Kernels before 6.11 keep the qgroup, and what its limit promises would be set aside for nobody.
    await this.#run('qgroup', 'limit', 'none', path).catch(() => {});
    for (const inner of await this.#within(id, pool)) await this.#run('subvolume', 'delete', '-i', inner, path);
    await this.#run('subvolume', 'delete', path);
    await this.#run('qgroup', 'destroy', `0/${id}`, pool).catch(() => {});
  }

  async #switchOn(pool: string): Promise<void> {
    await this.#run('quota', 'enable', pool);
    // It has begun by itself, unless there was nothing to look at.
    await this.#run('quota', 'rescan', '-w', pool).catch(() => {});
  }

  /** Ids of what lies in a subvolume, the innermost first. */
  async #within(id: string, pool: string): Promise<string[]> {
    const rows = [...(await this.#run('subvolume', 'list', pool)).matchAll(/^ID (\d+) .*?top level (\d+) /gm)];
    const below = (outer: string): string[] =>
      rows.flatMap(([, inner = '', top]) => (top === outer ? [...below(inner), inner] : []));
    return below(id);
  }

  async #id(path: string): Promise<string> {
    const id = this.#ids.get(path) ?? (await this.#run('inspect-internal', 'rootid', path)).trim();
    this.#ids.set(path, id);
    return id;
  }

  #run(...words: string[]): Promise<string> {
    return this.#tools.run('btrfs', words);
  }
}
