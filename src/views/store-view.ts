// /.vreserve/store as the kernel sees it: a directory with a file for each blob.

import type { Clock } from '../core/clock.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import type { BlobBegin, BlobFile, BlobFiles } from '../core/store-files.js';
import { BLOBS_PATH, MAX_BLOB_NAME_BYTES, STORE_DIRECTORY } from '../core/store-layout.js';
import type { BlobUse, VirtualNode, VirtualReply, VirtualRequest } from '../engine/engine.js';
import type { Log } from '../log.js';

type Request<Op extends VirtualRequest['op']> = Extract<VirtualRequest, { op: Op }>;

/** An open file. */
interface Opened {
  /** Of the request that opened it. */
  token: number;
  /** What is written through it becomes a blob; null: it is read, or is a blob already. */
  writing: Writing | null;
}

interface Writing {
  name: string;
  upload: string;
  /** Begun in place of nothing, or of all that was there: it becomes a blob even where not a byte is written. */
  isNew: boolean;
}

export interface StoreViewParts {
  store: BlobFiles;
  /** Permission bits of the directory. */
  mode: number;
  /** Who owns it all. */
  uid: number;
  gid: number;
  readOnly: boolean;
  clock: Clock;
  log: Log;
}

/** Of an upload that nobody writes. */
const GIVEN_UP = 'it was given up';

/** Of what became of a name. */
const LOG = '.log';

/** In place of bytes that are no UTF-8. */
const REPLACEMENT = '\ufffd';

const ATTRIBUTES: Record<string, (file: BlobFile) => string> = {
  'user.vreserve.state': ({ state }) => state,
  'user.mime_type': ({ contentType }) => contentType,
};

/** True for a path of `.vreserve` that the store answers for. */
export function isOfStore(path: string): boolean {
  return path === STORE_DIRECTORY || path.startsWith(`${STORE_DIRECTORY}/`);
}

export class StoreView {
  readonly #parts: StoreViewParts;
  /** By handle. */
  readonly #open = new Map<number, Opened>();
  /** Their handles, by the requests that opened them. */
  readonly #handles = new Map<number, number>();
  /** Of names whose last close is being worked on: whoever looks at one of them then waits for it. */
  readonly #closing = new Map<string, Promise<void>>();

  constructor(parts: StoreViewParts) {
    this.#parts = parts;
  }

  has(handle: number): boolean {
    return this.#open.has(handle);
  }

  async lookup(path: string): Promise<VirtualReply> {
    const { mode, uid, gid } = this.#parts;
    if (path === STORE_DIRECTORY) {
      // The kernel keeps what it has listed for as long as this stays as it is.
      const mtimeMs = await this.#parts.store.blobsChangedAtMs();
      return { node: { kind: 'directory', mode, uid, gid, mtimeMs, takesFiles: !this.#parts.readOnly } };
    }
    const name = nameOf(path);
    const file = await this.#look(name);
    if (file !== null) return { node: this.#node(file) };
    if ((await this.#logOf(name)) === null) throw noFile();
    return { node: { kind: 'snapshot', mode: this.#fileMode, uid, gid, mtimeMs: this.#parts.clock(), takesFiles: true } };
  }

  async list(): Promise<VirtualReply> {
    await Promise.all(this.#closing.values());
    const names: { name: string; kind: VirtualNode['kind'] }[] = [];
    for (let after: string | null = null; ; ) {
      const page = await this.#parts.store.blobNames(after);
      for (const name of page.names) if (isForFiles(name)) names.push({ name, kind: 'blob' });
      if (page.next === null) return { names };
      after = page.next;
    }
  }

  /** Of a log. */
  async content(path: string): Promise<VirtualReply> {
    const text = await this.#logOf(nameOf(path));
    if (text === null) throw noFile();
    return { data: Buffer.from(text) };
  }

  async create({ path, token }: Request<'create'>, handle: number, signal: AbortSignal): Promise<VirtualReply> {
    if (!isForFiles(path)) throw new VreserveError('SYSTEM', { errno: 'EILSEQ', reason: 'a name is UTF-8' });
    const name = nameOf(path);
    await this.#closing.get(name);
    const real = await this.#begin(name, 'new', { handle, token }, signal);
    return {
      node: this.#node({ state: 'Pending', sizeBytes: 0, modifiedAtMs: this.#parts.clock(), contentType: '' }),
      handle,
      real,
    };
  }

  async open(
    { path, token, forWriting, truncate = false }: Request<'open'>,
    handle: number,
    signal: AbortSignal,
  ): Promise<VirtualReply> {
    const name = nameOf(path);
    await this.#closing.get(name);
    if (forWriting) return { handle, real: await this.#begin(name, truncate ? 'empty' : 'copy', { handle, token }, signal) };
    const real = `${BLOBS_PATH}/${await this.#parts.store.openBlob(name)}`;
    if (signal.aborted) throw nobodyWaits();
    this.#keep(handle, { token, writing: null });
    return { handle, real };
  }

  /** The last close of who opened it. */
  async flush({ handle, ...use }: Request<'flush'>): Promise<VirtualReply> {
    await this.#end(handle, use);
    return {};
  }

  release({ handle, opened = true, ...use }: Pick<Request<'release'>, 'handle' | 'opened' | keyof BlobUse>): void {
    const name = this.#open.get(handle)?.writing?.name;
    const ended = opened ? this.#end(handle, use) : this.#giveUp(handle);
    ended.catch((error: unknown) => {
      this.#parts.log.warn({ name, err: asVreserveError(error) }, 'a blob was not stored, and nobody was there to be told');
    });
    this.#forget(handle);
  }

  /** The answer to the request went nowhere, so nobody has the handle. */
  interrupted(token: number): void {
    const handle = this.#handles.get(token);
    if (handle !== undefined) this.release({ handle, opened: false });
  }

  async unlink({ path }: Request<'unlink'>): Promise<VirtualReply> {
    const name = nameOf(path);
    await this.#closing.get(name);
    await this.#parts.store.removeBlob(name);
    return {};
  }

  async getAttribute({ path, name }: Request<'getxattr'>): Promise<VirtualReply> {
    const file = await this.#look(nameOf(path));
    const value = Object.hasOwn(ATTRIBUTES, name) && file !== null ? ATTRIBUTES[name]?.(file) : '';
    return value === undefined || value === '' ? { errno: 'ENODATA' } : { data: Buffer.from(value) };
  }

  async #begin(
    name: string,
    how: BlobBegin,
    { handle, token }: { handle: number; token: number },
    signal: AbortSignal,
  ): Promise<string> {
    if (this.#parts.readOnly) throw new VreserveError('READ_ONLY');
    const { store } = this.#parts;
    const { upload, path } = await store.beginBlob(name, how);
    if (signal.aborted) {
      await store.failBlob(upload, GIVEN_UP);
      throw nobodyWaits();
    }
    this.#keep(handle, { token, writing: { name, upload, isNew: how !== 'copy' } });
    return `${BLOBS_PATH}/${path}`;
  }

  /** What was written becomes the blob, unless not all of it could be; does nothing where that is done already. */
  async #end(handle: number, { written = false, failed }: BlobUse): Promise<void> {
    const writing = this.#takeWriting(handle);
    if (writing === null) return;
    const { store } = this.#parts;
    const { name, upload, isNew } = writing;
    if (failed !== undefined) {
      const reason = `not all of it could be written: ${failed}`;
      await this.#closingOf(name, () => store.failBlob(upload, reason));
      throw new VreserveError('SYSTEM', { errno: failed, reason });
    }
    if (!isNew && !written) return await store.failBlob(upload, 'nothing was written');
    await this.#closingOf(name, () => store.commitBlob(upload));
  }

  async #giveUp(handle: number): Promise<void> {
    const writing = this.#takeWriting(handle);
    if (writing === null) return;
    await this.#closingOf(writing.name, () => this.#parts.store.failBlob(writing.upload, GIVEN_UP));
  }

  #takeWriting(handle: number): Writing | null {
    const file = this.#open.get(handle);
    const writing = file?.writing ?? null;
    if (file !== undefined) file.writing = null;
    return writing;
  }

  /** One after the other, so that what was closed last is there; until it is over, whoever looks at the name waits. */
  async #closingOf(name: string, end: () => Promise<void>): Promise<void> {
    const before = this.#closing.get(name);
    const ended = before === undefined ? end() : before.then(end);
    const closing = ended
      .catch(() => {})
      .then(() => {
        if (this.#closing.get(name) === closing) this.#closing.delete(name);
      });
    this.#closing.set(name, closing);
    await ended;
  }

  #keep(handle: number, file: Opened): void {
    this.#open.set(handle, file);
    this.#handles.set(file.token, handle);
  }

  #forget(handle: number): void {
    this.#handles.delete(this.#open.get(handle)?.token ?? 0);
    this.#open.delete(handle);
  }

  async #look(name: string): Promise<BlobFile | null> {
    await this.#closing.get(name);
    return this.#parts.store.lookAtBlob(name);
  }

  async #logOf(name: string): Promise<string | null> {
    const of = name.endsWith(LOG) ? name.slice(0, -LOG.length) : '';
    if (of === '') return null;
    await this.#closing.get(of);
    return this.#parts.store.logOfBlob(of);
  }

  get #fileMode(): number {
    return this.#parts.mode & (this.#parts.readOnly ? 0o444 : 0o666);
  }

  #node({ sizeBytes, modifiedAtMs }: BlobFile): VirtualNode {
    const { uid, gid } = this.#parts;
    return { kind: 'blob', mode: this.#fileMode, uid, gid, sizeBytes, mtimeMs: modifiedAtMs };
  }
}

function nameOf(path: string): string {
  const name = path.slice(STORE_DIRECTORY.length + 1);
  if (name === '' || name.includes('/') || !isForFiles(name)) throw noFile();
  if (Buffer.byteLength(name) > MAX_BLOB_NAME_BYTES) {
    throw new VreserveError('SYSTEM', { errno: 'ENAMETOOLONG', reason: `a name has at most ${MAX_BLOB_NAME_BYTES} bytes` });
  }
  return name;
}

/** Whether the bytes of a file's name can be told from it. Another name could be meant by what is no UTF-8. */
function isForFiles(name: string): boolean {
  return !name.includes(REPLACEMENT);
}

function nobodyWaits(): VreserveError {
  return new VreserveError('SYSTEM', { errno: 'EINTR', reason: 'who asked has gone' });
}

function noFile(): VreserveError {
  return new VreserveError('SYSTEM', { errno: 'ENOENT', reason: 'no such file' });
}
