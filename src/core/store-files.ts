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

/** A content that somebody writes. `upload` is its own for ever: of one whose store was opened anew since then, nothing is known. */
export interface BlobUpload {
  upload: string;
  path: string;
}

/** Paths are relative to the directory of the store. Rejections are VreserveErrors, or the system's. */
export interface BlobFiles {
  /** When the list of names was last changed: another time for another list. Unix milliseconds. */
  blobsChangedAtMs(): Promise<number>;
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
  commitBlob(upload: string): Promise<void>;
  /** Nothing of it stays. */
  failBlob(upload: string, reason: string): Promise<void>;
  /** Throws STORE_NO_BLOB, STORE_PENDING. */
  removeBlob(name: string): Promise<void>;
}

/** The same of files that have to be had first, at each call anew. */
export function blobFilesOf(files: () => Promise<BlobFiles>): BlobFiles {
  return {
    blobsChangedAtMs: async () => (await files()).blobsChangedAtMs(),
    lookAtBlob: async (name) => (await files()).lookAtBlob(name),
    logOfBlob: async (name) => (await files()).logOfBlob(name),
    blobNames: async (after) => (await files()).blobNames(after),
    openBlob: async (name) => (await files()).openBlob(name),
    beginBlob: async (name, how) => (await files()).beginBlob(name, how),
    commitBlob: async (upload) => (await files()).commitBlob(upload),
    failBlob: async (upload, reason) => (await files()).failBlob(upload, reason),
    removeBlob: async (name) => (await files()).removeBlob(name),
  };
}

/** What the store asks about lots: by their names, and by what it keeps of them. */
export interface StoreLotsHost {
  /** Throws NO_SUCH_LOT. */
  keptLot(name: string): Promise<string>;
  /** Names by what is kept; one that is gone is not among them. */
  lotNames(kept: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** The lot's directory in the store is there, and belongs to it from now on. */
  prepareStoreLot(kept: string): Promise<void>;
}
