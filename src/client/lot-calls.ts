// LotMan's functions as calls: which words, JSON and flags each one sends, and what it takes for an answer.

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
import { badAnswer, isObject } from './answers.js';
import type { CallOptions } from './stop.js';

/** With the lots above it, or below it. */
export interface RecursiveOptions extends CallOptions {
  recursive?: boolean;
}

export interface FamilyOptions extends RecursiveOptions {
  /** The lot itself too, where it is a parent of its own. */
  self?: boolean;
}

export interface PastOptions extends CallOptions {
  /** Both of the following. */
  recursive?: boolean;
  /** What the lots below use counts too. */
  recursiveQuota?: boolean;
  /** All lots below those that are past, too. */
  recursiveChildren?: boolean;
}

export interface RemoveLotOptions extends CallOptions {
  /** Children without another parent get the parents of the lot. */
  assignToOrphans?: boolean;
  /** Other children get them too. */
  assignToNonOrphans?: boolean;
}

export interface UsageOptions extends CallOptions {
  /** The numbers are differences. */
  delta?: boolean;
}

/** Who asks. */
export interface LotCaller {
  caller: string;
  administrator: boolean;
}

/**
 * LotMan's functions, a method each, in whatever way they are sent. They take and give its JSON, and throw a VreserveError with LotMan's
 * text and a code of ours.
 */
export type LotFunctions = Pick<LotCalls, keyof LotCalls>;

/** A function by the words after `lot`, as `control` takes it. */
export interface LotCommand {
  cmd: 'lot';
  name: string;
  word?: string;
  json?: unknown;
  flags?: string[];
}

type Flags = Record<string, boolean | undefined>;
type Sent = [name: string, given: Pick<LotCommand, 'word' | 'json'>, options: CallOptions, flags?: Flags];

export abstract class LotCalls {
  /** What the function answers; undefined where it only does something. */
  protected abstract send(command: LotCommand, options: CallOptions): Promise<unknown>;

  /** Of vreserve. */
  async version(options: CallOptions = {}): Promise<string> {
    return this.#ask(isText, 'version', {}, options);
  }

  /** Who asks, as the kernel knows it; over HTTP the daemon's user. */
  async context(options: CallOptions = {}): Promise<LotCaller> {
    return this.#ask(isObject, 'context', {}, options);
  }

  async exists(name: string, options: CallOptions = {}): Promise<boolean> {
    return this.#ask(isFlag, 'exists', { word: name }, options);
  }

  /** Throws NO_SUCH_LOT, as all that follow. */
  async isRoot(name: string, options: CallOptions = {}): Promise<boolean> {
    return this.#ask(isFlag, 'is-root', { word: name }, options);
  }

  /** Throws BAD_LOT_JSON, LOT_EXISTS, LOT_CYCLE, PATH_TAKEN, NOT_YOURS, NO_SPACE. */
  async add(lot: AddLotJson, options: CallOptions = {}): Promise<void> {
    await this.#send('add', { json: lot }, options);
  }

  /** Throws as `add`, and BELOW_CHILDREN. */
  async update(change: UpdateLotJson, options: CallOptions = {}): Promise<void> {
    await this.#send('update', { json: change }, options);
  }

  async addTo(more: AddToLotJson, options: CallOptions = {}): Promise<void> {
    await this.#send('add-to', { json: more }, options);
  }

  /** Throws LOT_ORPHANS where none would remain. */
  async removeParents(json: RemoveParentsJson, options: CallOptions = {}): Promise<void> {
    await this.#send('remove-parents', { json }, options);
  }

  async removePaths(json: RemovePathsJson, options: CallOptions = {}): Promise<void> {
    await this.#send('remove-paths', { json }, options);
  }

  /** Throws LOT_IS_DEFAULT, LOT_IS_SPOOL, LOT_IS_STORE, LOT_ORPHANS. */
  async remove(name: string, options: RemoveLotOptions = {}): Promise<void> {
    const flags = { 'assign-to-orphans': options.assignToOrphans, 'assign-to-non-orphans': options.assignToNonOrphans };
    await this.#send('remove', { word: name }, options, flags);
  }

  /** The lot and all lots below it. */
  async removeRecursive(name: string, options: CallOptions = {}): Promise<void> {
    await this.#send('remove', { word: name }, options, { recursive: true });
  }

  async owners(name: string, options: RecursiveOptions = {}): Promise<string[]> {
    return this.#ask(isNames, 'owners', { word: name }, options, { recursive: options.recursive });
  }

  async parents(name: string, options: FamilyOptions = {}): Promise<string[]> {
    return this.#ask(isNames, 'parents', { word: name }, options, { recursive: options.recursive, self: options.self });
  }

  async children(name: string, options: FamilyOptions = {}): Promise<string[]> {
    return this.#ask(isNames, 'children', { word: name }, options, { recursive: options.recursive, self: options.self });
  }

  async policy(query: PolicyQueryJson, options: CallOptions = {}): Promise<Record<string, { lot_name?: string; value: number }>> {
    return this.#ask(isObject, 'policy', { json: query }, options);
  }

  async dirs(name: string, options: RecursiveOptions = {}): Promise<DirJson[]> {
    return this.#ask(isObjects, 'dirs', { word: name }, options, { recursive: options.recursive });
  }

  async usage(query: UsageQueryJson, options: CallOptions = {}): Promise<Record<string, UsagePartJson>> {
    return this.#ask(isObject, 'usage', { json: query }, options);
  }

  /** Of a lot whose paths are foreign. Throws USAGE_IS_MEASURED, NEGATIVE_USAGE. */
  async setUsage(update: UsageUpdateJson, options: UsageOptions = {}): Promise<void> {
    await this.#send('usage set', { json: update }, options, { delta: options.delta });
  }

  /** The same for whichever lots the directories belong to. */
  async setUsageByDir(update: UsageByDirJson, options: UsageOptions = {}): Promise<void> {
    await this.#send('usage set-by-dir', { json: update }, options, { delta: options.delta });
  }

  /** Lots past deletion, expiration, grant, objects or dedicated bytes. */
  async past(what: Past, options: PastOptions = {}): Promise<string[]> {
    const { recursive, recursiveQuota, recursiveChildren } = options;
    const flags = { recursive, 'recursive-quota': recursiveQuota, 'recursive-children': recursiveChildren };
    return this.#ask(isNames, 'past', { word: what }, options, flags);
  }

  async list(options: CallOptions = {}): Promise<string[]> {
    return this.#ask(isNames, 'list', {}, options);
  }

  async show(name: string, options: RecursiveOptions = {}): Promise<LotAsJson> {
    return this.#ask(isObject, 'show', { word: name }, options, { recursive: options.recursive });
  }

  /** The lot that owns a path of the mount, or a foreign one; with `recursive` all lots above it too. */
  async which(path: string, options: RecursiveOptions = {}): Promise<string[]> {
    return this.#ask(isNames, 'which', { word: path }, options, { recursive: options.recursive });
  }

  #send(...[name, given, options, flags = {}]: Sent): Promise<unknown> {
    const set = Object.entries(flags).flatMap(([flag, isSet]) => (isSet === true ? [flag] : []));
    return this.send({ cmd: 'lot', name, ...given, flags: set }, options);
  }

  async #ask<T>(isRight: (value: unknown) => boolean, ...call: Sent): Promise<T> {
    const result = await this.#send(...call);
    if (isRight(result)) return result as T;
    throw badAnswer('the mount', `it is none to 'lot ${call[0]}'`);
  }
}

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isFlag(value: unknown): boolean {
  return typeof value === 'boolean';
}

function isNames(value: unknown): boolean {
  return Array.isArray(value) && value.every(isText);
}

function isObjects(value: unknown): boolean {
  return Array.isArray(value) && value.every(isObject);
}
