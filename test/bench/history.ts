// test/performance.txt: rows for every version that was measured, a table for each part of the bench.
import { readFile, rename, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { readVersion } from '../../src/version.js';
import { ROOT } from '../helpers/run.js';
import type { HttpMeasured } from './http.js';
import type { LotsMeasurement } from './lots.js';
import { type LotLine, lotsColumns, lotsValues } from './lots-summary.js';
import { METRICS } from './metrics.js';
import type { Options } from './options.js';
import type { Place } from './place.js';
import type { Measurement } from './run.js';
import { SPOOL_ROWS, type SpoolLine } from './spool.js';
import { chargingCost, type Line } from './summary.js';

const FILE = join(ROOT, 'test/performance.txt');
const WIDTH = 7;

const right = (words: readonly string[]): string => words.map((word) => word.padStart(WIDTH)).join('');

/** Of the columns before the numbers; the last is there in one of the tables only. */
const WIDTHS = [8, 11, 9, 7, 9, 15];

function row(words: readonly string[], ratios: readonly string[], note: string): string {
  return `${words.map((word, i) => word.padEnd(WIDTHS[i] ?? 0)).join('')}${right(ratios)}  ${note}`.trimEnd();
}

const HEAD = ['version', 'date', 'kernel', 'fs', 'rounds'];

/** The line that names the columns. */
export function columns(): string {
  const head = [...HEAD, 'target'];
  return row(head, [...METRICS.map(({ column }) => column), 'charge'], 'what changed');
}

/** A row for each mode of the mount, and one for the best of the others; the note stands at the first. */
export async function appendHistory(options: Options, { place }: Measurement, lines: readonly Line[]): Promise<void> {
  const words = [...where(place.filesystem), `${options.rounds}x${options.runtimeMs / 1000}s`];
  const byMetric = new Map(lines.map((line) => [line.metric.id, line]));
  const ratios = (pick: (line: Line) => number | undefined) =>
    METRICS.map(({ id }) => {
      const line = byMetric.get(id);
      return (line === undefined ? undefined : pick(line))?.toFixed(2) ?? '-';
    });
  const cost = chargingCost(lines);
  const charge = cost === null ? '-' : `${(cost.mean * 100).toFixed(1)}%`;
  const kernel = [
    row([...words, 'kernel-enforced'], [...ratios((line) => line.ratios.get('kernel')?.median), '-'], options.note),
  ];
  const rows = [
    row([...words, 'passthrough'], [...ratios((line) => line.ratios.get('passthrough')?.median), charge], options.note),
    row([...words, 'no passthrough'], [...ratios((line) => line.ratios.get('cached')?.median), '-'], ''),
    row([...words, 'fuse-native'], [...ratios((line) => line.ratios.get('fuse-native')?.median), '-'], ''),
    row([...words, 'best other'], [...ratios((line) => line.bestPeer?.ratio), '-'], ''),
  ];
  await addRows(columns(), place.on === 'btrfs' ? kernel : rows);
}

/** The line that names the columns of many lots. */
function columnsOfLots(): string {
  return row(HEAD, lotsColumns(), 'what changed');
}

/** A row of what many lots cost. */
export async function appendLots(options: Options, { place }: LotsMeasurement, lines: readonly LotLine[]): Promise<void> {
  const words = [...where(place.filesystem), `${options.rounds}${options.quick ? ' quick' : ''}`];
  await addRows(columnsOfLots(), [row(words, lotsValues(lines), options.note)]);
}

/** Rows of what spools do: native as it was measured, the others as a ratio. */
export async function appendSpool(options: Options, place: Place, lines: readonly SpoolLine[]): Promise<void> {
  const words = [...where(place.filesystem), `${options.rounds}${options.quick ? ' quick' : ''}`];
  const titles = new Set(lines.flatMap(({ byPlace }) => [...byPlace.keys()]));
  const rows = [...titles].map((title, i) => {
    const numbers = lines.map(({ row: { unit }, byPlace, ratios }) =>
      i > 0 ? ratios.get(title)?.median.toFixed(2) : byPlace.get(title)?.median.toFixed(unit === 'ms' ? 2 : 0),
    );
    return row(
      [...words, title],
      numbers.map((text) => text ?? '-'),
      i === 0 ? options.note : '',
    );
  });
  const head = row([...HEAD, 'spool'], [...SPOOL_ROWS.map(({ column }) => column)], 'what changed');
  await addRows(head, rows);
}

/** Rows of what was measured over HTTP: one for everybody who is compared. */
export async function appendHttp(options: Options, place: Place, { about, comparison }: HttpMeasured): Promise<void> {
  const words = [...where(place.filesystem), `${options.rounds}x${options.runtimeMs / 1000}s`];
  const wide = Math.max(about.length, ...comparison.contenders.map(({ title }) => title.length));
  const rows = comparison.present.map((each, i) =>
    row([...words, each.title.padEnd(wide)], comparison.row(each), i === 0 ? options.note : ''),
  );
  const head = row(
    [...HEAD, about.padEnd(wide)],
    comparison.metrics.map(({ column }) => column),
    'what changed',
  );
  await addRows(head, rows);
}

function where(filesystem: string): string[] {
  const kernel = release().split('.').slice(0, 2).join('.');
  return [readVersion(), new Date().toISOString().slice(0, 10), kernel, filesystem];
}

/** Adds rows at the end of the table that begins with this line; without one, a table at the end. */
async function addRows(head: string, rows: readonly string[]): Promise<void> {
  const lines = (await readFile(FILE, 'utf8')).trimEnd().split('\n');
  const blanks = (text: string) => text.replace(/\s+/g, ' ');
  const start = lines.findIndex((line) => blanks(line) === blanks(head));
  if (start < 0) lines.push('', head, ...rows);
  else {
    const end = lines.indexOf('', start);
    lines.splice(end < 0 ? lines.length : end, 0, ...rows);
  }
  await writeFile(`${FILE}.new`, `${lines.join('\n')}\n`);
  await rename(`${FILE}.new`, FILE);
}
