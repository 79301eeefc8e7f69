// Metrics in Prometheus's text format: the pool, the lots, the requests by operation.

import { Counter, Gauge, Registry } from 'prom-client';
import { grantBytes, type LotUsage, type Policy, UNLIMITED } from '../core/lot.js';
import type { LotsSeen } from '../core/lots-seen.js';
import type { PoolSnapshot, Snapshot } from '../core/snapshot.js';

const POOL: [keyof PoolSnapshot, string, string][] = [
  ['capacityBytes', 'capacity', 'What the pool may hold.'],
  ['freeBytes', 'free', 'What is free of it.'],
  ['usedBytes', 'used', 'Charged to lots.'],
  ['setAsideBytes', 'set_aside', 'Dedicated bytes that are set aside and not used yet.'],
  ['headroomBytes', 'headroom', 'What can still be given to anyone.'],
  ['marginBytes', 'margin', 'Kept for directories and the filesystem itself.'],
  ['shortBytes', 'short', 'By how much the backing falls short of what is promised.'],
];

const LOT: [string, string, (used: LotUsage, policy: Policy) => number][] = [
  ['used_bytes', 'Bytes charged to the lot and the lots below it.', (used) => used.bytes],
  ['objects', 'Objects of the lot and the lots below it.', (used) => used.objects],
  ['pending_bytes', 'Bytes of objects that are open for writing.', (used) => used.pendingBytes],
  ['pending_objects', 'Objects that are open for writing.', (used) => used.pendingObjects],
  ['dedicated_bytes', 'Bytes guaranteed to the lot.', (_, policy) => policy.dedicatedBytes],
  ['grant_bytes', 'Bytes that the lot may hold; +Inf is unlimited.', (_, policy) => infinite(grantBytes(policy))],
];

/** Lots in metrics; beyond that the numbers of a scrape would not be read by anyone. */
const MOST_LOTS = 1000;

export async function renderMetrics(snapshot: Snapshot): Promise<string> {
  const registry = new Registry();
  const registers = [registry];
  const { daemon } = snapshot;
  new Gauge({ name: 'vreserve_info', help: 'The daemon.', labelNames: ['version', 'io', 'filesystem'], registers })
    .labels(daemon.version, daemon.io, daemon.filesystem)
    .set(1);
  new Gauge({ name: 'vreserve_start_time_seconds', help: 'When the mount was made.', registers }).set(daemon.startedAtMs / 1000);
  new Gauge({ name: 'vreserve_healthy', help: '1 when nothing is wrong.', registers }).set(
    snapshot.troubles.length === 0 ? 1 : 0,
  );
  poolGauges(snapshot, registers);
  new Gauge({ name: 'vreserve_lots', help: 'Lots, the default lot included.', registers }).set(snapshot.lots.count);
  const waiting = { name: 'vreserve_waiting_requests', help: 'Requests that wait for bytes.', registers };
  new Gauge(waiting).set(snapshot.waiting.length);
  lotGauges(snapshot.lots, registers);
  requestCounter(snapshot.requests, registers);
  return registry.metrics();
}

/** The main pool without a label, as it was when there was no other; the others by their names. */
function poolGauges({ pool, pools }: Snapshot, registers: Registry[]): void {
  for (const [key, name, help] of POOL) {
    new Gauge({ name: `vreserve_pool_${name}_bytes`, help, registers }).set(pool[key]);
    if (pools.length === 0) continue;
    const labelled = { name: `vreserve_other_pool_${name}_bytes`, help, labelNames: ['pool'], registers };
    const gauge = new Gauge(labelled);
    for (const other of pools) gauge.labels(other.name).set(other[key]);
  }
  if (pools.length === 0) return;
  const help = '1 when nothing in the pool can be used.';
  const broken = new Gauge({ name: 'vreserve_other_pool_broken', help, labelNames: ['pool'], registers });
  for (const other of pools) broken.labels(other.name).set(other.broken === null ? 0 : 1);
}

function lotGauges(seen: LotsSeen, registers: Registry[]): void {
  const lots = seen.count <= MOST_LOTS ? seen.all() : seen.first(MOST_LOTS);
  for (const [name, help, value] of LOT) {
    const gauge = new Gauge({ name: `vreserve_lot_${name}`, help, labelNames: ['lot'], registers });
    for (const { lot, used } of lots) gauge.labels(lot.name).set(value(used, lot.policy));
  }
}

function requestCounter(requests: Record<string, number>, registers: Registry[]): void {
  const counter = new Counter({
    name: 'vreserve_requests_total',
    help: "The kernel's requests, by operation.",
    labelNames: ['operation'],
    registers,
  });
  for (const [operation, count] of Object.entries(requests)) counter.labels(operation).inc(count);
}

function infinite(bytes: number): number {
  return bytes === UNLIMITED ? Number.POSITIVE_INFINITY : bytes;
}
