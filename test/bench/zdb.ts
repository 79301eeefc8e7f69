// The part of `scripts/bench` about namespaces: SET and GET of 16 clients beside Debian's redis-server, and memory at a million keys.
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ReadyMessage } from '../../src/cli/messages.js';
import { servicePid } from '../helpers/http.js';
import { must, ROOT, vreserve } from '../helpers/run.js';
import type { Session } from '../helpers/session.js';
import type { Goal } from './goals.js';
import { Comparison, inTurn, type Metric } from './http-comparison.js';
import { freePort, type Server, startServer } from './http-servers.js';
import type { Options } from './options.js';

const CLIENTS = 16;
const GOAL_RATIO = 0.5;
const FEW_KEYS = 10_000;
const MANY_KEYS = 1_000_000;

const NAMESPACES = 'namespaces';
const REDIS = 'redis';

const WORK = [
  { id: 'set-100', title: 'SET of 100 bytes', column: 'set100', bytes: 100, test: 'set' },
  { id: 'get-100', title: 'GET of 100 bytes', column: 'get100', bytes: 100, test: 'get' },
  { id: 'set-4k', title: 'SET of 4 KiB', column: 'set4k', bytes: 4096, test: 'set' },
  { id: 'get-4k', title: 'GET of 4 KiB', column: 'get4k', bytes: 4096, test: 'get' },
] as const;

const METRICS: readonly Metric[] = WORK.map(({ id, title, column }) => ({ id, title, column, unit: '/s' }));

/** Debian's, as the system has it or as scripts/bench has unpacked it. */
interface Redis {
  server: string;
  benchmark: string;
  env: NodeJS.ProcessEnv;
}

/** Throws where there is no Redis to compare with, and to ask with. */
async function findRedis(session: Session): Promise<Redis> {
  const unpacked = join(ROOT, 'build/redis/usr');
  const libraries = ['lib/x86_64-linux-gnu', 'lib/aarch64-linux-gnu'].map((each) => join(unpacked, each)).join(':');
  for (const [directory, env] of [
    ['', {}],
    [`${unpacked}/bin/`, { LD_LIBRARY_PATH: libraries }],
  ] as const) {
    const found = {
      server: `${directory}redis-server`,
      benchmark: `${directory}redis-benchmark`,
      env: { ...process.env, ...env },
    };
    try {
      await session.command(found.server, ['--version'], { env: found.env });
      await session.command(found.benchmark, ['--version'], { env: found.env });
      return found;
    } catch {
      session.signal.throwIfAborted();
    }
  }
  throw new Error('there is no redis-server (packages redis-server and redis-tools)');
}

async function redisServer(session: Session, { server, env }: Redis): Promise<Server> {
  const address = `127.0.0.1:${await freePort()}`;
  const port = address.split(':')[1] ?? '';
  // Nothing is saved: as fast as it is.
  return startServer(session, address, server, ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], env);
}

async function namespaceServer(session: Session, top: string): Promise<Server> {
  const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
  for (const directory of [data, mnt]) await mkdir(directory, { recursive: true });
  session.defer(mnt, async () => {
    await vreserve(['umount', mnt]);
  });
  const { stdout } = await must(vreserve(['mount', data, mnt, '--zdb', '127.0.0.1:0', '--json']));
  session.signal.throwIfAborted();
  const { pid, zdb } = JSON.parse(stdout) as ReadyMessage;
  return { address: zdb ?? '', pid: (await servicePid(pid)) ?? pid };
}

/** Requests a second. `keys`: how many different ones there may be. */
async function ask(
  session: Session,
  { benchmark, env }: Redis,
  { address }: Server,
  {
    test,
    bytes,
    keys,
    requests,
    pipelined = 1,
  }: { test: string; bytes: number; keys: number; requests: number; pipelined?: number },
): Promise<number> {
  const said = await session.command(
    benchmark,
    ['-p', address.split(':')[1] ?? '', '-c', String(CLIENTS), '-t', test, '-d', String(bytes), '-r', String(keys)].concat([
      '-n',
      String(requests),
      '-P',
      String(pipelined),
      '--csv',
    ]),
    { env },
  );
  const found = /^"(?:SET|GET)","([0-9.]+)"/m.exec(said)?.[1];
  if (found === undefined) throw new Error(`redis-benchmark said: ${said.slice(0, 200)}`);
  return Number(found);
}

async function residentMiB(pid: number): Promise<number> {
  return Number(/VmRSS:\s+([0-9]+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** Measures on fresh directories below `top`. */
export async function measureZdb(
  session: Session,
  top: string,
  { rounds, quick }: Pick<Options, 'rounds' | 'quick'>,
  say: (text: string) => void,
): Promise<Comparison> {
  const redis = await findRedis(session);
  const comparison = new Comparison(METRICS, [
    { id: REDIS, title: 'redis-server', base: null },
    { id: NAMESPACES, title: 'namespaces', base: REDIS },
  ]);
  const servers = [
    { id: REDIS, ...(await redisServer(session, redis)) },
    { id: NAMESPACES, ...(await namespaceServer(session, top)) },
  ];
  const requests = quick ? 40_000 : 100_000;
  for (const server of servers) await ask(session, redis, server, { test: 'set', bytes: 100, keys: FEW_KEYS, requests });
  const few = await Promise.all(servers.map(({ pid }) => residentMiB(pid)));
  for (let round = 0; round < rounds; round++) {
    say(`namespaces: round ${round + 1} of ${rounds}`);
    for (const { id, bytes, test } of WORK) {
      for (const server of inTurn(servers, round)) {
        // What is set is new each time, since the same value once more would be no work.
        const keys = test === 'set' ? 100_000_000 : FEW_KEYS;
        if (test === 'get') await ask(session, redis, server, { test: 'set', bytes, keys, requests: 2 * FEW_KEYS });
        comparison.record(id, server.id, round, await ask(session, redis, server, { test, bytes, keys, requests }));
      }
    }
  }
  comparison.notes.push(
    `${CLIENTS} clients of redis-benchmark, one request at a time each. redis-server keeps all in memory and saves nothing.`,
  );
  if (!quick) {
    say('namespaces: a million keys');
    const load = { test: 'set', bytes: 20, keys: 100_000_000, requests: MANY_KEYS, pipelined: 16 };
    for (const server of servers) await ask(session, redis, server, load);
    const many = await Promise.all(servers.map(({ pid }) => residentMiB(pid)));
    const told = servers.map(({ id }, i) => `${id} ${few[i]?.toFixed(0)} and ${many[i]?.toFixed(0)} MiB`);
    comparison.notes.push(`Memory at ${FEW_KEYS} keys, and with a million more: ${told.join(', ')}.`);
  }
  return comparison;
}

export function judgeZdb(comparison: Comparison): Goal[] {
  const found = METRICS.flatMap((metric) => {
    const ratio = comparison.ratio(metric, NAMESPACES, REDIS);
    return ratio === null ? [] : [{ ratio: ratio.median, id: metric.id }];
  });
  const worst = found.sort((a, b) => a.ratio - b.ratio)[0];
  if (worst === undefined) return [];
  const measured = `${worst.ratio.toFixed(2)} (${worst.id})`;
  return [
    { text: `SET and GET at ${GOAL_RATIO.toFixed(2)} of redis-server or better`, measured, reached: worst.ratio >= GOAL_RATIO },
  ];
}
