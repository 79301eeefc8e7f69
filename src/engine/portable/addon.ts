// The addon's part of the portable engine: operations in, their outcomes to a callback; made by native/addon_portable.cc.

import type { VirtualRequest } from '../engine.js';

/** The kernel's numbers of the operations, from linux/fuse.h: what each comes down to. */
export const OPCODE = {
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  READDIR: 28,
  FSYNCDIR: 30,
  CREATE: 35,
} as const;

/** One operation on a path, or on an open file by its handle. */
export interface Operation {
  opcode: (typeof OPCODE)[keyof typeof OPCODE];
  /** Absolute in the mount. */
  path?: string;
  /** RENAME and LINK: the new path; SYMLINK: what it says; of extended attributes the name. */
  to?: string;
  /** What OPEN or CREATE gave. */
  handle?: number;
  mode?: number;
  /** Of open(2), of setxattr(2); FSYNC: 1 for the data alone. */
  flags?: number;
  rdev?: number;
  offsetBytes?: number;
  /** READ: where the data goes; WRITE, SETXATTR: where it is. Must not be touched before the outcome is there. */
  data?: Buffer;
  /** Where there is no `data`: how much is wanted. */
  lengthBytes?: number;
  setMode?: number;
  setUid?: number;
  setGid?: number;
  setSize?: number;
  setAtimeMs?: number;
  setMtimeMs?: number;
}

/** Mode, uid, gid, size, links, inode, rdev, block size, blocks, and the times of access, change of content and of the inode in ms. */
export type Attributes = Float64Array;

/** Block size, blocks, free ones, available ones, files, free ones, longest name. */
export type Space = Float64Array;

/** A name in a directory; `type` is the S_IFMT part of its mode. */
export interface Listed {
  name: string;
  number: number;
  type: number;
}

/** `result`: -errno, or what was read or written in bytes, or a handle. GETATTR, STATFS, READDIR, READLINK and the attributes have a value. */
export type Done = (result: number, value?: Attributes | Space | Listed[] | Buffer) => void;

/** Serves a mount whose requests come from elsewhere than the device. */
export interface Portable {
  /** `onEnd` once, after the mount is gone. */
  serve(onVirtual: (request: VirtualRequest) => void, onEnd: () => void): void;
  perform(operation: Operation, done: Done): void;
  /** True when libfuse's requests come through the addon's own threads. */
  runs(): boolean;
  /** Takes no more requests, and lets the kernel answer those that wait. */
  stop(): void;
  /** Lets go of the callbacks; nothing may be performed any more. */
  release(): void;
}

export interface PortableClass {
  new (engine: object): Portable;
  /** Loads libfuse for everybody, with the addon's threads in place of its own; says why not. */
  claim(library: string): string;
}
