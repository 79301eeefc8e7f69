// What the daemon and its service process ask of each other. All of it is plain data.

import type { ImportProgress, ImportReport } from '../core/blob-import.js';
import type { HttpAddress } from '../core/http-address.js';
import type { BlobFiles, StoreLotsHost } from '../core/store-files.js';
import type { HttpHost } from '../http/host.js';
import type { SpaceDirectories } from '../spaces/host.js';
import type { VolumeHost } from '../volumes/host.js';

export interface Listening {
  address: HttpAddress;
  /** Permission bits of a socket. */
  socketMode: number;
  /** null: none is asked for. */
  token: string | null;
}

/** Where to listen; null: nowhere. */
export interface Sockets {
  http: Listening | null;
  /** Path of the socket for container engines. */
  volumePlugin: string | null;
}

/** What the mount has. */
export interface Serving {
  readOnly: boolean;
  /** null: no store. */
  store: { gcIntervalMs: number } | null;
}

/** Of the service process. */
export interface ServiceMethods extends BlobFiles, SpaceDirectories {
  /** Before `serve`, at most once: 503 until then. Returns where HTTP is, with the port that the system chose. Throws HTTP_FAILED. */
  listen(sockets: Sockets): Promise<HttpAddress | null>;
  /** The mount is there. Returns what of it cannot be served, and why, one sentence each. */
  serve(serving: Serving): Promise<string[]>;
  /** Takes the blobs of a go-storage-server's data directory into the store. */
  importBlobs(dir: string): Promise<ImportReport>;
  /** Takes no more, and lets go of the mount when what is under way is over, or that many ms later: then it is broken off. */
  finish(withinMs: number): Promise<void>;
}

/** Of the daemon. */
export interface DaemonMethods extends HttpHost, StoreLotsHost, VolumeHost {
  /** Lines for its log. Told, not asked. */
  log(lines: string): void;
  /** Of the import that is under way. Told, not asked. */
  importProgress(progress: ImportProgress): void;
}
