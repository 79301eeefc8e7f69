// From values to ratios: each round is compared with itself, and the median over the rounds is what counts.
import { METRICS, type Metric } from './metrics.js';
import type { Measurement, Values } from './run.js';

export interface Spread {
  median: number;
  min: number;
  max: number;
}

export interface Line {
  metric: Metric;
  /** Of the backing directory, in the metric's unit. */
  native: Spread;
  /** By target: how fast it is, where native is 1. */
  ratios: Map<string, Spread>;
  /** The fastest of the other filesystems. */
  bestPeer: { name: string; ratio: number } | null;
  /** How fast charged work is, where the same work uncharged is 1. */
  charged: Spread | null;
}

export function spreadOf(values: readonly (number | undefined)[]): Spread | null {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low, high] = [sorted[sorted.length % 2 === 1 ? middle : middle - 1], sorted[middle]];
  const [min, max] = [sorted[0], sorted.at(-1)];
  if (low === undefined || high === undefined || min === undefined || max === undefined) return null;
  return { median: (low + high) / 2, min, max };
}

/** Speed of one target in terms of another, round by round. */
function compare(values: Values, metric: Metric, name: string, to: string): Spread | null {
  const [theirs = [], base = []] = [name, to].map((target) => values.get(metric.id)?.get(target));
  const ratios = theirs.map((value, round) => {
    const reference = base[round];
    if (value === undefined || reference === undefined) return undefined;
    return metric.unit === 's' ? reference / value : value / reference;
  });
  return spreadOf(ratios);
}

export function summarize({ values, targets }: Measurement): Line[] {
  const lines: Line[] = [];
  for (const metric of METRICS) {
    const native = spreadOf(values.get(metric.id)?.get('native') ?? []);
    if (native === null) continue;
    const ratios = new Map<string, Spread>();
    let bestPeer: Line['bestPeer'] = null;
    for (const { name, peer } of targets) {
      const ratio = name === 'native' ? null : compare(values, metric, name, 'native');
      if (ratio === null) continue;
      ratios.set(name, ratio);
      if (peer && ratio.median > (bestPeer?.ratio ?? 0)) bestPeer = { name, ratio: ratio.median };
    }
    const charged = metric.charges ? compare(values, metric, 'passthrough', 'uncharged') : null;
    lines.push({ metric, native, ratios, bestPeer, charged });
  }
  return lines;
}

/** What charging costs, as a part of 1: the mean over all work that is charged, and the worst of it. */
export function chargingCost(lines: readonly Line[]): { mean: number; worst: number; worstTitle: string } | null {
  const costs = lines.flatMap(({ metric, charged }) => (charged === null ? [] : [{ metric, cost: 1 - charged.median }]));
  const worst = costs.reduce<(typeof costs)[number] | null>(
    (most, one) => (most === null || one.cost > most.cost ? one : most),
    null,
  );
  if (worst === null) return null;
  // Speeds are ratios, so their mean is the geometric one.
  const mean = 1 - Math.exp(costs.reduce((sum, { cost }) => sum + Math.log(1 - cost), 0) / costs.length);
  return { mean, worst: worst.cost, worstTitle: worst.metric.id };
}
