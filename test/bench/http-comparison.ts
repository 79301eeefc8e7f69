// Numbers of several servers side by side: medians over the rounds, and ratios within each round.
import { type Spread, spreadOf } from './summary.js';
import { align } from './table.js';

/** One number that is measured. Of times less is better, of rates more. */
export interface Metric {
  id: string;
  title: string;
  /** Of a column of test/performance.txt; at most 6 characters. */
  column: string;
  unit: '/s' | 'MiB/s' | 'ms' | 'us';
}

/** One of those that are compared. */
export interface Contender {
  id: string;
  title: string;
  /** With whom it is compared; null: it is shown as it was measured. */
  base: string | null;
  /** Compared once more, with somebody else: only the ratio is shown. */
  again?: boolean;
}

export class Comparison {
  readonly metrics: readonly Metric[];
  readonly contenders: readonly Contender[];
  /** What the reader must know. */
  readonly notes: string[] = [];
  readonly #values = new Map<string, number[]>();

  constructor(metrics: readonly Metric[], contenders: readonly Contender[]) {
    this.metrics = metrics;
    this.contenders = contenders;
  }

  record(metric: string, contender: string, round: number, value: number): void {
    const key = `${metric} ${contender}`;
    const rounds = this.#values.get(key) ?? [];
    this.#values.set(key, rounds);
    rounds[round] = value;
  }

  /** As it was measured; null: it was not. */
  measured(metric: string, contender: string): Spread | null {
    return spreadOf(this.#values.get(`${metric} ${contender}`) ?? []);
  }

  /** How fast it is, where `base` is 1. */
  ratio({ id, unit }: Metric, contender: string, base: string): Spread | null {
    const theirs = this.#values.get(`${id} ${contender}`) ?? [];
    const reference = this.#values.get(`${id} ${base}`) ?? [];
    return spreadOf(
      theirs.map((value, round) => {
        const other = reference[round];
        if (value === undefined || other === undefined) return undefined;
        return unit === 'ms' || unit === 'us' ? other / value : value / other;
      }),
    );
  }

  /** Those of whom something was measured. */
  get present(): readonly Contender[] {
    return this.contenders.filter(({ id }) => this.metrics.some((metric) => this.measured(metric.id, id) !== null));
  }

  /** A row a metric, and a column for everybody who is compared; or the other way round. */
  table(way: 'metrics down' | 'metrics across'): string {
    const { present } = this;
    const head = ['', ...present.map(({ title, base, again }) => (base === null || again ? title : `${title}: speed`))];
    const rows = this.metrics.map((metric) => [metric.title, ...present.map((each) => this.#cell(metric, each))]);
    const all = [head, ...rows];
    if (way === 'metrics down') return align(all);
    return align(head.map((_, i) => all.map((row) => row[i] ?? '')));
  }

  /** The cells of test/performance.txt: as measured, or ratios where somebody is compared with another one. */
  row({ id, base }: Contender): string[] {
    return this.metrics.map((metric) => {
      const ratio = base === null ? null : this.ratio(metric, id, base);
      if (ratio !== null) return ratio.median.toFixed(2);
      const spread = this.measured(metric.id, id);
      return spread === null ? '-' : absolute(metric, spread.median);
    });
  }

  json() {
    const { metrics, present, notes } = this;
    return {
      notes,
      contenders: present.map(({ id, title, base }) => ({ id, title, base })),
      metrics: metrics.map((metric) => ({
        ...metric,
        measured: Object.fromEntries(present.map(({ id }) => [id, this.measured(metric.id, id)])),
        ratios: Object.fromEntries(
          present.flatMap(({ id, base }) => (base === null ? [] : [[`${id} / ${base}`, this.ratio(metric, id, base)] as const])),
        ),
      })),
    };
  }

  #cell(metric: Metric, { id, base, again = false }: Contender): string {
    const spread = this.measured(metric.id, id);
    if (spread === null) return '-';
    const number = `${absolute(metric, spread.median)} ${metric.unit}`;
    if (base === null) return number;
    const ratio = this.ratio(metric, id, base);
    if (ratio === null) return number;
    const speed = `${ratio.median.toFixed(2)} ${ratio.min.toFixed(2)}..${ratio.max.toFixed(2)}`;
    return again ? speed : `${number}  ${speed}`;
  }
}

function absolute({ unit }: Metric, value: number): string {
  return value.toFixed(unit !== 'ms' ? 0 : value < 100 ? 2 : 1);
}

/** Every round begins with another one, and every other goes the other way round. */
export function inTurn<T>(all: readonly T[], round: number): T[] {
  const from = round % Math.max(1, all.length);
  const turned = [...all.slice(from), ...all.slice(0, from)];
  return round % 2 === 0 ? turned : turned.reverse();
}
