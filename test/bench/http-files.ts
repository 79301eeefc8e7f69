// File I/O in a mount while its service is asked as fast as it can answer, beside the same while somebody else's service is.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { must, vreserve } from '../helpers/run.js';
import type { Session } from '../helpers/session.js';
import type { Goal } from './goals.js';
import { Comparison, type Contender, inTurn, type Metric } from './http-comparison.js';
import { load, RunningLoad } from './http-load.js';
import { PAIR } from './http-reserve.js';
import { hasStore, type MountServer, mountServer, plainServer, storeServer } from './http-servers.js';
import { type Bench, JOBS } from './jobs.js';
import type { MetricId } from './metrics.js';
import type { Options } from './options.js';
import { layOut } from './run.js';

const CONNECTIONS = 64;
const GOAL = 0.9;
/** More than the jobs hold at any time. */
const RESERVED_BYTES = 3 * 2 ** 30;
/** Until clients have connected, and are answered. */
const WARM_MS = 300;
const FILES = 5000;

const BLOBS: readonly string[] = ['PUT /store/beside{} 4096', 'GET /store/beside{}'];

/** What is done beside: the job of jobs.ts, and the number of it that counts. */
const WORK = [
  { id: 'write-1m', job: 'write-1m', title: 'write 1 MiB', column: 'w1M' },
  { id: 'read-1m', job: 'read-1m', title: 'read 1 MiB', column: 'r1M' },
  { id: 'randwrite-4k', job: 'randwrite-4k', title: 'random write 4 KiB', column: 'rw4K' },
  { id: 'create', job: 'files', title: 'create files', column: 'create' },
] as const satisfies readonly { id: MetricId; job: string; title: string; column: string }[];

const ASKED: Metric = { id: 'asked', title: 'asked meanwhile', column: 'asked', unit: '/s' };

const METRICS: readonly Metric[] = [
  ...WORK.map(({ id, title, column }) => ({ id, title, column, unit: id === 'create' ? ('/s' as const) : ('MiB/s' as const) })),
  ASKED,
];

type PlaceName = 'mount' | 'native';

interface Beside extends Contender {
  /** Where the files are. */
  place: PlaceName;
  /** null: nobody is asked. */
  asked: { address: string; requests: readonly string[] } | null;
}

/** Measures on fresh directories below `top`. */
export async function measureFiles(
  session: Session,
  top: string,
  programs: { load: string; files: string },
  { rounds, runtimeMs }: Pick<Options, 'rounds' | 'runtimeMs'>,
  say: (text: string) => void,
): Promise<Comparison> {
  const { all, works, notes } = await startAll(session, top, programs.load);
  const comparison = new Comparison(METRICS, all);
  comparison.notes.push(...notes);
  const bench: Bench = { session, runtimeMs, files: FILES, filesProgram: programs.files, tar: '', repository: '' };
  for (const work of works.values()) await layOut(session, work);
  let mostCpu = 0;
  for (let round = 0; round < rounds; round++) {
    const asked = new Map<string, number[]>();
    for (const [turn, work] of WORK.entries()) {
      const job = JOBS.find(({ name }) => name === work.job);
      if (job === undefined) throw new Error(`there is no job ${work.job}`);
      for (const each of inTurn(all, round + turn)) {
        say(`files: round ${round + 1} of ${rounds}, ${work.title}`);
        const directory = works.get(each.place) ?? '';
        await session.command('sync', ['--file-system', top]);
        const clients = each.asked === null ? null : { ...each.asked, connections: CONNECTIONS };
        const running = clients === null ? null : new RunningLoad(session, programs.load, clients);
        if (running !== null) await sleep(WARM_MS);
        const value = (await job.run(bench, directory))[work.id] ?? Number.NaN;
        comparison.record(work.id, each.id, round, work.id === 'create' ? FILES / value : value);
        if (running === null) continue;
        const result = await running.stop();
        asked.set(each.id, [...(asked.get(each.id) ?? []), result.cycles / result.seconds]);
        mostCpu = Math.max(mostCpu, result.cpuSeconds / result.seconds);
      }
    }
    for (const [id, rates] of asked) {
      comparison.record(ASKED.id, id, round, rates.reduce((sum, rate) => sum + rate, 0) / rates.length);
    }
  }
  comparison.notes.push(`The clients took ${mostCpu.toFixed(2)} of a core at most.`);
  return comparison;
}

async function startAll(
  session: Session,
  top: string,
  program: string,
): Promise<{ all: Beside[]; works: Map<PlaceName, string>; notes: string[] }> {
  const own = await mountServer(session, await made(top, 'own'));
  const other = await mountServer(session, await made(top, 'other'));
  const plain = (await plainServer(session)).address;
  const { address: serve } = await storeServer(session, join(await made(top, 'serve'), 'store'));
  const works = new Map<PlaceName, string>([
    ['mount', await reserved(own)],
    ['native', await made(top, 'native')],
  ]);
  const notes = [
    `Speed of file I/O, where it is 1 with nobody asking; ${CONNECTIONS} connections ask as fast as they are answered. Clients, servers, daemon`,
    'and the program that writes share the processors: what that alone costs is seen where another mount, the store of a server',
    'of its own, or a plain server that knows no files, is asked instead; and where the files are in the native directory.',
  ];
  const blobs: { name: string; address: string }[] = [{ name: 'a store server', address: serve }];
  if (await hasStore(own)) {
    blobs.unshift({ name: 'its store', address: own.address }, { name: "another mount's store", address: other.address });
  } else notes.push('The store of a mount is left out: the service of a mount has none.');
  for (const { address } of blobs) {
    await load(session, program, { address, connections: CONNECTIONS, requests: ['POST /store/beside{} 4096'] }, 0);
  }
  const pairs = [
    { name: 'its service', address: own.address },
    { name: "another mount's", address: other.address },
    { name: 'plain server', address: plain },
  ];
  const all: Beside[] = [];
  for (const place of ['mount', 'native'] as const) {
    const alone = `${place} alone`;
    all.push({ id: alone, title: alone, base: null, place, asked: null });
    const add = (kind: string, requests: readonly string[], servers: readonly { name: string; address: string }[]) => {
      for (const { name, address } of servers) {
        // To who writes beside the mount, its own service is another's.
        if (place === 'native' && address === own.address) continue;
        const id = `${place}, ${kind}: ${name}`;
        all.push({ id, title: id, base: alone, place, asked: { address, requests } });
      }
    };
    add('pairs', PAIR, pairs);
    add('blobs', BLOBS, [...blobs, { name: 'plain server', address: plain }]);
  }
  return { all, works, notes };
}

async function reserved({ mnt }: MountServer): Promise<string> {
  const work = join(mnt, 'work');
  await mkdir(work);
  await must(vreserve(['reserve', work, String(RESERVED_BYTES)]));
  return work;
}

async function made(top: string, name: string): Promise<string> {
  const path = join(top, name);
  await mkdir(path, { recursive: true });
  return path;
}

/** The weakest of all file I/O beside the mount's own service. */
export function judgeFiles(comparison: Comparison): Goal[] {
  const goals: Goal[] = [];
  for (const [id, text] of [
    ['mount, pairs: its service', 'pairs'],
    ['mount, blobs: its store', 'blobs'],
  ] as const) {
    const ratios = comparison.metrics.flatMap((metric) => {
      const ratio = metric.id === ASKED.id ? null : comparison.ratio(metric, id, 'mount alone');
      return ratio === null ? [] : [{ ratio: ratio.median, name: metric.id }];
    });
    const worst = ratios.sort((a, b) => a.ratio - b.ratio)[0];
    if (worst === undefined) continue;
    goals.push({
      text: `file I/O beside ${text} over HTTP at ${GOAL.toFixed(2)} of what it is alone`,
      measured: `${worst.ratio.toFixed(2)} (${worst.name})`,
      reached: worst.ratio >= GOAL,
    });
  }
  return goals;
}
