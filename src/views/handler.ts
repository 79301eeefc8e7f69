// Answers the data plane's requests on /.vreserve, each exactly once.

import { parseBytes } from '../core/bytes.js';
import type { Clock } from '../core/clock.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { DEFAULT_LOT_ID } from '../core/lot.js';
import type { Snapshot } from '../core/snapshot.js';
import type { VirtualNode, VirtualReply, VirtualRequest } from '../engine/engine.js';
import type { Log } from '../log.js';
import { ControlFile } from './control.js';
import type { Host } from './host.js';
import type { OpenFile } from './open-file.js';
import { commandRunner } from './run.js';
import { lineSeenFrom } from './scoped-line.js';
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
  readonly #writing = new Map<number, AbortController>();
  #lastHandle = 0;

  constructor(parts: HandlerParts) {
    this.#parts = parts;
    this.#whole = new WholeJournal(parts.host.journal);
  }

  /** Never throws; the reply may come later. */
  handle(request: VirtualRequest): void {
    if (request.op === 'interrupt') {
      this.#writing.get(request.token)?.abort();
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
        return this.#lookup(request);
      case 'list': {
        const entry = this.#entry(request);
        return entry.kind === 'directory' ? { names: entry.list() } : { errno: 'ENOTDIR' };
      }
      case 'content': {
        const entry = this.#entry(request);
        return entry.kind === 'snapshot' ? { data: Buffer.from(await entry.render()) } : { errno: 'EINVAL' };
      }
      case 'open':
        return this.#openFile(request);
      case 'read':
        return { data: await this.#file(request.handle).read(request.offsetBytes, request.lengthBytes) };
      case 'write':
        return this.#interruptible(request, async (file, signal) => ({ writtenBytes: await file.write(request.data, signal) }));
      case 'flush':
        return this.#interruptible(request, async (file, signal) => {
          await file.flush(signal);
          return {};
        });
      case 'release':
        this.#file(request.handle).release();
        this.#open.delete(request.handle);
        return {};
      case 'setxattr':
        return this.#setAttribute(request);
    }
  }

  async #interruptible(
    { token, handle }: { token: number; handle: number },
    work: (file: OpenFile, signal: AbortSignal) => Promise<VirtualReply>,
  ): Promise<VirtualReply> {
    const controller = new AbortController();
    this.#writing.set(token, controller);
    try {
      return await work(this.#file(handle), controller.signal);
    } finally {
      this.#writing.delete(token);
    }
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
    this.#lastHandle += 1;
    this.#open.set(this.#lastHandle, file);
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
