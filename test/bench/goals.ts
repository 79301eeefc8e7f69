// What the mount is to reach, on tmpfs and with spaces that btrfs enforces, and whether it did.
import type { MetricId } from './metrics.js';
import type { On } from './place.js';
import { chargingCost, type Line } from './summary.js';

export interface Goal {
  text: string;
  /** What was measured, the weakest of several. */
  measured: string;
  reached: boolean;
}

const CHARGING_COST_AT_MOST = 0.05;

const two = (value: number): string => value.toFixed(2);

/** Goals of which something was measured. */
export function judge(lines: readonly Line[], on: On): Goal[] {
  const goals: Goal[] = [];
  const some = (...ids: MetricId[]) => lines.filter(({ metric }) => ids.includes(metric.id));

  const weakest = (text: string, chosen: readonly Line[], least: number, value: (line: Line) => number | undefined) => {
    const found = chosen.flatMap((line) => {
      const ratio = value(line);
      return ratio === undefined ? [] : [{ ratio, id: line.metric.id }];
    });
    const worst = found.sort((a, b) => a.ratio - b.ratio)[0];
    if (worst === undefined) return;
    goals.push({ text, measured: `${two(worst.ratio)} (${worst.id})`, reached: worst.ratio >= least });
  };
  const toNative = ({ ratios }: Line) => ratios.get('passthrough')?.median;
  const toPeer = (line: Line) => {
    const own = toNative(line);
    return own === undefined || line.bestPeer === null ? undefined : own / line.bestPeer.ratio;
  };

  const kind = (...kinds: string[]) => lines.filter(({ metric }) => kinds.includes(metric.kind));
  if (on === 'btrfs') {
    const toSubvolume = ({ ratios }: Line) => ratios.get('kernel')?.median;
    weakest('kernel-enforced spaces at 0.85 of the subvolume or better', kind('write', 'read'), 0.85, toSubvolume);
  }
  if (on !== 'tmpfs') return goals;
  weakest('reads at 0.90 of native or better', kind('read'), 0.9, toNative);
  weakest('1 MiB writes at 0.45 of native or better', some('write-1m'), 0.45, toNative);
  weakest('1 MiB writes at 1.5 times the best other', some('write-1m'), 1.5, toPeer);
  const random = some('randwrite-4k', 'randwrite-4k-4');
  weakest('random 4 KiB writes at 0.12 of native or better', random, 0.12, toNative);
  weakest('random 4 KiB writes no slower than the best other', random, 1, toPeer);
  weakest('the small files no slower than the best other', kind('files'), 1, toPeer);
  weakest('unpacking no slower than the best other', some('unpack'), 1, toPeer);

  const cost = chargingCost(lines);
  if (cost !== null) {
    const percent = (part: number) => `${(part * 100).toFixed(1)} %`;
    const measured = `${percent(cost.mean)} on the mean, ${percent(cost.worst)} at most (${cost.worstTitle})`;
    goals.push({ text: 'charging costs at most 5 %', measured, reached: cost.mean <= CHARGING_COST_AT_MOST });
  }
  return goals;
}
