// The box as the daemon has it. A process of its own does the work, since the daemon must not use its own mount: a thread that
// waits for the answer to its request cannot be killed, and so would hold the device open after the daemon's death, for ever.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { VreserveError } from '../core/errors.js';
import type { UniqueName } from '../spool/index.js';
import type { FileOwner, Found, RequestQueue } from './box.js';
import { type Box, type BoxAnswer, type BoxCall, type BoxMethod, errorOf, type PlainError } from './box-messages.js';

interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

interface Watching {
  onName: (name: string | null) => void;
  onError: (error: unknown) => void;
}

/** `fork` starts the process. One that dies is started anew with the next call; calls that were under way reject. */
export class RemoteBox implements Box {
  readonly #fork: () => ChildProcess;
  #child: ChildProcess | null = null;
  readonly #pending = new Map<number, Pending>();
  #watching: Watching | null = null;
  #lastId = 0;
  #ended = false;

  constructor(fork: () => ChildProcess) {
    this.#fork = fork;
    this.#start();
  }

  /** Ends the process; resolves when it is gone. */
  async end(): Promise<void> {
    this.#ended = true;
    const child = this.#child;
    if (child === null) return;
    const gone = once(child, 'exit');
    if (child.connected) child.disconnect();
    await gone;
  }

  attach(): Promise<void> {
    return this.#call('attach', []) as Promise<void>;
  }

  checkAttached(): Promise<void> {
    return this.#call('checkAttached', []) as Promise<void>;
  }

  watch(onName: (name: string | null) => void, onError: (error: unknown) => void): void {
    this.#watching = { onName, onError };
    this.#send({ method: 'watch' }).catch(onError);
  }

  close(): void {
    this.#watching = null;
    if (this.#child !== null) this.#send({ method: 'close' }).catch(() => {});
  }

  pending(): Promise<string[]> {
    return this.#call('pending', []) as Promise<string[]>;
  }

  inOrder(names: readonly string[]): Promise<string[]> {
    return this.#call('inOrder', [names]) as Promise<string[]>;
  }

  claimed(): Promise<string[]> {
    return this.#call('claimed', []) as Promise<string[]>;
  }

  isPending(name: string): Promise<boolean> {
    return this.#call('isPending', [name]) as Promise<boolean>;
  }

  async read(name: string): Promise<Found | null> {
    const found = (await this.#call('read', [name])) as (FileOwner & { text: string; refusal: PlainError | null }) | null;
    if (found === null) return null;
    const refusal = found.refusal === null ? null : errorOf(found.refusal);
    return { ...found, refusal: refusal instanceof VreserveError ? refusal : null };
  }

  reserveName(nowMs: number): Promise<UniqueName> {
    return this.#call('reserveName', [nowMs]) as Promise<UniqueName>;
  }

  put(name: UniqueName, text: string, owner: FileOwner): Promise<void> {
    return this.#call('put', [name, text, owner]) as Promise<void>;
  }

  giveUp(name: string): Promise<void> {
    return this.#call('giveUp', [name]) as Promise<void>;
  }

  claim(name: string): Promise<boolean> {
    return this.#call('claim', [name]) as Promise<boolean>;
  }

  putBack(name: string): Promise<void> {
    return this.#call('putBack', [name]) as Promise<void>;
  }

  finish(name: string, queue: RequestQueue, text: string, owner: FileOwner): Promise<void> {
    return this.#call('finish', [name, queue, text, owner]) as Promise<void>;
  }

  remove(name: string): Promise<void> {
    return this.#call('remove', [name]) as Promise<void>;
  }

  clear(names: readonly string[], kept: readonly string[]): Promise<void> {
    return this.#call('clear', [names, kept]) as Promise<void>;
  }

  trim(beforeMs: number): Promise<void> {
    return this.#call('trim', [beforeMs]) as Promise<void>;
  }

  #call(method: BoxMethod, args: unknown[]): Promise<unknown> {
    return this.#send({ method, args });
  }

  async #send(call: { method: BoxMethod; args: unknown[] } | { method: 'watch' | 'close' }): Promise<unknown> {
    if (this.#ended) throw new VreserveError('ENDING');
    const child = this.#child ?? this.#start();
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      child.send({ ...call, id } as BoxCall, (error) => {
        if (error !== null && this.#pending.delete(id)) reject(error);
      });
    });
  }

  #start(): ChildProcess {
    const child = this.#fork();
    this.#child = child;
    child.on('message', (answer: BoxAnswer) => this.#take(answer));
    child.on('error', (error) => this.#lose(child, error));
    child.on('exit', () => this.#lose(child, new Error('the process that uses the mount has died')));
    return child;
  }

  #take(answer: BoxAnswer): void {
    if ('heard' in answer) this.#watching?.onName(answer.heard);
    else if ('watchError' in answer) this.#watching?.onError(errorOf(answer.watchError));
    else {
      const pending = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if ('error' in answer) pending?.reject(errorOf(answer.error));
      else pending?.resolve(answer.value);
    }
  }

  #lose(child: ChildProcess, error: Error): void {
    if (this.#child !== child) return;
    this.#child = null;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(error);
    if (!this.#ended) this.#watching?.onError(error);
  }
}
