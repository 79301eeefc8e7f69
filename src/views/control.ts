// An open `control`: lines in, one JSON object a command out.

import { asVreserveError, VreserveError } from '../core/errors.js';
import { commandName, parseControlLine } from './command-line.js';
import { refusalJson } from './json.js';
import type { OpenFile } from './open-file.js';
import type { RunCommand } from './run.js';

/** The longest line. */
export const MAX_LINE_BYTES = 1024 * 1024;

/** Replies that nobody reads are dropped beyond this, oldest first; the last one stays. */
const MAX_REPLY_BYTES = 1024 * 1024;

const NEWLINE = 0x0a;

/**
 * The lines of a write run in order, and stop at the first that fails: the write then fails with its errno, and what
 * follows in the same write is dropped. A last line without a newline waits for the next write, or runs at the flush.
 * Reading takes replies away, wherever in the file it is done.
 */
export class ControlFile implements OpenFile {
  readonly #run: RunCommand;
  #partial: Buffer = Buffer.alloc(0);
  /** The rest of a line that was too long is passed over. */
  #skipping = false;
  #replies: Buffer[] = [];
  #replyBytes = 0;
  /** Writes and flushes of one open file run one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(run: RunCommand) {
    this.#run = run;
  }

  async read(_offsetBytes: number, lengthBytes: number): Promise<Buffer> {
    const all = Buffer.concat(this.#replies);
    const taken = all.subarray(0, lengthBytes);
    const rest = all.subarray(taken.length);
    this.#replies = rest.length > 0 ? [rest] : [];
    this.#replyBytes = rest.length;
    return taken;
  }

  write(data: Buffer, signal: AbortSignal): Promise<number> {
    return this.#inTurn(async () => {
      await this.#take(data, signal);
      return data.length;
    });
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      const line = this.#partial;
      this.#partial = Buffer.alloc(0);
      this.#skipping = false;
      if (line.length > 0) await this.#runLine(line, signal);
    });
  }

  release(): void {
    this.#replies = [];
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work);
    this.#last = next.catch(() => {});
    return next;
  }

  async #take(data: Buffer, signal: AbortSignal): Promise<void> {
    let rest = data;
    if (this.#skipping) {
      const end = rest.indexOf(NEWLINE);
      if (end < 0) throw this.#refuse(tooLong());
      this.#skipping = false;
      rest = rest.subarray(end + 1);
    }
    while (rest.length > 0) {
      const end = rest.indexOf(NEWLINE);
      const piece = end < 0 ? rest : rest.subarray(0, end);
      if (this.#partial.length + piece.length > MAX_LINE_BYTES) {
        this.#partial = Buffer.alloc(0);
        this.#skipping = end < 0;
        throw this.#refuse(tooLong());
      }
      const line = Buffer.concat([this.#partial, piece]);
      this.#partial = end < 0 ? line : Buffer.alloc(0);
      if (end < 0) return;
      rest = rest.subarray(end + 1);
      await this.#runLine(line, signal);
    }
  }

  async #runLine(bytes: Buffer, signal: AbortSignal): Promise<void> {
    let line: string;
    try {
      line = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      throw this.#refuse(new VreserveError('BAD_COMMAND', { reason: 'the line is not UTF-8' }));
    }
    try {
      const command = parseControlLine(line);
      if (command !== null) this.#reply(await this.#run(command, (value) => this.#reply(value), signal));
    } catch (error) {
      const known = asVreserveError(error);
      const refusal = this.#refuse(known, commandName(line));
      throw known.code === 'INTERNAL' ? error : refusal;
    }
  }

  #refuse(error: VreserveError, cmd: string | null = null): VreserveError {
    this.#reply(refusalJson(error, cmd));
    return error;
  }

  #reply(value: object): void {
    const line = Buffer.from(`${JSON.stringify(value)}\n`);
    this.#replies.push(line);
    this.#replyBytes += line.length;
    while (this.#replyBytes > MAX_REPLY_BYTES && this.#replies.length > 1) {
      this.#replyBytes -= this.#replies.shift()?.length ?? 0;
    }
  }
}

function tooLong(): VreserveError {
  return new VreserveError('BAD_COMMAND', { reason: `the line has more than ${MAX_LINE_BYTES} bytes` });
}
