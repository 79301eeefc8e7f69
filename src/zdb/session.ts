// One connection: what it may do, and its commands and answers in their order.

import type { Socket } from 'node:net';
import type { Namespace } from './namespace.js';
import { failure, Malformed, RespReader } from './resp.js';
import type { Asker, Turn, Write } from './turn.js';

/** Answers that were not taken yet: beyond it nothing more is read. */
const MOST_UNSENT_BYTES = 1024 * 1024;

/** Answers are put together where they are no longer than this. */
const MOST_JOINED_BYTES = 64 * 1024;

/** A command that was run: its answer, or a promise of it. */
export type Answer = Buffer | Promise<Buffer>;

export interface SessionParts {
  socket: Socket;
  turn: Turn;
  namespace: Namespace;
  isAdmin: boolean;
  isWritable: boolean;
  /** Runs one command. */
  run: (session: Session, args: Buffer[]) => Answer;
  /** So much more is kept of it, or less. False: it is too much for all. */
  onHeld: (moreBytes: number) => boolean;
}

export class Session implements Asker {
  readonly #parts: SessionParts;
  readonly #reader = new RespReader();
  #answers: Buffer[] = [];
  #answersBytes = 0;
  #heldBytes = 0;
  /** A command is under way that takes its time. */
  #isBusy = false;
  #isHeld = false;
  #isPaused = false;
  /** It sends no more. */
  #isLast = false;
  #endingSinceMs: number | null = null;
  namespace: Namespace;
  isAdmin: boolean;
  isWritable: boolean;
  /** Of the challenge that was asked for last. */
  nonce: string | null = null;
  /** When something came, by `performance.now`. */
  activeAtMs = performance.now();
  /** The command that was run last, where it changed something. */
  write: Pick<Write, 'namespace' | 'again'> | null = null;
  /** Ends a command that waits, where the connection ends. */
  onEnd: () => void = () => {};

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.namespace = parts.namespace;
    this.isAdmin = parts.isAdmin;
    this.isWritable = parts.isWritable;
    const { socket } = parts;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('drain', () => this.#drained());
    // Who has gone is told nothing.
    socket.on('error', () => {});
    socket.on('end', () => this.#stop());
    socket.on('close', () => this.#closed());
  }

  /** Half a command came, and nothing behind it. */
  get isStuck(): boolean {
    return !this.#isBusy && !this.#isHeld && !this.#isPaused && this.#reader.isWaiting;
  }

  /** Since when it only waits for the other side to go, by `performance.now`; null: it does not. */
  get endingSinceMs(): number | null {
    return this.#endingSinceMs;
  }

  /** After its answers have gone, nothing more is taken from it. */
  end(): void {
    this.#endingSinceMs ??= performance.now();
  }

  destroy(): void {
    this.#parts.socket.destroy();
  }

  get #isEnding(): boolean {
    return this.#endingSinceMs !== null;
  }

  #take(chunk: Buffer): void {
    this.activeAtMs = performance.now();
    // What follows what is not understood is read, and thrown away, so that the answer to it arrives.
    if (this.#isEnding) return;
    this.#reader.push(chunk);
    this.#run();
  }

  #run(): void {
    while (!this.#isBusy && !this.#isHeld && !this.#isEnding) {
      if (this.#answersBytes > MOST_UNSENT_BYTES) {
        this.#pause();
        break;
      }
      const command = this.#reader.next();
      if (command === null) {
        if (this.#isLast) this.#finish();
        break;
      }
      if (command instanceof Malformed) {
        this.#answer(failure(command.text));
        if (command.isOver) this.end();
        continue;
      }
      const answer = this.#parts.run(this, command);
      if (answer instanceof Promise) this.#wait(answer);
      else this.#answer(answer);
    }
    const heldBytes = this.#reader.heldBytes;
    if (heldBytes === this.#heldBytes) return;
    const isFine = this.#parts.onHeld(heldBytes - this.#heldBytes);
    this.#heldBytes = heldBytes;
    if (isFine || this.#isEnding) return;
    this.#answer(failure('Too much is being sent at the same time'));
    this.end();
  }

  #wait(answer: Promise<Buffer>): void {
    this.#isBusy = true;
    const { socket } = this.#parts;
    const go = (answered: Buffer) => {
      this.#isBusy = false;
      this.onEnd = () => {};
      if (socket.destroyed) return;
      this.#answer(answered);
      this.#run();
    };
    answer.then(go, () => go(failure('Internal Error')));
  }

  #answer(answer: Buffer): void {
    this.#answers.push(answer);
    this.#answersBytes += answer.length;
    const { turn } = this.#parts;
    turn.join(this);
    if (this.write === null) return;
    const slot = this.#answers.length - 1;
    const { namespace, again } = this.write;
    turn.wrote(this, { namespace, again, answer: (other) => this.#correct(slot, other) });
    this.write = null;
  }

  #correct(slot: number, answer: Buffer): void {
    this.#answersBytes += answer.length - (this.#answers[slot]?.length ?? 0);
    this.#answers[slot] = answer;
  }

  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.send();
  }

  send(): void {
    if (this.#isHeld) return;
    const { socket } = this.#parts;
    const answers = this.#answers;
    const bytes = this.#answersBytes;
    this.#answers = [];
    this.#answersBytes = 0;
    const [first] = answers;
    if (first !== undefined && !socket.destroyed) {
      if (answers.length === 1) socket.write(first);
      else if (bytes <= MOST_JOINED_BYTES) socket.write(Buffer.concat(answers, bytes));
      else {
        socket.cork();
        for (const answer of answers) socket.write(answer);
        socket.uncork();
      }
    }
    if (this.#isEnding) {
      socket.end();
      return;
    }
    if (socket.writableLength > MOST_UNSENT_BYTES) this.#pause();
    else if (this.#isPaused && !socket.writableNeedDrain) this.#drained();
    else if (this.#reader.isWaiting && !this.#isPaused) this.#run();
  }

  #pause(): void {
    this.#isPaused = true;
    this.#parts.socket.pause();
  }

  #drained(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#parts.socket.resume();
    this.#run();
  }

  /** It sends no more; what it has sent is done, and it is told. */
  #stop(): void {
    this.#isLast = true;
    this.#run();
  }

  #finish(): void {
    this.end();
    if (this.#answers.length === 0) this.#parts.socket.end();
  }

  #closed(): void {
    this.end();
    this.#parts.onHeld(-this.#heldBytes);
    this.#heldBytes = 0;
    this.onEnd();
  }
}
