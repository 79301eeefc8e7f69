// A request that waits: what it leaves behind in the grant that ends its waiting.

import type { EventFields } from './events.js';

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
