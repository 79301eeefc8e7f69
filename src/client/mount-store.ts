// Blobs of a mount, as the files below `.vreserve/store`.

import { constants } from 'node:fs';
import { access, type FileHandle, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { compareBytes } from '../core/bytes.js';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import { shown } from '../store/names.js';
import type { BlobBody } from './blob-body.js';
import { brokenOff, isGone, noMount } from './control.js';
import type { Stop } from './stop.js';
import type {
  BlobEntry,
  BlobInfo,
  MatchOptions,
  OpenBlob,
  RangeOptions,
  StoredBlob,
  StoreTransport,
  WriteKind,
  WriteOptions,
} from './transport.js';

const { O_CREAT, O_EXCL, O_TRUNC, O_WRONLY } = constants;

const FLAGS: Record<WriteKind, number> = {
  create: O_WRONLY | O_CREAT | O_EXCL,
  update: O_WRONLY | O_TRUNC,
  put: O_WRONLY | O_CREAT | O_TRUNC,
};

const PIECE_BYTES = 256 * 1024;

/** A place that no file has: writing there fails, and of a write that failed nothing stays. */
const NOWHERE_BYTES = Number.MAX_SAFE_INTEGER - 1;

/** How long an upload that is given up is waited for: until then the end of this process would make a blob of it. */
const GIVE_UP_MS = 1000;

/** Files that are looked at side by side: fewer than the threads that Node.js has for it. */
const SIDE_BY_SIDE = 3;

/** Of what became of a name, in no listing. */
const LOG = '.log';

export class MountStore implements StoreTransport {
  readonly #mountpoint: string;
  readonly #directory: string;

  constructor(mountpoint: string) {
    this.#mountpoint = mountpoint;
    this.#directory = join(mountpoint, '.vreserve', 'store');
  }

  async write(kind: WriteKind, name: string, body: BlobBody, options: WriteOptions, stop: Stop): Promise<StoredBlob> {
    refuse({ contentType: options.contentType, lot: options.lot, ifMatch: options.ifMatch });
    stop.check();
    const handle = await this.#opened(open(this.#pathOf(name), FLAGS[kind], 0o666), name, stop);
    let last: Promise<unknown> = Promise.resolve();
    try {
      for await (const piece of body.pieces((next) => stop.wait(next, false))) {
        last = this.#of(writeAll(handle, piece), name);
        await stop.wait(last);
      }
      stop.check();
      // From here on it is the blob, whoever waits for it.
      last = this.#of(handle.close(), name);
      await stop.wait(last);
    } catch (error) {
      const given = last.catch(() => {}).then(() => giveUp(handle));
      await Promise.race([given, sleep(GIVE_UP_MS, undefined, { ref: false })]);
      throw error;
    }
    return { name, id: null, sizeBytes: body.sentBytes };
  }

  async open(name: string, { start, end, ifMatch }: RangeOptions, stop: Stop): Promise<OpenBlob> {
    refuse({ ifMatch });
    const handle = await this.#openToRead(name, stop);
    const close = () => void handle.close().catch(() => {});
    try {
      const blob = await this.#infoOf(handle, name, stop);
      const { sizeBytes } = blob;
      const isPart = start !== undefined || end !== undefined;
      const from = start ?? 0;
      if (isPart && from >= sizeBytes) throw new VreserveError('STORE_BAD_RANGE', { name: shown(name), start: from, sizeBytes });
      return { blob, pieces: this.#pieces(handle, name, from, Math.min(end ?? sizeBytes, sizeBytes), stop), close };
    } catch (error) {
      close();
      throw error;
    }
  }

  async stat(name: string, stop: Stop): Promise<BlobInfo | null> {
    try {
      const handle = await this.#openToRead(name, stop);
      return await this.#infoOf(handle, name, stop).finally(() => handle.close().catch(() => {}));
    } catch (error) {
      if (isNoBlob(error)) return null;
      throw error;
    }
  }

  async remove(name: string, { ifMatch }: MatchOptions, stop: Stop): Promise<boolean> {
    refuse({ ifMatch });
    stop.check();
    if (await this.#isLog(name, stop)) return false;
    try {
      await stop.wait(this.#of(unlink(this.#pathOf(name)), name));
      return true;
    } catch (error) {
      if (isNoBlob(error)) return false;
      throw error;
    }
  }

  async *list(after: string | null, pageSize: number, begin: () => Stop): AsyncGenerator<BlobEntry[]> {
    const stop = begin();
    const names = await this.#names(stop).finally(() => stop.end());
    const wanted = names.filter((name) => after === null || compareBytes(name, after) > 0);
    for (let at = 0; at < wanted.length; at += pageSize) {
      const stop = begin();
      const page = wanted.slice(at, at + pageSize);
      yield await this.#entries(page, stop).finally(() => stop.end());
    }
  }

  async #entries(names: readonly string[], stop: Stop): Promise<BlobEntry[]> {
    const entries: BlobEntry[] = [];
    for (let at = 0; at < names.length; at += SIDE_BY_SIDE) {
      const looked = names.slice(at, at + SIDE_BY_SIDE).map((name) => this.#entry(name));
      for (const entry of await stop.wait(Promise.all(looked))) if (entry !== null) entries.push(entry);
    }
    return entries;
  }

  /** null: it is gone by now. */
  async #entry(name: string): Promise<BlobEntry | null> {
    try {
      const handle = await open(this.#pathOf(name), 'r');
      const blob = await infoOf(handle, name).finally(() => handle.close().catch(() => {}));
      return { name, state: 'OK', blob: { ...blob, lot: null } };
    } catch (error) {
      if (errnoOf(error) === 'EBUSY') return { name, state: 'Pending', blob: null };
      if (errnoOf(error) === 'ENOENT') return null;
      return this.#fail(error, name, false);
    }
  }

  async *#pieces(handle: FileHandle, name: string, start: number, end: number, stop: Stop): AsyncGenerator<Buffer> {
    try {
      for (let at = start; at < end; ) {
        const wanted = Math.min(PIECE_BYTES, end - at);
        const read = handle.read(Buffer.allocUnsafe(wanted), 0, wanted, at);
        const { buffer, bytesRead } = await stop.wait(this.#of(read, name));
        if (bytesRead === 0) {
          const reason = `they end after ${at} of ${end}`;
          throw new VreserveError('STORE_PAYLOAD_DAMAGED', { name: shown(name), reason });
        }
        yield buffer.subarray(0, bytesRead);
        at += bytesRead;
      }
    } finally {
      stop.end();
      await handle.close().catch(() => {});
    }
  }

  async #openToRead(name: string, stop: Stop): Promise<FileHandle> {
    stop.check();
    if (await this.#isLog(name, stop)) throw new VreserveError('STORE_NO_BLOB', { name: shown(name) });
    return this.#opened(open(this.#pathOf(name), 'r'), name, stop);
  }

  /** What is opened when nobody waits for it any more is closed. */
  async #opened(opening: Promise<FileHandle>, name: string, stop: Stop): Promise<FileHandle> {
    try {
      return await stop.wait(this.#of(opening, name, true));
    } catch (error) {
      opening.then(giveUp, () => {});
      throw error;
    }
  }

  async #infoOf(handle: FileHandle, name: string, stop: Stop): Promise<BlobInfo> {
    return stop.wait(this.#of(infoOf(handle, name), name));
  }

  /** Whether the name is that of no blob, but of what became of one. */
  async #isLog(name: string, stop: Stop): Promise<boolean> {
    return name.endsWith(LOG) && !(await this.#names(stop)).includes(name);
  }

  async #names(stop: Stop): Promise<string[]> {
    stop.check();
    const names = await stop.wait(this.#of(readdir(this.#directory), '', true));
    return names.sort(compareBytes);
  }

  #pathOf(name: string): string {
    return join(this.#directory, name);
  }

  /** The same, with the system's errors as what they mean here. `isFirst`: nothing can have been done before. */
  #of<T>(work: Promise<T>, name: string, isFirst = false): Promise<T> {
    return work.catch((error: unknown) => this.#fail(error, name, isFirst));
  }

  async #fail(error: unknown, name: string, isFirst: boolean): Promise<never> {
    const errno = errnoOf(error);
    const cause = { cause: error };
    const details = { name: shown(name) };
    switch (errno) {
      case 'EEXIST':
        throw new VreserveError('STORE_EXISTS', details, cause);
      // Of one that is still being written there is nothing either.
      case 'EBUSY':
        throw new VreserveError('STORE_NO_BLOB', details, cause);
      case 'ENOENT':
        await this.#findStore();
        throw new VreserveError('STORE_NO_BLOB', details, cause);
      case 'ENOSPC':
      case 'EDQUOT':
        throw new VreserveError('STORE_FULL', details, cause);
      case 'ENXIO':
        throw new VreserveError('NO_STORE', {}, cause);
      default:
        if (!isGone(error)) throw asVreserveError(error);
        throw isFirst ? noMount(error, this.#mountpoint, 'store') : brokenOff(error, this.#mountpoint);
    }
  }

  /** Throws UNREACHABLE or NO_STORE where there is none. */
  async #findStore(): Promise<void> {
    if (await isThere(this.#directory)) return;
    await access(join(this.#mountpoint, '.vreserve')).catch((error: unknown) => {
      throw noMount(error, this.#mountpoint, 'store');
    });
    throw new VreserveError('NO_STORE');
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function infoOf(handle: FileHandle, name: string): Promise<BlobInfo> {
  const { size, mtimeMs } = await handle.stat();
  return { name, id: null, sizeBytes: size, contentType: null, modifiedAtMs: Math.floor(mtimeMs) };
}

/** A write may be cut short at the edge of a grant: the next one says why. */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    written += (await handle.write(bytes, written, bytes.length - written)).bytesWritten;
  }
}

/** Closes it so that nothing of what was written stays. */
async function giveUp(handle: FileHandle): Promise<void> {
  await handle.write(new Uint8Array(1), 0, 1, NOWHERE_BYTES).catch(() => {});
  await handle.close().catch(() => {});
}

function isNoBlob(error: unknown): boolean {
  return error instanceof VreserveError && error.code === 'STORE_NO_BLOB';
}

/** Throws NOT_SUPPORTED for an option that is given. */
function refuse(options: Record<string, unknown>): void {
  const given = Object.entries(options).find(([, value]) => value !== undefined);
  if (given === undefined) return;
  throw new VreserveError('NOT_SUPPORTED', { reason: `files have no ${given[0]}: ask the mount's service over HTTP` });
}
