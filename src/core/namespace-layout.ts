// Key-value namespaces of a mount: where their data are, where they are seen, and which lots own them.

import { OWN_DIRECTORY } from './paths.js';
import type { SpacePolicy } from './space.js';

/** The name, in `.vreserve` of the mount and of the backing, of the real directory that has one directory a namespace. */
export const NAMESPACES_DIRECTORY = 'namespaces';

/** Its path in the mount. No command can bind what is below it. */
export const NAMESPACES_PATH = `/${OWN_DIRECTORY}/${NAMESPACES_DIRECTORY}`;

/** The name of the view in `.vreserve` of the root: a directory for each namespace. */
export const NAMESPACE_VIEW = 'ns';

/** The one that is always there, and that a connection begins with. */
export const DEFAULT_NAMESPACE = 'default';

/** In bytes. */
export const MAX_NAMESPACE_NAME_BYTES = 128;

const LOT_PREFIX = 'ns/';

/** The name of the lot that owns a namespace. */
export function lotNameOf(namespace: string): string {
  return `${LOT_PREFIX}${namespace}`;
}

/** The directory of a namespace, in the mount. */
export function namespacePath(namespace: string): string {
  return `${NAMESPACES_PATH}/${namespace}`;
}

/** The namespace whose directory a path is; null: it is none. */
export function namespaceAt(path: string): string | null {
  if (!path.startsWith(`${NAMESPACES_PATH}/`)) return null;
  const name = path.slice(NAMESPACES_PATH.length + 1);
  return name.includes('/') ? null : name;
}

/** How values are found: by keys of their users, or by numbers that are given. */
export type NamespaceMode = 'user' | 'seq';

/** What a namespace is made with. */
export interface NamespaceOrder {
  name: string;
  /** Payload that it takes, and bytes that are set aside for it; null: without limit, and nothing. */
  sizeBytes: number | null;
  mode: NamespaceMode;
  /** null: none. */
  password: string | null;
  /** With a password: who has none may read. */
  isPublic: boolean;
  /** Who owns its lot: a decimal uid; null: whom the daemon runs as. */
  owner: string | null;
  /** Which pools may have it; null: the main one. */
  policy: SpacePolicy | null;
}

/** A namespace as it is shown. Passwords are not. Bytes. */
export interface NamespaceInfo {
  name: string;
  /** `HOST:PORT` or the path of a socket. */
  address: string;
  /** null where `address` is a socket. */
  host: string | null;
  port: number | null;
  mode: NamespaceMode;
  isPublic: boolean;
  hasPassword: boolean;
  isWorm: boolean;
  isLocked: boolean;
  isFrozen: boolean;
  entries: number;
  payloadBytes: number;
  /** null: without limit. */
  maxPayloadBytes: number | null;
  keyBytes: number;
  /** All that its files take, which its lot is charged for. */
  fileBytes: number;
  /** Why it cannot be used now, where its pool is away, or its files are damaged: nothing is known of what it holds. null: all is well. */
  broken: string | null;
  lot: string;
  /** The pool that it is in. */
  pool: string;
  /** Set aside for its lot, and what it may have besides; -1: without limit. */
  dedicatedBytes: number;
  opportunisticBytes: number;
}

/** What `ns` and the view of namespaces ask of whoever serves them. All reject with NO_NAMESPACES where nobody does. */
export interface Namespaces {
  /** Throws NAMESPACE_EXISTS, NAMESPACE_BAD_NAME, NO_SPACE. */
  reserveNamespace(order: NamespaceOrder): Promise<NamespaceInfo>;
  /** Throws NAMESPACE_UNKNOWN, NAMESPACE_BAD_NAME. */
  releaseNamespace(name: string): Promise<NamespaceInfo>;
  /** Throws NAMESPACE_UNKNOWN. */
  namespaceInfo(name: string): Promise<NamespaceInfo>;
  namespaceNames(): Promise<string[]>;
  /** The first keys in bytewise order, and how many there are. Throws NAMESPACE_UNKNOWN. */
  namespaceKeys(name: string, most: number): Promise<{ keys: Uint8Array[]; entries: number }>;
}

/** What a lot of a namespace may hold; -1: without limit. */
export interface NamespaceGrant {
  dedicatedBytes: number;
  opportunisticBytes: number;
}

/** A lot of a namespace. */
export interface NamespaceLot extends NamespaceGrant {
  /** The pool that it is in. */
  pool: string;
}

/** What the namespaces ask of who keeps the lots. */
export interface NamespaceLots {
  /**
   * Its directory, there or not, is charged to a lot of its own from now on. In another pool than the main one it is there then, and
   * empty: that pool's is served in its place. Throws NO_SPACE, SPACE_NO_ROOM.
   */
  makeNamespaceLot(name: string, grant: NamespaceGrant, owner: string | null, policy: SpacePolicy | null): Promise<void>;
  /** null: there is none. */
  namespaceLot(name: string): Promise<NamespaceLot | null>;
  /** Gives back what was set aside, and in another pool the directory, which is empty. Where there is nothing, nothing happens. */
  dropNamespaceLot(name: string): Promise<void>;
  /** Namespaces that have a lot. */
  namespacesWithLots(): Promise<string[]>;
}

/** Beyond the payload: headers and keys of values of about 1 KiB, what was replaced, and a fixed part. */
export function grantFor(sizeBytes: number | null): NamespaceGrant {
  if (sizeBytes === null) return { dedicatedBytes: 0, opportunisticBytes: -1 };
  return { dedicatedBytes: sizeBytes, opportunisticBytes: Math.ceil(sizeBytes / 4) + 8 * 1024 * 1024 };
}
