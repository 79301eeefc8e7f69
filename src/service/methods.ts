// What the daemon and its service process ask of each other. All of it is plain data.

import type { HttpAddress } from '../core/http-address.js';
import type { HttpHost } from '../http/host.js';

export interface Listening {
  address: HttpAddress;
  /** Permission bits of a socket. */
  socketMode: number;
  /** null: none is asked for. */
  token: string | null;
}

/** Of the service process. */
export interface ServiceMethods {
  /** Before `serve`, at most once: HTTP answers 503 until then. Returns where, with the port that the system chose. Throws HTTP_FAILED. */
  listen(listening: Listening): Promise<HttpAddress>;
  /** The mount is there. */
  serve(): Promise<void>;
  /** Takes no more, and lets go of the mount when what is under way is over, or that many ms later: then it is broken off. */
  finish(withinMs: number): Promise<void>;
}

/** Of the daemon. */
export interface DaemonMethods extends HttpHost {
  /** Lines for its log. Told, not asked. */
  log(lines: string): void;
}
