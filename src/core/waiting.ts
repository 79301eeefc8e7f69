// A request that waits: as it is recorded, and what it leaves behind in the grant that ends its waiting.

import type { EventFields } from './events.js';

/** A request that waits for bytes. `asked`, `asker` and `outcome` are JSON of whoever keeps the line. */
export interface WaitingRow {
  /** Grows with the order in which they came. */
  seq: number;
  /** Of its entry in the spool. */
  name: string;
  askedAtMs: number;
  /** null: it waits for ever. */
  deadlineMs: number | null;
  asked: string;
  asker: string;
  /** null: not decided yet. */
  outcome: string | null;
}

/** A request by its number in the line, and how it was decided (JSON); null: not decided after all. */
export interface Settled {
  seq: number;
  outcome: string | null;
}

/** What a grant does for a request that waited, so that it is decided once. */
export interface Claim {
  /** Takes the request out of its asker's hands, just before the grant is recorded. Throws where it was withdrawn: then nothing is changed. */
  take(): Promise<void>;
  /** Recorded in the same transaction as the grant. */
  settled: Settled;
  /** Added to the journal's line. */
  fields: EventFields;
}
