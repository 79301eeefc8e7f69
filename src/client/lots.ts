// LotMan's functions for programs, on a live mount.

import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { VreserveError } from '../core/errors.js';
import { sendControl } from './control.js';
import { LotCalls, type LotCommand } from './lot-calls.js';
import type { CallOptions } from './stop.js';

export interface LotsOptions {
  /** How long an answer is waited for; 60 s without it. */
  timeoutMs?: number;
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

/** The lots of one mount, through its `.vreserve/control`. */
export class Lots extends LotCalls {
  #mountpoint: string;
  #timeoutMs: number;

  /** Throws SYSTEM where the directory is not there. */
  constructor(mountpoint: string, options: LotsOptions = {}) {
    super();
    this.#mountpoint = existing(mountpoint);
    this.#timeoutMs = options.timeoutMs ?? 60_000;
  }

  async getContext<Key extends keyof LotsContext>(key: Key): Promise<LotsContext[Key]> {
    const { caller } = key === 'caller' ? await this.context() : { caller: '' };
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

  protected async send(command: LotCommand, { timeoutMs = this.#timeoutMs, signal }: CallOptions): Promise<unknown> {
    const options = { timeoutMs, ...(signal === undefined ? {} : { signal }) };
    const { result } = await sendControl<{ result?: unknown }>(this.#mountpoint, command, options);
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
