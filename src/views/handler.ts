// Answers the data plane's requests on /.vreserve, each exactly once.

import { parseBytes } from '../core/bytes.js';
import type { Clock } from '../core/clock.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_ID, type LotId } from '../core/lot.js';
import { NAMESPACE_VIEW } from '../core/namespace-layout.js';
import type { Snapshot } from '../core/snapshot.js';
import { STORE_DIRECTORY } from '../core/store-layout.js';
import type { VirtualNode, VirtualReply, VirtualRequest } from '../engine/engine.js';
import type { Log } from '../log.js';
import { ControlFile } from './control.js';
import type { Host } from './host.js';
import { isOfNamespaces, type NamespaceView } from './namespace-view.js';
import type { OpenFile } from './open-file.js';
import { commandRunner } from './run.js';
import { lineSeenFrom } from './scoped-line.js';
import { isOfStore, type StoreView } from './store-view.js';
import { LotJournal, type Stream, WholeJournal } from './stream.js';
import { StreamFile } from './stream-file.js';
import { type Entry, entryAt } from './tree.js';
import type { Users } from './users.js';

export interface HandlerParts {
  host: Host;
  clock: Clock;
  log: Log;
  readOnly: boolean;
  users: Users;
  /** null: there is no store. */
  store: StoreView | null;
  /** null: there are none. */
  namespaces: NamespaceView | null;
  reply: (token: number, reply: VirtualReply) => void;
}

/** A request that is answered. */
type Asked = Exclude<VirtualRequest, { op: 'interrupt' }>;

type Request<Op extends VirtualRequest['op']> = Extract<VirtualRequest, { op: Op }>;

/** Journals of lots that are kept found, most recently used last. */
const MOST_LOT_JOURNALS = 64;

/** Where a `.vreserve` was named. */
type SeenFrom = Pick<VirtualRequest, 'scope' | 'directory'>;

/** Requests on one mount's /.vreserve. */
export class ViewHandler {
  readonly #parts: HandlerParts;
  readonly #whole: WholeJournal;
  readonly #ofLots = new Map<string, LotJournal>();
  readonly #open = new Map<number, OpenFile>();
  /** By the token of the request. */
  readonly #underWay = new Map<number, AbortController>();
  #lastHandle = 0;

  constructor(parts: HandlerParts) {
    this.#parts = parts;
    this.#whole = new WholeJournal(parts.host.journal);
  }

  /** Never throws; the reply may come later. */
  handle(request: VirtualRequest): void {
    if (request.op === 'interrupt') {
      this.#underWay.get(request.token)?.abort();
      this.#parts.store?.interrupted(request.token);
      return;
    }
    this.#answer(request).then(
      (reply) => this.#send(request, reply),
      (error: unknown) => this.#send(request, { errno: this.#errno(request, error) }),
    );
  }

  async #answer(request: Asked): Promise<VirtualReply> {
    switch (request.op) {
      case 'lookup':
        return (this.#storeOf(request) ?? this.#namespacesOf(request))?.lookup(request.path) ?? this.#lookup(request);
      case 'list': {
        const store = this.#storeOf(request);
        if (store !== null) return store.list();
        const namespaces = this.#namespacesOf(request);
        if (namespaces !== null) return namespaces.list(request.path);
        const entry = this.#entry(request);
        if (entry.kind !== 'directory') return { errno: 'ENOTDIR' };
        return { names: [...entry.list(), ...this.#more(request)] };
      }
      case 'content': {
        const file = this.#storeOf(request) ?? this.#namespacesOf(request);
        if (file !== null) return file.content(request.path);
        await this.#parts.host.refresh();
        const entry = this.#entry(request);
        return entry.kind === 'snapshot' ? { data: Buffer.from(await entry.render()) } : { errno: 'EINVAL' };
      }
      case 'create':
        return this.#interruptible(request, (signal) => this.#store(request).create(request, this.#nextHandle(), signal));
      case 'open': {
        const store = this.#storeOf(request);
        if (store === null) return this.#openFile(request);
        return this.#interruptible(request, (signal) => store.open(request, this.#nextHandle(), signal));
      }
      case 'unlink':
        return this.#store(request).unlink(request);
      case 'getxattr':
        return this.#store(request).getAttribute(request);
      case 'read':
        return { data: await this.#file(request.handle).read(request.offsetBytes, request.lengthBytes) };
      case 'write':
        return this.#interruptible(request, async (signal) => ({
          writtenBytes: await this.#file(request.handle).write(request.data, signal),
        }));
      case 'flush': {
        const { store } = this.#parts;
        if (store?.has(request.handle) === true) return store.flush(request);
        return this.#interruptible(request, async (signal) => {
          await this.#file(request.handle).flush(signal);
          return {};
        });
      }
      case 'release':
        return this.#release(request);
      case 'setxattr':
        return this.#setAttribute(request);
    }
  }

  async #interruptible(
    { token }: { token: number },
    work: (signal: AbortSignal) => Promise<VirtualReply>,
  ): Promise<VirtualReply> {
    const controller = new AbortController();
    this.#underWay.set(token, controller);
    try {
      return await work(controller.signal);
    } finally {
      this.#underWay.delete(token);
    }
  }

  /** What the table of the tree does not have. */
  #more({ scope, path }: Request<'list'>): { name: string; kind: VirtualNode['kind'] }[] {
    if (path !== '' || scope !== DEFAULT_LOT_ID) return [];
    const { store, namespaces } = this.#parts;
    const names = [...(store === null ? [] : [STORE_DIRECTORY]), ...(namespaces === null ? [] : [NAMESPACE_VIEW])];
    return names.map((name) => ({ name, kind: 'directory' }));
  }

  /** What answers for the path; null where it is not in the store. */
  #storeOf({ scope, path }: { scope: LotId; path: string }): StoreView | null {
    return scope === DEFAULT_LOT_ID && isOfStore(path) ? this.#parts.store : null;
  }

  /** The same for namespaces. */
  #namespacesOf({ scope, path }: { scope: LotId; path: string }): NamespaceView | null {
    return scope === DEFAULT_LOT_ID && isOfNamespaces(path) ? this.#parts.namespaces : null;
  }

  #store(request: { scope: LotId; path: string }): StoreView {
    const store = this.#storeOf(request);
    if (store === null) throw new VreserveError('SYSTEM', { errno: 'EPERM', reason: 'nothing is made or removed here' });
    return store;
  }

  #release(request: Request<'release'>): VirtualReply {
    const { store } = this.#parts;
    if (store?.has(request.handle) === true) store.release(request);
    else {
      this.#file(request.handle).release();
      this.#open.delete(request.handle);
    }
    return {};
  }

  async #lookup(request: Request<'lookup'>): Promise<VirtualReply> {
    const entry = this.#entry(request);
    const mtimeMs = this.#parts.clock();
    switch (entry.kind) {
      case 'directory':
        return { node: { kind: 'directory', mode: 0o555, mtimeMs } };
      case 'control':
        return { node: { kind: 'control', mode: this.#parts.readOnly ? 0o444 : 0o666, mtimeMs } };
      case 'stream': {
        const node: VirtualNode = { kind: 'stream', mode: 0o444, mtimeMs };
        return { node: { ...node, sizeBytes: await this.#stream(request).sizeBytes() } };
      }
      case 'snapshot':
        return { node: { kind: 'snapshot', mode: 0o444, mtimeMs } };
    }
  }

  async #openFile(request: Request<'open'>): Promise<VirtualReply> {
    const entry = this.#entry(request);
    if (entry.kind === 'control') return { handle: this.#keep(this.#control(request)) };
    if (request.forWriting) return { errno: 'EACCES' };
    if (entry.kind !== 'stream') return { errno: 'EINVAL' };
    const stream = this.#stream(request);
    await stream.sizeBytes();
    return { handle: this.#keep(new StreamFile(stream)) };
  }

  #control({ caller, scope, directory }: Request<'open'>): ControlFile {
    const { host, users } = this.#parts;
    const by = { caller, scope, directory };
    return new ControlFile(commandRunner(host.commands, by, () => this.#snapshot({ scope, directory }), users.name));
  }

  async #setAttribute({ path, name, value, caller }: Request<'setxattr'>): Promise<VirtualReply> {
    const { commands } = this.#parts.host;
    const attribute = name.replace(/^user\.vreserve\./, '');
    if (attribute === 'lot' || attribute === 'used' || attribute === 'grant') return { errno: 'EPERM' };
    if (attribute !== 'reserve') return { errno: 'EOPNOTSUPP' };
    const by = { caller, scope: DEFAULT_LOT_ID, directory: '/', held: path };
    if (value === null) await commands.release(path, by);
    // Some tools store the text with its NUL or with the newline of a here-document.
    else await commands.reserve(path, parseBytes(value.toString('latin1').replace(/[\0\n]+$/, '')), {}, by, null);
    return {};
  }

  #entry({ path, ...seenFrom }: SeenFrom & { path: string }): Entry {
    const snapshot = this.#snapshot(seenFrom);
    const entry = entryAt(path, () => snapshot, this.#parts.users.name);
    if (entry === null) throw new VreserveError('SYSTEM', { errno: 'ENOENT', reason: 'no such file' });
    return entry;
  }

  #snapshot({ scope, directory }: SeenFrom): Snapshot {
    const seen = this.#parts.host.snapshot({ lot: scope, directory });
    if (seen === null) throw new VreserveError('NO_SUCH_LOT', { reason: 'the lot of this directory is gone' });
    return seen;
  }

  #stream({ scope, directory }: SeenFrom): Stream {
    if (scope === DEFAULT_LOT_ID) return this.#whole;
    const key = `${scope} ${directory}`;
    const known = this.#ofLots.get(key);
    const { host } = this.#parts;
    const stream = known ?? new LotJournal(host.journal, () => host.inScope(scope), lineSeenFrom(directory));
    this.#ofLots.delete(key);
    this.#ofLots.set(key, stream);
    for (const [other, { isOpen }] of this.#ofLots) {
      if (this.#ofLots.size <= MOST_LOT_JOURNALS) break;
      if (!isOpen && other !== key) this.#ofLots.delete(other);
    }
    return stream;
  }

  #keep(file: OpenFile): number {
    const handle = this.#nextHandle();
    this.#open.set(handle, file);
    return handle;
  }

  #nextHandle(): number {
    this.#lastHandle += 1;
    return this.#lastHandle;
  }

  #file(handle: number): OpenFile {
    const file = this.#open.get(handle);
    if (file === undefined) throw new VreserveError('SYSTEM', { errno: 'EBADF', reason: `no open file ${handle}` });
    return file;
  }

  #errno({ op }: Asked, error: unknown): string {
    const known = asVreserveError(error);
    if (known.code === 'INTERNAL') this.#parts.log.error({ err: error, op }, 'a request on .vreserve failed');
    return known.errno;
  }

  #send({ token, op }: Asked, reply: VirtualReply): void {
    try {
      this.#parts.reply(token, reply);
    } catch (error) {
      this.#parts.log.error({ err: error, op }, 'a reply could not be given');
    }
  }
}
