// Lots of key-value namespaces: each owns the directory of one, which lies where no command can bind anything.

import { lstatSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { LotChange } from '../core/book.js';
import { dropLot } from '../core/change.js';
import { VreserveError } from '../core/errors.js';
import type { EventName } from '../core/events.js';
import { DEFAULT_LOT_ID, type Lot, NO_POLICY, recursivePath } from '../core/lot.js';
import {
  type NamespaceLots as Host,
  lotNameOf,
  NAMESPACES_DIRECTORY,
  type NamespaceGrant,
  namespaceAt,
  namespacePath,
} from '../core/namespace-layout.js';
import type { By } from '../views/host.js';
import type { Keeper } from './keeper.js';
import { policyFields } from './policies.js';

/** Nobody but the namespaces themselves has business in it. */
const MODE = 0o700;

export class NamespaceLots {
  readonly #keeper: Keeper;
  /** In the backing. */
  readonly #directory: string;
  readonly #uid: number;

  /** `directory`: vreserve's own in the backing; `uid`: whom the daemon runs as. */
  constructor(keeper: Keeper, directory: string, uid: number) {
    this.#keeper = keeper;
    this.#directory = join(directory, NAMESPACES_DIRECTORY);
    this.#uid = uid;
  }

  /** Before the mount: makes the directory where it is wanted and missing, and serves the one that is there. Throws the system's error. */
  prepare(isWanted: boolean): void {
    const { engine, readOnly } = this.#keeper.parts;
    if (isWanted && !readOnly) mkdirSync(this.#directory, { mode: MODE, recursive: true });
    if (lstatSync(this.#directory, { throwIfNoEntry: false })?.isDirectory() === true) engine.serveNamespaces();
  }

  /** How many namespaces have a lot. */
  get count(): number {
    return [...this.#keeper.book.all()].filter((lot) => lot.paths.some(({ path }) => namespaceAt(path) !== null)).length;
  }

  get host(): Host {
    return {
      makeNamespaceLot: (name, grant, owner) => this.#keeper.alone(() => this.#make(name, grant, owner)),
      namespaceLot: async (name) => {
        const lot = this.lotOf(name);
        if (lot === undefined) return null;
        const { dedicatedBytes, opportunisticBytes } = lot.policy;
        return { dedicatedBytes, opportunisticBytes };
      },
      dropNamespaceLot: (name) => this.#keeper.alone(() => this.#drop(name)),
      namespacesWithLots: async () =>
        [...this.#keeper.book.all()].flatMap(({ paths }) => paths.flatMap(({ path }) => namespaceAt(path) ?? [])),
    };
  }

  /** Of the namespace; undefined: there is none. */
  lotOf(name: string): Lot | undefined {
    const bound = this.#keeper.book.at(namespacePath(name));
    return bound === undefined ? undefined : this.#keeper.book.get(bound.lot);
  }

  async #make(name: string, grant: NamespaceGrant, owner: string | null): Promise<void> {
    if (this.lotOf(name) !== undefined) return;
    const { ledger, clock } = this.#keeper.parts;
    const lotName = lotNameOf(name);
    if (this.#keeper.book.named(lotName) !== undefined) throw new VreserveError('LOT_EXISTS', { lot: lotName });
    const lot: Lot = {
      id: await ledger.newLotId(),
      name: lotName,
      owner: owner ?? String(this.#uid),
      confinedOwner: false,
      selfParent: true,
      parents: [],
      paths: [recursivePath(namespacePath(name))],
      policy: { ...NO_POLICY, ...grant, createdAtMs: clock() },
    };
    await this.#change({ put: [lot], remove: [] }, 'grant', lot, `namespace '${name}'`);
  }

  async #drop(name: string): Promise<void> {
    const lot = this.lotOf(name);
    if (lot === undefined) return;
    await this.#change(dropLot(this.#keeper.book, lot), 'release', lot, `namespace '${name}'`);
  }

  async #change(change: LotChange, event: EventName, lot: Lot, shown: string): Promise<void> {
    const by = this.#self();
    const fields = { lot: lot.name, path: lot.paths[0]?.path, ...policyFields(lot.policy), ...this.#keeper.actor(by) };
    await this.#keeper.make(change, {
      ...this.#keeper.refusing(lot.policy, shown, by),
      givesBack: event === 'release',
      events: () => [this.#keeper.event(event, lot.id, fields)],
    });
  }

  #self(): By {
    const caller = { pid: process.pid, uid: this.#uid, gid: 0, groups: [], home: true, sysAdmin: true, dacOverride: true };
    return { caller, scope: DEFAULT_LOT_ID, directory: '/' };
  }
}
