// What the daemon and its service process ask of each other. All of it is plain data.

import type { ImportProgress, ImportReport } from '../core/blob-import.js';
import type { HttpAddress } from '../core/http-address.js';
import type { NamespaceLots, Namespaces } from '../core/namespace-layout.js';
import type { BlobFiles, StoreLotsHost } from '../core/store-files.js';
import type { HttpHost } from '../http/host.js';
import type { SpaceDirectories } from '../spaces/host.js';
import type { VolumeHost } from '../volumes/host.js';
import type { ZdbOptions } from '../zdb/server.js';

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
  /** For clients of namespaces. */
  zdb: ZdbOptions | null;
}

/** Where it listens, with the ports that the system chose; null: nowhere. */
export interface Listened {
  http: HttpAddress | null;
  zdb: HttpAddress | null;
}

/** What the mount has. */
export interface Serving {
  readOnly: boolean;
  /** null: no store. */
  store: { gcIntervalMs: number } | null;
  namespaces: boolean;
}

/** Of the service process. */
export interface ServiceMethods extends BlobFiles, SpaceDirectories, Namespaces {
  /** Before `serve`, at most once: 503 until then. Throws HTTP_FAILED, ZDB_FAILED. */
  listen(sockets: Sockets): Promise<Listened>;
  /** The mount is there. Returns what of it cannot be served, and why, one sentence each. */
  serve(serving: Serving): Promise<string[]>;
  /** Takes the blobs of a go-storage-server's data directory into the store. */
  importBlobs(dir: string): Promise<ImportReport>;
  /** Takes no more, and lets go of the mount when what is under way is over, or that many ms later: then it is broken off. */
  finish(withinMs: number): Promise<void>;
}

/** Of the daemon. */
export interface DaemonMethods extends HttpHost, StoreLotsHost, VolumeHost, NamespaceLots {
  /** Lines for its log. Told, not asked. */
  log(lines: string): void;
  /** Of the import that is under way. Told, not asked. */
  importProgress(progress: ImportProgress): void;
}
