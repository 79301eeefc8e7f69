// The jobs: each runs once in a target's directory, leaves nothing there, and returns what it measured.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Session } from '../helpers/session.js';
import type { Measured, Metric, MetricId } from './metrics.js';
import { METRICS } from './metrics.js';

/** What the jobs need, prepared once a filesystem. */
export interface Bench {
  session: Session;
  runtimeMs: number;
  files: number;
  /** The compiled scripts/bench-files.c. */
  filesProgram: string;
  /** A tar file, and a repository that holds the same tree. */
  tar: string;
  repository: string;
}

export interface Job {
  name: string;
  metrics: readonly Metric[];
  run(bench: Bench, work: string): Promise<Measured>;
}

/** Laid out once in every target, before the first round, and read by every read job. */
export const READ_FILE = 'to-read';
export const READ_FILE_MIB = 256;
const MIB = 2 ** 20;

/** Writes go to files of their own (of fewer MiB each where there are several), reads to the one that is laid out. */
function fio(id: MetricId, rw: string, blockBytes: number, jobs = 1): Job {
  const reads = rw.endsWith('read');
  return job(id, [id], async ({ session, runtimeMs }, work) => {
    const place = reads
      ? [`--filename=${join(work, READ_FILE)}`, `--size=${READ_FILE_MIB}m`]
      : [`--directory=${work}`, `--size=${READ_FILE_MIB / jobs}m`];
    // No fallocate, which would charge a file at once; no invalidation, which would drop what is to be warm.
    const how = ['--ioengine=psync', '--thread', '--fallocate=none', '--invalidate=0', '--norandommap', '--randrepeat=0'];
    const load = [`--rw=${rw}`, `--bs=${blockBytes}`, `--numjobs=${jobs}`, '--time_based', `--runtime=${runtimeMs}ms`];
    const output = ['--name=fio', '--group_reporting', '--output-format=json'];
    const said = await session.command('fio', [...output, ...how, ...load, ...place]);
    if (!reads) for (let i = 0; i < jobs; i++) await rm(join(work, `fio.${i}.0`), { force: true });
    const { jobs: results } = JSON.parse(said.slice(said.indexOf('{'))) as { jobs: Record<string, { bw_bytes: number }>[] };
    const bytesPerSecond = results[0]?.[reads ? 'read' : 'write']?.bw_bytes;
    if (!bytesPerSecond) throw new Error(`fio has no rate: ${said}`);
    return { [id]: bytesPerSecond / MIB };
  });
}

function append(id: MetricId, blockBytes: number): Job {
  return job(id, [id], async ({ session, filesProgram, runtimeMs }, work) => {
    const said = await session.command(filesProgram, ['append', work, String(blockBytes), String(runtimeMs / 1000)]);
    return { [id]: (JSON.parse(said) as { append: number }).append };
  });
}

async function seconds(what: Promise<string>): Promise<number> {
  const start = process.hrtime.bigint();
  await what;
  return Number(process.hrtime.bigint() - start) / 1e9;
}

async function smallFiles({ session, filesProgram, files }: Bench, work: string): Promise<Measured> {
  return JSON.parse(await session.command(filesProgram, ['files', work, String(files)])) as Measured;
}

async function tree({ session, tar, repository }: Bench, work: string): Promise<Measured> {
  const unpack = await seconds(session.command('tar', ['-xf', tar, '-C', work]));
  const grep = await seconds(
    session.command('grep', ['-r', 'reservation', join(work, 'typescript'), join(work, '@tapjs')]).catch(noMatch),
  );
  for (const name of ['typescript', '@tapjs']) await rm(join(work, name), { recursive: true, force: true });
  const cloned = join(work, 'cloned');
  const clone = await seconds(session.command('git', ['clone', '-q', '--no-hardlinks', repository, cloned], { env: PLAIN_GIT }));
  await rm(cloned, { recursive: true, force: true });
  return { unpack, grep, clone };
}

/** grep says 1 where nothing matched. */
function noMatch(error: unknown): string {
  if (error instanceof Error && /: ended with 1\b/.test(error.message)) return '';
  throw error;
}

/** Nobody's own configuration of git. */
export const PLAIN_GIT = { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' };

function job(name: string, ids: readonly MetricId[], work: Job['run']): Job {
  return { name, metrics: METRICS.filter((metric) => ids.includes(metric.id)), run: work };
}

export const JOBS: readonly Job[] = [
  fio('write-1m', 'write', MIB),
  fio('write-128k', 'write', 128 * 1024),
  fio('write-4k', 'write', 4096),
  fio('randwrite-4k', 'randwrite', 4096),
  fio('randwrite-4k-4', 'randwrite', 4096, 4),
  append('append-1m', MIB),
  append('append-4k', 4096),
  fio('read-1m', 'read', MIB),
  fio('read-128k', 'read', 128 * 1024),
  fio('randread-4k', 'randread', 4096),
  fio('randread-4k-4', 'randread', 4096, 4),
  job('files', ['create', 'stat', 'list', 'read', 'rename', 'unlink'], smallFiles),
  job('tree', ['unpack', 'grep', 'clone'], tree),
];
