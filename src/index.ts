// The public API: what programs may import from the package.

export type { PastOptions } from './client/lot-calls.js';
export { Lots, type LotsContext, type LotsOptions } from './client/lots.js';
export { formatBytes, MAX_BYTES, parseBytes } from './core/bytes.js';
export { asVreserveError, ERRORS, type ErrorCode, type ErrorDetails, VreserveError } from './core/errors.js';
export type { EventName, JournalEvent } from './core/events.js';
export type { Lot, LotUsage, Policy } from './core/lot.js';
export type { LotSnapshot } from './core/lots-seen.js';
export type { DaemonSnapshot, PoolSnapshot, Snapshot } from './core/snapshot.js';
export type { LotAsJson, UsagePartJson } from './lots/queries.js';
export type * from './lots/schema.js';
export type { DirJson } from './lots/wire.js';
export type { LotJson } from './views/json.js';
