// test/performance.txt: rows of ratios for every version that was measured.
import { appendFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { readVersion } from '../../src/version.js';
import { ROOT } from '../helpers/run.js';
import { METRICS } from './metrics.js';
import type { Options } from './options.js';
import type { Measurement } from './run.js';
import { chargingCost, type Line } from './summary.js';

const FILE = join(ROOT, 'test/performance.txt');
const WIDTH = 7;

const right = (words: readonly string[]): string => words.map((word) => word.padStart(WIDTH)).join('');

function row(words: readonly string[], ratios: readonly string[], note: string): string {
  const widths = [8, 11, 9, 7, 9, 15];
  return `${words.map((word, i) => word.padEnd(widths[i] ?? 0)).join('')}${right(ratios)}  ${note}`.trimEnd();
}

/** The line that names the columns. */
export function columns(): string {
  const head = ['version', 'date', 'kernel', 'fs', 'rounds', 'target'];
  return row(head, [...METRICS.map(({ column }) => column), 'charge'], 'what changed');
}

/** A row for each mode of the mount, and one for the best of the others; the note stands at the first. */
export async function appendHistory(options: Options, { place }: Measurement, lines: readonly Line[]): Promise<void> {
  const when = new Date().toISOString().slice(0, 10);
  const kernel = release().split('.').slice(0, 2).join('.');
  const words = [readVersion(), when, kernel, place.filesystem, `${options.rounds}x${options.runtimeMs / 1000}s`];
  const byMetric = new Map(lines.map((line) => [line.metric.id, line]));
  const ratios = (pick: (line: Line) => number | undefined) =>
    METRICS.map(({ id }) => {
      const line = byMetric.get(id);
      return (line === undefined ? undefined : pick(line))?.toFixed(2) ?? '-';
    });
  const cost = chargingCost(lines);
  const charge = cost === null ? '-' : `${(cost.mean * 100).toFixed(1)}%`;
  const rows = [
    row([...words, 'passthrough'], [...ratios((line) => line.ratios.get('passthrough')?.median), charge], options.note),
    row([...words, 'no passthrough'], [...ratios((line) => line.ratios.get('cached')?.median), '-'], ''),
    row([...words, 'best other'], [...ratios((line) => line.bestPeer?.ratio), '-'], ''),
  ];
  await appendFile(FILE, `${rows.join('\n')}\n`);
}
