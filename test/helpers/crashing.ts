// Stops a part of the program for ever at one of its calls, as a `kill -9` would: what it has under way is never answered, and it
// does nothing more. What is there then is what the next start finds.

import fs from 'node:fs/promises';
// biome-ignore lint/style/noRestrictedImports: what is patched here has to reach those who imported it by name
import { syncBuiltinESMExports } from 'node:module';

const never = new Promise<never>(() => {});

export class CrashPoint {
  /** Calls until it stops; the number is counted in halves: before a call, and after it. */
  #left = Number.POSITIVE_INFINITY;
  #stop: () => void = () => {};
  readonly stopped: Promise<'stopped'>;
  isStopped = false;
  calls = 0;

  constructor() {
    this.stopped = new Promise((resolve) => {
      this.#stop = () => resolve('stopped');
    });
  }

  /** At the n-th half call from now on. */
  arm(halves: number): void {
    this.#left = halves;
  }

  disarm(): void {
    this.#left = Number.POSITIVE_INFINITY;
  }

  /** Now. */
  stop(): void {
    this.isStopped = true;
    this.#stop();
  }

  async call<T>(work: () => Promise<T>): Promise<T> {
    this.calls += 1;
    await this.#pass();
    const done = await work();
    await this.#pass();
    return done;
  }

  async #pass(): Promise<void> {
    this.#left -= 1;
    if (this.#left <= 0 && !this.isStopped) this.stop();
    if (this.isStopped) await never;
  }
}

/** The same object, whose methods (all asynchronous) pass the point. */
export function crashing<T extends object>(object: T, point: CrashPoint, methods: readonly (keyof T)[]): T {
  return new Proxy(object, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      const call = (...words: unknown[]) => Reflect.apply(value, target, words);
      return methods.includes(name as keyof T) ? (...words: unknown[]) => point.call(() => call(...words)) : call;
    },
  });
}

const FILE_OPERATIONS = ['chmod', 'lchown', 'lstat', 'lutimes', 'open', 'readdir', 'rename', 'unlink'] as const;

/** From now on operations of node:fs/promises pass the point that `pointOf` finds for their path, where it finds one. Returns what ends it. */
export function crashingFiles(pointOf: (path: string) => CrashPoint | undefined): () => void {
  const real = { ...fs };
  const table = fs as unknown as Record<string, (...words: unknown[]) => Promise<unknown>>;
  for (const name of FILE_OPERATIONS) {
    const operation = table[name] as (...words: unknown[]) => Promise<unknown>;
    table[name] = (...words) => {
      const point = pointOf(String(words[0]));
      return point === undefined ? operation(...words) : point.call(() => operation(...words));
    };
  }
  syncBuiltinESMExports();
  return () => {
    Object.assign(fs, real);
    syncBuiltinESMExports();
  };
}
