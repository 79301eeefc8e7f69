// The one door of `vreserve/client`.

export { asVreserveError, type ErrorCode, type ErrorDetails, VreserveError } from '../core/errors.js';
export type { LotAsJson, UsagePartJson } from '../lots/queries.js';
export type * from '../lots/schema.js';
export type { DirJson } from '../lots/wire.js';
export type { LotJson, Report, WaitingJson } from '../views/json.js';
export type { BlobSource } from './blob-body.js';
export { type Bytes, type ClientOptions, type ReserveOptions, VreserveClient } from './client.js';
export type {
  FamilyOptions,
  LotCaller,
  LotFunctions,
  PastOptions,
  RecursiveOptions,
  RemoveLotOptions,
  UsageOptions,
} from './lot-calls.js';
export type { CallOptions } from './stop.js';
export type { BlobStore, BlobStream, ChangeOptions, ListOptions, ReadOptions, UploadOptions } from './store.js';
export type { BlobEntry, BlobInfo, StoredBlob } from './transport.js';
