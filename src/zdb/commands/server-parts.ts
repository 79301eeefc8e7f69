// What commands ask of the server besides the namespace they work on.

import type { Namespace } from '../namespace.js';
import type { NamespaceSet } from '../namespaces.js';
import type { Session } from '../session.js';

export interface Server {
  namespaces: NamespaceSet;
  /** null: everybody is an administrator. */
  adminPassword: string | null;
  /** null: each namespace has its own. */
  onlyMode: 'user' | 'seq' | null;
  /** The default namespace is written to by administrators alone. */
  isProtected: boolean;
  /** Unix seconds. */
  nowS: () => number;
  startedAtS: number;
  version: string;
  /** Commands that were run, and connections that there were. */
  counts: { commands: number; clients: number; refused: number };
  watchers: Watchers;
  connections: () => number;
  /** The first command of the table that begins so. */
  commandNamed: (word: string) => { name: string } | undefined;
  /** What was changed in this turn is written now. */
  commit: () => void;
}

/** Clients that wait until another one has run a command. */
export interface Watchers {
  /** `name`: null for any. Resolves with the command that was run; null: it took too long. */
  wait(session: Session, namespace: Namespace, name: string | null, timeoutMs: number): Promise<string | null>;
}
