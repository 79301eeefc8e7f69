// The one door of `vreserve/spool`.

export { asVreserveError, type ErrorCode, VreserveError } from '../core/errors.js';
export type { Content } from './atomic.js';
export type { CheckedOutEntry, Outcome } from './checked-out.js';
export type { DataFile } from './data-file.js';
export type { NameGenerator } from './enqueue.js';
export type { DirectAccess, Entry } from './entry.js';
export {
  bytesData,
  type DataCodec,
  type DataTools,
  jobsAtMost,
  type MetaCodec,
  type SpoolKind,
  type Throttle,
  textMeta,
} from './kind.js';
export {
  DEFAULT_ALERT_AFTER_CYCLES,
  DEFAULT_CHECK_EVERY_MS,
  DEFAULT_LIMITS,
  Monitor,
  type MonitorEvent,
  type MonitorLimits,
  type MonitorOptions,
} from './monitor.js';
export type { UniqueName } from './names.js';
export { type Problem, problemText } from './problems.js';
export type { EntryFunction, QueueReader, ReadOptions } from './reader.js';
export { Spool } from './spool.js';
