// Blobs over HTTP: taking and giving small and large ones, beside nginx on the same filesystem.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Session } from '../helpers/session.js';
import { Comparison, type Contender, inTurn, type Metric } from './http-comparison.js';
import { cpuSeconds } from './http-cpu.js';
import { type Clients, load } from './http-load.js';
import { findNginx, hasStore, mountServer, nginxServer, type Server, storeServer } from './http-servers.js';
import type { Options } from './options.js';

const MIB = 2 ** 20;
const MANY = 16;
const SIZES = [
  { bytes: 4096, name: 's', title: '4 KiB', column: '4K' },
  { bytes: 64 * MIB, name: 'l', title: '64 MiB', column: '64M' },
] as const;
/** Large ones take longer, so that enough of them are counted. */
const LARGE_TIMES = 2;
const WARM_SECONDS = 1;
/** All large blobs, and what was replaced and is not collected yet. */
const STORE_BYTES = 6 * 2 ** 30;
const SYNCED = 'nginx-synced';

interface Work extends Metric {
  method: 'PUT' | 'GET';
  size: (typeof SIZES)[number];
  connections: number;
}

/** Beside each kind of work with many connections: what it takes of the processors, whatever else they do. */
const cpuOf = ({ method, size, id }: Work): Metric => ({
  id: `${id}-cpu`,
  title: `... CPU a ${size.bytes < MIB ? 'request' : 'MiB'}`,
  column: `${method === 'PUT' ? 'p' : 'g'}${size.column}us`,
  unit: 'us',
});

const WORK: readonly Work[] = (['PUT', 'GET'] as const).flatMap((method) =>
  SIZES.flatMap((size) =>
    [1, MANY].map((connections) => ({
      id: `${method}-${size.column}-${connections}`,
      title: `${method} ${size.title}, ${connections} connection${connections === 1 ? '' : 's'}`,
      column: `${method === 'PUT' ? 'p' : 'g'}${size.column}${connections === 1 ? '' : 'x'}`,
      unit: size.bytes < MIB ? ('/s' as const) : ('MiB/s' as const),
      method,
      size,
      connections,
    })),
  ),
);

interface BlobServer extends Contender {
  address: string;
  /** All that do its work: CPU is theirs, and that of those below them. */
  pids: readonly number[];
  /** A directory on the filesystem where its blobs are. */
  directory: string;
  /** How a blob is made that is not there yet. */
  creates: 'PUT' | 'POST';
}

const cpuOfAll = async ({ pids }: BlobServer): Promise<number> =>
  (await Promise.all(pids.map(cpuSeconds))).reduce((sum, seconds) => sum + seconds, 0);

/** Who has all on the disk is compared with who has it there, too. */
function compared(server: BlobServer, _: number, all: readonly BlobServer[]): Contender[] {
  const isOurs = server.creates === 'POST';
  if (!isOurs || !all.some(({ id }) => id === SYNCED)) return [server];
  return [server, { id: server.id, title: `${server.title} to synced`, base: SYNCED, again: true }];
}

/** Measures on fresh directories below `top`. `preload`: scripts/bench-synced.c, compiled. */
export async function measureBlobs(
  session: Session,
  top: string,
  { load: program, preload }: { load: string; preload: string },
  { rounds, runtimeMs }: Pick<Options, 'rounds' | 'runtimeMs'>,
  say: (text: string) => void,
): Promise<Comparison> {
  const { servers, notes } = await startServers(session, top, preload);
  const metrics = WORK.flatMap((work) => (work.connections === 1 ? [work] : [work, cpuOf(work)]));
  const comparison = new Comparison(metrics, servers.flatMap(compared));
  comparison.notes.push(...notes);
  const clients = (server: BlobServer, { method, size, connections }: Work): Clients => ({
    address: server.address,
    connections,
    requests: [`${method} /store/${size.name}{}${method === 'PUT' ? ` ${size.bytes}` : ''}`],
  });
  for (const { address, creates } of servers) {
    const requests = SIZES.map(({ name, bytes }) => `${creates} /store/${name}{} ${bytes}`);
    await load(session, program, { address, connections: MANY, requests }, 0);
    const warm = [`PUT /store/s{} ${SIZES[0].bytes}`, 'GET /store/s{}'];
    await load(session, program, { address, connections: MANY, requests: warm }, WARM_SECONDS);
  }
  for (let round = 0; round < rounds; round++) {
    for (const work of WORK) {
      say(`blobs: round ${round + 1} of ${rounds}, ${work.title}`);
      const isLarge = work.size.bytes >= MIB;
      for (const server of inTurn(servers, round)) {
        // What others have left to be written would be paid by this one.
        await session.command('sync', ['--file-system', server.directory]);
        const seconds = (runtimeMs / 1000) * (isLarge ? LARGE_TIMES : 1);
        const before = await cpuOfAll(server);
        const result = await load(session, program, clients(server, work), seconds);
        const done = result.cycles * (isLarge ? work.size.bytes / MIB : 1);
        comparison.record(work.id, server.id, round, done / result.seconds);
        if (work.connections === 1) continue;
        const cpu = (await cpuOfAll(server)) - before;
        comparison.record(cpuOf(work).id, server.id, round, (cpu / done) * 1e6);
      }
    }
  }
  return comparison;
}

async function startServers(session: Session, top: string, preload: string): Promise<{ servers: BlobServer[]; notes: string[] }> {
  const servers: BlobServer[] = [];
  const nginx = await findNginx(session);
  const base = nginx === null ? 'serve' : 'nginx';
  const add = (id: string, title: string, directory: string, all: readonly Server[], creates: BlobServer['creates']) => {
    const [{ address } = { address: '' }] = all;
    servers.push({ id, title, base: id === base ? null : base, address, pids: all.map(({ pid }) => pid), directory, creates });
  };
  const made = async (name: string): Promise<string> => {
    await mkdir(join(top, name), { recursive: true });
    return join(top, name);
  };
  const notes = [
    'PUT replaces a blob that is there. nginx acknowledges what is not on the disk yet; all others have it there. Synced is nginx',
    'that syncs what it renames, and the directory (scripts/bench-synced.c), in 4 processes. What others have left to be',
    'written is synced before each is measured. Connections stay open; access is logged by nobody.',
  ];
  if (nginx === null) notes.push('nginx is not installed, and is left out.');
  const mount = await mountServer(session, await made('mount'), { storeBytes: STORE_BYTES });
  if (nginx !== null) {
    for (const [id, title, more] of [
      ['nginx', 'nginx', {}],
      [SYNCED, 'nginx synced', { preload }],
    ] as const) {
      const work = await made(id);
      const server = await nginxServer(session, { program: nginx, top: await made(`${id}-own`), work, ...more });
      add(id, title, work, [server], 'PUT');
    }
  }
  const directory = await made('serve');
  add('serve', 'store serve', directory, [await storeServer(session, join(directory, 'store'))], 'POST');
  if (await hasStore(mount)) add('mount', 'store of a mount', join(top, 'mount'), [mount], 'POST');
  else notes.push('The store of a mount is left out: the service of a mount has none.');
  if (nginx !== null) {
    const work = join(mount.mnt, 'nginx');
    const server = await nginxServer(session, { program: nginx, top: await made('nginx-mount-own'), work });
    add('nginx-mount', 'nginx in a mount', join(top, 'mount'), [server, mount], 'PUT');
  }
  return { servers, notes };
}
