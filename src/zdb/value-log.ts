// The files that hold the values of one namespace: records are only ever added to the last of them.

import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import {
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

/** What a file is as far as the index remembers it. */
export interface FileState {
  /** Where its records end. */
  endBytes: number;
  /** The length of its last record. */
  lastBytes: number;
  /** Of its records, those that are somebody's value now. */
  liveBytes: number;
}

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

const MOST_DESCRIPTORS = 32;
const MOST_UNSYNCED = 16;

const WINDOW_BYTES = 64 * 1024;

const NAME = /^v([0-9]{10})$/;

/** What is to be added. `before`: where the version before is. */
export interface Addition {
  kind: number;
  timeS: number;
  before: Place | null;
}

export interface FoundRecord extends RecordHeader {
  place: Place;
  key: Buffer;
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
  readonly #readers = new Map<number, number>();
  /** Files that were ended, and may not be on the disk yet. */
  #unsynced: number[] = [];
  #syncs = 0;
  #isDirectoryDirty = true;
  /** Bytes of all files, as the lot is charged for them. */
  #sealedBytes = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Before anything else: what the index knew of the files, and where it stopped. Each record behind is told, in order. */
  open(known: ReadonlyMap<number, FileState>, upTo: Place, onRecord: (record: FoundRecord) => void): void {
    const numbers = readdirSync(this.#directory)
      .flatMap((name) => NAME.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => a - b);
    for (const number of numbers) {
      const fd = openSync(this.#path(number), constants.O_RDWR | constants.O_NOATIME);
      const sizeBytes = fstatSync(fd).size;
      const state = known.get(number) ?? { endBytes: 0, lastBytes: 0, liveBytes: 0 };
      this.files.set(number, { ...state });
      const isLast = number === numbers.at(-1);
      if (number >= fileOf(upTo)) this.#recover(number, fd, sizeBytes, onRecord);
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

  #recover(number: number, fd: number, sizeBytes: number, onRecord: (record: FoundRecord) => void): void {
    const state = this.#stateOf(number);
    for (;;) {
      const record = this.#checkedAt(fd, number, state.endBytes, sizeBytes);
      if (record === null) break;
      state.lastBytes = recordBytes(record);
      state.endBytes += state.lastBytes;
      onRecord(record);
    }
    // What a process was writing when it ended must not be taken for a record once others lie before it.
    for (let at = state.endBytes; at < sizeBytes; ) {
      const zeros = Buffer.alloc(Math.min(WINDOW_BYTES, sizeBytes - at));
      at += writeSync(fd, zeros, 0, zeros.length, at);
    }
  }

  #checkedAt(fd: number, number: number, offset: number, sizeBytes: number): FoundRecord | null {
    const head = Buffer.allocUnsafe(HEADER_BYTES);
    if (readSync(fd, head, 0, HEADER_BYTES, offset) < HEADER_BYTES) return null;
    const header = readHeader(head, 0);
    if (header === null || offset + recordBytes(header) > sizeBytes) return null;
    const whole = Buffer.allocUnsafe(recordBytes(header));
    if (readSync(fd, whole, 0, whole.length, offset) < whole.length || !isWhole(whole)) return null;
    return { ...header, place: placeAt(number, offset), key: whole.subarray(HEADER_BYTES, HEADER_BYTES + header.keyBytes) };
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
  add(key: Buffer, value: Buffer, addition: Addition): Place {
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
    writeRecord(this.#pending, this.#pendingBytes, key, value, { ...addition, backBytes: last.lastBytes });
    last.lastBytes = bytes;
    this.#pendingBytes = needed;
    if (addition.kind === VALUE) this.#addsValues = true;
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
    this.#unsynced.push(fd);
    // Nobody waits for them, so an error is found by who syncs next: the disk tells it once more.
    if (this.#unsynced.length > MOST_UNSYNCED) this.#seal(this.#unsynced.splice(0, 1)).catch(() => {});
  }

  #begin(number: number): void {
    const path = this.#path(number);
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOATIME, 0o600);
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
    if (this.#isDirectoryDirty) {
      this.#isDirectoryDirty = false;
      const directory = openSync(this.#directory, 'r');
      fsyncSync(directory);
      closeSync(directory);
    }
    this.#syncs += 1;
    try {
      await Promise.all([synced(this.#fd), this.#seal(this.#unsynced.splice(0))]);
    } finally {
      this.#syncs -= 1;
    }
  }

  async #seal(fds: readonly number[]): Promise<void> {
    this.#syncs += 1;
    try {
      await Promise.all(
        fds.map(async (fd) => {
          try {
            await synced(fd);
          } finally {
            closeSync(fd);
          }
        }),
      );
    } finally {
      this.#syncs -= 1;
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
    if (readSync(this.#reader(file), into, at, length, offset) === length) return;
    throw new VreserveError('SYSTEM', { errno: 'EIO', reason: `file ${file} of a namespace is shorter than it was` });
  }

  header(place: Place): RecordHeader | null {
    const head = Buffer.allocUnsafe(HEADER_BYTES);
    this.read(place, head, 0, HEADER_BYTES);
    return readHeader(head, 0);
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

  /** Records from a place on that are written, in order; it is one of a record, or the end of a file. Files that come or go meanwhile are no trouble. */
  *forward(from: Place): Generator<FoundRecord> {
    const window = new Window(this);
    let file = fileOf(from);
    let offset = offsetOf(from);
    for (;;) {
      const state = this.files.get(file);
      if (state === undefined || offset + HEADER_BYTES > state.endBytes) {
        const next = this.#after(file);
        if (next === null) return;
        file = next;
        offset = 0;
        continue;
      }
      const record = window.recordAt(file, offset, state.endBytes);
      if (record === null) offset = state.endBytes;
      else {
        yield record;
        offset += recordBytes(record);
      }
    }
  }

  /** The same the other way, from the record before that place on. */
  *backward(from: Place): Generator<FoundRecord> {
    const window = new Window(this);
    let file = fileOf(from);
    let offset = offsetOf(from);
    let backBytes = this.#backAt(file, offset);
    for (;;) {
      while (backBytes === 0 || !this.files.has(file)) {
        const next = this.#before(file);
        if (next === null) return;
        file = next;
        offset = this.#stateOf(file).endBytes;
        backBytes = this.#backAt(file, offset);
      }
      offset -= backBytes;
      const record = window.recordAt(file, offset, this.#stateOf(file).endBytes);
      if (record === null) return;
      yield record;
      backBytes = record.backBytes;
    }
  }

  /** Length of the record that ends there. */
  #backAt(file: number, offset: number): number {
    const state = this.files.get(file);
    if (state === undefined || offset === 0) return 0;
    if (offset === state.endBytes) return file === this.#number && this.#pendingBytes > 0 ? this.#lastBefore : state.lastBytes;
    return this.header(placeAt(file, offset))?.backBytes ?? 0;
  }

  #after(file: number): number | null {
    let found: number | null = null;
    for (const number of this.files.keys()) if (number > file && (found === null || number < found)) found = number;
    return found;
  }

  #before(file: number): number | null {
    let found: number | null = null;
    for (const number of this.files.keys()) if (number < file && (found === null || number > found)) found = number;
    return found;
  }

  /** A file without anybody's value goes; it is not the last. */
  remove(number: number): void {
    const { endBytes } = this.#stateOf(number);
    const reader = this.#readers.get(number);
    if (reader !== undefined) closeSync(reader);
    this.#readers.delete(number);
    rmSync(this.#path(number), { force: true });
    this.files.delete(number);
    this.#sealedBytes -= endBytes;
  }

  /** False where something is on its way to the disk. */
  closeIfIdle(): boolean {
    if (this.#unsynced.length > 0 || this.#syncs > 0) return false;
    this.#closeAll();
    return true;
  }

  async close(): Promise<void> {
    await this.#seal(this.#unsynced.splice(0));
    this.#closeAll();
  }

  #closeAll(): void {
    for (const reader of this.#readers.values()) closeSync(reader);
    this.#readers.clear();
    closeSync(this.#fd);
  }

  /** A descriptor for reading alone: where the kernel can, it reads past the daemon. */
  #reader(file: number): number {
    const known = this.#readers.get(file);
    if (known !== undefined) return known;
    const fd = openSync(this.#path(file), 'r');
    if (this.#readers.size >= MOST_DESCRIPTORS) {
      const [oldest] = this.#readers;
      if (oldest !== undefined) {
        this.#readers.delete(oldest[0]);
        closeSync(oldest[1]);
      }
    }
    this.#readers.set(file, fd);
    return fd;
  }

  #path(number: number): string {
    return join(this.#directory, `v${String(number).padStart(10, '0')}`);
  }
}

/** Headers and keys on the way through a file, read many at a time. */
class Window {
  readonly #log: ValueLog;
  #file = -1;
  #at = 0;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(log: ValueLog) {
    this.#log = log;
  }

  recordAt(file: number, offset: number, endBytes: number): FoundRecord | null {
    const head = this.#slice(file, offset, Math.min(HEADER_BYTES + 255, endBytes - offset), endBytes);
    const header = readHeader(head, 0);
    if (header === null || offset + recordBytes(header) > endBytes) return null;
    const key = Buffer.from(head.subarray(HEADER_BYTES, HEADER_BYTES + header.keyBytes));
    return { ...header, place: placeAt(file, offset), key };
  }

  #slice(file: number, offset: number, length: number, endBytes: number): Buffer {
    const isThere = file === this.#file && offset >= this.#at && offset + length <= this.#at + this.#bytes.length;
    if (!isThere) {
      // Backward the next ones lie before it.
      const from = file === this.#file && offset < this.#at ? Math.max(0, offset + length - WINDOW_BYTES) : offset;
      const bytes = Buffer.allocUnsafe(Math.min(WINDOW_BYTES, endBytes - from));
      this.#log.read(placeAt(file, from), bytes, 0, bytes.length);
      this.#file = file;
      this.#at = from;
      this.#bytes = bytes;
    }
    return this.#bytes.subarray(offset - this.#at, offset - this.#at + length);
  }
}

function synced(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fdatasync(fd, (error) => (error === null ? resolve() : reject(error)));
  });
}
