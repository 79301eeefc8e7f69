// One namespace: its settings, what they let a client do, and its keys.

import type { NamespaceMode } from '../core/namespace-layout.js';
import type { SettingValue } from './key-index.js';
import { Keys } from './keys.js';
import { Upkeep, type UpkeepLog } from './upkeep.js';

export interface NamespaceSettings {
  /** Payload; 0: without limit. May be more than a number can tell exactly. */
  maxsize: bigint;
  /** null: none. */
  password: string | null;
  public: boolean;
  worm: boolean;
  lock: boolean;
  freeze: boolean;
  mode: NamespaceMode;
}

export const FROZEN = 'Namespace is temporarily frozen (read-write disabled)';
export const LOCKED = 'Namespace is temporarily locked (read-only)';

export class Namespace {
  readonly name: string;
  readonly directory: string;
  readonly keys: Keys;
  readonly upkeep: Upkeep;
  readonly #settings: NamespaceSettings;
  /** `maxsize` to compare with: infinite without limit. */
  maxPayloadBytes = Number.POSITIVE_INFINITY;
  /** Clients that are in it. */
  users = 0;
  /** It was removed: who uses it is told so, and sent away. */
  isGone = false;

  /** Opens it, making it with these settings where it is new. Throws NAMESPACE_DAMAGED and the system's errors. */
  constructor(name: string, directory: string, first: NamespaceSettings, log: UpkeepLog) {
    this.name = name;
    this.directory = directory;
    this.keys = new Keys(directory, savedOf(first));
    this.upkeep = new Upkeep(this.keys, log);
    this.#settings = settingsOf(this.keys.settings());
    this.#apply();
  }

  get settings(): Readonly<NamespaceSettings> {
    return this.#settings;
  }

  /** On the disk when it returns. Throws where there is no room; then nothing is changed. */
  set(changed: Partial<NamespaceSettings>): void {
    this.keys.saveSettings(savedOf(changed));
    Object.assign(this.#settings, changed);
    this.#apply();
  }

  #apply(): void {
    const { maxsize, mode } = this.#settings;
    this.maxPayloadBytes = maxsize === 0n ? Number.POSITIVE_INFINITY : Number(maxsize);
    this.keys.isSequential = mode === 'seq';
  }

  /** False where something is under way. */
  closeIfIdle(): boolean {
    return !this.keys.isDirty && this.upkeep.isIdle && this.keys.closeIfIdle();
  }

  async close(): Promise<void> {
    await this.upkeep.stop();
    await this.keys.close();
  }
}

function savedOf(settings: Partial<NamespaceSettings>): Record<string, SettingValue> {
  return Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [
      name,
      typeof value === 'boolean' ? Number(value) : typeof value === 'bigint' ? String(value) : value,
    ]),
  );
}

function settingsOf(saved: Readonly<Record<string, SettingValue>>): NamespaceSettings {
  return {
    maxsize: BigInt(saved.maxsize ?? 0),
    password: saved.password === null || saved.password === undefined ? null : String(saved.password),
    public: saved.public === 1,
    worm: saved.worm === 1,
    lock: saved.lock === 1,
    freeze: saved.freeze === 1,
    mode: saved.mode === 'seq' ? 'seq' : 'user',
  };
}
