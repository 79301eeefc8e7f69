// The part of `scripts/bench` about HTTP: reserving, blobs, and what file I/O loses meanwhile.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from '../helpers/run.js';
import { Session } from '../helpers/session.js';
import type { Goal } from './goals.js';
import { measureBlobs } from './http-blobs.js';
import type { Comparison } from './http-comparison.js';
import { judgeFiles, measureFiles } from './http-files.js';
import { judgeReserve, measureReserve } from './http-reserve.js';
import type { Options } from './options.js';
import type { Place } from './place.js';
import type { Say } from './run.js';
import { judgeZdb, measureZdb } from './zdb.js';

/** The three of them, by the names that `--only` knows. */
export const HTTP_PARTS = ['http-reserve', 'http-blobs', 'http-files'] as const;
/** Namespaces are asked like them, and are no HTTP. */
export const ZDB = 'zdb';
export type HttpPart = (typeof HTTP_PARTS)[number] | typeof ZDB;

export interface HttpMeasured {
  part: HttpPart;
  title: string;
  /** What a row of test/performance.txt is about: the name of its column. */
  about: string;
  comparison: Comparison;
  goals: Goal[];
}

/** Compiles what is asked with, and what makes nginx sync. */
async function compile(session: Session): Promise<{ load: string; preload: string }> {
  const directory = await session.directory();
  const made = async (name: string, source: string, ...how: string[]): Promise<string> => {
    const out = join(directory, name);
    await session.command('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', ...how, '-o', out, join(ROOT, 'scripts', source)]);
    return out;
  };
  return {
    load: await made('bench-load', 'bench-load.c'),
    preload: await made('bench-synced.so', 'bench-synced.c', '-shared', '-fPIC'),
  };
}

/** Measures one of them; its servers end with it. `files`: scripts/bench-files.c, compiled. */
export async function measureHttp(
  session: Session,
  place: Place,
  files: string,
  part: HttpPart,
  options: Options,
  say: Say,
): Promise<HttpMeasured> {
  const inner = new Session();
  const stop = () => inner.interrupt('SIGINT');
  session.signal.addEventListener('abort', stop);
  const end = async () => {
    const left = await inner.end();
    if (left.length > 0) throw new Error(left.join('; '));
  };
  session.defer(part, end);
  const top = join(place.top, part);
  await mkdir(top);
  try {
    if (part === ZDB) {
      const comparison = await measureZdb(inner, top, options, (text) => say(`${place.filesystem}: ${text}`));
      return { part, title: 'key-value namespaces', about: 'keys', comparison, goals: judgeZdb(comparison) };
    }
    const programs = { files, ...(await compile(inner)) };
    const told: Say = (text) => say(`${place.filesystem}: ${text}`);
    if (part === 'http-reserve') {
      const comparison = await measureReserve(inner, top, programs.load, options, told);
      return { part, title: 'pairs over HTTP', about: 'server', comparison, goals: judgeReserve(comparison) };
    }
    if (part === 'http-blobs') {
      const comparison = await measureBlobs(inner, top, programs, options, told);
      return { part, title: 'blobs over HTTP', about: 'server', comparison, goals: [] };
    }
    const comparison = await measureFiles(inner, top, programs, options, told);
    return { part, title: 'files beside HTTP', about: 'files, asked', comparison, goals: judgeFiles(comparison) };
  } finally {
    await end();
    session.signal.removeEventListener('abort', stop);
    await session.command('rm', ['-rf', top]).catch(() => {});
  }
}
