// What is used of fuse-native 2.2.6: the compiled binding below its index.js, which loses file handles and times.

import type { Attributes, Listed, Space } from './addon.js';

/**
 * The handler of an operation: called with what `Locals` is in the binding (the thread that waits for the answer), a number
 * that says nothing, and the arguments of libfuse's function.
 */
// biome-ignore lint/suspicious/noExplicitAny: each operation has arguments of its own
export type Handler = (locals: Buffer, opcode: number, ...args: any[]) => void;

/** Answers the operation: 0, what it counts, or -errno; then what the operation gives. */
export type Signal = (locals: Buffer, result: number, ...values: unknown[]) => void;

/** Names of operations, `op_NAME` and `fuse_native_signal_NAME` in the binding. */
export type BindingName =
  | 'init'
  | 'statfs'
  | 'getattr'
  | 'fgetattr'
  | 'flush'
  | 'fsync'
  | 'fsyncdir'
  | 'readdir'
  | 'truncate'
  | 'ftruncate'
  | 'utimens'
  | 'readlink'
  | 'chown'
  | 'chmod'
  | 'mknod'
  | 'setxattr'
  | 'getxattr'
  | 'listxattr'
  | 'removexattr'
  | 'open'
  | 'read'
  | 'write'
  | 'release'
  | 'create'
  | 'unlink'
  | 'rename'
  | 'link'
  | 'symlink'
  | 'mkdir'
  | 'rmdir';

export type Binding = { [Name in BindingName as `op_${Name}`]: number } & {
  [Name in BindingName as `fuse_native_signal_${Name}`]: Signal;
} & {
  sizeof_fuse_thread_t: number;
  /** Throws where libfuse refuses, which says why on stderr. Both texts are cut at 1,023 bytes. */
  fuse_native_mount(
    mountpoint: string,
    options: string,
    thread: Buffer,
    self: object,
    allocate: (sizeBytes: number) => Buffer,
    handlers: readonly Handler[],
    implemented: Uint32Array,
  ): void;
  /** Lets the process end; unmounts nothing. */
  fuse_native_unmount(mountpoint: string, thread: Buffer): void;
};

/** Operations that the binding has room for. */
export const MOST_OPERATIONS = 35;

/** The longest text that the binding takes whole. */
export const MOST_TEXT_BYTES = 1023;

/** struct fuse_thread_locals_t on 64-bit Linux: where the times of utimens are. The binding hands out the first one twice. */
const LOCALS = { bytes: 360, atime: 104, mtime: 112 };

const TWO_32 = 2 ** 32;

/** A time that stays as it is; see native/fuse_loop.cc. */
const OMITTED_MS = 2 ** 40 * 1000;

/** Both times of utimens in ms, without one that stays as it is; null where they cannot be told. `atimeMs` is what the binding gave for both. */
export function timesOf(locals: Buffer, atimeMs: number): { setAtimeMs?: number; setMtimeMs?: number } | null {
  if (locals.length !== LOCALS.bytes || Number(locals.readBigUInt64LE(LOCALS.atime)) !== atimeMs) return null;
  const accessed = Number(locals.readBigInt64LE(LOCALS.atime));
  const changed = Number(locals.readBigInt64LE(LOCALS.mtime));
  return {
    ...(accessed === OMITTED_MS ? {} : { setAtimeMs: accessed }),
    ...(changed === OMITTED_MS ? {} : { setMtimeMs: changed }),
  };
}

/** Two halves of 32 bits, as the binding hands over what is larger. */
export function joined(low: number, high: number): number {
  return high * TWO_32 + low;
}

/** What `getattr` answers with. Times before 1970 cannot be said, and inode numbers of more than 32 bits are mixed into that. */
export function packAttributes(attributes: Attributes): Uint32Array {
  const at = (index: number) => attributes[index] ?? 0;
  const packed = new Uint32Array(18);
  const put = (index: number, value: number) => {
    packed[index] = value % TWO_32;
    packed[index + 1] = Math.floor(value / TWO_32);
  };
  packed[0] = at(0);
  packed[1] = at(1);
  packed[2] = at(2);
  put(3, at(3));
  // Two files whose numbers mix to the same must not be taken for two names of one.
  packed[6] = at(5) < TWO_32 ? at(4) : Math.min(at(4), 1);
  packed[7] = inodeOf(at(5));
  packed[8] = at(6);
  packed[9] = at(7);
  put(10, at(8));
  put(12, Math.max(0, at(9)));
  put(14, Math.max(0, at(10)));
  put(16, Math.max(0, at(11)));
  return packed;
}

/** What a listing has of each entry. */
export function packListed({ number, type }: Listed): Uint32Array {
  const packed = new Uint32Array(18);
  packed[0] = type;
  packed[7] = inodeOf(number);
  return packed;
}

/** What `statfs` answers with. All are 32 bits wide, so the blocks become larger until their number fits. */
export function packSpace(space: Space): Uint32Array {
  const at = (index: number) => space[index] ?? 0;
  let scale = 1;
  while (at(1) / scale >= TWO_32) scale *= 2;
  const packed = new Uint32Array(11);
  packed[0] = at(0) * scale;
  packed[1] = at(0) * scale;
  packed[2] = at(1) / scale;
  packed[3] = at(2) / scale;
  packed[4] = at(3) / scale;
  packed[5] = Math.min(at(4), TWO_32 - 1);
  packed[6] = Math.min(at(5), TWO_32 - 1);
  packed[7] = packed[6];
  packed[10] = at(6);
  return packed;
}

function inodeOf(number: number): number {
  if (number < TWO_32) return number;
  return (Math.imul(Math.floor(number / TWO_32), 0x9e3779b1) ^ (number % TWO_32)) >>> 0;
}
