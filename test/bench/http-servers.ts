// The servers that are measured over HTTP. All listen on the loopback device or on a socket, and end with the session.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ReadyMessage } from '../../src/cli/messages.js';
import { ask, at } from '../helpers/http.js';
import { MAIN, must, ROOT, vreserve } from '../helpers/run.js';
import type { Session } from '../helpers/session.js';

const PLAIN = fileURLToPath(new URL('./http-plain.js', import.meta.url));
const START_MS = 20_000;
const LOOK_MS = 50;
const MOST_SAID = 4000;

/** A worker that syncs does nothing else meanwhile; Node.js has so many threads for it. */
const SYNCING_WORKERS = 4;

export interface Server {
  /** 127.0.0.1:PORT or unix:PATH. */
  address: string;
  /** Its first process. */
  pid: number;
}

/** A mount with its service. */
export interface MountServer extends Server {
  mnt: string;
}

/** Mounts on fresh directories below `top`. `on`: where it is to listen. `storeBytes`: what its store may hold. */
export async function mountServer(
  session: Session,
  top: string,
  { on = '127.0.0.1:0', storeBytes = 2 ** 30 }: { on?: string | undefined; storeBytes?: number } = {},
): Promise<MountServer> {
  const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
  for (const directory of [data, mnt]) await mkdir(directory, { recursive: true });
  session.defer(mnt, async () => {
    await vreserve(['umount', mnt]);
  });
  // Not stopped by Ctrl-C: a daemon that is just coming up would be left behind.
  const { stdout } = await must(vreserve(['mount', data, mnt, '--http', on, '--store-grant', String(storeBytes), '--json']));
  session.signal.throwIfAborted();
  const { pid, http } = JSON.parse(stdout) as ReadyMessage;
  return { mnt, pid, address: (http ?? '').replace('http://', '') };
}

/** Whether a mount has a store that can be asked over HTTP. */
export async function hasStore({ address }: MountServer): Promise<boolean> {
  const { status } = await ask(at(address.startsWith('unix:') ? address : `http://${address}`), '/store/?limit=1');
  return status === 200;
}

/** `vreserve store serve` on the directory. */
export async function storeServer(session: Session, directory: string): Promise<Server> {
  const address = `127.0.0.1:${await freePort()}`;
  return startServer(session, address, process.execPath, [MAIN, 'store', 'serve', directory, '-s', address]);
}

/** As little as Node.js allows; with `file`, one that has a line of what was asked on the disk before it answers. */
export async function plainServer(session: Session, address?: string, file?: string): Promise<Server> {
  const on = address ?? `127.0.0.1:${await freePort()}`;
  return startServer(session, on, process.execPath, [PLAIN, on, ...(file === undefined ? [] : [file])]);
}

/** nginx, as the system has it or as scripts/bench has unpacked it; null where there is none. */
export async function findNginx(session: Session): Promise<string | null> {
  for (const program of ['nginx', join(ROOT, 'build/nginx/usr/sbin/nginx')]) {
    try {
      await session.command(program, ['-v']);
      return program;
    } catch {
      session.signal.throwIfAborted();
    }
  }
  return null;
}

export interface NginxOptions {
  program: string;
  /** Where it has what it needs for itself; made here. */
  top: string;
  /** Blobs are files of `blobs` below it, and are received beside it. */
  work: string;
  /** Preloaded: scripts/bench-synced.c. */
  preload?: string;
}

/** nginx that takes PUT and answers GET of `/store/NAME`. */
export async function nginxServer(session: Session, { program, top, work, preload }: NginxOptions): Promise<Server> {
  const address = `127.0.0.1:${await freePort()}`;
  const [blobs, received] = [join(work, 'blobs'), join(work, 'received')];
  for (const directory of [top, blobs, received]) await mkdir(directory, { recursive: true });
  // Connections are kept for ever, and bodies gathered in pieces as large as the store's; the rest is as Debian has it.
  const configuration = `
daemon off;
user root;
worker_processes ${preload === undefined ? 'auto' : SYNCING_WORKERS};
pid ${top}/pid;
error_log ${top}/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  client_body_buffer_size 256k;
  client_body_temp_path ${received};
  proxy_temp_path ${top}/proxy;
  fastcgi_temp_path ${top}/fastcgi;
  uwsgi_temp_path ${top}/uwsgi;
  scgi_temp_path ${top}/scgi;
  server {
    listen ${address};
    location /store/ { alias ${blobs}/; dav_methods PUT DELETE; }
  }
}
`;
  const file = join(top, 'nginx.conf');
  await writeFile(file, configuration);
  const env = preload === undefined ? {} : { LD_PRELOAD: preload };
  return startServer(session, address, program, ['-e', join(top, 'error.log'), '-p', top, '-c', file], env);
}

/** A port that was free a moment ago, for who cannot be told to choose one. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('there is no free port');
  return address.port;
}

/** Starts a server, and waits until it can be connected to. SIGTERM ends it. */
export async function startServer(
  session: Session,
  address: string,
  program: string,
  args: readonly string[],
  env = {},
): Promise<Server> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env } });
  let said = '';
  let isOver = false;
  child.stderr.on('data', (part: Buffer) => {
    said = `${said}${part}`.slice(-MOST_SAID);
  });
  const ended = new Promise<void>((done) => {
    const over = (error?: Error) => {
      said += error?.message ?? '';
      isOver = true;
      done();
    };
    child.on('error', over).on('close', () => over());
  });
  session.defer(`${program} ${args.join(' ')}`, async () => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), START_MS);
    await ended;
    clearTimeout(timer);
  });
  for (let waitedMs = 0; waitedMs < START_MS; waitedMs += LOOK_MS) {
    session.signal.throwIfAborted();
    if (isOver) throw new Error(`${program} has ended: ${said.trimEnd()}`);
    if (child.pid !== undefined && (await canConnect(address))) return { address, pid: child.pid };
    await sleep(LOOK_MS);
  }
  throw new Error(`${program} does not listen at ${address}`);
}

async function canConnect(address: string): Promise<boolean> {
  const socket = address.startsWith('unix:') ? connect(address.slice(5)) : connect(Number(address.split(':')[1]), '127.0.0.1');
  const isThere = await new Promise<boolean>((done) => {
    socket.on('connect', () => done(true)).on('error', () => done(false));
  });
  socket.destroy();
  return isThere;
}
