// The files that hold the values of one namespace: records are only ever added to the last of them.

import { closeSync, constants, fstatSync, ftruncateSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { syncDirectory } from '../system/sync-directory.js';
import { EndedFiles } from './ended-files.js';
import {
  type FileState,
  type FoundRecord,
  fileOf,
  HEADER_BYTES,
  isWhole,
  offsetOf,
  type Place,
  placeAt,
  type RecordHeader,
  readHeader,
  recordBytes,
  VALUE,
  writeRecord,
} from './record.js';
import { walkBackward, walkForward } from './record-walk.js';
import { Readers } from './value-readers.js';
import { recover } from './value-recovery.js';

/** A file is the longer the more there is, so that there are neither too many nor too large ones. */
const LEAST_FILE_BYTES = 1024 * 1024;
const MOST_FILE_BYTES = 64 * 1024 * 1024;
const FILES_ABOUT = 24;

/** Where a file that cannot be followed by another one ends all the same, short of what a place can tell. */
const UTMOST_FILE_BYTES = 112 * 1024 * 1024;

/** Bytes behind the end that only deletions may use: on a full lot nothing else could be written. */
const KEPT_BYTES = 64 * 1024;

/** How far a file grows ahead, at least and at most: each time is a question to the lot. */
const LEAST_STEP_BYTES = 32 * 1024;
const MOST_STEP_BYTES = 4 * 1024 * 1024;

/** What is added in one turn is written together. */
const FIRST_PENDING_BYTES = 64 * 1024;

const NAME = /^v([0-9]{10})$/;

/**
 * A file is written within the size that it has been given before, which is charged; asked for so, the kernel writes past the
 * daemon then (native/README.md).
 */
const WRITING = constants.O_RDWR | constants.O_NOATIME;

/** What is to be added. `before`: where the version before is. */
export interface Addition {
  kind: number;
  timeS: number;
  before: Place | null;
}

export class ValueLog {
  readonly #directory: string;
  readonly files = new Map<number, FileState>();
  /** The last file. */
  #number = 0;
  #fd = -1;
  /** As the lot is charged for it. */
  #sizeBytes = 0;
  /** Records that are not written yet. */
  #pending = Buffer.allocUnsafe(FIRST_PENDING_BYTES);
  #pendingBytes = 0;
  /** What `lastBytes` of the last file was before them. */
  #lastBefore = 0;
  #addsValues = false;
  readonly #readers: Readers;
  readonly #ended = new EndedFiles();
  #isDirectoryDirty = true;
  /** Bytes of all files, as the lot is charged for them. */
  #sealedBytes = 0;

  constructor(directory: string) {
    this.#directory = directory;
    this.#readers = new Readers((number) => this.#path(number));
  }

  /** Before anything else: what the index knew of the files, and where it stopped. Each record behind is told, in order. */
  open(known: ReadonlyMap<number, FileState>, upTo: Place, onRecord: (record: FoundRecord) => void): void {
    const numbers = readdirSync(this.#directory)
      .flatMap((name) => NAME.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
    for (const number of numbers) {
      const fd = openSync(this.#path(number), WRITING);
      const sizeBytes = fstatSync(fd).size;
      const state = known.get(number) ?? { endBytes: 0, lastBytes: 0, liveBytes: 0 };
      this.files.set(number, { ...state });
      const isLast = number === numbers.at(-1);
      if (number >= fileOf(upTo)) recover(fd, sizeBytes, number, this.#stateOf(number), onRecord);
      if (isLast) {
        this.#use(number, fd, sizeBytes);
      } else {
        const { endBytes } = this.#stateOf(number);
        if (endBytes < sizeBytes) ftruncateSync(fd, endBytes);
        this.#sealedBytes += endBytes;
        closeSync(fd);
      }
    }
    if (numbers.length === 0) this.#begin(1);
  }

  #use(number: number, fd: number, sizeBytes: number): void {
    this.#number = number;
    this.#fd = fd;
    this.#sizeBytes = sizeBytes;
  }

  get end(): Place {
    return placeAt(this.#number, this.#last.endBytes + this.#pendingBytes);
  }

  get start(): Place {
    return placeAt(Math.min(...this.files.keys()), 0);
  }

  /** The file that is added to. */
  get number(): number {
    return this.#number;
  }

  /** As the lot is charged for all files. */
  get chargedBytes(): number {
    return this.#sealedBytes + this.#sizeBytes;
  }

  /** What waits for `commit`. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get #last(): FileState {
    return this.#stateOf(this.#number);
  }

  #stateOf(number: number): FileState {
    const state = this.files.get(number);
    if (state === undefined) throw new Error(`file ${number} is missing`);
    return state;
  }

  has(number: number): boolean {
    return this.files.has(number);
  }

  /** Adds a record, which can be read at once and is written by `commit`. Throws the system's error, where there is no next file. */
  add(key: Buffer, value: Buffer, { kind, timeS, before }: Addition): Place {
    if (this.#pendingBytes === 0) this.#beginTurn();
    const last = this.#last;
    const bytes = HEADER_BYTES + key.length + value.length;
    const needed = this.#pendingBytes + bytes;
    if (needed > this.#pending.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#pending.length));
      this.#pending.copy(grown, 0, 0, this.#pendingBytes);
      this.#pending = grown;
    }
    const place = placeAt(this.#number, last.endBytes + this.#pendingBytes);
    writeRecord(this.#pending, this.#pendingBytes, key, value, { kind, timeS, before, backBytes: last.lastBytes });
    last.lastBytes = bytes;
    this.#pendingBytes = needed;
    if (kind === VALUE) this.#addsValues = true;
    return place;
  }

  #beginTurn(): void {
    const total = this.#sealedBytes + this.#last.endBytes;
    const most = Math.min(MOST_FILE_BYTES, Math.max(LEAST_FILE_BYTES, Math.floor(total / FILES_ABOUT)));
    if (this.#last.endBytes >= most) this.roll();
    this.#lastBefore = this.#last.lastBytes;
    this.#addsValues = false;
  }

  /** What was added is with the kernel. Throws the system's error; then nothing of it was added. */
  commit(): void {
    if (this.#pendingBytes === 0) return;
    const last = this.#last;
    let written = 0;
    try {
      this.#makeRoom(last.endBytes + this.#pendingBytes);
      while (written < this.#pendingBytes) {
        written += writeSync(this.#fd, this.#pending, written, this.#pendingBytes - written, last.endBytes + written);
      }
    } catch (error) {
      this.#drop(written);
      throw error;
    }
    last.endBytes += this.#pendingBytes;
    this.#empty();
  }

  /** Nothing of what was added is. */
  rollback(): void {
    this.#drop(0);
  }

  #drop(written: number): void {
    const last = this.#last;
    last.lastBytes = this.#lastBefore;
    // Records that were refused must not be found by who opens the file next. These bytes are there, so this needs no room.
    if (written > 0) writeSync(this.#fd, Buffer.alloc(written), 0, written, last.endBytes);
    this.#empty();
  }

  #empty(): void {
    this.#pendingBytes = 0;
    if (this.#pending.length > 16 * FIRST_PENDING_BYTES) this.#pending = Buffer.allocUnsafe(FIRST_PENDING_BYTES);
  }

  /** Deletions alone may take what is kept for them. */
  #makeRoom(end: number): void {
    const needed = end + KEPT_BYTES;
    if (needed <= this.#sizeBytes) return;
    if (end > UTMOST_FILE_BYTES)
      throw new VreserveError('SYSTEM', { errno: 'ENOSPC', reason: 'there is no room for a new file' });
    const step = Math.min(MOST_STEP_BYTES, Math.max(LEAST_STEP_BYTES, Math.floor(this.chargedBytes / 64)));
    for (const size of [needed + step, needed]) {
      try {
        ftruncateSync(this.#fd, size);
        this.#sizeBytes = size;
        return;
      } catch (error) {
        if (size === needed && (this.#addsValues || end > this.#sizeBytes)) throw error;
      }
    }
  }

  /** What follows goes into a new file; where there is no room for one, into the same. */
  roll(): void {
    if (this.#pendingBytes > 0) throw new Error('a file is not ended in the middle of a turn');
    const { endBytes } = this.#last;
    if (endBytes === 0) return;
    const { fd, number } = { fd: this.#fd, number: this.#number };
    try {
      this.#begin(number + 1);
    } catch (error) {
      if (errnoOf(error) !== 'ENOSPC' && errnoOf(error) !== 'EDQUOT') throw error;
      return;
    }
    ftruncateSync(fd, endBytes);
    this.#sealedBytes += endBytes;
    this.#ended.add(fd);
  }

  #begin(number: number): void {
    const path = this.#path(number);
    const fd = openSync(path, WRITING | constants.O_CREAT | constants.O_EXCL, 0o600);
    let sizeBytes = KEPT_BYTES;
    try {
      ftruncateSync(fd, sizeBytes);
    } catch {
      // On a full lot it gets what the file before it gives back.
      sizeBytes = 0;
    }
    this.files.set(number, { endBytes: 0, lastBytes: 0, liveBytes: 0 });
    this.#use(number, fd, sizeBytes);
    this.#isDirectoryDirty = true;
  }

  /** What was committed until now is on the disk. */
  async sync(): Promise<void> {
    const isDirty = this.#isDirectoryDirty;
    this.#isDirectoryDirty = false;
    try {
      await Promise.all([this.#ended.sync(this.#fd), isDirty && syncDirectory(this.#directory)]);
    } catch (error) {
      this.#isDirectoryDirty ||= isDirty;
      throw error;
    }
  }

  /** Bytes at a place, of a record that is there. Throws the system's error, EIO where there are fewer. */
  read(place: Place, into: Buffer, at: number, length: number): void {
    const file = fileOf(place);
    const offset = offsetOf(place);
    const written = this.#last.endBytes;
    if (file === this.#number && offset >= written) {
      this.#pending.copy(into, at, offset - written, offset - written + length);
      return;
    }
    this.#readers.read(file, offset, into, at, length);
  }

  header(place: Place): RecordHeader | null {
    const head = Buffer.allocUnsafe(HEADER_BYTES);
    this.read(place, head, 0, HEADER_BYTES);
    return readHeader(head, 0);
  }

  /** Records from a place on that are written, in order; it is one of a record, or the end of a file. */
  forward(from: Place): Generator<FoundRecord> {
    return walkForward(this, from);
  }

  /** The same the other way, from the record before that place on. */
  backward(from: Place): Generator<FoundRecord> {
    return walkBackward(this, from);
  }

  /** The record that begins at a place which somebody else names, as it was written; null: none does. */
  recordAt(place: Place): FoundRecord | null {
    const file = fileOf(place);
    const state = this.files.get(file);
    const endBytes = (state?.endBytes ?? 0) + (file === this.#number ? this.#pendingBytes : 0);
    if (offsetOf(place) + HEADER_BYTES > endBytes) return null;
    const header = this.header(place);
    if (header === null || offsetOf(place) + recordBytes(header) > endBytes) return null;
    const whole = Buffer.allocUnsafe(recordBytes(header));
    this.read(place, whole, 0, whole.length);
    return isWhole(whole) ? { ...header, place, key: whole.subarray(HEADER_BYTES, HEADER_BYTES + header.keyBytes) } : null;
  }

  /** Whether it may be the place of a record: its file is there. */
  isOf(place: Place): boolean {
    return this.files.has(fileOf(place));
  }

  /** Where the next one begins. */
  behind(record: FoundRecord): Place {
    return record.place + recordBytes(record);
  }

  /** Length of the record that ends there; 0: none does. */
  backAt(file: number, offset: number): number {
    const state = this.files.get(file);
    if (state === undefined || offset === 0) return 0;
    if (offset === state.endBytes) return file === this.#number && this.#pendingBytes > 0 ? this.#lastBefore : state.lastBytes;
    return this.header(placeAt(file, offset))?.backBytes ?? 0;
  }

  /** A file without anybody's value goes; it is not the last. */
  remove(number: number): void {
    const { endBytes } = this.#stateOf(number);
    this.#readers.forget(number);
    rmSync(this.#path(number), { force: true });
    this.files.delete(number);
    this.#sealedBytes -= endBytes;
  }

  /** False where something is on its way to the disk. */
  closeIfIdle(): boolean {
    if (!this.#ended.isIdle) return false;
    this.#closeAll();
    return true;
  }

  async close(): Promise<void> {
    await this.#ended.close();
    this.#closeAll();
  }

  #closeAll(): void {
    this.#readers.close();
    closeSync(this.#fd);
  }

  #path(number: number): string {
    return join(this.#directory, `v${String(number).padStart(10, '0')}`);
  }
}
