// Spaces that the kernel enforces: subvolumes of btrfs, each with a limit of its qgroup. What is past it is refused with EDQUOT.

import { qgroupsOf } from '../pools/qgroups.js';
import type { Tools } from '../pools/tools.js';

export class Subvolumes {
  readonly #tools: Tools;
  /** By path: the group of the subvolume. */
  readonly #groups = new Map<string, string>();

  constructor(tools: Tools) {
    this.#tools = tools;
  }

  /** Makes it. `pool` is a directory of the filesystem. Throws TOOL_MISSING, TOOL_FAILED, TOOL_SLOW. */
  async make(path: string, pool: string): Promise<void> {
    if ((await qgroupsOf(this.#tools, pool)).length === 0) {
      await this.#tools.run('btrfs', ['quota', 'enable', pool]);
      // It has begun by itself, unless there was nothing to look at.
      await this.#tools.run('btrfs', ['quota', 'rescan', '-w', pool]).catch(() => {});
    }
    await this.#tools.run('btrfs', ['subvolume', 'create', path]);
  }

  /** Sets what it may hold. Throws TOOL_MISSING, TOOL_FAILED, TOOL_SLOW. */
  async limit(path: string, bytes: number): Promise<void> {
    await this.#tools.run('btrfs', ['qgroup', 'limit', String(bytes), path]);
  }

  /** With all that is in it. Throws TOOL_MISSING, TOOL_FAILED, TOOL_SLOW. */
  async remove(path: string): Promise<void> {
    await this.#tools.run('btrfs', ['subvolume', 'delete', path]);
  }

  /** Bytes that it holds, as of the last commit of the filesystem; null where that is not known. */
  async used(path: string): Promise<number | null> {
    const group = this.#groups.get(path) ?? `0/${(await this.#tools.run('btrfs', ['inspect-internal', 'rootid', path])).trim()}`;
    this.#groups.set(path, group);
    const found = (await qgroupsOf(this.#tools, path)).find(({ id }) => id === group);
    return found?.usedBytes ?? null;
  }

  /** Its path may be another's from now on. */
  forget(path: string): void {
    this.#groups.delete(path);
  }
}
