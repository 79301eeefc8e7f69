// All namespaces of a mount: made, opened when somebody needs one, and removed.

import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { NameTurns } from '../core/name-turns.js';
import {
  DEFAULT_NAMESPACE,
  grantFor,
  MAX_NAMESPACE_NAME_BYTES,
  type NamespaceLot,
  type NamespaceMode,
  type NamespaceOrder,
} from '../core/namespace-layout.js';
import type { NamespaceHost } from './host.js';
import { INDEX_FILE } from './keys.js';
import { Namespace } from './namespace.js';
import type { UpkeepLog } from './upkeep.js';

/** In the directory of one that is being removed. */
const REMOVED = 'removed';

/** Open at a time, with nobody in them. */
const MOST_IDLE = 32;

export interface NamespaceSetParts {
  host: NamespaceHost;
  log: UpkeepLog;
  /** Of new ones. */
  mode: NamespaceMode;
}

/** Synchronous but for making and removing, so that no command waits. */
export class NamespaceSet {
  readonly #parts: NamespaceSetParts;
  /** null: it is there, and not open. */
  readonly #all = new Map<string, Namespace | null>();
  readonly #turns = new NameTurns();

  private constructor(parts: NamespaceSetParts) {
    this.#parts = parts;
  }

  /** What a crash has left half made or half removed goes. */
  static async open(parts: NamespaceSetParts): Promise<NamespaceSet> {
    const set = new NamespaceSet(parts);
    const { directory, lots } = parts.host;
    const found = new Set<string>();
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (!entry.isDirectory() || reasonAgainst(entry.name) !== null) continue;
      const path = join(directory, entry.name);
      found.add(entry.name);
      // One whose pool is away is opened when it is back.
      const isAway = !isReadable(path);
      const isWhole = existsSync(join(path, INDEX_FILE)) && !existsSync(join(path, REMOVED));
      if (isAway || isWhole) set.#all.set(entry.name, null);
      else await set.#clear(entry.name);
    }
    for (const name of await lots.namespacesWithLots()) if (!found.has(name)) await lots.dropNamespaceLot(name);
    for (const name of set.#all.keys()) {
      if ((await lots.namespaceLot(name)) === null) await lots.makeNamespaceLot(name, grantFor(null), null, null);
    }
    if (!set.#all.has(DEFAULT_NAMESPACE)) await set.create(orderOf(DEFAULT_NAMESPACE, parts.mode));
    return set;
  }

  /** By name. */
  names(): string[] {
    return [...this.#all.keys()].sort();
  }

  has(name: string): boolean {
    return this.#all.has(name);
  }

  /** Those that are open now. */
  opened(): Namespace[] {
    return [...this.#all.values()].filter((each) => each !== null);
  }

  /** Opened where it is not; null: there is none. Throws NAMESPACE_DAMAGED and the system's errors. */
  get(name: string): Namespace | null {
    const known = this.#all.get(name);
    if (known === undefined) return null;
    if (known !== null) return known;
    this.#closeIdle();
    const opened = this.#open(orderOf(name, this.#parts.mode));
    this.#all.set(name, opened);
    return opened;
  }

  /** Throws NAMESPACE_UNKNOWN. */
  must(name: string): Namespace {
    const found = this.get(name);
    if (found === null) throw new VreserveError('NAMESPACE_UNKNOWN', { name });
    return found;
  }

  /** Throws NAMESPACE_BAD_NAME, NAMESPACE_EXISTS, NO_SPACE; then nothing is changed. */
  create(order: NamespaceOrder): Promise<Namespace> {
    const { name, sizeBytes, owner, policy } = order;
    return this.#turns.run(name, async () => {
      const reason = reasonAgainst(name);
      if (reason !== null) throw new VreserveError('NAMESPACE_BAD_NAME', { name: name.slice(0, 60), reason });
      if (this.#all.has(name)) throw new VreserveError('NAMESPACE_EXISTS', { name });
      const { lots } = this.#parts.host;
      await lots.makeNamespaceLot(name, grantFor(sizeBytes), owner, policy);
      try {
        // In another pool it is there.
        mkdirSync(join(this.#parts.host.directory, name), { mode: 0o700, recursive: true });
        const made = this.#open(order);
        this.#all.set(name, made);
        return made;
      } catch (error) {
        await this.#clear(name);
        throw error;
      }
    });
  }

  /** Throws NAMESPACE_UNKNOWN, NAMESPACE_BAD_NAME for the default one. Who is in it is told with the next command. */
  remove(name: string): Promise<void> {
    return this.#turns.run(name, async () => {
      if (name === DEFAULT_NAMESPACE) throw new VreserveError('NAMESPACE_BAD_NAME', { name, reason: 'it is always there' });
      const known = this.#all.get(name);
      if (known === undefined) throw new VreserveError('NAMESPACE_UNKNOWN', { name });
      // On a full lot the name alone says it: an empty file takes no bytes.
      writeFileSync(join(this.#parts.host.directory, name, REMOVED), '');
      this.#all.delete(name);
      if (known !== null) {
        known.isGone = true;
        await known.close();
      }
      await this.#clear(name);
    });
  }

  /** Those whose disk is away are closed: who is in them is told, and who selects one opens it when it is back. */
  leaveBroken(): void {
    for (const each of this.opened()) {
      if (isReadable(each.directory)) continue;
      this.#parts.log.warn({ namespace: each.name }, 'the files of a namespace cannot be read: it is closed');
      each.isGone = true;
      this.#all.set(each.name, null);
      each
        .close()
        .catch((error: unknown) => this.#parts.log.warn({ err: error, namespace: each.name }, 'it was not closed well'));
    }
  }

  lotOf(name: string): Promise<NamespaceLot | null> {
    return this.#parts.host.lots.namespaceLot(name);
  }

  async close(): Promise<void> {
    const open = [...this.#all.values()].filter((each) => each !== null);
    this.#all.clear();
    await Promise.all(open.map((each) => each.close()));
  }

  async #clear(name: string): Promise<void> {
    const { directory, lots } = this.#parts.host;
    const path = join(directory, name);
    // What says that it is to go goes last.
    const inside = (await readdir(path).catch(() => [])).sort((a, b) => Number(a === REMOVED) - Number(b === REMOVED));
    for (const each of inside) await rm(join(path, each), { recursive: true, force: true });
    // With it goes the directory where another pool has it.
    await lots.dropNamespaceLot(name);
    await rm(path, { recursive: true, force: true });
  }

  #open({ name, sizeBytes, password, isPublic, mode }: NamespaceOrder): Namespace {
    const first = { maxsize: BigInt(sizeBytes ?? 0), password, public: isPublic, worm: false, lock: false, freeze: false, mode };
    return new Namespace(name, join(this.#parts.host.directory, name), first, this.#parts.log);
  }

  #closeIdle(): void {
    const idle = [...this.#all.values()].filter((each) => each !== null && each.users === 0);
    for (const each of idle.slice(0, Math.max(0, idle.length - MOST_IDLE))) {
      if (each?.closeIfIdle() === true) this.#all.set(each.name, null);
    }
  }
}

export function orderOf(name: string, mode: NamespaceMode): NamespaceOrder {
  return { name, sizeBytes: null, mode, password: null, isPublic: true, owner: null, policy: null };
}

/** Why a namespace cannot have this name; null: it can. */
export function reasonAgainst(name: string): string | null {
  if (name === '' || name === '.' || name === '..') return 'it cannot be the name of a directory';
  if (Buffer.byteLength(name) > MAX_NAMESPACE_NAME_BYTES) return `it has more than ${MAX_NAMESPACE_NAME_BYTES} bytes`;
  if (name.includes('/')) return 'it has a slash';
  if (/\p{Cc}|\ufffd/u.test(name)) return 'it has a control character, or is not UTF-8';
  return null;
}

function isReadable(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch (error) {
    return errnoOf(error) === 'ENOENT';
  }
}
