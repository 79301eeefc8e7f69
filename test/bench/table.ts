// Prints what was measured: a row a job, a column a target, then the goals.
import type { Goal } from './goals.js';
import type { Line, Spread } from './summary.js';
import type { Target } from './targets.js';

function absolute({ metric, native }: Line): string {
  return metric.unit === 's' ? `${native.median.toFixed(3)} s` : `${native.median.toFixed(0)} MiB/s`;
}

function cell(spread: Spread | undefined, rounds: number): string {
  if (spread === undefined) return '-';
  const range = rounds > 1 ? ` ${spread.min.toFixed(2)}..${spread.max.toFixed(2)}` : '';
  return `${spread.median.toFixed(2)}${range}`;
}

/** The first column is aligned left, the others right. */
export function align(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const text = rows.map((row) =>
    row.map((word, column) => (column === 0 ? word.padEnd(widths[0] ?? 0) : word.padStart(widths[column] ?? 0))).join('  '),
  );
  return `${text.map((line) => line.trimEnd()).join('\n')}\n`;
}

export function table(lines: readonly Line[], targets: readonly Target[], rounds: number): string {
  const others = targets.filter(({ name }) => name !== 'native');
  const head = ['', 'native', ...others.map(({ title }) => title), 'to best other'];
  const rows = lines.map((line) => {
    const own = line.ratios.get('passthrough');
    const toPeer = own === undefined || line.bestPeer === null ? '-' : (own.median / line.bestPeer.ratio).toFixed(2);
    return [line.metric.title, absolute(line), ...others.map(({ name }) => cell(line.ratios.get(name), rounds)), toPeer];
  });
  return align([head, ...rows]);
}

export function goalTable(goals: readonly Goal[]): string {
  const width = Math.max(...goals.map(({ text }) => text.length));
  return goals
    .map(({ text, measured, reached }) => `${reached ? 'reached' : 'missed '}  ${text.padEnd(width)}  ${measured}\n`)
    .join('');
}
