// The seam between the planes: what the control plane may ask of a data plane, and what comes back.

/** A lot's number: chosen by the ledger, at least 1, never used twice. The default lot is 1. */
export type LotId = number;

/** The id of the default lot, which owns every path that no other lot owns. */
export const DEFAULT_LOT: LotId = 1;

/** "No limit" for `opportunisticBytes` and `maxObjects`. */
export const UNLIMITED = -1;

/** Who asked, read from the kernel's request and `/proc/PID/status`, never from the text of a command. */
export interface Caller {
  pid: number;
  uid: number;
  gid: number;
  groups: number[];
  /** CAP_SYS_ADMIN is effective, and in the daemon's own user namespace. */
  sysAdmin: boolean;
}

/** A lot as the meter knows it. Bytes are exact integers up to 2^53 - 1; `UNLIMITED` is -1. */
export interface LotSpec {
  id: LotId;
  name: string;
  /** Lots that this one's bytes also count in; empty for a root. They must exist. */
  parents: LotId[];
  dedicatedBytes: number;
  opportunisticBytes: number;
  maxObjects: number;
  /** Dedicated bytes are set aside (false once the lot has expired). */
  setsAside: boolean;
  /** The lot may take more bytes and objects (false before its creation time and past its deletion time). */
  mayGrow: boolean;
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

/** The pool as the meter sees it, all in bytes. */
export interface PoolState {
  capacityBytes: number;
  freeBytes: number;
  /** Sum over the root lots of need - used: dedicated bytes that are set aside and not used yet. */
  setAsideBytes: number;
  headroomBytes: number;
  usedBytes: number;
  marginBytes: number;
  /** By how much the backing falls short of what is promised; 0 when the promise can be kept. */
  shortBytes: number;
  /** Bytes and objects that were given back and that no lot held: the backing was changed behind the mount. */
  drift: number;
}

/** The answer to a request for bytes. A refusal leaves no trace. */
export type Admission =
  | { granted: true; usage: Usage }
  | {
      granted: false;
      /** ENOSPC: not available; EXDEV: one inode's names would be split; EEXIST: a real `.vreserve` is in the way; and what the walk of the path gave. */
      errno: string;
      /** What the asker could have had instead. */
      availableBytes: number;
      /** What the path holds already. */
      heldBytes: number;
      /** The path that is in the way, where there is one. */
      path?: string;
    };

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
  allowOther: boolean;
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
   * directory; snapshot: `content` is what every open of this lookup reads; stream: read piece by piece,
   * grows (the ledger); control: takes writes.
   */
  kind: 'directory' | 'snapshot' | 'stream' | 'control';
  /** Permission bits, such as 0o444. */
  mode: number;
  content?: Buffer;
  /** Size of a stream now. */
  sizeBytes?: number;
  mtimeMs: number;
}

/**
 * A request on /.vreserve or on a `user.vreserve.*` attribute. Each is answered once, by `reply(token, …)`.
 * `path` is relative to `.vreserve` ('' is the directory itself), without a leading slash.
 * `scope` is the lot in whose own directory the `.vreserve` was named; DEFAULT_LOT at the root of the mount.
 */
export type VirtualRequest = { token: number; scope: LotId } & (
  | { op: 'lookup'; path: string }
  | { op: 'list'; path: string }
  /** Open of a stream or of control; the reply's `handle` comes back in the requests below. */
  | { op: 'open'; path: string; caller: Caller; forWriting: boolean }
  | { op: 'read'; handle: number; offsetBytes: number; lengthBytes: number }
  | { op: 'write'; handle: number; offsetBytes: number; data: Buffer }
  /** A descriptor of the handle was closed. */
  | { op: 'flush'; handle: number }
  /** The last close. Reply with nothing. */
  | { op: 'release'; handle: number }
  /** setfattr or removal (`value` null) of `user.vreserve.NAME` on a directory or file of the mount; `path` starts with '/'. */
  | { op: 'setxattr'; path: string; name: string; value: Buffer | null; caller: Caller }
);

/** Exactly one of these shapes, by the request's op; `errno` for all (such as 'ENOENT'). */
export type VirtualReply =
  | { errno: string }
  | { node: VirtualNode }
  | { names: { name: string; kind: VirtualNode['kind'] }[] }
  | { handle: number }
  | { data: Buffer }
  | { writtenBytes: number }
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
  /** The owner of `directory` when it has the sticky bit. */
  stickyOwner: number | null;
}

/**
 * A data plane. Order of calls: openBacking, setPool, addLot and bind for what the ledger has, count where usage is
 * not known, mount; then admit, setLot, release, usage, drain at any time; stop at the end.
 * Methods throw `Error` with `code` set to an errno name (such as 'ENOTDIR') where the system refuses.
 */
export interface Engine {
  openBacking(options: EngineOptions): BackingInfo;
  /** Takes an exclusive lock on the file (made if missing) for as long as the process lives; false when another holds it. */
  lock(path: string): boolean;
  /** null takes the default: capacity of the filesystem, margin of 1 % of the capacity, at most 1 GiB. */
  setPool(capacityBytes: number | null, marginBytes: number | null): PoolState;

  /** Before `mount` only, without admission: a lot of the ledger with the usage saved for it. */
  addLot(spec: LotSpec, bytes: number, objects: number): void;
  /** Before `mount` only: a path of the ledger, absolute in the mount. */
  bind(path: string, id: LotId): void;

  /**
   * Counts the whole backing, in parallel, off the JavaScript thread. Before `mount` its result becomes the usage.
   * On a live mount it compares only (`repair` false) or corrects what differs (`repair` true); writers of a lot that
   * is never still are parked while it is counted.
   */
  count(repair: boolean, onProgress: (p: CountProgress) => void): Promise<CountResult>;

  /** Mounts and serves. `onVirtual` and `onEnd` are called on the JavaScript thread; `onEnd` once, after the mount is gone. */
  mount(onVirtual: (request: VirtualRequest) => void, onEnd: () => void): Promise<MountInfo>;
  reply(token: number, reply: VirtualReply): void;

  /** The path as the mount has it. Throws EINVAL for `.`, `..` or an empty component, ENAMETOOLONG, ELOOP, ENOTDIR, EXDEV (leads outside). */
  resolve(path: string): ResolvedPath;
  /** Whether the caller may write to the directory, judged by the kernel with the caller's credentials. */
  access(directory: string, caller: Caller): Promise<WriteAccess>;

  /** Adds the lot and binds it to the path (resolved, absolute in the mount), counting what is there; all or nothing. */
  admit(spec: LotSpec, path: string): Promise<Admission>;
  /** Sets a lot's policy anew; growth is admitted, shrinking below what it holds and its children need: EINVAL. */
  setLot(spec: LotSpec): Admission;
  /** Unbinds all paths of the lot and removes it; its data is charged to the lots that then own it. */
  release(id: LotId): Promise<void>;

  pool(): PoolState;
  usage(): Usage[];
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
