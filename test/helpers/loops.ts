// Block devices of the test's own: loop devices over sparse files, detached however the test ends.
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Teardown, temporaryDirectory } from './mount.js';
import { must, run, shell } from './run.js';

const MIB = 1024 ** 2;

/** What pools need of a device, and a bit. */
export const DEVICE_BYTES = 300 * MIB;

/** Why there can be no loop devices with btrfs on them here; false where there can. */
export async function whyNotLoops(): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'loop devices are for root';
  for (const tool of ['losetup', 'mkfs.btrfs', 'btrfs', 'wipefs', 'lsblk', 'flock', 'sfdisk', 'python3']) {
    const { code } = await shell(`PATH=$PATH:/usr/sbin:/sbin; command -v ${tool}`);
    if (code !== 0) return `there is no ${tool}`;
  }
  if (!/\bbtrfs$/m.test(await readFile('/proc/filesystems', 'utf8'))) {
    const { code } = await run('modprobe', ['btrfs']).catch(() => ({ code: 1 }));
    if (code !== 0) return 'this kernel has no btrfs';
  }
  const { code } = await run('losetup', ['--find']);
  return code === 0 ? false : 'there is no loop device to be had';
}

export interface LoopOptions {
  bytes?: number;
  /** With the kernel's flag for disks that do not turn. */
  ssd?: boolean;
  readOnly?: boolean;
  /** Looks for partitions. */
  partitions?: boolean;
}

export interface Loop {
  /** `/dev/loopN`. */
  path: string;
  /** `loopN`. */
  name: string;
  /** Its backing file. */
  file: string;
  bytes: number;
  /** Of every byte on the device. */
  fingerprint(): Promise<string>;
  /** Takes it away, as somebody who pulls a disk. */
  detach(): Promise<void>;
  /** The same file again, on any loop device. */
  attach(): Promise<void>;
}

/** A directory for files and pools, below which nothing stays mounted; and how to get devices. */
export interface Bench {
  top: string;
  device(options?: LoopOptions): Promise<Loop>;
}

export async function bench(t: Teardown): Promise<Bench> {
  const top = await temporaryDirectory(t);
  const loops: Loop[] = [];
  t.teardown(async () => {
    // A pool of several devices first, then each of them.
    const { stdout } = await run('findmnt', ['--noheadings', '--output', 'TARGET', '--raw', '--types', 'btrfs']);
    const below = stdout.split('\n').filter((target) => target.startsWith(`${top}/`));
    for (const target of below) await run('umount', ['--lazy', target]);
    for (const loop of loops) await loop.detach();
  });
  return {
    top,
    async device(options = {}) {
      const loop = await makeLoop(join(top, `disk-${loops.length}`), options);
      loops.push(loop);
      return loop;
    },
  };
}

/** Of what is not zero, and where: holes and zeros are the same to who reads. */
const HASH = `
import hashlib, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.fsync(fd)
end = os.fstat(fd).st_size
found, at = hashlib.sha1(), 0
while at < end:
    try: start = os.lseek(fd, at, os.SEEK_DATA)
    except OSError: break
    at = os.lseek(fd, start, os.SEEK_HOLE)
    for offset in range(start, at, 65536):
        piece = os.pread(fd, min(65536, at - offset), offset)
        if piece.strip(b'\\0'): found.update(b'%d ' % offset + piece)
print(found.hexdigest())
`;

async function makeLoop(file: string, { bytes = DEVICE_BYTES, ssd, readOnly, partitions }: LoopOptions): Promise<Loop> {
  await writeFile(file, '');
  await truncate(file, bytes);
  const words = [...(readOnly ? ['--read-only'] : []), ...(partitions ? ['--partscan'] : [])];
  const loop: Loop = {
    path: '',
    name: '',
    file,
    bytes,
    async fingerprint() {
      await must(run('blockdev', ['--flushbufs', loop.path]));
      return (await must(run('python3', ['-c', HASH, file]))).stdout;
    },
    async detach() {
      if (loop.path === '') return;
      await run('btrfs', ['device', 'scan', '--forget', loop.path]);
      await run('losetup', ['--detach', loop.path]);
      loop.path = '';
    },
    async attach() {
      loop.path = (await must(run('losetup', [...words, '--find', '--show', file]))).stdout.trim();
      loop.name = loop.path.slice('/dev/'.length);
      await writeFile(`/sys/block/${loop.name}/queue/rotational`, ssd ? '0' : '1');
    },
  };
  await loop.attach();
  return loop;
}
