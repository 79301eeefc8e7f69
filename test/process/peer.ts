// The other end of the channel in calls.test.ts: a process that answers, asks back, waits, and ends when it is told to. With the
// word `late` it begins when its parent has gone.
import { setImmediate } from 'node:timers/promises';
import { VreserveError } from '../../src/core/errors.js';
import { callsWithDaemon } from '../../src/process/for-daemon.js';

/** What the test offers. */
export interface Home {
  twice(n: number): Promise<number>;
  /** Answers when the signal is aborted. */
  aborted(signal: AbortSignal): Promise<void>;
  heard(text: string): void;
}

export type Peer = typeof methods;

if (process.argv[2] === 'late') while (process.connected) await setImmediate();
// It has something to do for ever.
setInterval(() => {}, 1000);

const home = callsWithDaemon<Home>();
const waiting = new Map<number, (n: number) => void>();

const methods = {
  echo: async (...args: unknown[]) => args,
  /** Answers when `go` is called with the same number. */
  wait: (n: number) => new Promise<number>((done) => waiting.set(n, done)),
  go: async (n: number) => waiting.get(n)?.(n),
  refuse: async (path: string, bytes: number) => {
    const error = new VreserveError('NO_SPACE', { path, availableBytes: bytes });
    error.message = 'in other words';
    throw error;
  },
  failOfSystem: () => {
    throw Object.assign(new Error('EACCES: not allowed'), { code: 'EACCES' });
  },
  failOddly: async () => {
    throw new TypeError('this was not foreseen');
  },
  throwText: () => {
    throw 'only a text';
  },
  /** What cannot be sent. */
  giveFunction: async () => () => {},
  askBack: async (n: number) => (await home.other.twice(n)) + 1,
  /** The reason of the abort; 'none' where no signal came. */
  untilAborted: (name: string, signal?: AbortSignal) =>
    new Promise<string>((done) => {
      if (signal === undefined) return done(`${name}: none`);
      signal.addEventListener('abort', () => done(`${name}: aborted`));
      home.tell('heard', `${name} waits`);
    }),
  atOnce: async (_signal: AbortSignal) => 'done',
  /** Asks for something that this process does not wait for: it ends before. */
  leave: async () => {
    void home.other.aborted(new AbortController().signal);
    void setImmediate().then(() => process.exit(7));
  },
  tellMany: async (count: number) => {
    for (let i = 0; i < count; i++) home.tell('heard', String(i));
  },
  pid: async () => process.pid,
};

home.answer(methods);
home.tell('heard', 'ready');
