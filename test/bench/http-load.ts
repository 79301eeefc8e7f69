// Clients of a server: connections that stay open, and ask the same requests again and again.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Session } from '../helpers/session.js';

/** Who asks what. In a request {} is the number of the connection; see scripts/bench-load.c. */
export interface Clients {
  /** 127.0.0.1:PORT or unix:PATH. */
  address: string;
  connections: number;
  requests: readonly string[];
}

/** What came of it. A cycle is all requests once, on one connection. */
export interface LoadResult {
  cycles: number;
  seconds: number;
  medianMs: number;
  p99Ms: number;
  mostMs: number;
  /** Of the clients themselves. */
  cpuSeconds: number;
}

/** Asks for so long; 0 seconds: all once. Throws where anything is answered but with 2xx. */
export async function load(session: Session, program: string, clients: Clients, seconds: number): Promise<LoadResult> {
  return JSON.parse(await session.command(program, words(clients, seconds))) as LoadResult;
}

const words = ({ address, connections, requests }: Clients, seconds: number): string[] => [
  address,
  String(connections),
  String(seconds),
  ...requests,
];

/** Longer than anything is measured beside it. */
const LONG_SECONDS = 600;

/** Clients that ask until they are stopped. */
export class RunningLoad {
  readonly #stop: () => void;
  readonly #ended: Promise<string>;

  constructor(session: Session, program: string, clients: Clients) {
    const child = spawn(program, words(clients, LONG_SECONDS), { stdio: ['ignore', 'pipe', 'pipe'] });
    const kill = () => child.kill('SIGKILL');
    session.signal.addEventListener('abort', kill);
    const said: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => said.push(part));
    child.stderr.on('data', (part: Buffer) => said.push(part));
    this.#stop = () => child.kill('SIGTERM');
    this.#ended = once(child, 'close').then(([code, signal]) => {
      session.signal.removeEventListener('abort', kill);
      const text = Buffer.concat(said).toString();
      if (code !== 0) throw new Error(`clients of ${clients.address}: ended with ${code ?? signal}\n${text.trimEnd()}`);
      return text;
    });
    this.#ended.catch(() => {});
  }

  /** Throws where something was answered but with 2xx. */
  async stop(): Promise<LoadResult> {
    this.#stop();
    return JSON.parse(await this.#ended) as LoadResult;
  }
}
