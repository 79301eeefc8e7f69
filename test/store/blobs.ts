// What the tests of the store share: sources, contents that can be told apart, and directories as they are.
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { asVreserveError } from '../../src/core/errors.js';
import type { Store, StoreLog } from '../../src/store/store.js';

/** A source that gives these pieces, and an error among them is thrown. */
export async function* pieces(...all: (string | Uint8Array | Error)[]): AsyncGenerator<Uint8Array> {
  for (const piece of all) {
    if (piece instanceof Error) throw piece;
    yield Buffer.from(piece);
  }
}

/** A source that is fed by hand. */
export class Tap {
  readonly #waiting: ((result: IteratorResult<Uint8Array>) => void)[] = [];
  readonly #asked: (() => void)[] = [];

  async *bytes(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const next = await new Promise<IteratorResult<Uint8Array>>((resolve) => {
        this.#waiting.push(resolve);
        this.#asked.shift()?.();
      });
      if (next.done === true) return;
      yield next.value;
    }
  }

  /** Resolves when the reader has asked for it, and so has taken what came before. */
  async give(text: string | null): Promise<void> {
    if (this.#waiting.length === 0) await new Promise<void>((resolve) => this.#asked.push(resolve));
    this.#waiting.shift()?.(text === null ? { done: true, value: undefined } : { done: false, value: Buffer.from(text) });
  }
}

/** The content; null where there is none. */
export async function textOf(store: Store, name: string): Promise<string | null> {
  const open = await store.read(name);
  if (open === null) return null;
  const parts: Buffer[] = [];
  for await (const piece of open.bytes()) parts.push(piece);
  return Buffer.concat(parts).toString();
}

/** The code that it is refused with; null where it is not. */
export async function codeOf(job: Promise<unknown>): Promise<string | null> {
  try {
    await job;
    return null;
  } catch (error) {
    const { code, errno } = asVreserveError(error);
    return code === 'SYSTEM' ? errno : code;
  }
}

/** Files below the directory that hold data, whole or not. */
export async function payloadFiles(dir: string): Promise<string[]> {
  const own = (await readdir(join(dir, 'data'))).map((name) => `data/${name}`);
  const lots = (await readdir(join(dir, 'lots'), { recursive: true })).map((name) => `lots/${name}`);
  const files: string[] = [];
  for (const path of [...own, ...lots]) {
    // It may go meanwhile.
    const found = await stat(join(dir, path)).catch(() => null);
    if (found?.isFile() === true) files.push(path);
  }
  return files.sort();
}

/** Lines of the records, without checksums. */
export async function recordsOf(dir: string): Promise<Record<string, unknown>[]> {
  const lines = (await readFile(join(dir, 'records'), 'utf8')).split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line.slice(9)) as Record<string, unknown>);
}

/** Keeps what a store has to say. */
export class Told implements StoreLog {
  readonly lines: string[] = [];
  info(_: object, message: string): void {
    this.lines.push(`info ${message}`);
  }
  warn(_: object, message: string): void {
    this.lines.push(`warn ${message}`);
  }
  error(_: object, message: string): void {
    this.lines.push(`error ${message}`);
  }
}
