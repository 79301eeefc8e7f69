// What is told of an import of blobs from a go-storage-server.

export interface ImportReport {
  imported: number;
  importedBytes: number;
  /** Were there already, with the same bytes. */
  unchanged: number;
  /** What was not taken, by directory, and why. */
  skipped: { directory: string; name: string | null; reason: string }[];
}

export interface ImportProgress {
  doneBytes: number;
  allBytes: number;
}
