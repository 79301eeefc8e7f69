// States of a blob and the log of its transitions, with the words of go-storage-server (compat/store.md 2.3).

/** OK: whole and readable. Pending: being written. Failure: never readable, and collected soon. */
export type State = 'OK' | 'Pending' | 'Failure';

export interface Transition {
  state: State;
  message: string;
  atMs: number;
}

/** How many transitions are kept: the newest. */
export const KEPT_TRANSITIONS = 16;

type Phrase = Omit<Transition, 'atMs'>;

/** Where a phrase stands is what a record has of it: new ones go to the end. The first six are the original's. */
export const PHRASES = {
  created: { state: 'OK', message: 'Blob Created & Saved!' },
  updated: { state: 'OK', message: 'Blob Updated & Saved!' },
  starting: { state: 'Pending', message: 'Starting Data WR' },
  complete: { state: 'OK', message: 'Blob Data WR Complete!' },
  deleted: { state: 'Failure', message: 'Deleted!' },
  foundPending: { state: 'Failure', message: 'Found in Pending state during Restore - Deleting!' },
  lost: { state: 'Failure', message: 'The data is gone!' },
} as const satisfies Record<string, Phrase>;

const NUMBERED: readonly Phrase[] = Object.values(PHRASES);

/** `[atMs, n]` of a phrase, or `[atMs, state, message]`. */
type Written = [atMs: number, phrase: number] | [atMs: number, state: State, message: string];

/** The last of them, as one short text: what records and the memory hold of a blob's log. */
export function packTransitions(transitions: readonly Transition[]): string {
  return JSON.stringify(
    transitions.slice(-KEPT_TRANSITIONS).map(({ state, message, atMs }): Written => {
      const phrase = NUMBERED.findIndex((known) => known.message === message && known.state === state);
      return phrase < 0 ? [atMs, state, message] : [atMs, phrase];
    }),
  );
}

/** Oldest first. Throws SyntaxError where it is not what `packTransitions` makes. */
export function unpackTransitions(packed: string): Transition[] {
  return (JSON.parse(packed) as Written[]).map((written) => {
    if (written.length === 3) return { state: written[1], message: written[2], atMs: written[0] };
    const phrase = NUMBERED[written[1]];
    if (phrase === undefined) throw new SyntaxError(`no phrase has the number ${written[1]}`);
    return { ...phrase, atMs: written[0] };
  });
}

/** As the original writes it below a state: newest first, a line each, `2026-01-02T03:04:05+01:00 - OK - Blob Data WR Complete!`. */
export function renderLog(newestFirst: readonly Transition[]): string {
  return newestFirst.map(({ state, message, atMs }) => `${rfc3339(atMs)} - ${state} - ${message}\n`).join('');
}

/** Local time to the second, with `Z` where that is UTC, as Go's RFC3339. */
export function rfc3339(atMs: number): string {
  const at = new Date(atMs);
  const two = (n: number) => String(n).padStart(2, '0');
  const date = `${String(at.getFullYear()).padStart(4, '0')}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const east = -at.getTimezoneOffset();
  const apart = Math.abs(east);
  const zone = east === 0 ? 'Z' : `${east < 0 ? '-' : '+'}${two(Math.floor(apart / 60))}:${two(apart % 60)}`;
  return `${date}T${time}${zone}`;
}
