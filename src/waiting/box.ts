// The spool `requests`: where requests are put, and where they go when they are decided. It is used through the mount, by the
// steps of every spool, so that whoever waits in it is woken; and with care, since anybody may put anything there.

import { randomUUID } from 'node:crypto';
import { type FSWatcher, constants as flags, watch } from 'node:fs';
import { lchown, open, rename } from 'node:fs/promises';
import { errnoOf, VreserveError } from '../core/errors.js';
import { REQUESTS, SPOOL_PATH } from '../core/spool-layout.js';
import { bytesData, Spool, type SpoolKind, textMeta, type UniqueName } from '../spool/index.js';
import { absent, BoxFiles, nameOf } from './files.js';
import { MOST_REQUEST_BYTES } from './request.js';

/** Its path in the mount, and in the backing. */
export const REQUESTS_PATH = `${SPOOL_PATH}/${REQUESTS}`;

export type RequestQueue = 'pending' | 'granted' | 'refused';
type Data = Uint8Array | AsyncIterable<Uint8Array>;

export const KIND: SpoolKind<string, Data, RequestQueue> = {
  queues: ['pending', 'granted', 'refused'],
  meta: textMeta,
  data: bytesData,
};

/** Where the daemon keeps what it decides: who checks a request out himself, has it in `.checkout` as in every spool. */
export const CLAIMED = '.claimed';
/** Where outcomes are written. */
export const DECIDING = '.deciding';

/** How the names begin of requests that come as commands. */
const OWN_NAME = 'reserve_';
/** Their payload or metadata, while it is written. */
const OWN_TEMPORARY = /^reserve_[0-9T]+_[0-9]+\.tmp\./;

export interface FileOwner {
  uid: number;
  gid: number;
}

/** A request as it was found. `refusal`: why it is none. */
export interface Found extends FileOwner {
  text: string;
  refusal: VreserveError | null;
}

/** Never in the process of the mount's daemon: see remote-box.ts. Methods throw ENDING where the mount is gone, and what the system says. */
export class RequestBox {
  readonly #files: BoxFiles;
  readonly #spool: Spool<string, Data, RequestQueue>;
  #watcher: FSWatcher | undefined;

  /** `dir`: as seen through the mount. */
  constructor(dir: string) {
    this.#files = new BoxFiles(dir);
    this.#spool = Spool.loadUnsafe(dir, KIND);
  }

  /** Before anything else, when the mount is served. */
  attach(): Promise<void> {
    return this.#files.attach();
  }

  /** Throws ENDING where the path leads elsewhere than when it was attached. */
  checkAttached(): Promise<void> {
    return this.#files.checkAttached();
  }

  /** Calls `onName` with each name that comes to `pending` or leaves it; null: look at all. Throws where it cannot be watched. */
  watch(onName: (name: string | null) => void, onError: (error: unknown) => void): void {
    this.#watcher = watch(this.#files.path('pending'), { encoding: 'buffer' }, (_, bytes) => {
      const name = bytes === null ? null : nameOf(bytes as unknown as Uint8Array);
      if (bytes === null || name !== null) onName(name);
    }).on('error', onError);
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  /** Names in `pending`, in no order. */
  pending(): Promise<string[]> {
    return this.#files.list('pending');
  }

  /** Those of the names that are files in `pending`, in the order in which they came there. */
  async inOrder(names: readonly string[]): Promise<string[]> {
    const found: { name: string; atNs: bigint }[] = [];
    for (const name of names) {
      const status = await this.#files.look('pending', name);
      // A rename sets the time of the change.
      if (status?.isFile()) found.push({ name, atNs: status.ctimeNs });
    }
    found.sort((a, b) => (a.atNs < b.atNs ? -1 : a.atNs > b.atNs ? 1 : a.name < b.name ? -1 : 1));
    return found.map(({ name }) => name);
  }

  /** Names that are claimed. */
  claimed(): Promise<string[]> {
    return this.#files.list(CLAIMED);
  }

  async isPending(name: string): Promise<boolean> {
    return (await this.#files.look('pending', name)) !== null;
  }

  /** What is in `pending` under the name; null where there is no entry (any more). */
  async read(name: string): Promise<Found | null> {
    const registered = await this.#files.look('.registry', name);
    const there = await this.#files.look('pending', name);
    if (registered === null || there?.isFile() !== true) return null;
    // Neither follows a symbolic link nor waits for the other end of a pipe.
    const how = flags.O_RDONLY | flags.O_NOFOLLOW | flags.O_NONBLOCK;
    const handle = await open(this.#files.path('pending', name), how).catch(unreadable);
    if (handle === null) return null;
    try {
      const status = await handle.stat();
      if (!status.isFile()) return null;
      const { uid, gid } = status;
      const refuse = (reason: string): Found => ({ uid, gid, text: '', refusal: new VreserveError('BAD_COMMAND', { reason }) });
      if (status.nlink !== 1 || registered.nlink !== 1n) return refuse('the request has several names');
      if (Number(registered.uid) !== uid) return refuse('its name was registered by another user');
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(MOST_REQUEST_BYTES + 1), 0, MOST_REQUEST_BYTES + 1, 0);
      if (bytesRead > MOST_REQUEST_BYTES) return refuse(`the metadata has more than ${MOST_REQUEST_BYTES} bytes`);
      try {
        const text = new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, bytesRead));
        return { uid, gid, text, refusal: null };
      } catch {
        return refuse('the metadata is not UTF-8');
      }
    } finally {
      await handle.close();
    }
  }

  /** A name for a new request. */
  reserveName(nowMs: number): Promise<UniqueName> {
    const prefix = new Date(nowMs).toISOString().replace(/[-:.Z]/g, '');
    return this.#spool.reserveName((attempt) => `${OWN_NAME}${prefix}_${String(attempt).padStart(3, '0')}`);
  }

  /** Puts a request of that user into `pending`. */
  async put(name: UniqueName, text: string, owner: FileOwner): Promise<void> {
    await this.#spool.enqueue('pending', text, new Uint8Array(), { use: name });
    for (const directory of ['.registry', '.data', 'pending']) await this.#give(this.#files.path(directory, name), owner);
  }

  /** A name that is not used after all. */
  async giveUp(name: string): Promise<void> {
    await this.#files.unlink('.registry', name);
  }

  /** Takes a request out of its asker's hands: false where it is gone. */
  async claim(name: string): Promise<boolean> {
    try {
      await this.#files.touch('.registry', name);
      await this.#files.touch('pending', name);
      await rename(this.#files.path('pending', name), this.#files.path(CLAIMED, name));
      return true;
    } catch (error) {
      absent(error);
      await this.#files.checkAttached();
      return false;
    }
  }

  /** A request that was claimed waits on. */
  async putBack(name: string): Promise<void> {
    await this.#files.replace(this.#files.path(CLAIMED, name), this.#files.path('pending', name)).catch(absent);
  }

  /** Moves a claimed request to where its asker finds it, with new metadata that is the asker's own. On the disk when it resolves. */
  async finish(name: string, queue: RequestQueue, text: string, owner: FileOwner): Promise<void> {
    const claimed = this.#files.path(CLAIMED, name);
    const temporary = randomUUID();
    try {
      await this.#write(this.#files.path(DECIDING, temporary), text, owner);
      // What was claimed may have been a directory by then.
      await this.#files.replace(this.#files.path(DECIDING, temporary), claimed);
    } catch (error) {
      await this.#files.unlink(DECIDING, temporary);
      throw error;
    }
    await this.#files.touch('.registry', name).catch(absent);
    await this.#files.touch(CLAIMED, name);
    await this.#files.replace(claimed, this.#files.path(queue, name));
    await this.#files.sync(queue);
    await this.#files.sync(CLAIMED);
  }

  /** Takes a claimed request away, for an asker who has been told otherwise. */
  async remove(name: string): Promise<void> {
    // Without its data it could not be taken away by who finds it after a crash.
    for (const directory of [CLAIMED, '.data', '.registry']) await this.#files.unlink(directory, name);
    await this.#files.sync(CLAIMED);
  }

  /**
   * Takes away what a crash has left: what was being written, names of the daemon's own, and what else there is of these requests,
   * unless they are kept, or somebody has them.
   */
  async clear(names: readonly string[], kept: readonly string[]): Promise<void> {
    for (const name of await this.#files.list(DECIDING)) await this.#files.unlink(DECIDING, name);
    for (const directory of ['.tmp', '.data']) {
      for (const name of await this.#files.list(directory)) if (OWN_TEMPORARY.test(name)) await this.#clear([directory], name);
    }
    const places = KIND.queues.flatMap((queue) => [[queue], [queue, '.checkout']]);
    const taken = new Set([...kept, ...(await Promise.all(places.map((place) => this.#files.list(...place)))).flat()]);
    const own = (await this.#files.list('.registry')).filter((name) => name.startsWith(OWN_NAME));
    for (const name of names) if (!taken.has(name)) await this.#remains(name);
    for (const name of own) if (!taken.has(name)) await this.#clear(['.tmp', '.data', '.registry'], name);
  }

  /** Takes away what was decided before then, and nobody has fetched. */
  async trim(beforeMs: number): Promise<void> {
    for (const queue of ['granted', 'refused'] as const) {
      for (const name of await this.#files.list(queue)) {
        const status = await this.#files.look(queue, name);
        if (!status?.isFile() || status.mtimeMs >= BigInt(beforeMs)) continue;
        for (const directory of ['.data', queue, '.registry']) await this.#files.unlink(directory, name);
      }
    }
  }

  async #remains(name: string): Promise<void> {
    for (const directory of ['.tmp', '.data', '.registry']) await this.#files.unlink(directory, name);
  }

  /** Of the daemon's own files only. */
  async #clear(directories: readonly string[], name: string): Promise<void> {
    for (const directory of directories) {
      const status = await this.#files.look(directory, name);
      if (status !== null && Number(status.uid) === process.getuid?.()) await this.#files.unlink(directory, name);
    }
  }

  async #write(path: string, text: string, { uid, gid }: FileOwner): Promise<void> {
    const handle = await open(path, flags.O_WRONLY | flags.O_CREAT | flags.O_EXCL | flags.O_NOFOLLOW, 0o644);
    try {
      await handle.writeFile(text);
      await handle.chown(uid, gid).catch(notAllowed);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  async #give(path: string, { uid, gid }: FileOwner): Promise<void> {
    if (uid !== process.getuid?.()) await lchown(path, uid, gid).catch(notAllowed).catch(absent);
  }
}

/** null for what one name alone can be the cause of. */
function unreadable(error: unknown): null {
  if (['ENOENT', 'ELOOP', 'ENXIO', 'EACCES', 'EPERM', 'EAGAIN', 'ENODEV', 'EISDIR'].includes(errnoOf(error) ?? '')) return null;
  throw error;
}

function notAllowed(error: unknown): void {
  if (errnoOf(error) !== 'EPERM') throw error;
}
