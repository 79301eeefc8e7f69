// The store as files, as the store offers it and the view of it asks for it.

/** What is read under a name; of one that is only on its way there are no bytes yet. */
export interface BlobFile {
  state: 'OK' | 'Pending';
  sizeBytes: number;
  modifiedAtMs: number;
  /** '' where it is not known yet. */
  contentType: string;
}

/** `new`: the name must be free; `empty`: in place of what it has; `copy`: that comes first. */
export type BlobBegin = 'new' | 'empty' | 'copy';

/** A content that somebody writes, by the number of its upload. */
export interface BlobUpload {
  upload: number;
  path: string;
}

/** Paths are relative to the directory of the store. Rejections are VreserveErrors, or the system's. */
export interface BlobFiles {
  /** null: there is no such file. What has failed is none. */
  lookAtBlob(name: string): Promise<BlobFile | null>;
  /** What became of the name, a line each, newest first; null: nothing is known of it. */
  logOfBlob(name: string): Promise<string | null>;
  /** In bytewise order behind `after`; `next` is where to go on. */
  blobNames(after: string | null): Promise<{ names: string[]; next: string | null }>;
  /** Where the content is. Throws STORE_NO_BLOB, STORE_PENDING. */
  openBlob(name: string): Promise<string>;
  /** A file to write. Throws STORE_EXISTS, STORE_BAD_NAME, STORE_FULL, READ_ONLY. */
  beginBlob(name: string, how: BlobBegin): Promise<BlobUpload>;
  /** What is in the file is what the name has, durably. Throws as the store's uploads do; nothing of it stays then. */
  commitBlob(upload: number): Promise<void>;
  /** Nothing of it stays. */
  failBlob(upload: number, reason: string): Promise<void>;
  /** Throws STORE_NO_BLOB, STORE_PENDING. */
  removeBlob(name: string): Promise<void>;
}
