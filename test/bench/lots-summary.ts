// From values to the table of many lots, its goals, and its row of test/performance.txt.
import type { Goal } from './goals.js';
import { COUNTS, type Count, type LotValues, MANY, ROWS, type Row, type RowId } from './lots.js';
import { type Spread, spreadOf } from './summary.js';
import { align } from './table.js';

const MOUNT_S = 2;
const REPORT_S = 1;
const CHARGE = 0.95;
/** Constant: what is left for what else differs, such as the depth of trees in SQLite. */
const CONSTANT = 0.8;

const MIB = 2 ** 20;
const [ONE, THOUSAND] = COUNTS;

export interface LotLine {
  row: Row;
  /** Seconds, or MiB. */
  byCount: Map<Count, Spread>;
  /** Of what is to stay as it is: how fast it is with all lots, where with the fewest that were measured it is 1. */
  ratio: Spread | null;
}

/** The same work without a lot above, which in the smallest ledger stands for the deep one. */
const FLAT_OF: Partial<Record<RowId, RowId>> = { 'append-deep': 'append', 'create-deep': 'create' };

export function summarizeLots(values: LotValues): LotLine[] {
  return ROWS.flatMap((row) => {
    const measured = values.get(row.id);
    if (measured === undefined) return [];
    const byCount = new Map([...measured].flatMap(([count, all]) => [[count, spreadOf(all)] as const]));
    const many = measured.get(MANY) ?? [];
    const base = values.get(FLAT_OF[row.id] ?? row.id)?.get(ONE) ?? measured.get(THOUSAND) ?? [];
    const ratio =
      row.kind !== 'charge' && row.kind !== 'line' ? null : spreadOf(many.map((value, i) => (base[i] ?? Number.NaN) / value));
    const known = [...byCount].flatMap(([count, spread]) => (spread === null ? [] : [[count, spread] as const]));
    return [{ row, byCount: new Map(known), ratio }];
  });
}

/** What a lot takes of the daemon's memory, in bytes. */
function bytesPerLot(lines: readonly LotLine[]): number | null {
  const memory = lines.find(({ row }) => row.id === 'memory')?.byCount;
  const [many, one] = [memory?.get(MANY), memory?.get(ONE)];
  return many === undefined || one === undefined ? null : ((many.median - one.median) * MIB) / (MANY - ONE);
}

function value({ kind }: Row, amount: number): string {
  if (kind === 'memory') return `${amount.toFixed(0)} MiB`;
  if (kind === 'once') return `${amount.toFixed(3)} s`;
  return `${(amount * 1e6).toFixed(amount < 1e-5 ? 2 : 0)} us`;
}

export function lotsTable(lines: readonly LotLine[]): string {
  const head = [
    '',
    ...COUNTS.map((count) => `${count.toLocaleString('en')} lot${count === 1 ? '' : 's'}`),
    'speed',
    'least',
    'most',
  ];
  const rows = lines.map(({ row, byCount, ratio }) => [
    row.title,
    ...COUNTS.map((count) => {
      const spread = byCount.get(count);
      return spread === undefined ? '-' : value(row, spread.median);
    }),
    ...(ratio === null ? ['-', '-', '-'] : [ratio.median, ratio.min, ratio.max].map((each) => each.toFixed(2))),
  ]);
  return align([head, ...rows]);
}

/** Goals of which something was measured. */
export function judgeLots(lines: readonly LotLine[]): Goal[] {
  const goals: Goal[] = [];
  const some = (ids: readonly RowId[]) => lines.filter(({ row }) => ids.includes(row.id));

  const inSeconds = (text: string, most: number, ...ids: RowId[]) => {
    const found = some(ids).flatMap(({ row, byCount }) => {
      const spread = byCount.get(MANY);
      return spread === undefined ? [] : [{ id: row.id, seconds: spread.median }];
    });
    const worst = found.sort((a, b) => b.seconds - a.seconds)[0];
    if (worst === undefined) return;
    goals.push({ text, measured: `${worst.seconds.toFixed(2)} s (${worst.id})`, reached: worst.seconds < most });
  };
  const inSpeed = (text: string, least: number, ...ids: RowId[]) => {
    const found = some(ids).flatMap(({ row, ratio }) => (ratio === null ? [] : [{ id: row.id, ratio: ratio.median }]));
    const worst = found.sort((a, b) => a.ratio - b.ratio)[0];
    if (worst === undefined) return;
    goals.push({ text, measured: `${worst.ratio.toFixed(2)} (${worst.id})`, reached: worst.ratio >= least });
  };

  const many = MANY.toLocaleString('en');
  inSeconds(`${many} lots: mounted in under ${MOUNT_S} s after a clean end`, MOUNT_S, 'mount');
  inSeconds(`${many} lots: a report in under ${REPORT_S} s`, REPORT_S, 'cat', 'command');
  inSpeed(`${many} lots: a write at ${CHARGE.toFixed(2)} of one lot's or better`, CHARGE, 'append', 'append-deep');
  inSpeed(
    `${many} lots: adding one at ${CONSTANT.toFixed(2)} of the first or better`,
    CONSTANT,
    'reserve',
    'reserve-8',
    'add-deep',
  );
  return goals;
}

/** One line below the table. */
export function aboutMemory(lines: readonly LotLine[]): string {
  const bytes = bytesPerLot(lines);
  return bytes === null ? '' : `${(bytes / 1000).toFixed(1)} kB of memory a lot\n`;
}

/** Names of the columns, and their values: seconds and MiB with all lots as they are, the rest as a ratio. */
export function lotsColumns(): string[] {
  return [...ROWS.map(({ column }) => column), 'kB/lot'];
}

export function lotsValues(lines: readonly LotLine[]): string[] {
  const byId = new Map(lines.map((line) => [line.row.id, line]));
  const values = ROWS.map(({ id, kind }) => {
    const line = byId.get(id);
    const many = line?.byCount.get(MANY)?.median;
    if (kind === 'memory') return many?.toFixed(0);
    return kind === 'once' ? many?.toFixed(2) : line?.ratio?.median.toFixed(2);
  });
  const bytes = bytesPerLot(lines);
  return [...values, bytes === null ? undefined : (bytes / 1000).toFixed(1)].map((text) => text ?? '-');
}

export function lotsJson(lines: readonly LotLine[]) {
  return {
    rows: lines.map(({ row, byCount, ratio }) => ({ id: row.id, byLots: Object.fromEntries(byCount), ratio })),
    bytesPerLot: bytesPerLot(lines),
    goals: judgeLots(lines),
  };
}
