// What ends a call before its answer has come: a signal, or its time.

import { setMaxListeners } from 'node:events';
import { VreserveError } from '../core/errors.js';

/** What every call takes. */
export interface CallOptions {
  /**
   * How long an answer is waited for; of a blob's bytes: how long nothing of them moves. Infinity: for ever. Then the call rejects
   * with NO_ANSWER, and may be done all the same.
   */
  timeoutMs?: number;
  /** Rejects with the signal's reason: a DOMException AbortError unless another was given. What was sent may be done all the same. */
  signal?: AbortSignal;
}

/** Beyond this Node's timers would strike at once. */
const MOST_MS = 2 ** 31 - 1;

/** The number itself, above 0. Throws USAGE. */
export function checkTimeout(timeoutMs: number): number {
  if (typeof timeoutMs === 'number' && timeoutMs > 0) return timeoutMs;
  throw new VreserveError('USAGE', { reason: `timeoutMs must be a number above 0, or Infinity, not ${String(timeoutMs)}` });
}

/** Of one call. It waits for one promise at a time; the clock runs only meanwhile. */
export class Stop {
  readonly #where: string;
  readonly #timeoutMs: number;
  readonly #signals: readonly AbortSignal[];
  readonly #onAbort = () => {
    for (const signal of this.#signals) if (signal.aborted) this.#stop(signal.reason);
  };
  #reason: { error: unknown } | null = null;
  #interruption: { error: unknown } | null = null;
  #reject: (error: unknown) => void = () => {};
  #onStop: ((error: unknown) => void) | null = null;

  /** `where`: who is asked, for the message. To be ended. */
  constructor(where: string, timeoutMs: number, signals: readonly (AbortSignal | undefined)[]) {
    this.#where = where;
    this.#timeoutMs = checkTimeout(timeoutMs);
    this.#signals = signals.filter((signal) => signal !== undefined);
    for (const signal of this.#signals) {
      // Many calls may have one signal, and that is no leak.
      setMaxListeners(0, signal);
      signal.addEventListener('abort', this.#onAbort, { once: true });
    }
    this.#onAbort();
  }

  /** Throws where it is to stop. */
  check(): void {
    if (this.#reason !== null) throw this.#reason.error;
  }

  /** Called once when it is to stop, also between two waits. */
  onStop(listener: (error: unknown) => void): void {
    this.#onStop = listener;
    if (this.#reason !== null) listener(this.#reason.error);
  }

  /** What the promise gives, unless it is to stop before; `isTimed` false: what is waited for is not the other side's. */
  wait<T>(promise: Promise<T>, isTimed = true): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const timer =
        isTimed && this.#timeoutMs <= MOST_MS ? setTimeout(() => this.#stop(this.#late()), this.#timeoutMs) : undefined;
      const refuse = (error: unknown) => {
        clearTimeout(timer);
        reject(error);
      };
      this.#reject = refuse;
      promise.then((value) => {
        clearTimeout(timer);
        resolve(value);
      }, refuse);
      const first = this.#reason ?? this.#interruption;
      if (first !== null) refuse(first.error);
    });
  }

  /** Rejects what is waited for, now and until it is null again. */
  interrupt(interruption: { error: unknown } | null): void {
    this.#interruption = interruption;
    if (interruption !== null) this.#reject(interruption.error);
  }

  /** Holds on to nothing any more. */
  end(): void {
    for (const signal of this.#signals) signal.removeEventListener('abort', this.#onAbort);
    this.#onStop = null;
  }

  #late(): VreserveError {
    return new VreserveError('NO_ANSWER', { where: this.#where, timeoutMs: this.#timeoutMs });
  }

  #stop(error: unknown): void {
    if (this.#reason !== null) return;
    this.#reason = { error };
    this.#reject(error);
    this.#onStop?.(error);
  }
}
