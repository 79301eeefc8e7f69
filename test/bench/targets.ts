// What is compared: each target is a directory to work in, on the same filesystem as the others.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { must, run, vreserve } from '../helpers/run.js';
import { type Session, unmount } from '../helpers/session.js';

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

function ours(name: string, title: string, words: readonly string[], chargingOnly = false): Target {
  const start = async (session: Session, top: string): Promise<string> => {
    const [data = '', mnt = ''] = await directories(top, 'data', 'mnt');
    session.defer(mnt, async () => {
      await vreserve(['umount', mnt]);
    });
    // Not stopped by Ctrl-C: a daemon that is just coming up would be left behind.
    await must(vreserve(['mount', data, mnt, ...words]));
    session.signal.throwIfAborted();
    const work = join(mnt, 'work');
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

export const TARGETS: readonly Target[] = [
  {
    name: 'native',
    title: 'native',
    chargingOnly: false,
    peer: false,
    how: 'the directory itself',
    start: async (_session, top) => (await directories(top, 'work'))[0] ?? null,
  },
  ours('passthrough', 'passthrough', []),
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
