// The seam between the planes: what the control plane may ask of a data plane, and what comes back.

import type { PoolSnapshot } from '../core/snapshot.js';
import type { SpoolLayout } from '../core/spool-layout.js';

/** A lot's number: chosen by the ledger, at least 1, never used twice. The default lot is 1. */
export type LotId = number;

/** The id of the default lot, which owns every path that no other lot owns. */
export const DEFAULT_LOT: LotId = 1;

/** A pool's number: chosen by the ledger. */
export type PoolId = number;

/** The pool that is the backing directory. */
export const MAIN_POOL: PoolId = 0;

/** "No limit" for `opportunisticBytes` and `maxObjects`. */
export const UNLIMITED = -1;

/** Who asked, read from the kernel's request and `/proc/PID/status`, never from the text of a command. */
export interface Caller {
  pid: number;
  uid: number;
  gid: number;
  groups: number[];
  /** In the daemon's own user namespace. */
  home: boolean;
  /** CAP_SYS_ADMIN is effective, and in the daemon's own user namespace. */
  sysAdmin: boolean;
  /** So is CAP_DAC_OVERRIDE. */
  dacOverride: boolean;
}

/** A lot as the meter knows it. Bytes are exact integers up to 2^53 - 1; `UNLIMITED` is -1. */
export interface LotSpec {
  id: LotId;
  name: string;
  /** Lots that this one's bytes also count in; empty for a root. In the first, its unfilled bytes are set aside. */
  parents: LotId[];
  dedicatedBytes: number;
  opportunisticBytes: number;
  maxObjects: number;
  /** Dedicated bytes are set aside (false once the lot has expired). */
  setsAside: boolean;
  /** The lot may take more bytes and objects (false before its creation time and past its deletion time). */
  mayGrow: boolean;
  /**
   * In which its bytes are; absent: the main one. All its parents are in the same, and all its paths lie there: below a graft of
   * that pool, or below none for the main one. Else EXDEV.
   */
  pool?: PoolId;
  /** The filesystem refuses what is too much there: nothing is refused by the lot's grant. Absent: false. */
  enforcedByKernel?: boolean;
}

/** A pool beside the main one. */
export interface PoolSpec {
  id: PoolId;
  name: string;
  /** Real path. */
  directory: string;
  /** What `.vreserve/pool` in it must hold, by which it is known again; written where there is none yet. */
  mark: string;
  /** It has had its mark: where that is not there now, the pool is added all the same, and is broken. */
  known: boolean;
  /** null takes the defaults of `setPool`. */
  capacityBytes: number | null;
  marginBytes: number | null;
}

/** What a lot holds now. */
export interface Usage {
  id: LotId;
  /** Own bytes: the logical sizes of its own files. */
  bytes: number;
  objects: number;
  /** Objects that are open for writing now, and their bytes (contained in `objects` and `bytes`). */
  pendingObjects: number;
  pendingBytes: number;
}

/** What a lot took and gave since the last drain, for the journal. */
export interface UsageChange extends Usage {
  chargedBytes: number;
  refundedBytes: number;
  /** Requests that were answered ENOSPC, and the bytes that they asked for. */
  refusals: number;
  refusedBytes: number;
}

/** A pool as its meter sees it. */
export interface PoolState extends PoolSnapshot {
  /** Of another pool than the main one. */
  broken?: string | null;
  io?: 'passthrough' | 'cached';
  /** Why not passthrough. */
  ioReason?: string;
  filesystem?: string;
}

/** A path of the mount, and the lot that it is bound to. */
export interface Binding {
  /** Absolute in the mount, resolved, not the root. */
  path: string;
  id: LotId;
  /** False: only the path itself and, of a directory, the entries in it that are no directories. */
  recursive: boolean;
  /** True: what the binding reaches is not this lot's; the next shorter binding of another lot applies. */
  exclude: boolean;
}

/**
 * A change of lots and bindings, made whole or not at all: lots that are made or become something else, lots that go, and
 * paths that are bound anew or no longer. What lies below those paths is charged to the lots that then own it.
 */
export interface Reshape {
  /** In any order; parents may be lots that are made with it. */
  lots: LotSpec[];
  /** No lot that stays may have them as a parent. Their paths are unbound. */
  gone: LotId[];
  /** A path has one binding: an earlier one of the same path is replaced. */
  bind: Binding[];
  unbind: string[];
  /** Refuse with EINVAL where the grant of one of `lots` would be less than what it holds. */
  mustCover: boolean;
  /** No admission: for giving back, and for undoing. */
  force: boolean;
}

/** The answer to a reshape. A refusal leaves no trace. */
export type Admission =
  /** What the lots in `lots` hold now, in that order. */
  | { granted: true; usage: Usage[] }
  | {
      granted: false;
      /**
       * ENOSPC: not available, in `lot`; EINVAL: the grant of `lot` would go below what it must hold, or what its children
       * were promised; ELOOP: `lot` would lie below itself; EXDEV: one inode's names would be split; EEXIST: a real
       * `.vreserve` is in the way; and what the walk of a path gave.
       */
      errno: string;
      /** The lot whose grant or objects do not suffice; null: the pool. */
      lot: LotId | null;
      /** What the first of `lots` could have had instead: dedicated bytes. */
      availableBytes: number;
      /** What the first of `lots` holds, or would. */
      heldBytes: number;
      /** The path that is in the way, where there is one. */
      path?: string;
    };

/** Where a lot stands in time: neither is asked by admission. */
export interface Phase {
  id: LotId;
  setsAside: boolean;
  mayGrow: boolean;
}

export interface CountProgress {
  files: number;
  directories: number;
  bytes: number;
}

export interface Counted {
  id: LotId;
  bytes: number;
  objects: number;
  /** What the meter has for this lot. */
  recordedBytes: number;
  recordedObjects: number;
  /** False where writers moved so much that the two could not be compared. */
  exact: boolean;
}

export interface CountResult {
  lots: Counted[];
  /** Paths of inodes whose names straddle lots already (links made before the mount). */
  straddling: { path: string; id: LotId }[];
}

export interface BackingInfo {
  /** The directory to reach the backing by: a private view as root, else the backing directory itself. The ledger is in `.vreserve` below it. */
  viewPath: string;
  /** f_blocks * f_frsize. */
  totalBytes: number;
  freeBytes: number;
  readOnly: boolean;
  /** Name of the backing's filesystem type, as in /proc/mounts. */
  filesystem: string;
}

export interface MountInfo {
  /** The data plane that serves, such as 'native'. */
  engine: string;
  /** Why another one does not, where that was tried first; else empty. */
  engineReason: string;
  /** 'passthrough', or 'cached' where passthrough is not to be had. */
  io: 'passthrough' | 'cached';
  /** Why not passthrough; empty when it is. */
  ioReason: string;
  kernelMinor: number;
}

export interface EngineOptions {
  /** Real path of the backing directory. */
  backing: string;
  /** Real path of the mountpoint; equal to `backing` for an in-place mount. */
  mountpoint: string;
  readOnly: boolean;
  /** Other users may use the mount, where the engine can tell who asks. */
  allowOther: boolean;
  /** That was asked for. */
  othersAsked: boolean;
  /** They may do what the mounting user may. */
  trustAllUsers: boolean;
  passthrough: boolean;
  /** Data-plane threads; 0 chooses. */
  threads: number;
  /** Allow set-uid programs and device nodes on the mount. */
  suid: boolean;
  dev: boolean;
  /** Allow programs of the mount to be executed. */
  exec: boolean;
  /** Shown as the source in /proc/mounts. */
  source: string;
  /** Requests are served but nothing is charged: for measuring what charging costs. */
  charging: boolean;
}

/** One file or directory of /.vreserve, as the control plane answers a lookup. */
export interface VirtualNode {
  /**
   * directory; snapshot: its content is asked for once, and what every open of this lookup reads; stream: read piece by piece,
   * grows (the ledger); control: takes writes; blob: its data are those of a real file, which an open names. Every lookup of a
   * blob is a file of its own: its attributes stay as they are unless that very file is opened for writing, and who looks
   * again may find another.
   */
  kind: 'directory' | 'snapshot' | 'stream' | 'control' | 'blob';
  /** Permission bits, such as 0o444. The kernel decides access by them and by the owner. */
  mode: number;
  /** The owner; root where they are not given. */
  uid?: number;
  gid?: number;
  /** Of a directory: files can be made in it and taken away from it (`create`, `unlink`). Else EPERM. */
  takesFiles?: boolean;
  /** Size of a stream or blob now. */
  sizeBytes?: number;
  mtimeMs: number;
}

/**
 * A request on /.vreserve or on a `user.vreserve.*` attribute. Each but `interrupt` is answered once, by `reply(token, …)`;
 * that of an interrupted one goes nowhere.
 * `path` is relative to `.vreserve` ('' is the directory itself), without a leading slash.
 * `scope` is the lot in whose own directory the `.vreserve` was named; DEFAULT_LOT at the root of the mount. `directory` is
 * that directory, absolute in the mount: a lot may have several.
 *
 * Blobs. `create` and `open` answer with a handle and with `real`, the path in the mount of a regular file that is there
 * already (below `/.vreserve/blobs`, made through the mount by another process). The data plane opens that file and serves all
 * that is read and written with the handle from it, charging as it does anywhere: no data comes this way. A handle is open
 * until its `release`, which comes once. That of a handle that was given to a request which was interrupted does not come:
 * `interrupt` is in its place. Another open of the same lookup (by /proc/PID/fd) while a handle is open shares that handle, and
 * is not asked for.
 */
export type VirtualRequest = { token: number; scope: LotId; directory: string } & (
  | { op: 'lookup'; path: string }
  | { op: 'list'; path: string }
  /** Of a snapshot; the reply's `data`. */
  | { op: 'content'; path: string }
  /**
   * Open of a stream, of control or of a blob; the reply's `handle` comes back in the requests below. Of a blob the reply has
   * `real`, too, and `node` where what the lookup told is no longer so.
   * `truncate` (of a blob, with O_TRUNC): `real` is then a new file without content, and the blob that is there stays as it
   * is until the new one takes its place. Without it, and for writing, `real` must hold what the blob holds: the caller may
   * append to it.
   */
  | { op: 'open'; path: string; caller: Caller; forWriting: boolean; truncate?: boolean }
  /**
   * A file is made in a directory that takes files, and is open for writing (or, with O_CREAT alone, for reading) then:
   * `{ node, handle, real }`. Refused with EEXIST where there is one by now: who did not insist on a new one (O_EXCL) looks again.
   */
  | { op: 'create'; path: string; caller: Caller }
  | { op: 'read'; handle: number; offsetBytes: number; lengthBytes: number }
  | { op: 'write'; handle: number; offsetBytes: number; data: Buffer }
  /**
   * Of control: a descriptor of the handle was closed.
   * Of a blob that is open for writing: the process that opened it has closed what looks like the last descriptor, neither it
   * nor a child of it has another one. Other closes are not asked about, nor where that cannot be seen, nor what exec closes: so
   * a handle may be released that was never flushed. What is in `real` is all there will be: it is sealed before this is
   * asked, and nothing can be written through the handle from then on (EPERM). The closer waits for the answer. `{}`: it is
   * taken, and stays sealed. An errno: the closer has it from close(2), and it stays sealed. `{ again: true }`: it was not taken;
   * it is written on, and may be flushed again. Interrupted: it stays sealed.
   */
  | ({ op: 'flush'; handle: number } & BlobUse)
  /**
   * The last close; of a blob, the real file is closed by now. Reply with nothing; nobody waits.
   * `opened` is false where the real file of a blob could not be opened, or not be had by who asked: nobody ever had the handle.
   */
  | ({ op: 'release'; handle: number; opened?: boolean } & BlobUse)
  /** A file of a directory that takes files is to go. Reply with nothing. */
  | { op: 'unlink'; path: string; caller: Caller }
  /** `user.mime_type` or a `user.vreserve.*` of a blob; the reply's `data`, or ENODATA. */
  | { op: 'getxattr'; path: string; name: string }
  /** setfattr or removal (`value` null) of `user.vreserve.NAME` on a directory or file of the mount; `path` starts with '/'. */
  | { op: 'setxattr'; path: string; name: string; value: Buffer | null; caller: Caller }
  /** Who waited for the answer to the request with this token waits no longer, and has EINTR. Nothing is replied. */
  | { op: 'interrupt' }
);

/** What was done with a handle of a blob so far; not given for other files. */
export interface BlobUse {
  /** Something was written through it, or was to be, or its size was set. Opening with O_TRUNC alone is neither. */
  written?: boolean;
  /** The errno of the first write that was lost (ENOSPC, EDQUOT, EFBIG, EIO): the content is not all that was meant. */
  failed?: string;
}

/** Exactly one of these shapes, by the request's op; `errno` for all (such as 'ENOENT'). */
export type VirtualReply =
  | { errno: string }
  | { node: VirtualNode }
  | { names: { name: string; kind: VirtualNode['kind'] }[] }
  | { handle: number }
  | { handle: number; real: string; node?: VirtualNode }
  | { data: Buffer }
  | { writtenBytes: number }
  | { again: true }
  | Record<string, never>;

/** What the kernel may be told and asked about a path of the mount, for reserving. */
export interface ResolvedPath {
  /** Absolute in the mount, symlinks of the existing part resolved, no trailing slash ('/' alone for the root). */
  path: string;
  exists: boolean;
  isDirectory: boolean;
  /** The nearest existing directory in which the path is (or would be), absolute in the mount. */
  directory: string;
}

export interface WriteAccess {
  mayWrite: boolean;
  /** Where the path is a directory itself, whether the caller may write in it; else true. */
  mayWriteIn: boolean;
  /** The owner of `directory` when it has the sticky bit. */
  stickyOwner: number | null;
}

/**
 * A data plane. Order of calls: openBacking, setPool, addPool and graft, addLot and bind for what the ledger has, count where usage is
 * not known, serveSpool, serveStore and serveNamespaces where there is one, mount; then reshape, setPhases, unlink, usage, drain at any time; stop at the end.
 * Methods throw `Error` with `code` set to an errno name (such as 'ENOTDIR') where the system refuses.
 */
export interface Engine {
  openBacking(options: EngineOptions): BackingInfo;
  /** Takes an exclusive lock on the file (made if missing) for as long as the process lives; false when another holds it. */
  lock(path: string): boolean;
  /** null takes the default: capacity of the filesystem, margin of 1 % of the capacity, at most 1 GiB. */
  setPool(capacityBytes: number | null, marginBytes: number | null, id?: PoolId): PoolState;
  /**
   * Opens another pool, before the mount or later, takes its lock, and watches it from then on: while it cannot be used it is
   * `broken`, and everything in it is EIO; it comes back by itself, and is counted then. Rejects with EBUSY (another daemon
   * uses it), EEXIST (it is another mount's, or another pool), and what opening it gave.
   */
  addPool(spec: PoolSpec): Promise<BackingInfo>;
  /** Rejects with EBUSY: something of it is grafted, or a lot is in it. */
  removePool(id: PoolId): Promise<void>;
  /**
   * Serves the empty directory at `path` from a directory of the pool (relative to the pool's), as a bind mount would. Until
   * a lot of that pool is bound to the path nothing can grow there. `byKernel`: a quota of the filesystem holds there, and writers
   * bypass the server where readers do; their bytes are what `measured` says. Rejects with ENOENT, ENOTDIR, ENOTEMPTY, EBUSY
   * (something is grafted there), EXDEV (not in the main pool), ENODEV (no such pool).
   */
  graft(path: string, pool: PoolId, directory: string, byKernel?: boolean): Promise<void>;
  /** Rejects with ENOENT, and EBUSY where files below are open. The lot stays bound, and keeps what it held until it goes. */
  ungraft(path: string): Promise<void>;

  /** Before `mount` only, without admission: a lot of the ledger with the usage saved for it. */
  addLot(spec: LotSpec, bytes: number, objects: number): void;
  /** Before `mount` only: a path of the ledger. */
  bind(binding: Binding): void;

  /**
   * Before `mount` only: `.vreserve/spool` of the backing is served under its name in the root's `.vreserve`, like any
   * directory of the mount. Throws ENOENT, ENOTDIR, EXDEV.
   */
  serveSpool(layout: SpoolLayout): void;
  /** Likewise `.vreserve/blobs`, where the data of blobs are; it is in no listing. Throws ENOENT, ENOTDIR, EXDEV. */
  serveStore(): void;
  /** Likewise `.vreserve/namespaces`, where the files of key-value namespaces are; in no listing either. Throws ENOENT, ENOTDIR, EXDEV. */
  serveNamespaces(): void;

  /**
   * Counts the whole backing, in parallel, off the JavaScript thread. Before `mount` its result becomes the usage.
   * On a live mount it compares only (`repair` false) or corrects what differs (`repair` true); writers of a lot that
   * is never still are parked while it is counted.
   */
  count(repair: boolean, onProgress: (p: CountProgress) => void): Promise<CountResult>;

  /** Mounts and serves. `onVirtual` and `onEnd` are called on the JavaScript thread; `onEnd` once, after the mount is gone. */
  mount(onVirtual: (request: VirtualRequest) => void, onEnd: () => void): Promise<MountInfo>;
  reply(token: number, reply: VirtualReply): void;

  /**
   * The path as the mount has it. With a caller only where it may search the directories (else EACCES), but for those above
   * `trusted`, which it has passed by itself. Throws EINVAL for `.`, `..` or an empty component, ENAMETOOLONG,
   * ELOOP, ENOTDIR, EXDEV (leads outside).
   */
  resolve(path: string, caller: Caller | null, trusted: string): ResolvedPath;
  /** Whether the caller may write to the directory of a path, judged by the kernel with the caller's credentials. */
  access(directory: string, path: string, caller: Caller): Promise<WriteAccess>;

  /** Changes lots and bindings; requests that would change what lies below a path that is bound anew wait meanwhile. */
  reshape(change: Reshape): Promise<Admission>;
  /** Time has passed: no admission. Lots that are not there are passed over. */
  setPhases(phases: readonly Phase[]): void;
  /**
   * Takes a file away as the kernel's UNLINK would, and tells the kernel. Returns what it held. Rejects with ENOENT (not
   * there, or another file than `inode` now), EBUSY (open), EPERM (not owned by `lot`, or no longer), EISDIR.
   */
  unlink(path: string, inode: number, lot: LotId): Promise<{ bytes: number }>;

  pool(id?: PoolId): PoolState;
  usage(): Usage[];
  /** What one more write could take of the lot's grant, by all lots above it and the pool. */
  room(id: LotId): number;
  /** What the filesystem's quota has for a lot that the kernel enforces; nothing for any other. */
  measured(id: LotId, bytes: number): void;
  /** What one lot holds; null where there is none. */
  usageOf(id: LotId): Usage | null;
  /** Lots that changed since the last call. */
  drain(): UsageChange[];
  /** Requests served, by operation (LOOKUP, WRITE, …). */
  requests(): Record<string, number>;

  /** Detaches the mount: throws EBUSY when it is in use and `lazy` is false. The mount serves on until the last close. */
  unmount(lazy: boolean): void;
  /** Ends serving at once (requests under way get ENOTCONN) and closes everything. */
  stop(): Promise<void>;
}

/** Mounted filesystems, asked by commands that have no engine of their own. */
export interface System {
  /** umount2(2) with UMOUNT_NOFOLLOW, and MNT_DETACH if `lazy`; throws with `code` (EBUSY, EPERM, EINVAL). As an ordinary user fusermount3 is used. */
  unmount(mountpoint: string, lazy: boolean): void;
}
