// The blob store: contents by name on one directory, written whole or not at all, and never lost once they are acknowledged.

import { constants } from 'node:fs';
import { open, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../core/clock.js';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import { NameTurns } from '../core/name-turns.js';
import { SharedRun } from '../core/shared-run.js';
import type { Blob, NameStatus } from './blob.js';
import { Catalog } from './catalog.js';
import { Directories } from './directories.js';
import { type IdSource, Ids, randomId } from './ids.js';
import { lockStore, type StoreLock } from './lock.js';
import { checkBlobName, shown } from './names.js';
import { Payloads, type PrepareLot } from './payloads.js';
import { OpenBlob } from './reading.js';
import type { RecordLog } from './record-log.js';
import { recover } from './recovery.js';
import { KEPT_TRANSITIONS, PHRASES, type Transition, unpackTransitions } from './status.js';
import { type Expectation, type Past, Upload, type UploadHost, type UploadKind } from './upload.js';

export const DEFAULT_GC_INTERVAL_MS = 5000;

/** As pino has them. */
export interface StoreLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface StoreOptions {
  /** The system's without it. */
  clock?: Clock;
  /** At random without it. */
  ids?: IdSource;
  log?: StoreLog;
  /** Nothing is changed, not even what a crash has left: who tries gets READ_ONLY. */
  readOnly?: boolean;
  /** null: only `collect` collects. */
  gcIntervalMs?: number | null;
  /** Makes the directory belong to the lot. Without it, no other lot than the store's own can be named: NO_SUCH_LOT. */
  prepareLot?: PrepareLot;
}

export interface UploadOptions {
  /** null or without it: told from the first bytes. */
  contentType?: string | null;
  /** '' is the store's own. Without it, an update stays where the blob is. Throws what `prepareLot` does, STORE_BAD_LOT. */
  lot?: string;
  /** Known to come: where the grant has no room for it, nothing is begun. */
  announcedBytes?: number | null;
  /** Kept as its log, and its time. */
  past?: Past;
  /** Asked before anything is written, and once more when the content takes its place. */
  expect?: Expectation;
  /** Breaks the upload off. */
  signal?: AbortSignal;
}

export interface ListOptions {
  /** Names behind this one, bytewise. */
  after?: string | null;
  limit?: number;
}

export interface Listed {
  entries: NameStatus[];
  /** Where the next list goes on: `after` it; null: there is no more. */
  next: string | null;
}

export interface StoreStats {
  blobs: number;
  blobBytes: number;
  /** Uploads under way. */
  uploads: number;
  /** Files that the next collection removes. */
  garbage: number;
}

/** One directory, held by one process. Errors are a VreserveError with a code STORE_…, or the system's as they are. */
export class Store {
  readonly dir: string;
  readonly #clock: Clock;
  readonly #log: StoreLog | null;
  readonly #isReadOnly: boolean;
  readonly #ids: Ids;
  readonly #lock: StoreLock;
  readonly #payloads: Payloads;
  readonly #catalog = new Catalog();
  readonly #turns = new NameTurns();
  readonly #removal = new SharedRun(() => this.#removeGarbage());
  readonly #uploadHost: UploadHost;
  /** Payloads that nobody can read by name any more: path to id, null where the file is not a whole one. */
  #garbage = new Map<string, string | null>();
  #records: RecordLog | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;

  private constructor(dir: string, options: StoreOptions, lock: StoreLock) {
    this.dir = dir;
    this.#clock = options.clock ?? Date.now;
    this.#log = options.log ?? null;
    this.#isReadOnly = options.readOnly ?? false;
    this.#ids = new Ids(options.ids ?? randomId);
    this.#lock = lock;
    const noLots: PrepareLot = async (lot) => {
      throw new VreserveError('NO_SUCH_LOT', { reason: `there is no lot '${shown(lot)}' here` });
    };
    this.#payloads = new Payloads(dir, new Directories(), options.prepareLot ?? noLots);
    this.#uploadHost = {
      clock: this.#clock,
      payloads: this.#payloads,
      commit: (upload, blob) => this.#commit(upload, blob),
      failed: (upload, left) => this.#failed(upload, left),
      makeRoom: () => this.#makeRoom(),
    };
  }

  /**
   * The directory must be there; an empty one becomes a store. What was pending when a process ended is removed. Throws
   * STORE_IN_USE, STORE_FOREIGN, STORE_NEWER, or the system's error.
   */
  static async open(dir: string, options: StoreOptions = {}): Promise<Store> {
    const store = new Store(dir, options, await lockStore(dir));
    try {
      await store.#open();
    } catch (error) {
      await store.#lock.release();
      throw error;
    }
    const { gcIntervalMs = DEFAULT_GC_INTERVAL_MS } = options;
    if (gcIntervalMs !== null && !store.#isReadOnly) store.#collectEvery(gcIntervalMs);
    return store;
  }

  /** Another with each change of what `list` gives. */
  get version(): number {
    return this.#catalog.version;
  }

  get stats(): StoreStats {
    return {
      blobs: this.#catalog.blobCount,
      blobBytes: this.#catalog.blobBytes,
      uploads: this.#catalog.uploads().length,
      garbage: this.#garbage.size,
    };
  }

  /** A new name with this content, on the disk when it resolves. Throws STORE_EXISTS too where another creation is under way. */
  create(name: string, source: AsyncIterable<Uint8Array>, options: UploadOptions = {}): Promise<Blob> {
    return this.#upload(name, 'create', source, options);
  }

  /** Another content for the name; the one before is read until this one is whole, and stays where it fails. Throws STORE_NO_BLOB. */
  update(name: string, source: AsyncIterable<Uint8Array>, options: UploadOptions = {}): Promise<Blob> {
    return this.#upload(name, 'update', source, options);
  }

  /** For who writes the content piece by piece, or the file by another way: ends with `commit`, `pour` or `fail` of it. */
  async begin(name: string, kind: UploadKind, options: Omit<UploadOptions, 'signal'> = {}): Promise<Upload> {
    checkBlobName(name);
    this.#checkWritable();
    const before = this.#catalog.blob(name);
    this.#checkKind(name, kind, before);
    options.expect?.(before);
    const upload = new Upload(this.#uploadHost, {
      name,
      kind,
      lot: options.lot ?? before?.lot ?? '',
      id: this.#ids.take(),
      contentType: options.contentType ?? null,
      expect: options.expect ?? null,
      past: options.past ?? null,
    });
    this.#catalog.begin(upload);
    try {
      await this.#payloads.prepare(upload.lot);
      await this.#checkRoom(upload, options.announcedBytes ?? 0);
      await upload.open();
    } catch (error) {
      await upload.fail(error);
      throw error;
    }
    return upload;
  }

  /** What can be read under the name now; null: nothing. */
  stat(name: string): Blob | null {
    return this.#catalog.blob(name);
  }

  /** The file of a content, for who opens it by another way. Gone when the content was replaced or removed, and collected. */
  pathOf(blob: Blob): string {
    return this.#payloads.path(blob);
  }

  /** null: there is nothing to be read. The caller reads it or closes it. Throws STORE_PAYLOAD_DAMAGED. */
  async read(name: string): Promise<OpenBlob | null> {
    for (;;) {
      this.#checkOpen();
      const blob = this.#catalog.blob(name);
      if (blob === null) return null;
      try {
        return await this.#openPayload(blob);
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
      }
      // Replaced and collected meanwhile: once more. Else somebody has taken the file, as reclaiming of a lot's files does.
      if (this.#catalog.blob(name) === blob) await this.#lose(blob);
    }
  }

  /** False: there was nothing. Who has it open reads on. What it holds is free with the next collection. */
  async remove(name: string, expect?: Expectation): Promise<boolean> {
    this.#checkWritable();
    return await this.#turns.run(name, async () => {
      const blob = this.#catalog.blob(name);
      if (blob === null) return false;
      expect?.(blob);
      await this.#forget(blob, PHRASES.deleted);
      return true;
    });
  }

  /** null: the name is free. */
  status(name: string): NameStatus | null {
    return this.#catalog.status(name);
  }

  /** What became of the name's content, and of what was last tried to replace it: newest first, at most 16. */
  transitions(name: string): Transition[] {
    return this.#catalog.transitions(name);
  }

  /** Names in bytewise order, those that are pending and failed too. */
  list({ after = null, limit = 1000 }: ListOptions = {}): Listed {
    const entries: NameStatus[] = [];
    for (const name of this.#catalog.names(after)) {
      if (entries.length === limit) return { entries, next: entries.at(-1)?.name ?? null };
      const status = this.#catalog.status(name);
      if (status !== null) entries.push(status);
    }
    return { entries, next: null };
  }

  /** Removes what failed, was replaced or was removed. Resolves to the number of files; those that cannot be removed wait for the next time. */
  async collect(): Promise<number> {
    const removed = await this.#removal.run();
    this.#catalog.collect();
    return removed;
  }

  /** The half of it that gives bytes back: removes the files of what was replaced or removed so far. */
  async free(): Promise<void> {
    if (this.#garbage.size > 0) await this.#removal.run();
  }

  /** Breaks off what is being uploaded, waits for what is being committed, collects, and lets go of the directory. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    const closed = new VreserveError('STORE_CLOSED');
    const uploads = this.#catalog.uploads();
    for (const upload of uploads) {
      upload.stop(closed);
      // Nobody may be pouring: who is finds it settled.
      await upload.fail(closed);
    }
    await Promise.all(uploads.map(({ settled }) => settled));
    await this.#turns.idle();
    await this.#removal.run();
    await this.#records?.close();
    await this.#lock.release();
  }

  async #open(): Promise<void> {
    const path = join(this.dir, 'records');
    const readOnly = this.#isReadOnly;
    if (!readOnly) await rm(`${path}.new`, { force: true });
    const parts = {
      path,
      readOnly,
      directories: new Directories(),
      blobs: () => ({ count: this.#catalog.blobCount, each: this.#catalog.blobs() }),
      makeRoom: async () => (await this.#removal.run()) > 0,
    };
    this.#records = await recover(this.dir, parts, this.#payloads, {
      found: (name, blob) => this.#catalog.setBlob(name, blob),
      keepId: (id) => this.#ids.keep(id),
      log: this.#log,
    });
  }

  async #upload(name: string, kind: UploadKind, source: AsyncIterable<Uint8Array>, options: UploadOptions): Promise<Blob> {
    const upload = await this.begin(name, kind, options);
    return await upload.pour(source, options.signal);
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new VreserveError('STORE_CLOSED');
  }

  #checkWritable(): void {
    this.#checkOpen();
    if (this.#isReadOnly) throw new VreserveError('READ_ONLY');
  }

  #checkKind(name: string, kind: UploadKind, current: Blob | null, upload: Upload | null = null): void {
    const creation = this.#catalog.creationOf(name);
    const mustBeFree = kind === 'create' || (kind === 'make' && upload === null);
    if (mustBeFree && (current !== null || (creation !== null && creation !== upload))) {
      throw new VreserveError('STORE_EXISTS', { name });
    }
    if (kind === 'update' && current === null) throw new VreserveError('STORE_NO_BLOB', { name: shown(name) });
  }

  /** What was announced and cannot fit is not begun. What does fit now may still fail later. */
  async #checkRoom(upload: Upload, bytes: number): Promise<void> {
    const fits = async () => bytes <= ((await this.#payloads.freeBytes(upload.lot)) ?? bytes);
    if (bytes === 0 || (await fits())) return;
    if ((await this.#makeRoom()) && (await fits())) return;
    throw new VreserveError('STORE_FULL', { name: shown(upload.name) });
  }

  /** The payload is on the disk under its own name. */
  #commit(upload: Upload, blob: Blob): Promise<void> {
    return this.#turns.run(upload.name, async () => {
      const before = this.#catalog.blob(upload.name);
      this.#checkKind(upload.name, upload.kind, before, upload);
      upload.expect?.(before);
      await this.#append({ put: blob }, () => {
        this.#catalog.setBlob(upload.name, blob);
        this.#catalog.end(upload, null);
        if (before !== null) this.#garbage.set(this.#payloads.path(before), before.id);
      });
    });
  }

  #failed(upload: Upload, left: string | null): void {
    this.#catalog.end(upload, upload.transitions.slice(-KEPT_TRANSITIONS));
    if (left === null) this.#ids.free(upload.id);
    else this.#garbage.set(left, upload.id);
  }

  /** In the turn of its name: the name has no content any more. */
  async #forget(blob: Blob, why: Omit<Transition, 'atMs'>): Promise<void> {
    const transitions = [...unpackTransitions(blob.transitions), { ...why, atMs: this.#clock() }];
    const apply = () => {
      this.#catalog.setBlob(blob.name, null);
      this.#catalog.fail(blob.name, transitions);
      this.#garbage.set(this.#payloads.path(blob), blob.id);
    };
    await this.#append({ remove: blob.name }, apply, () => this.#removeWithoutRecord(blob));
  }

  /** Where the disk is so full that not even the record fits: a record whose payload is gone counts no more. */
  async #removeWithoutRecord(blob: Blob): Promise<void> {
    // Those that it has replaced first, or an older one would be what the records say.
    await this.#removeGarbage();
    if (this.#garbage.size > 0) throw new VreserveError('STORE_FULL', { name: shown(blob.name) });
    await this.#payloads.remove(this.#payloads.path(blob));
    await this.#payloads.sync(blob.lot);
  }

  async #openPayload(blob: Blob): Promise<OpenBlob> {
    const file = await open(this.#payloads.path(blob), constants.O_RDONLY);
    try {
      const { size } = await file.stat();
      if (size === blob.sizeBytes) return new OpenBlob(blob, file);
      const reason = `there are ${size} of ${blob.sizeBytes}`;
      throw new VreserveError('STORE_PAYLOAD_DAMAGED', { name: shown(blob.name), reason });
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async #lose(blob: Blob): Promise<void> {
    // The whole store may be out of reach: then nothing is said of one blob.
    await stat(this.#payloads.directory(blob.lot));
    this.#log?.error({ name: blob.name, id: blob.id, lot: blob.lot }, 'the data of a blob is gone');
    if (this.#isReadOnly) throw new VreserveError('STORE_PAYLOAD_DAMAGED', { name: shown(blob.name), reason: 'there are none' });
    await this.#turns.run(blob.name, async () => {
      if (this.#catalog.blob(blob.name) === blob) await this.#forget(blob, PHRASES.lost);
    });
  }

  #append(...what: Parameters<RecordLog['append']>): Promise<void> {
    if (this.#records === null) throw new VreserveError('STORE_CLOSED');
    return this.#records.append(...what);
  }

  async #makeRoom(): Promise<boolean> {
    const removed = await this.#removal.run();
    return removed > 0 || ((await this.#records?.makeRoom()) ?? false);
  }

  async #removeGarbage(): Promise<number> {
    let removed = 0;
    for (const [path, id] of [...this.#garbage]) {
      try {
        await this.#payloads.remove(path);
      } catch (error) {
        this.#log?.warn({ path, err: asVreserveError(error) }, 'a file of the store cannot be removed');
        continue;
      }
      this.#garbage.delete(path);
      if (id !== null) this.#ids.free(id);
      removed += 1;
    }
    return removed;
  }

  #collectEvery(intervalMs: number): void {
    this.#timer = setInterval(() => void this.collect(), intervalMs);
    this.#timer.unref();
  }
}
