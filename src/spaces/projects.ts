// Spaces that XFS enforces: each has a project of its own, which is inherited by all that is made in it, with a hard limit of blocks. What is
// past it is refused with ENOSPC.

import { randomInt } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { errnoOf, VreserveError } from '../core/errors.js';
import { deviceText, type MountEntry, parseMountinfo } from '../core/mountinfo.js';
import { isWithin } from '../core/paths.js';
import type { Tools } from '../pools/tools.js';
import type { KernelQuota, Quota } from './kernel-quota.js';

/** People number projects from 1. What is taken by chance from up here is nobody's, now and later, also for another daemon. */
const FIRST_ID = 0x4000_0000;
const LAST_ID = 0x7fff_ffff;

/** What is there only where the kernel knows quotas of XFS. */
const KERNEL_HAS_IT = '/proc/fs/xfs/xqmstat';

/** Lines `ID:…` or `NAME:ID`. */
const TABLES = ['/etc/projects', '/etc/projid'];

const PRIVATE = 0o700;
const KIB = 1024;

export class Projects implements KernelQuota {
  readonly #tools: Tools;
  /** By path: the project of the directory. */
  readonly #ids = new Map<string, number>();
  /** Given, and perhaps not to be seen in the filesystem yet. */
  readonly #given = new Set<number>();

  constructor(tools: Tools) {
    this.#tools = tools;
  }

  whyNot(pool: string): string | null {
    const options = mountOf(pool)?.options ?? [];
    if (options.includes('prjquota')) return null;
    if (!existsSync(KERNEL_HAS_IT)) return 'this kernel was built without quotas of XFS (CONFIG_XFS_QUOTA)';
    if (options.includes('pqnoenforce')) return 'project quotas of this XFS are counted and not enforced: mount it with prjquota';
    return 'this XFS is mounted without project quotas: unmount it, and mount it with -o prjquota';
  }

  async make(path: string, pool: string): Promise<void> {
    this.#ids.delete(path);
    await mkdir(path, PRIVATE).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
    if ((await this.#id(path)) !== null) return;
    const id = await this.#freeId(pool);
    this.#given.add(id);
    await this.#tools.run('xfs_io', ['-r', '-c', `chproj ${id}`, '-c', 'chattr +P', path]);
    this.#ids.set(path, id);
  }

  async limit(path: string, bytes: number, pool: string): Promise<void> {
    const reason = this.whyNot(pool);
    if (reason !== null) throw new VreserveError('NOT_SUPPORTED', { reason });
    const id = await this.#id(path);
    if (id === null) throw new VreserveError('NOT_SUPPORTED', { reason: `${path} has no project any more` });
    await this.#quota(pool, `limit -p bhard=${bytes} ${id}`);
  }

  async read(paths: readonly string[], pool: string): Promise<Map<string, Quota>> {
    const found = new Map<string, Quota>();
    if (this.whyNot(pool) !== null) return found;
    const projects = await this.#report(pool);
    for (const path of paths) {
      const id = await this.#id(path).catch(() => null);
      const quota = id === null ? undefined : projects.get(id);
      if (quota !== undefined) found.set(path, quota);
    }
    return found;
  }

  /** Its project is free again when its last file is gone. */
  async release(path: string, pool: string): Promise<void> {
    const id = await this.#id(path);
    this.#ids.delete(path);
    // Where quotas are off limits are kept, and come into force with them: this one too, until somebody takes it away.
    if (id !== null && this.whyNot(pool) === null) await this.#quota(pool, `limit -p bhard=0 ${id}`);
  }

  /** The project of a space; null: it has none. */
  async #id(path: string): Promise<number | null> {
    const known = this.#ids.get(path);
    if (known !== undefined) return known;
    const said = await this.#tools.run('xfs_io', ['-r', '-c', 'lsproj', '-c', 'lsattr', path]);
    const id = Number(/projid = (\d+)/.exec(said)?.[1] ?? 0);
    // Without the flag nothing inherits it: it was given half, and `make` gives another.
    const isWhole = id !== 0 && /^\S*P\S* /m.test(said);
    if (isWhole) this.#ids.set(path, id);
    return isWhole ? id : null;
  }

  async #freeId(pool: string): Promise<number> {
    const taken = new Set([...(await this.#report(pool)).keys(), ...this.#given]);
    for (const table of TABLES) {
      for (const [id] of (await readFile(table, 'utf8').catch(() => '')).matchAll(/\d+/g)) taken.add(Number(id));
    }
    for (;;) {
      const id = randomInt(FIRST_ID, LAST_ID);
      if (!taken.has(id)) return id;
    }
  }

  /** Rows `#ID USED SOFT HARD …` in KiB. */
  async #report(pool: string): Promise<Map<number, Quota>> {
    const rows = (await this.#quota(pool, 'report -p -n -N -b')).matchAll(/^#(\d+)\s+(\d+)\s+\d+\s+(\d+)/gm);
    return new Map(
      [...rows].map(([, id, used, hard]) => [
        Number(id),
        { usedBytes: Number(used) * KIB, limitBytes: hard === '0' ? null : Number(hard) * KIB },
      ]),
    );
  }

  async #quota(pool: string, command: string): Promise<string> {
    const mountpoint = mountOf(pool)?.mountpoint;
    if (mountpoint === undefined) throw new VreserveError('NOT_SUPPORTED', { reason: `${pool} is on no XFS any more` });
    return this.#tools.run('xfs_quota', ['-x', '-c', command, mountpoint]);
  }
}

/** The mount that the directory is in: of several over one another the last. */
function mountOf(directory: string): MountEntry | undefined {
  const entries = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'));
  const status = statSync(directory, { bigint: true, throwIfNoEntry: false });
  const device = status === undefined ? undefined : deviceText(status.dev);
  const around = entries.filter((each) => each.type === 'xfs' && each.device === device && isWithin(directory, each.mountpoint));
  const longest = Math.max(...around.map(({ mountpoint }) => mountpoint.length));
  return around.findLast(({ mountpoint }) => mountpoint.length === longest);
}
