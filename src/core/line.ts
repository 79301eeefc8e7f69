// The line of requests that wait for bytes. Those for paths in one lot wait in one line, first come, first served; lines of
// different lots do not wait for each other.

import type { LotId } from './lot.js';

/** What the order of a request depends on. */
export interface InLine {
  /** Grows with the order in which they came. */
  readonly seq: number;
  /** In whose line it waits: the lot around its path. */
  lot: LotId;
  /** null: it waits for ever. */
  readonly deadlineMs: number | null;
}

export class Line<Request extends InLine> {
  readonly #lines = new Map<LotId, Request[]>();
  readonly #all = new Map<number, Request>();

  get size(): number {
    return this.#all.size;
  }

  /** In the order in which they came, whatever the line. */
  all(): Request[] {
    return inOrder([...this.#all.values()]);
  }

  /** Those of which it is true, in the same order. */
  filter(isMeant: (request: Request) => boolean): Request[] {
    return inOrder([...this.#all.values()].filter(isMeant));
  }

  get(seq: number): Request | undefined {
    return this.#all.get(seq);
  }

  /** Takes its place by its `seq`. */
  add(request: Request): void {
    this.#all.set(request.seq, request);
    const line = this.#lines.get(request.lot) ?? [];
    this.#lines.set(request.lot, line);
    let at = line.length;
    while (at > 0 && (line[at - 1]?.seq ?? 0) > request.seq) at -= 1;
    line.splice(at, 0, request);
  }

  remove(request: Request): void {
    if (!this.#all.delete(request.seq)) return;
    const line = this.#lines.get(request.lot) ?? [];
    line.splice(indexIn(line, request.seq), 1);
    if (line.length === 0) this.#lines.delete(request.lot);
  }

  /** The lot around its path is another now: it takes its place in that line. */
  move(request: Request, lot: LotId): void {
    this.remove(request);
    request.lot = lot;
    this.add(request);
  }

  /** Lots that have a line. */
  lots(): LotId[] {
    return [...this.#lines.keys()];
  }

  /** The line of a lot, its head first. */
  of(lot: LotId): readonly Request[] {
    return this.#lines.get(lot) ?? [];
  }

  /** How many wait before it, and 1. */
  position(request: Request): number {
    return indexIn(this.of(request.lot), request.seq) + 1;
  }

  /** Those whose deadline has come. */
  overdue(nowMs: number): Request[] {
    return this.filter(({ deadlineMs }) => deadlineMs !== null && deadlineMs <= nowMs);
  }
}

function inOrder<Request extends InLine>(requests: Request[]): Request[] {
  return requests.sort((a, b) => a.seq - b.seq);
}

/** Where the `seq` is in a line, which is in their order. */
function indexIn(line: readonly InLine[], seq: number): number {
  let low = 0;
  for (let high = line.length; low < high; ) {
    const middle = (low + high) >> 1;
    if ((line[middle]?.seq ?? 0) < seq) low = middle + 1;
    else high = middle;
  }
  return low;
}
