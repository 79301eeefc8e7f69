// What can be wrong with a spool, and how a scan shows it (Multispool 3.6).

import { formatDuration } from '../core/duration.js';
import { printable } from './names.js';
import type { Scan, ScannedDirectory, ScannedFile } from './scan.js';

/**
 * One thing that is wrong, as it is printed in JSON. `dir` is relative to the spool: `.registry`, `.tmp`, `.data`, `QUEUE` or
 * `QUEUE/.checkout`. `file` is a name, with bytes that are not UTF-8 as `%XX`; `mtimeMs` is Unix ms, with a fraction.
 */
export type Problem =
  | { kind: 'too-old'; file: string; dir: string; mtimeMs: number; ageMs: number; limitMs: number }
  /** A file without a registry file, or a registry file without an entry. */
  | { kind: 'orphaned'; file: string; dir: string; mtimeMs: number }
  /** One registry file, several entries. */
  | { kind: 'duplicated'; file: string; dirs: string[]; mtimeMs: number };

/** Ages past which a file is too old, by the time since it was last moved. */
export interface MonitorLimits<Queue extends string = string> {
  maxCheckedOutAgeMs: number;
  maxTmpFileAgeMs: number;
  /** Queues that are not listed have no limit. */
  maxQueueAgesMs: Partial<Record<Queue, number>>;
}

/** Too old, then orphaned, then duplicated; each in the order of the scan. */
export function problemsOf(scan: Scan, limits: MonitorLimits, nowMs: number): Problem[] {
  const queueAges: Partial<Record<string, number>> = limits.maxQueueAgesMs;
  const registered = new Set(scan.registry.files.map(({ key }) => key));
  return [
    ...tooOld(scan.tmp, limits.maxTmpFileAgeMs, nowMs),
    ...scan.checkouts.flatMap((directory) => tooOld(directory, limits.maxCheckedOutAgeMs, nowMs)),
    ...scan.queues.flatMap((directory) => tooOld(directory, queueAges[directory.dir], nowMs)),
    ...[scan.tmp, scan.data, ...scan.queues, ...scan.checkouts].flatMap((directory) => unregistered(directory, registered)),
    ...miscounted(scan),
  ];
}

/** What makes two sightings the same problem: a file that was touched since is another one. */
export function problemId(problem: Problem): string {
  const { kind, file, mtimeMs } = problem;
  return JSON.stringify([kind, file, mtimeMs, kind === 'duplicated' ? problem.dirs : problem.dir]);
}

/** On one line, such as `Too_old: mail/.checkout/m1 (12 min, at most 10 min)`. */
export function problemText(problem: Problem): string {
  const file = printable(problem.file);
  switch (problem.kind) {
    case 'too-old':
      return `Too_old: ${problem.dir}/${file} (${formatDuration(problem.ageMs)}, at most ${formatDuration(problem.limitMs)})`;
    case 'orphaned':
      return `Orphaned: ${problem.dir}/${file} (${problem.dir === '.registry' ? 'no entry' : 'no registry file'})`;
    case 'duplicated':
      return `Duplicated: ${file} (in ${problem.dirs.join(', ')})`;
  }
}

function tooOld({ dir, files }: ScannedDirectory, limitMs: number | undefined, nowMs: number): Problem[] {
  if (limitMs === undefined) return [];
  return files
    .map(({ name, mtimeMs }) => ({ kind: 'too-old' as const, file: name, dir, mtimeMs, ageMs: nowMs - mtimeMs, limitMs }))
    .filter(({ ageMs }) => ageMs > limitMs);
}

function unregistered({ dir, files }: ScannedDirectory, registered: Set<string>): Problem[] {
  return files
    .filter(({ key }) => !registered.has(key))
    .map(({ name, mtimeMs }) => ({ kind: 'orphaned' as const, file: name, dir, mtimeMs }));
}

/** Names whose entry is nowhere, and names that have several. Payloads do not count. */
function miscounted(scan: Scan): Problem[] {
  const places = new Map<string, string[]>();
  for (const { dir, files } of [...scan.queues, ...scan.checkouts]) {
    for (const { key } of files) places.set(key, [...(places.get(key) ?? []), dir]);
  }
  const found = (count: (dirs: string[]) => boolean): { file: ScannedFile; dirs: string[] }[] =>
    scan.registry.files.map((file) => ({ file, dirs: places.get(file.key) ?? [] })).filter(({ dirs }) => count(dirs));
  return [
    ...found((dirs) => dirs.length === 0).map(({ file: { name, mtimeMs } }) => ({
      kind: 'orphaned' as const,
      file: name,
      dir: scan.registry.dir,
      mtimeMs,
    })),
    ...found((dirs) => dirs.length > 1).map(({ file: { name, mtimeMs }, dirs }) => ({
      kind: 'duplicated' as const,
      file: name,
      dirs,
      mtimeMs,
    })),
  ];
}
