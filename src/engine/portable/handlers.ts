// The handlers of fuse-native: each hands its operation on, and answers with what comes of it. None does anything itself.

import { constants } from 'node:os';
import { type Attributes, type Listed, OPCODE, type Operation, type Portable, type Space } from './addon.js';
import {
  type Binding,
  type BindingName,
  type Handler,
  joined,
  MOST_OPERATIONS,
  packAttributes,
  packListed,
  packSpace,
  timesOf,
} from './binding.js';

const { EILSEQ, EOPNOTSUPP, ERANGE } = constants.errno;

/** Of the owner's id and the group's: leave it as it is. */
const SAME_ID = 0xffffffff;

/** Attributes that this engine neither keeps nor shows: the kernel would have to know of them. */
const FOREIGN_ATTRIBUTE = /^(system\.posix_acl_|security\.capability$)/;

/** What JavaScript makes of bytes that are no UTF-8: which file was meant cannot be told. */
const NOT_UTF8 = '\ufffd';

/** All handlers, by the binding's numbers, and which there are. `mounted` is called when libfuse is served. */
export function fuseHandlers(
  binding: Binding,
  portable: Portable,
  mounted: () => void,
): { handlers: Handler[]; implemented: Uint32Array } {
  const table = handlerTable(binding, portable, mounted);
  const handlers: Handler[] = Array.from({ length: MOST_OPERATIONS }, () => () => {});
  const implemented = new Uint32Array(MOST_OPERATIONS);
  for (const [name, handler] of Object.entries(table) as [BindingName, Handler][]) {
    const number = binding[`op_${name}`];
    handlers[number] = handler;
    implemented[number] = 1;
  }
  return { handlers, implemented };
}

function handlerTable(binding: Binding, portable: Portable, mounted: () => void): Record<BindingName, Handler> {
  /** Hands an operation on that is answered by its result alone. */
  const plain =
    (name: BindingName, operation: (...args: never[]) => Operation): Handler =>
    (locals, _, ...args) => {
      const signal = binding[`fuse_native_signal_${name}`];
      const asked = operation(...(args as never[]));
      if (isUnclear(asked)) return signal(locals, -EILSEQ);
      portable.perform(asked, (result) => signal(locals, Math.min(result, 0)));
    };
  const attributes = (name: 'getattr' | 'fgetattr', operation: (...args: never[]) => Operation): Handler =>
    valued(name, operation, (value) => packAttributes(value as Attributes), new Uint32Array(18));
  /** The same with one value; `none` is what there is without. */
  const valued =
    (name: BindingName, operation: (...args: never[]) => Operation, pack: (value: unknown) => unknown, none: unknown): Handler =>
    (locals, _, ...args) => {
      const signal = binding[`fuse_native_signal_${name}`];
      const asked = operation(...(args as never[]));
      if (isUnclear(asked)) return signal(locals, -EILSEQ, none);
      portable.perform(asked, (result, value) => {
        if (result < 0 || value === undefined) signal(locals, result, none);
        else signal(locals, 0, pack(value));
      });
    };
  /** A new handle. */
  const opened = (name: 'open' | 'create', operation: (...args: never[]) => Operation): Handler => {
    return (locals, _, ...args) => {
      const signal = binding[`fuse_native_signal_${name}`];
      const asked = operation(...(args as never[]));
      if (isUnclear(asked)) return signal(locals, -EILSEQ, 0);
      portable.perform(asked, (result) => signal(locals, Math.min(result, 0), Math.max(result, 0)));
    };
  };
  /** Data in libfuse's memory, which is given back with the answer. */
  const moved =
    (name: 'read' | 'write', opcode: typeof OPCODE.READ | typeof OPCODE.WRITE): Handler =>
    (locals, _, _path: string, handle: number, data: Buffer, _length: number, low: number, high: number) => {
      const signal = binding[`fuse_native_signal_${name}`];
      const operation = { opcode, handle, data, offsetBytes: joined(low, high) };
      portable.perform(operation, (result) => signal(locals, result, Math.max(result, 0), data.buffer));
    };

  return {
    init: (locals) => {
      mounted();
      binding.fuse_native_signal_init(locals, 0);
    },
    getattr: attributes('getattr', (path: string) => ({ opcode: OPCODE.GETATTR, path })),
    fgetattr: attributes('fgetattr', (path: string, handle: number) => ({ opcode: OPCODE.GETATTR, path, handle })),
    chmod: plain('chmod', (path: string, setMode: number) => ({ opcode: OPCODE.SETATTR, path, setMode })),
    chown: plain('chown', (path: string, uid: number, gid: number) => ({
      opcode: OPCODE.SETATTR,
      path,
      ...(uid === SAME_ID ? {} : { setUid: uid }),
      ...(gid === SAME_ID ? {} : { setGid: gid }),
    })),
    truncate: plain('truncate', (path: string, low: number, high: number) => ({
      opcode: OPCODE.SETATTR,
      path,
      setSize: joined(low, high),
    })),
    ftruncate: plain('ftruncate', (_path: string, handle: number, low: number, high: number) => ({
      opcode: OPCODE.SETATTR,
      handle,
      setSize: joined(low, high),
    })),
    utimens: (locals, _, path: string, low: number, high: number) => {
      const signal = binding.fuse_native_signal_utimens;
      const times = timesOf(locals, joined(low, high));
      if (times === null) return signal(locals, -EOPNOTSUPP);
      const operation = { opcode: OPCODE.SETATTR, path, ...times };
      if (isUnclear(operation)) return signal(locals, -EILSEQ);
      portable.perform(operation, (result) => signal(locals, result));
    },
    statfs: valued(
      'statfs',
      (path: string) => ({ opcode: OPCODE.STATFS, path }),
      (value) => packSpace(value as Space),
      new Uint32Array(11),
    ),
    readdir: (locals, _, path: string) => {
      const signal = binding.fuse_native_signal_readdir;
      if (path.includes(NOT_UTF8)) return signal(locals, -EILSEQ, [], []);
      portable.perform({ opcode: OPCODE.READDIR, path }, (result, value) => {
        const listed = result < 0 ? [] : (value as Listed[]);
        signal(
          locals,
          Math.min(result, 0),
          listed.map(({ name }) => name),
          listed.map(packListed),
        );
      });
    },
    readlink: valued(
      'readlink',
      (path: string) => ({ opcode: OPCODE.READLINK, path }),
      (value) => String(value),
      '',
    ),
    mknod: plain('mknod', (path: string, mode: number, rdev: number) => ({ opcode: OPCODE.MKNOD, path, mode, rdev })),
    mkdir: plain('mkdir', (path: string, mode: number) => ({ opcode: OPCODE.MKDIR, path, mode })),
    symlink: plain('symlink', (to: string, path: string) => ({ opcode: OPCODE.SYMLINK, path, to })),
    link: plain('link', (path: string, to: string) => ({ opcode: OPCODE.LINK, path, to })),
    unlink: plain('unlink', (path: string) => ({ opcode: OPCODE.UNLINK, path })),
    rmdir: plain('rmdir', (path: string) => ({ opcode: OPCODE.RMDIR, path })),
    rename: plain('rename', (path: string, to: string) => ({ opcode: OPCODE.RENAME, path, to })),
    open: opened('open', (path: string, flags: number) => ({ opcode: OPCODE.OPEN, path, flags })),
    // How it is opened the binding does not say: for reading and writing will do for both.
    create: opened('create', (path: string, mode: number) => ({
      opcode: OPCODE.CREATE,
      path,
      mode,
      flags: O_RDWR,
    })),
    read: moved('read', OPCODE.READ),
    write: moved('write', OPCODE.WRITE),
    flush: plain('flush', (_path: string, handle: number) => ({ opcode: OPCODE.FLUSH, handle })),
    release: plain('release', (_path: string, handle: number) => ({ opcode: OPCODE.RELEASE, handle })),
    fsync: plain('fsync', (_path: string, flags: number, handle: number) => ({ opcode: OPCODE.FSYNC, handle, flags })),
    fsyncdir: plain('fsyncdir', (path: string, flags: number) => ({ opcode: OPCODE.FSYNCDIR, path, flags })),
    setxattr: (locals, _, path: string, to: string, data: Buffer, _position: number, flags: number) => {
      const signal = (result: number) => binding.fuse_native_signal_setxattr(locals, result, data.buffer);
      const operation = { opcode: OPCODE.SETXATTR, path, to, data, flags };
      if (FOREIGN_ATTRIBUTE.test(to)) return signal(-EOPNOTSUPP);
      if (isUnclear(operation)) return signal(-EILSEQ);
      portable.perform(operation, signal);
    },
    getxattr: (locals, _, path: string, to: string, data: Buffer) => {
      const signal = (result: number) => binding.fuse_native_signal_getxattr(locals, result, data.buffer);
      const operation = { opcode: OPCODE.GETXATTR, path, to, lengthBytes: data.length };
      if (FOREIGN_ATTRIBUTE.test(to)) return signal(-EOPNOTSUPP);
      if (isUnclear(operation)) return signal(-EILSEQ);
      portable.perform(operation, (result, value) => signal(filled(data, result, value)));
    },
    listxattr: (locals, _, path: string, data: Buffer) => {
      const signal = (result: number) => binding.fuse_native_signal_listxattr(locals, result, data.buffer);
      if (path.includes(NOT_UTF8)) return signal(-EILSEQ);
      portable.perform({ opcode: OPCODE.LISTXATTR, path, lengthBytes: LONGEST_LIST }, (result, value) => {
        const list = result < 0 ? null : withoutForeign(value as Buffer);
        if (list === null || data.length === 0) signal(list === null ? result : list.length);
        else signal(filled(data, list.length, list));
      });
    },
    removexattr: (locals, _, path: string, to: string) => {
      const signal = (result: number) => binding.fuse_native_signal_removexattr(locals, result);
      const operation = { opcode: OPCODE.REMOVEXATTR, path, to };
      if (FOREIGN_ATTRIBUTE.test(to)) return signal(-EOPNOTSUPP);
      if (isUnclear(operation)) return signal(-EILSEQ);
      portable.perform(operation, signal);
    },
  };
}

/** As open(2) has it. */
const O_RDWR = 2;

/** The most that a list of attributes may be long. */
const LONGEST_LIST = 65536;

function isUnclear({ path, to }: Operation): boolean {
  return path?.includes(NOT_UTF8) === true || to?.includes(NOT_UTF8) === true;
}

function filled(data: Buffer, result: number, value: unknown): number {
  if (result < 0 || data.length === 0) return result;
  const bytes = value as Buffer;
  if (bytes.length > data.length) return -ERANGE;
  bytes.copy(data);
  return bytes.length;
}

/** A list of names, each ended by NUL, without those that are not shown. */
function withoutForeign(list: Buffer): Buffer {
  const names = list
    .toString('latin1')
    .split('\0')
    .filter((name) => name !== '' && !FOREIGN_ATTRIBUTE.test(name));
  return Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1');
}
