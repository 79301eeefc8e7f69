// Block devices of the test's own: loop devices over sparse files, detached however the test ends.
import { constants } from 'node:fs';
import { open, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../../src/core/errors.js';
import { soon } from './columns.js';
import { type Teardown, temporaryDirectory } from './mount.js';
import { must, type Outcome, run, shell } from './run.js';

const MIB = 1024 ** 2;

/** For what other tests have to end first. */
const PATIENCE_MS = 120_000;

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
  /** Of every byte on the device, and of where there are none. */
  fingerprint(): Promise<string>;
  /** Takes it away, as somebody who pulls a disk. */
  detach(): Promise<void>;
  /** The same file again, on any loop device. */
  attach(): Promise<void>;
}

/** A directory for files and pools, below which nothing stays mounted; and how to get devices. */
/**
 * `vreserve` with these words, once no mount of the machine is dead: mkfs.btrfs gives up at one, and other tests kill daemons.
 * Tried again where one has died meanwhile.
 */
export async function onDisks(run: () => Promise<Outcome>): Promise<Outcome> {
  const isDead = ({ stderr }: Outcome) => /Transport endpoint is not connected/.test(stderr);
  return soon(
    async () => {
      await soon(deadSources, (dead) => dead.length === 0, PATIENCE_MS);
      return run();
    },
    (outcome) => !isDead(outcome),
    PATIENCE_MS,
  );
}

async function deadSources(): Promise<string[]> {
  const sources = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[0] ?? '');
  const checked = sources
    .filter((source) => source.startsWith('/'))
    .map(async (source) => {
      const error = await stat(source).catch((thrown: unknown) => thrown);
      return errnoOf(error) === 'ENOTCONN' ? source : '';
    });
  return (await Promise.all(checked)).filter((source) => source !== '');
}

/** Unmounts, and waits until nobody has it mounted: a namespace that was made meanwhile, of a container, keeps it as long as it lives. */
export async function unmountEverywhere(directory: string, ...loops: readonly Loop[]): Promise<void> {
  await must(run('umount', [directory]));
  const isFree = async ({ path }: Loop) => {
    const { O_RDONLY, O_EXCL } = constants;
    return open(path, O_RDONLY | O_EXCL).then(
      (handle) => handle.close().then(() => true),
      () => false,
    );
  };
  for (const loop of loops) await soon(() => isFree(loop), Boolean, PATIENCE_MS);
}

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

/** Reads what the file holds, and passes over its holes. */
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
    found.update(b'%d-%d' % (start, at))
    for offset in range(start, at, 1 << 20): found.update(os.pread(fd, min(1 << 20, at - offset), offset))
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
