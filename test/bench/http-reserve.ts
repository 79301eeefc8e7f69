// Reserving and releasing over HTTP: pairs a second, each on the disk before it is answered.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Session } from '../helpers/session.js';
import type { Goal } from './goals.js';
import { Comparison, inTurn, type Metric } from './http-comparison.js';
import { cpuSeconds } from './http-cpu.js';
import { type Clients, load } from './http-load.js';
import { mountServer, plainServer, type Server } from './http-servers.js';
import type { Options } from './options.js';

const MANY = 64;
const GOAL_PAIRS = 2000;
const WARM_SECONDS = 2;

/** As curl sends it; every connection has a path of its own. */
export const PAIR: readonly string[] = ['POST /reserve/ path=/bench{}&bytes=4096', 'POST /release/ path=/bench{}'];

const WAYS = [
  { way: 'tcp', connections: 1 },
  { way: 'tcp', connections: MANY },
  { way: 'unix', connections: 1 },
  { way: 'unix', connections: MANY },
] as const;

const METRICS: readonly Metric[] = WAYS.flatMap(({ way, connections }) => {
  const id = `${way}-${connections}`;
  const title = `${way === 'tcp' ? 'loopback' : 'socket'}, ${connections} connection${connections === 1 ? '' : 's'}`;
  const short = `${way}${connections}`;
  return [
    { id, title, column: short, unit: '/s' as const },
    ...(connections === 1
      ? []
      : [
          { id: `${id}-p99`, title: '... 99 % within', column: `${way}99`, unit: 'ms' as const },
          { id: `${id}-cpu`, title: '... CPU a pair', column: `${way}us`, unit: 'us' as const },
        ]),
  ];
});

const MOUNT = 'mount';

/** Measures on fresh directories below `top`. */
export async function measureReserve(
  session: Session,
  top: string,
  program: string,
  { rounds, runtimeMs }: Pick<Options, 'rounds' | 'runtimeMs'>,
  say: (text: string) => void,
): Promise<Comparison> {
  const comparison = new Comparison(METRICS, [
    { id: 'plain', title: 'plain server', base: null },
    { id: 'synced', title: 'plain server, synced', base: null },
    { id: MOUNT, title: 'mount', base: null },
    { id: MOUNT, title: 'mount to synced', base: 'synced', again: true },
  ]);
  const servers: (Server & { id: string; way: string })[] = [];
  for (const way of ['tcp', 'unix']) {
    const own = join(top, way);
    await mkdir(own, { recursive: true });
    const at = (name: string) => (way === 'unix' ? `unix:${join(own, name)}` : undefined);
    servers.push(
      { id: 'plain', way, ...(await plainServer(session, at('plain'))) },
      { id: 'synced', way, ...(await plainServer(session, at('synced'), join(own, 'log'))) },
      { id: MOUNT, way, ...(await mountServer(session, join(own, 'mount'), { on: at('http') })) },
    );
  }
  const clients = (address: string, connections: number): Clients => ({ address, connections, requests: PAIR });
  for (const { address } of servers) await load(session, program, clients(address, MANY), WARM_SECONDS);
  let mostCpu = 0;
  for (let round = 0; round < rounds; round++) {
    say(`pairs: round ${round + 1} of ${rounds}`);
    for (const { way, connections } of WAYS) {
      for (const server of inTurn(
        servers.filter((each) => each.way === way),
        round,
      )) {
        const before = await cpuSeconds(server.pid);
        const result = await load(session, program, clients(server.address, connections), runtimeMs / 1000);
        const metric = `${way}-${connections}`;
        comparison.record(metric, server.id, round, result.cycles / result.seconds);
        if (connections > 1) {
          comparison.record(`${metric}-p99`, server.id, round, result.p99Ms);
          const cpu = (await cpuSeconds(server.pid)) - before;
          comparison.record(`${metric}-cpu`, server.id, round, (cpu / result.cycles) * 1e6);
        }
        if (server.id === MOUNT) mostCpu = Math.max(mostCpu, result.cpuSeconds / result.seconds);
      }
    }
  }
  comparison.notes.push(
    'A pair is a reservation and its release. The plain server answers at once; synced, it has a line on the disk before it',
    `answers, and those that come meanwhile share a sync. The clients took ${mostCpu.toFixed(2)} of a core at most.`,
  );
  return comparison;
}

export function judgeReserve(comparison: Comparison): Goal[] {
  const least = ['tcp', 'unix'].flatMap((way) => comparison.measured(`${way}-${MANY}`, MOUNT)?.median ?? []);
  if (least.length === 0) return [];
  const pairs = Math.min(...least);
  const text = `${GOAL_PAIRS} pairs a second with ${MANY} connections`;
  return [{ text, measured: pairs.toFixed(0), reached: pairs >= GOAL_PAIRS }];
}
