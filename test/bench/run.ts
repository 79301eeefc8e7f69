// Runs the jobs on every target, interleaved, and collects what they measured.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../helpers/run.js';
import type { Session } from '../helpers/session.js';
import { type Bench, JOBS, type Job, READ_FILE, READ_FILE_MIB } from './jobs.js';
import type { MetricId } from './metrics.js';
import type { Options } from './options.js';
import { type Place, prepareTree } from './place.js';
import { type Target, targetsOn } from './targets.js';

/** By metric and target: a value a round, undefined where the job failed. */
export type Values = Map<MetricId, Map<string, (number | undefined)[]>>;

export interface Measurement {
  place: Place;
  values: Values;
  /** The targets that ran, in the order of the table. */
  targets: readonly Target[];
  failures: string[];
}

interface Running {
  target: Target;
  work: string;
}

export type Say = (text: string) => void;

export async function measure(
  session: Session,
  place: Place,
  filesProgram: string,
  options: Options,
  say: Say,
): Promise<Measurement> {
  say(`${place.filesystem}: preparing`);
  const running = await startTargets(session, place, options, say);
  const { runtimeMs, files, rounds } = options;
  const bench: Bench = { session, runtimeMs, files, filesProgram, ...(await prepareTree(session, place.top)) };
  const jobs = JOBS.filter((job) => options.jobs.has(job.name));
  if (jobs.some((job) => job.metrics.some((metric) => metric.kind === 'read'))) {
    for (const { target, work } of running) if (!target.chargingOnly) await layOut(session, work);
  }

  const values: Values = new Map();
  const failures: string[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const job of jobs) {
      say(`${place.filesystem}: round ${round + 1} of ${rounds}, ${job.name}`);
      for (const { target, work } of turn(running, round)) {
        if (target.chargingOnly && !job.metrics.some((metric) => metric.charges)) continue;
        try {
          record(values, job, target, round, await job.run(bench, work));
        } catch (error) {
          session.signal.throwIfAborted();
          failures.push(
            `${place.filesystem}, ${target.name}, ${job.name}: ${error instanceof Error ? error.message : String(error)}`,
          );
          await run('find', [work, '-mindepth', '1', '-maxdepth', '1', '!', '-name', READ_FILE, '-exec', 'rm', '-rf', '{}', '+']);
        }
      }
    }
  }
  return { place, values, targets: running.map(({ target }) => target), failures };
}

async function startTargets(session: Session, { top, on }: Place, options: Options, say: Say): Promise<Running[]> {
  const running: Running[] = [];
  for (const target of targetsOn(on).filter(({ name }) => options.targets.has(name))) {
    const own = join(top, target.name);
    await mkdir(own);
    const work = await target.start(session, own);
    if (work === null) say(`${target.name} is not installed, and is left out`);
    else running.push({ target, work });
  }
  return running;
}

/** What the read jobs read in a directory: written there, and then read once so that it is warm. */
export async function layOut(session: Session, work: string): Promise<void> {
  const file = join(work, READ_FILE);
  await session.command('dd', ['if=/dev/urandom', `of=${file}`, 'bs=1M', `count=${READ_FILE_MIB}`, 'status=none']);
  await session.command('dd', [`if=${file}`, 'of=/dev/null', 'bs=1M', 'status=none']);
}

/** Each round starts elsewhere, and every other one goes the other way round. */
function turn(running: readonly Running[], round: number): Running[] {
  const from = (round * 2) % Math.max(1, running.length);
  const turned = [...running.slice(from), ...running.slice(0, from)];
  return round % 2 === 0 ? turned : turned.reverse();
}

function record(values: Values, job: Job, target: Target, round: number, measured: Partial<Record<MetricId, number>>): void {
  for (const { id } of job.metrics) {
    const byTarget = values.get(id) ?? new Map<string, (number | undefined)[]>();
    values.set(id, byTarget);
    const rounds = byTarget.get(target.name) ?? [];
    byTarget.set(target.name, rounds);
    rounds[round] = measured[id];
  }
}
