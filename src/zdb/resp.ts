// RESP as 0-db speaks it: commands out of what arrives piece by piece, and answers as bytes.

/** Of one command, its name included. */
const MOST_ARGUMENTS = 1024;

/** Of one argument, in bytes. */
export const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024;

/** Of all arguments of one command: a value and what belongs to it. */
const MAX_COMMAND_BYTES = MAX_PAYLOAD_BYTES + 1024 * 1024;

/** A line that says how many, or how long: `*`, digits, and what ends it. */
const MAX_LINE_BYTES = 24;

const CR = 0x0d;
const LF = 0x0a;
const STAR = 0x2a;
const DOLLAR = 0x24;
const ZERO = 0x30;
const NOTHING = Buffer.alloc(0);

/** What is not understood: `isOver` says that nothing behind it can be understood, either. */
export class Malformed {
  constructor(
    readonly text: string,
    readonly isOver: boolean,
  ) {}
}

/**
 * Reads one connection. Arguments that came whole are slices of what came; only one that came in pieces is copied. A command
 * that is too large is told of at once and passed over without being kept, whatever it announces.
 */
export class RespReader {
  #chunk: Buffer = NOTHING;
  #at = 0;
  /** Arguments that the current command still lacks. */
  #missing = 0;
  #args: Buffer[] = [];
  #argsBytes = 0;
  /** Of the argument that is being read, with its end of line; -1: a line comes next. */
  #wanted = -1;
  /** What of it came in pieces. */
  #partial: Buffer = NOTHING;
  #filled = 0;
  /** The current command was told of already. */
  #isRefused = false;

  /** What has come; all that came before must have been read. */
  push(chunk: Buffer): void {
    const isRead = this.#at === this.#chunk.length;
    this.#chunk = isRead ? chunk : Buffer.concat([this.#chunk.subarray(this.#at), chunk]);
    this.#at = 0;
  }

  /** Half a command is here. */
  get isWaiting(): boolean {
    return this.#missing > 0 || this.#at < this.#chunk.length;
  }

  /** Bytes that it keeps until the command is whole. */
  get heldBytes(): number {
    return this.#argsBytes + this.#partial.length;
  }

  /** The next command, or what is wrong with it; null: more must come first. */
  next(): Buffer[] | Malformed | null {
    for (;;) {
      if (this.#wanted >= 0) {
        const wrong = this.#readArgument();
        if (wrong === undefined) return null;
        if (wrong !== null) return wrong;
        if (this.#missing > 0) continue;
        const args = this.#args;
        this.#args = [];
        this.#argsBytes = 0;
        if (this.#isRefused) this.#isRefused = false;
        else return args;
        continue;
      }
      const number = this.#readLine(this.#missing === 0 ? STAR : DOLLAR);
      if (number === null) return null;
      if (number instanceof Malformed) return number;
      if (this.#missing === 0) {
        if (number === 0) return new Malformed('Malformed request, empty command', false);
        this.#missing = number;
        if (number > MOST_ARGUMENTS) return this.#refuse('Too many arguments');
        continue;
      }
      this.#wanted = number + 2;
      if (this.#isRefused) continue;
      if (number > MAX_PAYLOAD_BYTES || this.#argsBytes + number > MAX_COMMAND_BYTES) return this.#refuse('Payload too big');
    }
  }

  /** What follows of the command is passed over. */
  #refuse(text: string): Malformed {
    this.#isRefused = true;
    this.#args = [];
    this.#argsBytes = 0;
    return new Malformed(text, false);
  }

  /** null: the argument is there; undefined: more must come first. */
  #readArgument(): Malformed | null | undefined {
    const chunk = this.#chunk;
    const have = chunk.length - this.#at;
    if (this.#isRefused) {
      const skipped = Math.min(have, this.#wanted);
      this.#at += skipped;
      this.#wanted -= skipped;
      if (this.#wanted > 0) return undefined;
      return this.#took(null);
    }
    if (this.#filled === 0 && have >= this.#wanted) {
      const end = this.#at + this.#wanted;
      const argument = chunk.subarray(this.#at, end - 2);
      const isEnded = chunk[end - 2] === CR && chunk[end - 1] === LF;
      this.#at = end;
      return isEnded ? this.#took(argument) : broken();
    }
    const taken = Math.min(have, this.#wanted - this.#filled);
    if (this.#filled + taken > this.#partial.length) this.#grow(this.#filled + taken);
    chunk.copy(this.#partial, this.#filled, this.#at, this.#at + taken);
    this.#at += taken;
    this.#filled += taken;
    if (this.#filled < this.#wanted) return undefined;
    const whole = this.#partial;
    const length = this.#wanted - 2;
    this.#partial = NOTHING;
    this.#filled = 0;
    return whole[length] === CR && whole[length + 1] === LF ? this.#took(whole.subarray(0, length)) : broken();
  }

  /** What is announced need not come: room is made for what is there, twice as much each time. */
  #grow(least: number): void {
    const grown = Buffer.allocUnsafe(Math.min(this.#wanted, Math.max(least, 2 * this.#partial.length)));
    this.#partial.copy(grown, 0, 0, this.#filled);
    this.#partial = grown;
  }

  #took(argument: Buffer | null): null {
    this.#wanted = -1;
    this.#missing -= 1;
    if (argument !== null) {
      this.#args.push(argument);
      this.#argsBytes += argument.length;
    }
    return null;
  }

  /** The number of a line that begins with `mark`; null: not all of it is here. */
  #readLine(mark: number): number | Malformed | null {
    const chunk = this.#chunk;
    const length = chunk.length;
    let at = this.#at;
    if (at === length) return null;
    if (chunk[at] !== mark) return notAnArray(mark);
    let number = 0;
    let digits = 0;
    for (at += 1; at < length; at++) {
      const digit = (chunk[at] ?? 0) - ZERO;
      if (digit < 0 || digit > 9) break;
      number = number * 10 + digit;
      digits += 1;
    }
    if (at + 1 >= length) return length - this.#at > MAX_LINE_BYTES ? badNumber() : null;
    if (digits === 0 || digits > 15 || chunk[at] !== CR || chunk[at + 1] !== LF) return badNumber();
    this.#at = at + 2;
    return number;
  }
}

function notAnArray(mark: number): Malformed {
  return new Malformed(mark === STAR ? 'Malformed request, array expected' : 'Malformed request, string expected', true);
}

function badNumber(): Malformed {
  return new Malformed('Malformed request, invalid length', true);
}

function broken(): Malformed {
  return new Malformed('Malformed request, a string does not end where it should', true);
}

export const OK = Buffer.from('+OK\r\n');
export const NIL = Buffer.from('$-1\r\n');

/** `text` has no line break. */
export function status(text: string): Buffer {
  return Buffer.from(`+${text}\r\n`);
}

/** `text` has no line break. */
export function failure(text: string): Buffer {
  return Buffer.from(`-${text}\r\n`);
}

const SMALL: Buffer[] = Array.from({ length: 16 }, (_, n) => Buffer.from(`:${n}\r\n`));

export function integer(value: number | bigint): Buffer {
  return SMALL[Number(value)] ?? Buffer.from(`:${value}\r\n`, 'latin1');
}

export function bulk(data: Buffer): Buffer {
  const answer = bulkOf(data.length);
  data.copy(answer, answer.length - data.length - 2);
  return answer;
}

export function bulkText(text: string): Buffer {
  return bulk(Buffer.from(text));
}

/** An answer of so many bytes, which are still to be filled in: they are the last but the two of the line break. */
export function bulkOf(length: number): Buffer {
  const head = `$${length}\r\n`;
  const answer = Buffer.allocUnsafe(head.length + length + 2);
  answer.write(head, 0, 'latin1');
  answer[answer.length - 2] = CR;
  answer[answer.length - 1] = LF;
  return answer;
}

/** Of answers. */
export function array(items: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from(`*${items.length}\r\n`), ...items]);
}
