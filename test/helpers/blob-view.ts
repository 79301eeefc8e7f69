// A mount of the data plane alone, with a small view of blobs in the test's own process: `/.vreserve/store`, whose data lie
// in `/.vreserve/blobs`, made through the mount as the service of a store makes them.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, open, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Engine, MountInfo, VirtualNode, VirtualReply, VirtualRequest } from '../../src/engine/engine.js';
import type { BareOptions, Calls, FromEngine, ToEngine } from './bare-messages.js';
import { type Teardown, temporaryDirectory } from './mount.js';
import { type Outcome, ROOT, type RunOptions, run, shell } from './run.js';

type Request<Op extends VirtualRequest['op']> = Extract<VirtualRequest, { op: Op }>;

interface Blob {
  real: string;
  sizeBytes: number;
  mtimeMs: number;
}

interface Handle {
  path: string;
  real: string;
  /** Of an upload: what became of it. */
  upload: 'under way' | 'committed' | 'refused' | null;
}

/** What a mount of blobs begins with. */
export interface BlobMountOptions {
  passthrough?: boolean;
  grantBytes?: number;
}

const NO_SUCH: VirtualReply = { errno: 'ENOENT' };

/** Answers a question in place of the view; null leaves it to the view, and a promise may never resolve. */
export type Hook = (request: VirtualRequest) => VirtualReply | null | Promise<VirtualReply | null>;

/** One mount; it goes with the test. */
export class BlobMount {
  readonly mnt: string;
  /** The view. */
  readonly store: string;
  readonly data: string;
  readonly blobs = new Map<string, Blob>();
  /** Every question so far. */
  readonly asked: VirtualRequest[] = [];
  readonly open = new Map<number, Handle>();
  /** Permission bits of the directory. */
  mode = 0o755;
  hook: Hook = () => null;
  readonly ended: Promise<void>;
  info: MountInfo = {
    engine: '',
    engineReason: '',
    io: 'cached',
    ioReason: '',
    kernelMinor: 0,
  };
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (message: { value?: unknown; error?: string }) => void>();
  readonly #changed = new Set<() => void>();
  #lastCall = 0;
  #lastHandle = 0;
  #lastReal = 0;

  private constructor(child: ChildProcess, data: string, mnt: string) {
    this.#child = child;
    this.data = data;
    this.mnt = mnt;
    this.store = join(mnt, '.vreserve/store');
    this.ended = new Promise((done) => {
      child.on('message', (message: FromEngine) => {
        if ('ended' in message) done();
      });
    });
    child.on('message', (message: FromEngine) => {
      if ('request' in message) this.#hear(message.request);
      else if ('id' in message) this.#waiting.get(message.id)?.(message);
    });
  }

  static async start(t: Teardown, { passthrough = true, grantBytes = 64 << 20 }: BlobMountOptions = {}): Promise<BlobMount> {
    const top = await temporaryDirectory(t);
    await chmod(top, 0o711);
    const [data, mnt] = [join(top, 'data'), join(top, 'mnt')];
    for (const directory of [data, mnt]) await mkdir(directory);
    const options: BareOptions = { data, mnt, passthrough, grantBytes };
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(NODE_OPTIONS$|TAP|_TAP)/.test(name)));
    const child = fork(join(ROOT, 'build/test/helpers/bare-engine.js'), [JSON.stringify(options)], {
      serialization: 'advanced',
      env,
      execArgv: [],
    });
    const closed = once(child, 'close');
    t.teardown(async () => {
      if (child.exitCode === null && child.signalCode === null) {
        await run('umount', ['--lazy', mnt]);
        child.kill('SIGKILL');
      }
      await closed;
    });
    const made = new BlobMount(child, data, mnt);
    await new Promise<void>((done, failed) => {
      child.on('message', (message: FromEngine) => {
        if (!('mounted' in message)) return;
        made.info = message.mounted;
        done();
      });
      child.on('close', (code) => failed(new Error(`the engine ended with ${code}`)));
    });
    return made;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  call<Name extends keyof Calls>(call: Name, ...args: Parameters<Calls[Name]>): Promise<Awaited<ReturnType<Calls[Name]>>> {
    this.#lastCall += 1;
    const id = this.#lastCall;
    return new Promise((done, failed) => {
      this.#waiting.set(id, ({ value, error }) => {
        this.#waiting.delete(id);
        if (error !== undefined) failed(Object.assign(new Error(`${call}: ${error}`), { code: error }));
        else done(value as Awaited<ReturnType<Calls[Name]>>);
      });
      // It may have ended by now: who asks is told.
      this.#child.send({ id, call, args } satisfies ToEngine, (error) => error !== null && failed(error));
    });
  }

  /** A script, in the directory of the view. */
  shell(script: string, options?: RunOptions): Promise<Outcome> {
    return shell(`cd '${this.store}'; ${script}`, options);
  }

  python(script: string, options?: RunOptions): Promise<Outcome> {
    return run('python3', ['-c', `import os, sys, time\nos.chdir(${JSON.stringify(this.store)})\n${script}`], options);
  }

  /** Questions of one kind. */
  of<Op extends VirtualRequest['op']>(op: Op): Request<Op>[] {
    return this.asked.filter((request): request is Request<Op> => request.op === op);
  }

  /** Resolves when it is so; looked at after every question and its answer. */
  async until(what: string, isSo: () => boolean, withinMs = 20_000): Promise<void> {
    if (isSo()) return;
    await new Promise<void>((done, failed) => {
      const timer = setTimeout(() => failed(new Error(`not in time: ${what}`)), withinMs);
      const look = () => {
        if (!isSo()) return;
        clearTimeout(timer);
        this.#changed.delete(look);
        done();
      };
      this.#changed.add(look);
    });
  }

  /** Resolves when no handle is open: the kernel releases behind the last close. */
  closed(): Promise<void> {
    return this.until('every handle is released', () => this.open.size === 0);
  }

  usage(): ReturnType<Engine['usage']> | Promise<ReturnType<Engine['usage']>> {
    return this.call('usage');
  }

  async umount(): Promise<void> {
    await this.call('unmount', false);
    await this.ended;
  }

  #hear(request: VirtualRequest): void {
    this.asked.push(request);
    const answer = async () => (await this.hook(request)) ?? (await this.#answer(request));
    answer()
      .catch((error: unknown): VirtualReply => ({ errno: (error as NodeJS.ErrnoException).code ?? 'EIO' }))
      .then(async (reply) => {
        if (request.op !== 'interrupt') await this.call('reply', request.token, reply).catch(() => {});
        for (const look of [...this.#changed]) look();
      });
    for (const look of [...this.#changed]) look();
  }

  async #answer(request: VirtualRequest): Promise<VirtualReply> {
    switch (request.op) {
      case 'lookup':
        return this.#lookup(request.path);
      case 'list':
        return { names: [...this.blobs.keys()].map((path) => ({ name: basename(path), kind: 'blob' as const })) };
      case 'create':
        if (this.blobs.has(request.path)) return { errno: 'EEXIST' };
        return this.#begin(request.path, { kind: 'blob', mode: 0o644, sizeBytes: 0, mtimeMs: Date.now() });
      case 'open':
        return this.#open(request);
      case 'flush':
        return this.#flush(request);
      case 'release':
        return this.#release(request);
      case 'unlink':
        return (await this.#drop(request.path)) ? {} : NO_SUCH;
      case 'getxattr':
        return request.name === 'user.mime_type' ? { data: Buffer.from('text/plain') } : { errno: 'ENODATA' };
      default:
        return { errno: 'EPERM' };
    }
  }

  #lookup(path: string): VirtualReply {
    if (path === 'store') return { node: { kind: 'directory', mode: this.mode, mtimeMs: 0, takesFiles: true } };
    const node = this.node(path);
    return node === null ? NO_SUCH : { node };
  }

  /** What a lookup tells. */
  node(path: string): VirtualNode | null {
    const blob = this.blobs.get(path);
    return blob === undefined ? null : { kind: 'blob', mode: 0o644, sizeBytes: blob.sizeBytes, mtimeMs: blob.mtimeMs };
  }

  async #begin(path: string, node?: VirtualNode): Promise<VirtualReply> {
    this.#lastReal += 1;
    const real = `/.vreserve/blobs/${this.#lastReal}`;
    const file = await open(join(this.mnt, real), 'wx', 0o600);
    await file.close();
    const handle = this.keep({ path, real, upload: 'under way' });
    return { handle, real, ...(node === undefined ? {} : { node }) };
  }

  keep(handle: Handle): number {
    this.#lastHandle += 1;
    this.open.set(this.#lastHandle, handle);
    return this.#lastHandle;
  }

  async #open({ path, forWriting, truncate }: Request<'open'>): Promise<VirtualReply> {
    const blob = this.blobs.get(path);
    if (blob === undefined) return NO_SUCH;
    if (!forWriting) return { handle: this.keep({ path, real: blob.real, upload: null }), real: blob.real };
    return truncate ? this.#begin(path) : { errno: 'EOPNOTSUPP' };
  }

  async #flush({ handle, written, failed }: Request<'flush'>): Promise<VirtualReply> {
    const file = this.open.get(handle);
    if (file === undefined) return { errno: 'EBADF' };
    if (failed !== undefined) {
      file.upload = 'refused';
      return { errno: failed };
    }
    if (!written) return { again: true };
    await this.#commit(file);
    return {};
  }

  /** By the backing: the mount may be detached by now. */
  async #commit(file: Handle): Promise<void> {
    const { size } = await stat(join(this.data, file.real));
    file.upload = 'committed';
    const replaced = this.blobs.get(file.path);
    this.blobs.set(file.path, { real: file.real, sizeBytes: size, mtimeMs: Date.now() });
    if (replaced !== undefined) await rm(join(this.mnt, replaced.real), { force: true });
  }

  async #release({ handle, failed, opened }: Request<'release'>): Promise<VirtualReply> {
    const file = this.open.get(handle);
    if (file === undefined) return { errno: 'EBADF' };
    try {
      if (file.upload === 'under way' && opened !== false && failed === undefined) await this.#commit(file);
      else if (file.upload !== null && file.upload !== 'committed') await rm(join(this.mnt, file.real), { force: true });
    } finally {
      this.open.delete(handle);
    }
    return {};
  }

  async #drop(path: string): Promise<boolean> {
    const blob = this.blobs.get(path);
    if (blob === undefined) return false;
    this.blobs.delete(path);
    await rm(join(this.mnt, blob.real));
    return true;
  }
}
