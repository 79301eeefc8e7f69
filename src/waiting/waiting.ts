// A request in the line, and the two texts that the ledger keeps of it.

import type { VreserveError } from '../core/errors.js';
import type { InLine } from '../core/line.js';
import type { Lot, LotId } from '../core/lot.js';
import type { WaitingRow } from '../core/waiting.js';
import type { By } from '../views/host.js';
import type { FileOwner } from './box.js';
import type { Asked } from './request.js';

/** Who waits for the answer to a command. */
export interface Listener {
  granted(lot: Lot): void;
  refused(error: unknown): void;
}

export interface Waiting extends InLine {
  readonly name: string;
  readonly askedAtMs: number;
  readonly asked: Asked;
  /** The metadata of its entry. */
  readonly text: string;
  readonly by: By;
  /** Of the entry. */
  readonly owner: FileOwner;
  /** Where the path is in the mount. */
  readonly at: string;
  /** Where bytes were missing when it was tried last: how many, and in words; null: not tried yet. */
  missing: { bytes: number; where: string } | null;
  /** It is to be judged again: it came into the line of another lot, or from an earlier daemon. */
  isMoved: boolean;
  /** It is being decided, or taken out: nobody else touches it. */
  busy: boolean;
  /** Its asker has gone. */
  left: VreserveError | null;
  listener: Listener | null;
}

/** The state of a request that nobody listens to. */
export const FRESH = { missing: null, isMoved: false, busy: false, left: null, listener: null } as const;

/** What the ledger is to keep. */
export function recordOf(waiting: Omit<Waiting, 'seq' | 'lot'>): Omit<WaitingRow, 'seq' | 'outcome'> {
  const { name, askedAtMs, deadlineMs, asked, text, by, owner, at } = waiting;
  return { name, askedAtMs, deadlineMs, asked: JSON.stringify({ ...asked, text }), asker: JSON.stringify({ by, owner, at }) };
}

/** The reverse. `around`: the lot around a path of the mount. */
export function waitingOf(row: WaitingRow, around: (path: string) => LotId): Waiting {
  const { seq, name, askedAtMs, deadlineMs } = row;
  const { text, ...asked } = JSON.parse(row.asked) as Asked & { text: string };
  const asker = JSON.parse(row.asker) as Pick<Waiting, 'by' | 'owner' | 'at'>;
  const state = { ...FRESH, isMoved: true };
  return { seq, name, askedAtMs, deadlineMs, text, asked, ...asker, lot: around(asker.at), ...state };
}
