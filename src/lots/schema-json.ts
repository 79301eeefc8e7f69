// JSON as LotMan reads and prints it: errors with the line and column of its parser, output with sorted keys and no blanks.

import { VreserveError } from '../core/errors.js';

/** A tree of 500 directories within each other, with an array and an object for each. What is read is walked by recursion. */
const MAX_DEPTH = 1000;

/**
 * The value of a JSON text. Throws BAD_LOT_JSON where it is none, with the line and the column, from 1 and in bytes of UTF-8,
 * of the byte at which LotMan's parser gives up. As there, half a surrogate pair is an error, and a byte order mark is skipped.
 */
export function parseJson(text: string): unknown {
  new Scanner(text).check();
  return JSON.parse(text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text) as unknown;
}

const BYTE_ORDER_MARK = '\uFEFF';

/** What the scanner reads: marks, and kinds of values. 'end' is the end of the text. */
type Token = '{' | '}' | '[' | ']' | ':' | ',' | 'string' | 'number' | 'word' | 'end';

const WORDS = ['true', 'false', 'null'];

// Sticky: they match where the scanner stands. Plain letters stand for themselves in a string; half a surrogate pair is none.
const BLANKS = /[ \t\n\r]*/y;
const DIGITS = /[0-9]*/y;
const PLAIN = /[ !#-[\]-\u{d7ff}\u{e000}-\u{10ffff}]*/uy;

class Scanner {
  readonly #text: string;
  /** Index of the next letter. */
  #at: number;

  constructor(text: string) {
    this.#text = text;
    this.#at = text.startsWith(BYTE_ORDER_MARK) ? 1 : 0;
  }

  /** Returns where the text is one value and nothing else. Keeps its own stack: depth costs no calls. */
  check(): void {
    const open: ('{' | '[')[] = [];
    let token = this.#next();
    for (;;) {
      // A value begins with the token.
      if (open.length === MAX_DEPTH && (token === '{' || token === '[')) this.#fail(this.#at, 0, 'it is nested too deeply');
      if (token === '{') {
        token = this.#next();
        if (token !== '}') {
          this.#key(token);
          open.push('{');
          token = this.#next();
          continue;
        }
      } else if (token === '[') {
        token = this.#next();
        if (token !== ']') {
          open.push('[');
          continue;
        }
      } else if (token !== 'string' && token !== 'number' && token !== 'word') this.#unexpected(token, 'a value');
      // A value has ended, and with it perhaps those around it.
      for (;;) {
        const around = open.at(-1);
        token = this.#next();
        if (around === undefined) {
          if (token === 'end') return;
          this.#unexpected(token, 'the end');
        }
        if (token === ',') {
          if (around === '{') this.#key(this.#next());
          token = this.#next();
          break;
        }
        if (token !== (around === '{' ? '}' : ']')) this.#unexpected(token, around === '{' ? "',' or '}'" : "',' or ']'");
        open.pop();
      }
    }
  }

  #key(token: Token): void {
    if (token !== 'string') this.#unexpected(token, 'a name in quotes');
    const separator = this.#next();
    if (separator !== ':') this.#unexpected(separator, "':'");
  }

  #next(): Token {
    this.#skip(BLANKS);
    const letter = this.#text[this.#at];
    switch (letter) {
      case undefined:
        return 'end';
      case '{':
      case '}':
      case '[':
      case ']':
      case ':':
      case ',':
        this.#at++;
        return letter;
      case '"':
        return this.#string();
      default:
        return /[-0-9]/.test(letter) ? this.#number() : this.#word(letter);
    }
  }

  #string(): 'string' {
    for (this.#at++; ; this.#at++) {
      this.#skip(PLAIN);
      const letter = this.#text[this.#at];
      if (letter === '"') break;
      if (letter === undefined) this.#bad('a text that is not closed');
      if (letter !== '\\') this.#bad('a character that must be escaped');
      this.#at++;
      const escaped = this.#text[this.#at] ?? '';
      if (escaped === 'u') this.#unicode();
      else if (escaped === '' || !'"\\/bfnrt'.includes(escaped)) this.#bad('no escape');
    }
    this.#at++;
    return 'string';
  }

  /** From the u of a \u to the last of its digits, with those of the second half of a pair. */
  #unicode(): void {
    const first = this.#hex();
    if (/^d[c-f]/i.test(first)) this.#fail(this.#at + 1, 0, 'half a surrogate pair');
    if (!/^d[89ab]/i.test(first)) return;
    for (const letter of '\\u') {
      this.#at++;
      if (this.#text[this.#at] !== letter) this.#bad('half a surrogate pair');
    }
    if (!/^d[c-f]/i.test(this.#hex())) this.#fail(this.#at + 1, 0, 'half a surrogate pair');
  }

  #hex(): string {
    for (let digit = 0; digit < 4; digit++) {
      this.#at++;
      if (!/^[0-9a-f]$/i.test(this.#text[this.#at] ?? '')) this.#bad('no hexadecimal digit');
    }
    return this.#text.slice(this.#at - 3, this.#at + 1);
  }

  #number(): 'number' {
    if (this.#text[this.#at] === '-') this.#at++;
    if (this.#text[this.#at] === '0') this.#at++;
    else this.#digits();
    if (this.#text[this.#at] === '.') {
      this.#at++;
      this.#digits();
    }
    if (/^[eE]$/.test(this.#text[this.#at] ?? '')) {
      this.#at++;
      if (/^[-+]$/.test(this.#text[this.#at] ?? '')) this.#at++;
      this.#digits();
    }
    return 'number';
  }

  #digits(): void {
    if (this.#skip(DIGITS) === 0) this.#bad('no digit');
  }

  #word(first: string): 'word' {
    const word = WORDS.find((known) => known.startsWith(first));
    if (word === undefined) this.#bad('no value');
    for (const letter of word) {
      if (this.#text[this.#at] !== letter) this.#bad(`no ${word}`);
      this.#at++;
    }
    return 'word';
  }

  #skip(pattern: RegExp): number {
    pattern.lastIndex = this.#at;
    const length = pattern.exec(this.#text)?.[0].length ?? 0;
    this.#at += length;
    return length;
  }

  /** The letter at which the scanner stands cannot be there. */
  #bad(what: string): never {
    const letter = this.#text[this.#at];
    // The parser has read its first byte; after a line feed it counts the next line, from 0.
    if (letter === '\n') this.#fail(this.#at + 1, 0, what);
    this.#fail(this.#at, 1, letter === undefined ? `${what}, at the end of the text` : what);
  }

  /** The token that the scanner has just read cannot be there. */
  #unexpected(token: Token, expected: string): never {
    const reason = `found ${token === 'end' ? 'the end' : token.length === 1 ? `'${token}'` : `a ${token}`}, expected ${expected}`;
    // The end counts as one byte. A line feed behind a number was read and put back, and the column is that of the new line.
    const line = this.#text.slice(0, this.#at);
    if (token === 'number' && this.#text[this.#at] === '\n') throw badJson(countOf(line, '\n') + 1, 0, reason);
    this.#fail(this.#at, token === 'end' ? 1 : 0, reason);
  }

  #fail(end: number, more: number, reason: string): never {
    const read = this.#text.slice(0, end);
    const line = read.slice(read.lastIndexOf('\n') + 1);
    throw badJson(countOf(read, '\n') + 1, Buffer.byteLength(line) + more, reason);
  }
}

function countOf(text: string, part: string): number {
  return text.split(part).length - 1;
}

function badJson(line: number, column: number, reason: string): VreserveError {
  const where = `line ${line}, column ${column}`;
  return new VreserveError('BAD_LOT_JSON', { reason: `[json.exception.parse_error.101] parse error at ${where}: ${reason}` });
}

/** The value as JSON, as LotMan prints it: keys sorted bytewise, no blanks. A number that is whole has no fraction. */
export function dumpJson(value: unknown): string {
  if (typeof value === 'number') return dumpNumber(value);
  if (Array.isArray(value)) return `[${value.map(dumpJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const members = sortedEntries(value).map(([key, member]) => `${JSON.stringify(key)}:${dumpJson(member)}`);
  return `{${members.join(',')}}`;
}

/** The members of an object in the order in which LotMan visits them: by key, bytewise. */
export function sortedEntries(value: object): [string, unknown][] {
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  return entries.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Whole numbers as integers of 64 bits are; others with the fewest digits that tell them from their neighbours. */
function dumpNumber(value: number): string {
  if (!Number.isFinite(value)) return 'null';
  if (Number.isInteger(value) && value >= -(2 ** 63) && value < 2 ** 64) return String(BigInt(value));
  const [mantissa = '', power = ''] = Math.abs(value).toExponential().split('e');
  const digits = mantissa.replace('.', '');
  const exponent = Number(power);
  const sign = value < 0 ? '-' : '';
  if (exponent >= 0 && exponent < 15) return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`;
  if (exponent >= -4 && exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  return `${sign}${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
}
