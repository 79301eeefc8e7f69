// Stands for the native data plane where commands and views are tested alone: no kernel, no root, no backing; real mounts are tested in test/fs.

import type {
  Admission,
  BackingInfo,
  Binding,
  Caller,
  Counted,
  CountResult,
  Engine,
  LotId,
  LotSpec,
  MountInfo,
  Phase,
  PoolState,
  Reshape,
  ResolvedPath,
  Usage,
  UsageChange,
  VirtualReply,
  VirtualRequest,
  WriteAccess,
} from '../../src/engine/engine.js';

interface Held {
  spec: LotSpec;
  paths: string[];
  bytes: number;
  objects: number;
  change: { chargedBytes: number; refundedBytes: number; refusals: number; refusedBytes: number } | null;
}

function failed(code: string): Error {
  return Object.assign(new Error(code), { code });
}

function grantOf({ dedicatedBytes, opportunisticBytes }: LotSpec): number {
  return opportunisticBytes < 0 ? Number.POSITIVE_INFINITY : dedicatedBytes + opportunisticBytes;
}

/** Lots in a map, a pool of a fixed capacity, and files that are only numbers. */
export class MemoryEngine implements Engine {
  readonly lots = new Map<LotId, Held>();
  readonly replies = new Map<number, VirtualReply>();
  readonly calls: string[] = [];
  /** Symlinks of the existing part: what a path becomes when it is resolved. */
  readonly links = new Map<string, string>();
  capacityBytes = 1000;
  shortBytes = 0;
  mayWrite = true;
  stickyOwner: number | null = null;
  /** Bytes that a path holds before it is bound. */
  heldBytes = 0;
  refuseWith: string | null = null;
  counted: Partial<Counted> = {};
  /** Runs while an admission is under way. */
  onAdmit: () => Promise<void> = async () => {};

  openBacking(): BackingInfo {
    return {
      viewPath: '/',
      totalBytes: this.capacityBytes,
      freeBytes: this.capacityBytes,
      readOnly: false,
      filesystem: 'memory',
    };
  }

  lock(): boolean {
    return true;
  }

  setPool(): PoolState {
    return this.pool();
  }

  async addPool(): Promise<BackingInfo> {
    return this.openBacking();
  }

  async removePool(): Promise<void> {}

  async graft(): Promise<void> {}

  async ungraft(): Promise<void> {}

  addLot(spec: LotSpec, bytes: number, objects: number): void {
    this.lots.set(spec.id, { spec, paths: [], bytes, objects, change: null });
  }

  bind({ path, id }: Binding): void {
    this.#lot(id).paths.push(path);
  }

  serveSpool(): void {
    this.calls.push('serveSpool');
  }

  serveStore(): void {
    this.calls.push('serveStore');
  }

  serveNamespaces(): void {
    this.calls.push('serveNamespaces');
  }

  async count(repair: boolean): Promise<CountResult> {
    this.calls.push(`count ${repair}`);
    const lots = [...this.lots].map(([id, { bytes, objects }]) => ({
      id,
      bytes,
      objects,
      recordedBytes: bytes,
      recordedObjects: objects,
      exact: true,
      ...this.counted,
    }));
    return { lots, straddling: [] };
  }

  async mount(): Promise<MountInfo> {
    return { engine: 'memory', engineReason: '', io: 'passthrough', ioReason: '', kernelMinor: 45 };
  }

  reply(token: number, reply: VirtualReply): void {
    if (this.replies.has(token)) throw new Error(`request ${token} was answered twice`);
    this.replies.set(token, reply);
  }

  resolve(path: string): ResolvedPath {
    for (const [link, target] of this.links) {
      if (path === link || path.startsWith(`${link}/`)) return this.resolve(target + path.slice(link.length));
    }
    return { path, exists: false, isDirectory: false, directory: path.slice(0, path.lastIndexOf('/')) || '/' };
  }

  async access(_directory: string, _path: string, _caller: Caller): Promise<WriteAccess> {
    return { mayWrite: this.mayWrite, mayWriteIn: true, stickyOwner: this.stickyOwner };
  }

  async reshape({ lots, gone, bind, unbind, mustCover, force }: Reshape): Promise<Admission> {
    for (const spec of lots) {
      const path = bind.find(({ id }) => id === spec.id)?.path;
      this.calls.push(
        this.lots.has(spec.id) ? `set ${spec.name} ${spec.dedicatedBytes}` : `admit ${path} ${spec.dedicatedBytes}`,
      );
    }
    for (const id of gone) this.calls.push(`release ${this.#lot(id).spec.name}`);
    if (!force) {
      await this.onAdmit();
      const refusal = this.#refusalOf(lots, mustCover);
      if (refusal !== null) return refusal;
    }
    for (const spec of lots) {
      const held = this.lots.get(spec.id);
      if (held !== undefined) held.spec = spec;
      else this.lots.set(spec.id, { spec, paths: [], bytes: this.heldBytes, objects: 0, change: null });
    }
    for (const path of [...unbind, ...bind.map((binding) => binding.path)]) {
      for (const lot of this.lots.values()) lot.paths = lot.paths.filter((bound) => bound !== path);
    }
    for (const { path, id } of bind) this.#lot(id).paths.push(path);
    for (const id of gone) this.lots.delete(id);
    return { granted: true, usage: lots.map(({ id }) => this.#usage(id)) };
  }

  #refusalOf(lots: readonly LotSpec[], mustCover: boolean): Extract<Admission, { granted: false }> | null {
    for (const spec of lots) {
      const known = this.lots.get(spec.id);
      if (known === undefined && this.refuseWith !== null) return this.#refusal(this.refuseWith, spec.name);
      const bytes = known?.bytes ?? this.heldBytes;
      const growthBytes = spec.dedicatedBytes - (known?.spec.dedicatedBytes ?? 0);
      if (bytes > spec.dedicatedBytes && spec.opportunisticBytes === 0 && (known === undefined || mustCover)) {
        return { ...this.#refusal(known === undefined ? 'ENOSPC' : 'EINVAL'), lot: spec.id, heldBytes: bytes };
      }
      if (growthBytes < 0 && grantOf(spec) < bytes + this.#promised(spec.id)) return { ...this.#refusal('EINVAL'), lot: spec.id };
      if (spec.parents.length === 0 && growthBytes > this.pool().headroomBytes) return this.#refusal('ENOSPC');
      for (const parent of spec.parents) {
        const availableBytes = grantOf(this.#lot(parent).spec) - this.#claimed(parent);
        if (growthBytes > availableBytes) return { ...this.#refusal('ENOSPC'), lot: parent, availableBytes };
      }
    }
    return null;
  }

  /** Own bytes and what is promised to the lots below. */
  #claimed(id: LotId): number {
    return this.#lot(id).bytes + this.#promised(id);
  }

  #promised(id: LotId): number {
    const below = [...this.lots.values()].filter(({ spec }) => spec.parents[0] === id);
    return below.reduce((sum, { spec }) => sum + Math.max(spec.dedicatedBytes, this.#claimed(spec.id)), 0);
  }

  setPhases(phases: readonly Phase[]): void {
    for (const { id, setsAside, mayGrow } of phases) {
      const lot = this.lots.get(id);
      if (lot !== undefined) lot.spec = { ...lot.spec, setsAside, mayGrow };
    }
  }

  async unlink(path: string): Promise<{ bytes: number }> {
    this.calls.push(`unlink ${path}`);
    return { bytes: 0 };
  }

  pool(): PoolState {
    let setAsideBytes = 0;
    let usedBytes = 0;
    for (const { spec, bytes } of this.lots.values()) {
      usedBytes += bytes;
      if (spec.parents.length === 0) setAsideBytes += Math.max(0, spec.dedicatedBytes - bytes);
    }
    const freeBytes = this.capacityBytes - usedBytes;
    const { capacityBytes, shortBytes } = this;
    return {
      capacityBytes,
      freeBytes,
      setAsideBytes,
      headroomBytes: freeBytes - setAsideBytes,
      usedBytes,
      marginBytes: 0,
      shortBytes,
      drift: 0,
    };
  }

  room(id: LotId): number {
    const most = Math.min(this.capacityBytes, grantOf(this.#lot(id).spec));
    return Math.max(0, Math.min(most - this.#claimed(id), this.pool().freeBytes));
  }

  measured(): void {}

  usageOf(id: LotId): Usage | null {
    return this.lots.has(id) ? this.#usage(id) : null;
  }

  usage(): Usage[] {
    return [...this.lots.keys()].map((id) => this.#usage(id));
  }

  drain(): UsageChange[] {
    return [...this.lots].flatMap(([id, lot]) => {
      const { change } = lot;
      lot.change = null;
      return change === null ? [] : [{ ...this.#usage(id), ...change }];
    });
  }

  requests(): Record<string, number> {
    return { LOOKUP: 2, WRITE: 3 };
  }

  unmount(): void {}

  async stop(): Promise<void> {}

  /** Someone wrote to a file of the lot (or removed one, with negative bytes). */
  write(id: LotId, bytes: number, objects = 0): void {
    const lot = this.#lot(id);
    lot.bytes += bytes;
    lot.objects += objects;
    lot.change ??= { chargedBytes: 0, refundedBytes: 0, refusals: 0, refusedBytes: 0 };
    if (bytes > 0) lot.change.chargedBytes += bytes;
    else lot.change.refundedBytes -= bytes;
  }

  #refusal(errno: string, path?: string): Extract<Admission, { granted: false }> {
    const refusal = {
      granted: false as const,
      errno,
      lot: null,
      availableBytes: Math.max(0, this.pool().headroomBytes),
      heldBytes: this.heldBytes,
    };
    return path === undefined ? refusal : { ...refusal, path };
  }

  #usage(id: LotId): Usage {
    const { bytes, objects } = this.#lot(id);
    return { id, bytes, objects, pendingObjects: 0, pendingBytes: 0 };
  }

  #lot(id: LotId): Held {
    const lot = this.lots.get(id);
    if (lot === undefined) throw failed('ENOENT');
    return lot;
  }
}

/** A request as the kernel would make it, without its token. Without `directory` it is the first of the scope's own. */
export type Ask = VirtualRequest extends infer R
  ? R extends { token: number }
    ? Omit<R, 'token' | 'directory'> & { directory?: string }
    : never
  : never;
