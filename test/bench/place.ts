// The filesystem that is measured, and what the jobs need there.
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from '../helpers/run.js';
import type { Session } from '../helpers/session.js';
import { PLAIN_GIT } from './jobs.js';
import type { Options } from './options.js';

/** Its pages are taken as they are written; the reservations of the targets must fit together. */
const TMPFS_SIZE = '16g';

/** Of the sparse file that btrfs is on. */
const BTRFS_BYTES = 16 * 2 ** 30;

/** A tmpfs, what the directory is on, or a btrfs in a file there. */
export const ALL_ON = ['tmpfs', 'disk', 'btrfs'] as const;
export type On = (typeof ALL_ON)[number];

export interface Place {
  top: string;
  on: On;
  /** Such as ext4. */
  filesystem: string;
}

export async function makePlace(session: Session, on: On, directory: string): Promise<Place> {
  const top = await session.directory(on === 'tmpfs' ? undefined : directory);
  if (on === 'tmpfs') await session.command('mount', ['-t', 'tmpfs', '-o', `size=${TMPFS_SIZE}`, 'vreserve-bench', top]);
  if (on === 'btrfs') return { top: await mountBtrfs(session, top), on, filesystem: 'btrfs' };
  const filesystem = (await session.command('findmnt', ['-n', '-o', 'FSTYPE', '-T', top])).trim();
  return { top, on, filesystem };
}

/** A btrfs with quotas, as `vreserve pool prepare` makes it, in a file in this directory; returns its mountpoint. */
async function mountBtrfs(session: Session, directory: string): Promise<string> {
  const [file, top] = [join(directory, 'btrfs'), join(directory, 'top')];
  await writeFile(file, '');
  await truncate(file, BTRFS_BYTES);
  await mkdir(top);
  await session.command('mkfs.btrfs', ['-q', file]);
  // The loop device goes with the mount.
  await session.command('mount', ['-o', 'loop', file, top]);
  await session.command('btrfs', ['quota', 'enable', top]);
  return top;
}

/** Compiles the program that times small files; returns its path. */
export async function compileProgram(session: Session): Promise<string> {
  const program = join(await session.directory(), 'bench-files');
  await session.command('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, join(ROOT, 'scripts/bench-files.c')]);
  return program;
}

/** A tar file and a git repository of two packages that the project has installed: few large files, and many small ones. */
export async function prepareTree(session: Session, top: string): Promise<{ tar: string; repository: string }> {
  const tar = join(top, 'tree.tar');
  const repository = join(top, 'repository');
  await session.command('tar', ['-cf', tar, '-C', join(ROOT, 'node_modules'), 'typescript', '@tapjs']);
  await mkdir(repository);
  await session.command('tar', ['-xf', tar, '-C', repository]);
  const git = (...words: string[]) => session.command('git', ['-C', repository, ...words], { env: PLAIN_GIT });
  await git('init', '-q');
  await git('add', '--all', '--force');
  await git('-c', 'user.name=bench', '-c', 'user.email=bench@localhost', '-c', 'gc.auto=0', 'commit', '-q', '-m', 'tree');
  await git('repack', '-a', '-d', '-q');
  return { tar, repository };
}

/** One line on what is measured where. */
export function describe(options: Options, { filesystem }: Place): string {
  const { rounds, runtimeMs, files } = options;
  return `${filesystem}, ${rounds} round${rounds === 1 ? '' : 's'}, ${runtimeMs} ms a job, ${files} small files`;
}

/** One line on what many lots are compared with. */
export function describeLots({ rounds }: Options, { filesystem }: Place): string {
  return `${filesystem}, ${rounds} round${rounds === 1 ? '' : 's'}, many lots. Speed: with all of them, where with the fewest it is 1.`;
}

/** One line on what is measured over HTTP. */
export function describeHttp(title: string, { rounds, runtimeMs }: Options, { filesystem }: Place): string {
  return `${filesystem}, ${rounds} round${rounds === 1 ? '' : 's'}, ${runtimeMs} ms each, ${title}.`;
}

/** One line on what spools are measured with. */
export function describeSpool({ rounds }: Options, { filesystem }: Place): string {
  return `${filesystem}, ${rounds} round${rounds === 1 ? '' : 's'}, spools, 1 KiB an entry. Speed: where native is 1.`;
}
