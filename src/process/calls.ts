// Request and answer over Node's channel between a process and its child: both ways, and many at once.

import { VreserveError } from '../core/errors.js';
import { errorOf, type PlainError, plainError } from './plain-error.js';

/** One end: a child that was spawned with 'ipc', or (in that child) `process`. The serialization is 'advanced'. */
export interface Channel {
  readonly connected: boolean;
  send?(message: object, callback: (error: Error | null) => void): boolean;
  on(event: 'message', listener: (messages: readonly Message[]) => void): unknown;
  on(event: 'disconnect', listener: () => void): unknown;
}

/** The methods of one side as the other has them. */
export type Remote<Methods> = {
  readonly [Name in keyof Methods]: Methods[Name] extends (...args: infer Args) => infer Value
    ? (...args: Args) => Promise<Awaited<Value>>
    : never;
};

/** `id` 0: no answer is wanted. */
interface Call {
  kind: 'call';
  id: number;
  method: string;
  args: unknown[];
  /** An AbortSignal is one more argument. */
  hasSignal: boolean;
}

type Answer = { kind: 'answer'; id: number } & ({ value: unknown } | { error: PlainError });

type Message = Call | Answer | { kind: 'abort'; id: number };

interface Outgoing {
  message: Message;
  onFailure: (error: unknown) => void;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
  signal: AbortSignal | null;
  abort: () => void;
}

/**
 * What the other side offers is `other`: methods that take and give plain data (what a structured clone can be made of). An
 * error arrives as it was thrown: code, details and message, or the errno of the system. A method whose last argument is a
 * signal has one on the other side, too; its answer is waited for all the same.
 */
export class Calls<Other> {
  readonly #channel: Channel;
  readonly #name: string;
  #methods: Readonly<Record<string, unknown>> = {};
  readonly #pending = new Map<number, Pending>();
  /** Of calls with a signal that are under way here. */
  readonly #running = new Map<number, AbortController>();
  #lastId = 0;
  #isOver = false;
  /** What one turn of the event loop has to say goes out together: a message of its own costs more than what is in it. */
  #outgoing: Outgoing[] = [];
  /** Throws PROCESS_GONE where the other side has gone, or goes before it has answered. */
  readonly other: Remote<Other>;

  /** `name`: of the other side, for the errors. */
  constructor(channel: Channel, name: string) {
    this.#channel = channel;
    this.#name = name;
    this.other = this.#remote();
    channel.on('message', (messages) => {
      for (const message of messages) this.#take(message);
    });
    channel.on('disconnect', () => this.end());
  }

  /** Lets the other side call these from now on: before anything else happens in the process. */
  answer(methods: object): void {
    this.#methods = methods as Readonly<Record<string, unknown>>;
  }

  /** Calls without an answer: what it comes to is the other side's business alone, and where that has gone, nobody's. */
  tell<Name extends keyof Other & string>(
    method: Name,
    ...args: Other[Name] extends (...args: infer Args) => unknown ? Args : never
  ): void {
    this.#send({ kind: 'call', id: 0, method, args, hasSignal: false });
  }

  /** The other side has gone: what is under way rejects, and what it had asked for is aborted. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const id of [...this.#pending.keys()]) this.#settle(id, ({ reject }) => reject(this.#gone()));
    for (const running of this.#running.values()) running.abort();
  }

  #remote(): Remote<Other> {
    const methods = new Map<string, (...args: unknown[]) => Promise<unknown>>();
    const get = (_: object, name: string | symbol) => {
      // What is awaited is asked for `then`.
      if (typeof name !== 'string' || name === 'then') return undefined;
      const method = methods.get(name) ?? ((...args: unknown[]) => this.#call(name, args));
      methods.set(name, method);
      return method;
    };
    return new Proxy({}, { get }) as Remote<Other>;
  }

  #call(method: string, given: readonly unknown[]): Promise<unknown> {
    const id = ++this.#lastId;
    const last = given.at(-1);
    const signal = last instanceof AbortSignal ? last : null;
    const args = signal === null ? [...given] : given.slice(0, -1);
    return new Promise((resolve, reject) => {
      const abort = () => this.#send({ kind: 'abort', id });
      this.#pending.set(id, { resolve, reject, signal, abort });
      this.#send({ kind: 'call', id, method, args, hasSignal: signal !== null }, (error) =>
        this.#settle(id, () => reject(error)),
      );
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted === true) abort();
    });
  }

  #take(message: Message): void {
    if (message.kind === 'call') void this.#run(message);
    else if (message.kind === 'abort') this.#running.get(message.id)?.abort();
    else if ('error' in message) this.#settle(message.id, ({ reject }) => reject(errorOf(message.error)));
    else this.#settle(message.id, ({ resolve }) => resolve(message.value));
  }

  #settle(id: number, how: (pending: Pending) => void): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    pending.signal?.removeEventListener('abort', pending.abort);
    how(pending);
  }

  async #run(call: Call): Promise<void> {
    const { id } = call;
    // What is only told has nobody who would hear of an error.
    if (id === 0) return void (await this.#apply(call));
    const fail = (error: unknown) => this.#send({ kind: 'answer', id, error: plainError(error) });
    try {
      this.#send({ kind: 'answer', id, value: await this.#apply(call) }, fail);
    } catch (error) {
      fail(error);
    } finally {
      this.#running.delete(id);
    }
  }

  async #apply({ id, method: name, args, hasSignal }: Call): Promise<unknown> {
    const method = this.#methods[name];
    if (typeof method !== 'function') throw new Error(`${name} is not to be called here`);
    if (!hasSignal) return method.apply(this.#methods, args);
    const running = new AbortController();
    this.#running.set(id, running);
    return method.call(this.#methods, ...args, running.signal);
  }

  #send(message: Message, onFailure: (error: unknown) => void = () => {}): void {
    if (this.#outgoing.push({ message, onFailure }) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    const outgoing = this.#outgoing;
    this.#outgoing = [];
    if (outgoing.length > 0) this.#sendAll(outgoing);
  }

  #sendAll(outgoing: readonly Outgoing[]): void {
    const channel = this.#channel;
    const fail = (error: unknown) => {
      for (const { onFailure } of outgoing) onFailure(error);
    };
    if (this.#isOver || !channel.connected || channel.send === undefined) {
      fail(this.#gone());
      return;
    }
    try {
      const messages = outgoing.map(({ message }) => message);
      channel.send(messages, (error) => error !== null && fail(this.#gone()));
    } catch (error) {
      // Something of it cannot be cloned, which is no reason to keep back the rest.
      if (outgoing.length === 1) fail(error);
      else for (const one of outgoing) this.#sendAll([one]);
    }
  }

  #gone(): VreserveError {
    return new VreserveError('PROCESS_GONE', { what: this.#name });
  }
}
