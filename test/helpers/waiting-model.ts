// The waiting line as a slow and obvious model, written from the words of the design and never from the code: lists, searched from
// their beginning. Lots hold no files here, so that what a lot has left is its grant less the grants of the lots below it.

export interface ModelRequest {
  name: string;
  path: string;
  bytes: number;
  /** null: it waits for ever. */
  deadlineMs: number | null;
}

interface ModelLot {
  path: string;
  bytes: number;
  /** The lot around its path when it was made; null: none. */
  parent: string | null;
}

/** 'granted', or the code of the refusal. */
export type ModelDecision = string;

export class WaitingModel {
  readonly lots: ModelLot[] = [];
  /** In the order in which they came. */
  waiting: ModelRequest[] = [];
  readonly decisions = new Map<string, ModelDecision>();
  /** In their order, with the lot in whose line each had waited; null: the default lot. */
  readonly grants: { name: string; line: string | null }[] = [];
  nowMs: number;
  #decided = 0;
  readonly capacityBytes: number;
  readonly allowOvertaking: boolean;

  constructor(capacityBytes: number, allowOvertaking: boolean, nowMs: number) {
    this.capacityBytes = capacityBytes;
    this.allowOvertaking = allowOvertaking;
    this.nowMs = nowMs;
  }

  lot(path: string): ModelLot | undefined {
    return this.lots.find((lot) => lot.path === path);
  }

  /** The lot with the longest path above this one; null: the default lot. */
  around(path: string): string | null {
    const above = this.lots.filter((lot) => path.startsWith(`${lot.path}/`));
    above.sort((a, b) => b.path.length - a.path.length);
    return above[0]?.path ?? null;
  }

  line(around: string | null): ModelRequest[] {
    return this.waiting.filter(({ path }) => this.around(path) === around);
  }

  /** What can be given below the lot; null: in the pool. */
  available(parent: string | null): number {
    const total = parent === null ? this.capacityBytes : (this.lot(parent)?.bytes ?? 0);
    return this.lots.filter((lot) => lot.parent === parent).reduce((left, { bytes }) => left - bytes, total);
  }

  neverFits(path: string, bytes: number): boolean {
    for (let above = this.around(path); above !== null; above = this.lot(above)?.parent ?? null) {
      if (bytes > (this.lot(above)?.bytes ?? 0)) return true;
    }
    return bytes > this.capacityBytes;
  }

  /** Reserves or sets anew: 'granted', or the code; NO_SPACE: the bytes are not there now. */
  reserve(path: string, bytes: number): ModelDecision {
    const known = this.lot(path);
    const parent = known === undefined ? this.around(path) : known.parent;
    if (bytes - (known?.bytes ?? 0) > Math.max(0, this.available(parent))) return 'NO_SPACE';
    if (known === undefined) {
      this.lots.push({ path, bytes, parent });
      return 'granted';
    }
    const promised = this.lots.filter((lot) => lot.parent === path).reduce((sum, lot) => sum + lot.bytes, 0);
    if (bytes < promised) return 'BELOW_CHILDREN';
    known.bytes = bytes;
    return 'granted';
  }

  release(path: string): void {
    const gone = this.lot(path);
    if (gone === undefined) return;
    this.lots.splice(this.lots.indexOf(gone), 1);
    for (const lot of this.lots) if (lot.parent === path) lot.parent = gone.parent;
  }

  /** Into the line, or refused at once. */
  join(request: ModelRequest): void {
    if (this.neverFits(request.path, request.bytes)) this.decisions.set(request.name, 'NEVER_FITS');
    else this.waiting.push(request);
  }

  leave(name: string): void {
    this.waiting = this.waiting.filter((request) => request.name !== name);
  }

  /** Decides what can be decided now. */
  settle(): void {
    for (let before = -1; before !== this.#decided; ) {
      before = this.#decided;
      for (const request of [...this.waiting]) {
        if (this.neverFits(request.path, request.bytes)) this.#decide(request, 'NEVER_FITS');
      }
      for (const around of new Set(this.waiting.map(({ path }) => this.around(path)))) this.#serve(around);
      for (const request of [...this.waiting]) {
        if (request.deadlineMs !== null && request.deadlineMs <= this.nowMs) this.#decide(request, 'WAITED_FOR_NOTHING');
      }
    }
  }

  #serve(around: string | null): void {
    for (const request of this.line(around)) {
      // The lot around its path may be another by now: its own line is served later.
      if (this.around(request.path) !== around) continue;
      if (this.neverFits(request.path, request.bytes)) continue;
      const decision = this.reserve(request.path, request.bytes);
      if (decision === 'NO_SPACE') {
        if (this.allowOvertaking) continue;
        return;
      }
      if (decision === 'granted') this.grants.push({ name: request.name, line: around });
      this.#decide(request, decision);
    }
  }

  #decide(request: ModelRequest, decision: ModelDecision): void {
    this.leave(request.name);
    this.decisions.set(request.name, decision);
    this.#decided += 1;
  }
}
