// What the daemon and its service process ask of each other. All of it is plain data.

import type { ImportProgress, ImportReport } from '../core/blob-import.js';
import type { HttpAddress } from '../core/http-address.js';
import type { BlobFiles, StoreLotsHost } from '../core/store-files.js';
import type { HttpHost } from '../http/host.js';

export interface Listening {
  address: HttpAddress;
  /** Permission bits of a socket. */
  socketMode: number;
  /** null: none is asked for. */
  token: string | null;
}

/** The store of the mount. */
export interface StoreServing {
  readOnly: boolean;
  gcIntervalMs: number;
}

/** Of the service process. */
export interface ServiceMethods extends BlobFiles {
  /** Before `serve`, at most once: HTTP answers 503 until then. Returns where, with the port that the system chose. Throws HTTP_FAILED. */
  listen(listening: Listening): Promise<HttpAddress>;
  /** The mount is there; null: it has no store. Returns why the store is not served, null where nothing is wrong. */
  serve(store: StoreServing | null): Promise<string | null>;
  /** Takes the blobs of a go-storage-server's data directory into the store. */
  importBlobs(dir: string): Promise<ImportReport>;
  /** Takes no more, and lets go of the mount when what is under way is over, or that many ms later: then it is broken off. */
  finish(withinMs: number): Promise<void>;
}

/** Of the daemon. */
export interface DaemonMethods extends HttpHost, StoreLotsHost {
  /** Lines for its log. Told, not asked. */
  log(lines: string): void;
  /** Of the import that is under way. Told, not asked. */
  importProgress(progress: ImportProgress): void;
}
