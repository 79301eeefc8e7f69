// The names of a store in bytewise order: found, put in and taken out fast, however many there are.

import { compareBytes } from '../core/bytes.js';

/** A part is halved when it has so many. */
const MOST_IN_PART = 1024;

/** A sorted list in parts, so that putting one in moves few. */
export class SortedNames {
  #parts: string[][] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** False where it is in already. */
  add(name: string): boolean {
    if (this.#parts.length === 0) this.#parts.push([]);
    const at = this.#partOf(name);
    const part = this.#parts[at] ?? [];
    const place = firstNotBelow(part, name);
    if (part[place] === name) return false;
    part.splice(place, 0, name);
    this.#count += 1;
    if (part.length > MOST_IN_PART) this.#parts.splice(at, 1, part.slice(0, part.length / 2), part.slice(part.length / 2));
    return true;
  }

  remove(name: string): void {
    const at = this.#partOf(name);
    const part = this.#parts[at];
    if (part === undefined) return;
    const place = firstNotBelow(part, name);
    if (part[place] !== name) return;
    part.splice(place, 1);
    this.#count -= 1;
    if (part.length === 0) this.#parts.splice(at, 1);
  }

  /** In order, those after the name; all of them after null. The list may change meanwhile. */
  *after(name: string | null): Generator<string> {
    let last = name;
    for (;;) {
      const part = this.#parts[last === null ? 0 : this.#partOf(last)] ?? [];
      const from = last === null ? 0 : firstAbove(part, last);
      // The last one of its part: the next part begins with what comes next.
      const next = from < part.length ? part[from] : this.#firstAfter(last);
      if (next === undefined) return;
      yield next;
      last = next;
    }
  }

  #firstAfter(name: string | null): string | undefined {
    if (name === null) return undefined;
    return this.#parts[this.#partOf(name) + 1]?.[0];
  }

  /** The last part that begins at or before the name; the first where none does. */
  #partOf(name: string): number {
    let low = 0;
    let high = this.#parts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (compareBytes(this.#parts[middle]?.[0] ?? '', name) <= 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function firstNotBelow(part: readonly string[], name: string): number {
  return search(part, (other) => compareBytes(other, name) >= 0);
}

function firstAbove(part: readonly string[], name: string): number {
  return search(part, (other) => compareBytes(other, name) > 0);
}

function search(part: readonly string[], isFar: (name: string) => boolean): number {
  let low = 0;
  let high = part.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isFar(part[middle] ?? '')) high = middle;
    else low = middle + 1;
  }
  return low;
}
