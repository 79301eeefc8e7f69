// The thirteen cases of the monitor: files laid into a spool by hand, and what it says of them.
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Monitor, type MonitorLimits } from '../../../src/spool/monitor.js';
import type { Problem } from '../../../src/spool/problems.js';
import { Spool } from '../../../src/spool/spool.js';
import { type SpoolCase, spoolIn } from './directory.js';
import { QUEUES, WIDGETS } from './widget.js';

const DAY_MS = 86_400_000;
/** Nothing is too old, unless a case says so. */
const LIMITS: MonitorLimits = { maxCheckedOutAgeMs: DAY_MS, maxTmpFileAgeMs: DAY_MS, maxQueueAgesMs: {} };
const FILE = 'foo';

/** What is found, without its times: the kind and the directories. */
type Found = readonly (readonly [kind: Problem['kind'], ...dirs: string[]])[];

interface MonitorRow {
  /** Directories in which a file of the one name is made. */
  files: readonly string[];
  limits?: Partial<MonitorLimits>;
  finds: Found;
  /** Directories from which it is taken away; then nothing is found any more. */
  without?: readonly string[];
}

const ROWS: Readonly<Record<string, MonitorRow>> = {
  Empty: { files: [], finds: [] },
  'Queue entry, no issues': { files: ['.registry', 'queue1'], finds: [] },
  'Checkout entry, no issues': { files: ['.registry', 'queue1/.checkout'], finds: [] },
  'Queue entry with temporary file, no issues': { files: ['.registry', 'queue1', '.tmp'], finds: [] },
  'No entries for registered file': { files: ['.registry'], finds: [['orphaned', '.registry']], without: ['.registry'] },
  'Duplicate entries for registered file': {
    files: ['.registry', 'queue1', 'queue2'],
    finds: [['duplicated', 'queue1', 'queue2']],
    without: ['queue2'],
  },
  'Temporary file not registered': { files: ['.tmp'], finds: [['orphaned', '.tmp']], without: ['.tmp'] },
  'Checkout entry not registered': {
    files: ['queue1/.checkout'],
    finds: [['orphaned', 'queue1/.checkout']],
    without: ['queue1/.checkout'],
  },
  'Data file not registered': { files: ['.data'], finds: [['orphaned', '.data']], without: ['.data'] },
  'Queue entry not registered': { files: ['queue1'], finds: [['orphaned', 'queue1']], without: ['queue1'] },
  'Checked out entry too old': {
    files: ['.registry', 'queue1/.checkout'],
    limits: { maxCheckedOutAgeMs: 0 },
    finds: [['too-old', 'queue1/.checkout']],
  },
  'Temporary file too old': {
    files: ['.registry', 'queue1', '.tmp'],
    limits: { maxTmpFileAgeMs: 0 },
    finds: [['too-old', '.tmp']],
  },
  'Queue entry too old': {
    files: ['.registry', 'queue1'],
    limits: { maxQueueAgesMs: { queue1: 0 } },
    finds: [['too-old', 'queue1']],
  },
};

async function onRow(t: Test, directory: string, { files, limits = {}, finds, without }: MonitorRow): Promise<void> {
  const dir = spoolIn(directory);
  await Spool.create(dir, WIDGETS);
  const path = (place: string) => join(dir, place, FILE);
  for (const place of files) await writeFile(path(place), '');
  // A minute on, so that what was made just now has an age: one must be greater than its limit.
  const monitor = await Monitor.load(dir, QUEUES, { clock: () => Date.now() + 60_000 });
  const look = async () => {
    const problems = await monitor.runOnce({ ...LIMITS, ...limits });
    for (const { file, mtimeMs } of problems) {
      t.equal(file, FILE);
      t.ok(Math.abs(Date.now() - mtimeMs) < DAY_MS / 2, 'with the time of the file');
    }
    return problems.map((problem) => [problem.kind, ...('dirs' in problem ? problem.dirs : [problem.dir])]);
  };
  t.strictSame(await look(), finds);
  if (without === undefined) return;
  for (const place of without) await rm(path(place));
  t.strictSame(await look(), [], 'without it');
}

export const MONITOR_CASES: readonly SpoolCase[] = Object.entries(ROWS).map(([name, row]) => ({
  name: `Monitor: ${name}`,
  run: (t, directory) => onRow(t, directory, row),
}));
