// What is compared: each target is a directory to work in, on the same filesystem as the others.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { must, run, vreserve } from '../helpers/run.js';
import { type Session, unmount } from '../helpers/session.js';
import type { On } from './place.js';

/** Bytes reserved for a vreserve target: more than the jobs hold at any time. */
const RESERVED_BYTES = 3 * 2 ** 30;

export interface Target {
  name: string;
  /** As the table has it. */
  title: string;
  /** Measured only where something is charged. */
  chargingOnly: boolean;
  /** Another filesystem of the same trade. */
  peer: boolean;
  /** What it was mounted with. */
  how: string;
  /** Mounts on fresh directories below `top`, and returns the directory to work in; null where it is not installed. */
  start(session: Session, top: string): Promise<string | null>;
}

async function directories(top: string, ...names: string[]): Promise<string[]> {
  const made = names.map((name) => join(top, name));
  for (const path of made) await mkdir(path, { recursive: true });
  return made;
}

/** Mounts and returns the mountpoint, which is unmounted at the end. */
async function mounted(session: Session, top: string, words: readonly string[]): Promise<string> {
  const [data = '', mnt = ''] = await directories(top, 'data', 'mnt');
  session.defer(mnt, async () => {
    await vreserve(['umount', mnt]);
  });
  // Not stopped by Ctrl-C: a daemon that is just coming up would be left behind.
  await must(vreserve(['mount', data, mnt, ...words]));
  session.signal.throwIfAborted();
  return mnt;
}

function ours(name: string, title: string, words: readonly string[], chargingOnly = false): Target {
  const start = async (session: Session, top: string): Promise<string> => {
    const work = join(await mounted(session, top, words), 'work');
    await mkdir(work);
    await must(vreserve(['reserve', work, String(RESERVED_BYTES)]));
    return work;
  };
  return { name, title, chargingOnly, peer: false, how: ['vreserve mount', ...words].join(' '), start };
}

function peer(name: string, command: string, args: (top: string) => Promise<string[]>, how: string): Target {
  const start = async (session: Session, top: string): Promise<string | null> => {
    const [mnt = ''] = await directories(top, 'mnt');
    const words = await args(top);
    session.defer(mnt, () => unmount(mnt));
    try {
      await must(run(command, [...words, mnt]));
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
      throw error;
    }
    const [work = ''] = await directories(mnt, 'work');
    return work;
  };
  return { name, title: name, chargingOnly: false, peer: true, how, start };
}

const PASSTHROUGH = ours('passthrough', 'passthrough', []);

const TARGETS: readonly Target[] = [
  {
    name: 'native',
    title: 'native',
    chargingOnly: false,
    peer: false,
    how: 'the directory itself',
    start: async (_session, top) => (await directories(top, 'work'))[0] ?? null,
  },
  PASSTHROUGH,
  ours('uncharged', 'uncharged', ['--no-charging'], true),
  ours('cached', 'no passthrough', ['--no-passthrough']),
  ours('fuse-native', 'fuse-native', ['--engine', 'fuse-native']),
  peer('bindfs', 'bindfs', (top) => directories(top, 'data'), 'bindfs DATA MNT'),
  peer(
    'mergerfs',
    'mergerfs',
    async (top) => ['-o', 'allow_other', ...(await directories(top, 'data'))],
    'mergerfs -o allow_other DATA MNT',
  ),
  peer(
    'fuse-overlayfs',
    'fuse-overlayfs',
    async (top) => {
      const [lower, upper, work] = await directories(top, 'lower', 'upper', 'workdir');
      return ['-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}`];
    },
    'fuse-overlayfs -o lowerdir=EMPTY,upperdir=DATA,workdir=WORK MNT',
  ),
];

/** On btrfs native is a subvolume with the limit that the kernel enforces for the space beside it. */
const BTRFS_TARGETS: readonly Target[] = [
  {
    name: 'native',
    title: 'native',
    chargingOnly: false,
    peer: false,
    how: 'a subvolume with a limit',
    async start(session, top) {
      const work = join(top, 'work');
      await session.command('btrfs', ['subvolume', 'create', work]);
      await session.command('btrfs', ['qgroup', 'limit', String(RESERVED_BYTES), work]);
      return work;
    },
  },
  {
    name: 'kernel',
    title: 'kernel-enforced',
    chargingOnly: false,
    peer: false,
    how: 'vreserve space create NAME SIZE --enforce kernel',
    async start(session, top) {
      const [pool = ''] = await directories(top, 'pool');
      const work = await mounted(session, top, ['--pool', `fast=${pool}`]);
      await must(vreserve(['space', 'create', 'bench', String(RESERVED_BYTES), '--enforce', 'kernel', '--mount', work]));
      return join(work, 'spaces/bench');
    },
  },
  PASSTHROUGH,
];

export function targetsOn(on: On): readonly Target[] {
  return on === 'btrfs' ? BTRFS_TARGETS : TARGETS;
}

export const TARGET_NAMES: readonly string[] = [...new Set([...TARGETS, ...BTRFS_TARGETS].map(({ name }) => name))];
