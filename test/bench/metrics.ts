// What is measured: one entry a number, in the order of the table.

/** What a number is about; the goals pick by it. */
export type Kind = 'write' | 'append' | 'read' | 'files' | 'tree';

export interface Metric {
  id: MetricId;
  title: string;
  /** Of a column of test/performance.txt; at most 7 characters. */
  column: string;
  /** Of MiB/s more is better, of seconds less. */
  unit: 'MiB/s' | 's';
  kind: Kind;
  /** Bytes or objects are charged, so that the cost of charging shows. */
  charges: boolean;
}

const METRIC_IDS = [
  'write-1m',
  'write-128k',
  'write-4k',
  'randwrite-4k',
  'randwrite-4k-4',
  'append-1m',
  'append-4k',
  'read-1m',
  'read-128k',
  'randread-4k',
  'randread-4k-4',
  'create',
  'stat',
  'list',
  'read',
  'rename',
  'unlink',
  'unpack',
  'grep',
  'clone',
] as const;
export type MetricId = (typeof METRIC_IDS)[number];

function rate(id: MetricId, title: string, column: string, kind: Kind): Metric {
  return { id, title, column, unit: 'MiB/s', kind, charges: kind !== 'read' };
}

function time(id: MetricId, title: string, column: string, kind: Kind, charges: boolean): Metric {
  return { id, title, column, unit: 's', kind, charges };
}

export const METRICS: readonly Metric[] = [
  rate('write-1m', 'write 1 MiB', 'w1M', 'write'),
  rate('write-128k', 'write 128 KiB', 'w128K', 'write'),
  rate('write-4k', 'write 4 KiB', 'w4K', 'write'),
  rate('randwrite-4k', 'random write 4 KiB', 'rw4K', 'write'),
  rate('randwrite-4k-4', '... 4 jobs', 'rw4Kx4', 'write'),
  rate('append-1m', 'append 1 MiB', 'a1M', 'append'),
  rate('append-4k', 'append 4 KiB', 'a4K', 'append'),
  rate('read-1m', 'read 1 MiB', 'r1M', 'read'),
  rate('read-128k', 'read 128 KiB', 'r128K', 'read'),
  rate('randread-4k', 'random read 4 KiB', 'rr4K', 'read'),
  rate('randread-4k-4', '... 4 jobs', 'rr4Kx4', 'read'),
  time('create', 'create files', 'create', 'files', true),
  time('stat', 'stat', 'stat', 'files', false),
  time('list', 'list (ls -lR)', 'list', 'files', false),
  time('read', 'open, read, close', 'open', 'files', false),
  time('rename', 'rename', 'rename', 'files', false),
  time('unlink', 'unlink', 'unlink', 'files', true),
  time('unpack', 'unpack a tree', 'unpack', 'tree', true),
  time('grep', 'grep -r', 'grep', 'tree', false),
  time('clone', 'git clone', 'clone', 'tree', true),
];

/** What one run of a job measured. */
export type Measured = Partial<Record<MetricId, number>>;
