// The one door of `vreserve/store`.

export { asVreserveError, type ErrorCode, VreserveError } from '../core/errors.js';
export type { Blob, NameStatus } from './blob.js';
export type { OpenBlob } from './reading.js';
export type { State, Transition } from './status.js';
export {
  type Listed,
  type ListOptions,
  Store,
  type StoreLog,
  type StoreOptions,
  type StoreStats,
  type UploadOptions,
} from './store.js';
export type { Upload, UploadKind } from './upload.js';
