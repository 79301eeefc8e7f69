// The public API: what programs may import from the package.

export { formatBytes, MAX_BYTES, parseBytes } from './core/bytes.js';
export { asVreserveError, ERRORS, type ErrorCode, type ErrorDetails, VreserveError } from './core/errors.js';
export type { EventName, JournalEvent } from './core/events.js';
export type { Lot, LotUsage, Policy } from './core/lot.js';
export type { DaemonSnapshot, LotSnapshot, PoolSnapshot, Snapshot } from './core/snapshot.js';
export type { LotJson } from './views/json.js';
