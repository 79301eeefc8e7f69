// LotMan's functions for programs, on a live mount.

import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { VreserveError } from '../core/errors.js';
import type { Past } from '../core/usage.js';
import type { LotAsJson, UsagePartJson } from '../lots/queries.js';
import type {
  AddLotJson,
  AddToLotJson,
  PolicyQueryJson,
  RemoveParentsJson,
  RemovePathsJson,
  UpdateLotJson,
  UsageByDirJson,
  UsageQueryJson,
  UsageUpdateJson,
} from '../lots/schema.js';
import type { DirJson } from '../lots/wire.js';
import { sendControl } from './control.js';

export interface LotsOptions {
  /** How long an answer is waited for. */
  timeoutMs?: number;
}

export interface PastOptions {
  /** Both of the following. */
  recursive?: boolean;
  /** What the lots below use counts too. */
  recursiveQuota?: boolean;
  /** All lots below those that are past, too. */
  recursiveChildren?: boolean;
}

/** LotMan's context, as far as it means something here. */
export interface LotsContext {
  /** Who asks: found by the kernel, and not to be set. */
  caller: string;
  /** The mountpoint. */
  lot_home: string;
  /** How long an answer is waited for, in ms. */
  db_timeout: number;
}

/**
 * The lots of one mount, through its `.vreserve/control`. Each method is one function of LotMan, takes and gives its JSON,
 * and throws a VreserveError with LotMan's text and a code of ours.
 */
export class Lots {
  #mountpoint: string;
  #timeoutMs: number;

  /** Throws SYSTEM where the directory is not there. */
  constructor(mountpoint: string, options: LotsOptions = {}) {
    this.#mountpoint = existing(mountpoint);
    this.#timeoutMs = options.timeoutMs ?? 60_000;
  }

  version(): Promise<string> {
    return this.#ask('version');
  }

  exists(name: string): Promise<boolean> {
    return this.#ask('exists', { word: name });
  }

  /** Throws NO_SUCH_LOT, as all that follow. */
  isRoot(name: string): Promise<boolean> {
    return this.#ask('is-root', { word: name });
  }

  /** Throws BAD_LOT_JSON, LOT_EXISTS, LOT_CYCLE, PATH_TAKEN, NOT_YOURS, NO_SPACE. */
  async add(lot: AddLotJson): Promise<void> {
    await this.#ask('add', { json: lot });
  }

  /** Throws as `add`, and BELOW_CHILDREN. */
  async update(change: UpdateLotJson): Promise<void> {
    await this.#ask('update', { json: change });
  }

  async addTo(more: AddToLotJson): Promise<void> {
    await this.#ask('add-to', { json: more });
  }

  /** Throws LOT_ORPHANS where none would remain. */
  async removeParents(json: RemoveParentsJson): Promise<void> {
    await this.#ask('remove-parents', { json });
  }

  async removePaths(json: RemovePathsJson): Promise<void> {
    await this.#ask('remove-paths', { json });
  }

  /** Throws LOT_IS_DEFAULT, LOT_IS_SPOOL, LOT_IS_STORE, LOT_ORPHANS. */
  async remove(name: string, options: { assignToOrphans?: boolean; assignToNonOrphans?: boolean } = {}): Promise<void> {
    const flags = flagsOf({ 'assign-to-orphans': options.assignToOrphans, 'assign-to-non-orphans': options.assignToNonOrphans });
    await this.#ask('remove', { word: name, flags });
  }

  /** The lot and all lots below it. */
  async removeRecursive(name: string): Promise<void> {
    await this.#ask('remove', { word: name, flags: ['recursive'] });
  }

  owners(name: string, { recursive }: { recursive?: boolean } = {}): Promise<string[]> {
    return this.#ask('owners', { word: name, flags: flagsOf({ recursive }) });
  }

  parents(name: string, { recursive, self }: { recursive?: boolean; self?: boolean } = {}): Promise<string[]> {
    return this.#ask('parents', { word: name, flags: flagsOf({ recursive, self }) });
  }

  children(name: string, { recursive, self }: { recursive?: boolean; self?: boolean } = {}): Promise<string[]> {
    return this.#ask('children', { word: name, flags: flagsOf({ recursive, self }) });
  }

  policy(query: PolicyQueryJson): Promise<Record<string, { lot_name?: string; value: number }>> {
    return this.#ask('policy', { json: query });
  }

  dirs(name: string, { recursive }: { recursive?: boolean } = {}): Promise<DirJson[]> {
    return this.#ask('dirs', { word: name, flags: flagsOf({ recursive }) });
  }

  usage(query: UsageQueryJson): Promise<Record<string, UsagePartJson>> {
    return this.#ask('usage', { json: query });
  }

  /** Of a lot whose paths are foreign. Throws USAGE_IS_MEASURED, NEGATIVE_USAGE. */
  async setUsage(update: UsageUpdateJson, { delta }: { delta?: boolean } = {}): Promise<void> {
    await this.#ask('usage set', { json: update, flags: flagsOf({ delta }) });
  }

  /** The same for whichever lots the directories belong to. */
  async setUsageByDir(update: UsageByDirJson, { delta }: { delta?: boolean } = {}): Promise<void> {
    await this.#ask('usage set-by-dir', { json: update, flags: flagsOf({ delta }) });
  }

  past(what: Past, { recursive, recursiveQuota, recursiveChildren }: PastOptions = {}): Promise<string[]> {
    const flags = flagsOf({ recursive, 'recursive-quota': recursiveQuota, 'recursive-children': recursiveChildren });
    return this.#ask('past', { word: what, flags });
  }

  list(): Promise<string[]> {
    return this.#ask('list');
  }

  show(name: string, { recursive }: { recursive?: boolean } = {}): Promise<LotAsJson> {
    return this.#ask('show', { word: name, flags: flagsOf({ recursive }) });
  }

  /** The lot that owns a path of the mount, or a foreign one; with `recursive` all lots above it too. */
  which(path: string, { recursive }: { recursive?: boolean } = {}): Promise<string[]> {
    return this.#ask('which', { word: path, flags: flagsOf({ recursive }) });
  }

  async getContext<Key extends keyof LotsContext>(key: Key): Promise<LotsContext[Key]> {
    const { caller } = key === 'caller' ? await this.#ask<{ caller: string }>('context') : { caller: '' };
    const context: LotsContext = { caller, lot_home: this.#mountpoint, db_timeout: this.#timeoutMs };
    if (!Object.hasOwn(context, key)) throw new VreserveError('USAGE', { reason: `Unrecognized key: ${String(key)}` });
    return context[key];
  }

  /** Throws NOT_SUPPORTED for the caller: who asks is what the kernel says. */
  async setContext(key: keyof LotsContext, value: string | number): Promise<void> {
    if (key === 'caller') throw new VreserveError('NOT_SUPPORTED', { reason: 'the caller is the process that asks' });
    if (key === 'lot_home') this.#mountpoint = existing(String(value));
    else if (key === 'db_timeout' && Number(value) > 0) this.#timeoutMs = Number(value);
    else throw new VreserveError('USAGE', { reason: `Unrecognized key: ${String(key)}` });
  }

  async #ask<T>(name: string, rest: { word?: string; json?: unknown; flags?: string[] } = {}): Promise<T> {
    const request = { cmd: 'lot', name, ...rest };
    const { result } = await sendControl<{ ok: true; result: T }>(this.#mountpoint, request, undefined, this.#timeoutMs);
    return result;
  }
}

function existing(mountpoint: string): string {
  const absolute = resolve(mountpoint);
  if (!statSync(absolute, { throwIfNoEntry: false })?.isDirectory()) {
    throw new VreserveError('SYSTEM', { reason: `'${mountpoint}' is not a directory`, errno: 'ENOENT' });
  }
  return absolute;
}

function flagsOf(flags: Record<string, boolean | undefined>): string[] {
  return Object.entries(flags).flatMap(([name, set]) => (set === true ? [name] : []));
}
