// The box as the daemon has it. A process of its own does the work, since the daemon must not use its own mount: a thread that
// waits for the answer to its request cannot be killed, and so would hold the device open after the daemon's death, for ever.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { VreserveError } from '../core/errors.js';
import { Calls, type Remote } from '../process/calls.js';
import { errorOf } from '../process/plain-error.js';
import type { Found } from './box.js';
import type { Box, BoxListener, BoxMethod, BoxMethods } from './box-messages.js';

const NAME = 'the process that uses the mount';

interface Watching {
  onName: (name: string | null) => void;
  onError: (error: unknown) => void;
}

interface Running {
  child: ChildProcess;
  calls: Calls<BoxMethods>;
}

/** `fork` starts the process. One that dies is started anew with the next call; calls that were under way reject. */
export class RemoteBox implements Box {
  readonly #fork: () => ChildProcess;
  #running: Running | null = null;
  #watching: Watching | null = null;
  #ended = false;

  readonly attach = this.#asked('attach');
  readonly checkAttached = this.#asked('checkAttached');
  readonly pending = this.#asked('pending');
  readonly inOrder = this.#asked('inOrder');
  readonly claimed = this.#asked('claimed');
  readonly isPending = this.#asked('isPending');
  readonly reserveName = this.#asked('reserveName');
  readonly put = this.#asked('put');
  readonly giveUp = this.#asked('giveUp');
  readonly claim = this.#asked('claim');
  readonly putBack = this.#asked('putBack');
  readonly finish = this.#asked('finish');
  readonly remove = this.#asked('remove');
  readonly clear = this.#asked('clear');
  readonly trim = this.#asked('trim');

  constructor(fork: () => ChildProcess) {
    this.#fork = fork;
    this.#start();
  }

  /** Ends the process; resolves when it is gone. */
  async end(): Promise<void> {
    this.#ended = true;
    if (this.#running === null) return;
    const { child } = this.#running;
    const gone = once(child, 'exit');
    if (child.connected) child.disconnect();
    await gone;
  }

  watch(onName: (name: string | null) => void, onError: (error: unknown) => void): void {
    this.#watching = { onName, onError };
    this.#call((box) => box.watch()).catch(onError);
  }

  close(): void {
    this.#watching = null;
    if (this.#running !== null) this.#call((box) => box.close()).catch(() => {});
  }

  async read(name: string): Promise<Found | null> {
    const found = await this.#call((box) => box.read(name));
    if (found === null) return null;
    const refusal = found.refusal === null ? null : errorOf(found.refusal);
    return { ...found, refusal: refusal instanceof VreserveError ? refusal : null };
  }

  #asked<Name extends BoxMethod>(name: Name): Box[Name] {
    const ask = (...args: unknown[]) => this.#call((box) => (box[name] as (...args: unknown[]) => Promise<unknown>)(...args));
    return ask as Box[Name];
  }

  async #call<Value>(call: (box: Remote<BoxMethods>) => Promise<Value>): Promise<Value> {
    if (this.#ended) throw new VreserveError('ENDING');
    const { calls } = this.#running ?? this.#start();
    return call(calls.other);
  }

  #start(): Running {
    const child = this.#fork();
    const calls = new Calls<BoxMethods>(child, NAME);
    const listener: BoxListener = {
      heard: (name) => this.#watching?.onName(name),
      watchFailed: (error) => this.#watching?.onError(errorOf(error)),
    };
    calls.answer(listener);
    const running = { child, calls };
    this.#running = running;
    child.on('error', (error) => this.#lose(running, error));
    child.on('exit', () => this.#lose(running, new VreserveError('PROCESS_GONE', { what: NAME })));
    return running;
  }

  #lose(running: Running, error: Error): void {
    if (this.#running !== running) return;
    this.#running = null;
    running.calls.end();
    if (!this.#ended) this.#watching?.onError(error);
  }
}
