// Where the mount answers otherwise than a local filesystem, on purpose: what it answers, what is usual, and why.
import type { Case } from './cases.js';

/** A case whose steps say what the mount answers. */
export interface Exception extends Case {
  /** What ext4 does. */
  usual: string;
  reason: string;
}

export const EXCEPTIONS: readonly Exception[] = [
  {
    name: 'blocks past the end of a file',
    needs: ['fallocate'],
    steps: [
      'open f file RDWR|CREAT',
      'fill f 4k 0',
      'EOPNOTSUPP: fallocate f KEEP 0 1m',
      'EOPNOTSUPP: fallocate f ZERO|KEEP 0 1m',
      'EOPNOTSUPP: fallocate f ZERO 0 1m',
      'fallocate f 0 0 1m',
    ],
    usual: 'it allocates them',
    reason: 'a charge is the size of the file: blocks that the size does not show would be had without one',
  },
  {
    name: 'taking a range out of a file, and putting one in',
    steps: [
      'open f file RDWR|CREAT',
      'fill f 16k 0',
      'EOPNOTSUPP: fallocate f COLLAPSE 4k 4k',
      'EOPNOTSUPP: fallocate f INSERT 4k 4k',
    ],
    usual: 'it does so',
    reason: 'the kernel does not pass these modes to a FUSE filesystem',
  },
  {
    name: 'a rename that leaves a whiteout',
    steps: ['open f file RDWR|CREAT', 'EINVAL: rename file other WHITEOUT'],
    usual: 'it leaves a character device 0:0 at the old name',
    reason: 'only the upper layer of an overlay needs it, and the kernel takes no FUSE mount for that',
  },
  {
    name: 'direct writes that are not aligned',
    steps: ['open f file RDWR|CREAT|DIRECT', 'write f five5', 'cat file'],
    usual: 'EINVAL',
    reason: 'what is written goes through the server, which does not need the alignment',
  },
  {
    name: 'opening a file again that has no name and is nowhere open',
    needs: ['nameless'],
    // Never opened: a close is heard of only some time later.
    steps: ['mknod file file 0644', 'open p file PATH', 'unlink file', 'fstat p', 'ESTALE: reopen q p RDONLY'],
    usual: 'it opens',
    reason: 'the server keeps no descriptor of it, so that its blocks are free as soon as its name is gone',
  },
  {
    name: 'attributes of chattr',
    steps: ['open f file RDWR|CREAT', 'ENOTTY: getflags f'],
    usual: 'they can be read and set',
    reason: 'ioctl requests are not passed on',
  },
];
