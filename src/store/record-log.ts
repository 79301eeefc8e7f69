// The durable order of all changes of a store: records appended in groups, on the disk before anybody is told or sees them.

import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import type { Blob } from './blob.js';
import type { Directories } from './directories.js';
import { readRecords } from './record-file.js';
import { headerLine, recordLine, type StoreRecord } from './records.js';

/** A group has at most so many bytes, and the pieces in which the file is written anew. */
const GROUP_BYTES = 1 << 20;

/** Lines that count no more, beyond as many as count, before the file is written anew; and where there is no room otherwise. */
const SPARE_LINES = 1024;
const SPARE_LINES_WITHOUT_ROOM = 64;

interface Job {
  line: Buffer;
  /** Makes the change in memory. Runs when the record is on the disk, in the order of the records. */
  apply: () => void;
  /** Makes the change durable where no byte can be written any more. */
  withoutRecord: (() => Promise<void>) | null;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export interface RecordLogParts {
  path: string;
  /** Nothing is written, whatever is found. */
  readOnly: boolean;
  directories: Directories;
  /** All contents that are there now. They change by `apply` only. */
  blobs: () => { count: number; each: Iterable<Blob> };
  /** Frees what nobody needs; true where that was something. */
  makeRoom: () => Promise<boolean>;
}

/** What was found when it was opened. */
export interface FoundRecords {
  /** Lines in the middle that are no records. */
  damagedLines: number;
  /** Bytes at the end that were cut off. */
  tornBytes: number;
}

export class RecordLog {
  readonly #parts: RecordLogParts;
  /** Open while something is written: an open file would keep a mount busy that it lies in. */
  #file: FileHandle | null = null;
  #endBytes: number;
  #lines: number;
  /** Where the file has to be written anew before anything is appended: nobody knows what the disk has of it. */
  #isSuspect = false;
  /** The file has this many lines when it is next looked at whether to write it anew. */
  #shrinkAtLines = 0;
  #jobs: Job[] = [];
  /** Those who need the room that records take which count no more. */
  #needRoom: ((isMore: boolean) => void)[] = [];
  #working: Promise<void> | null = null;
  #isClosed = false;

  private constructor(parts: RecordLogParts, endBytes: number, lines: number) {
    this.#parts = parts;
    this.#endBytes = endBytes;
    this.#lines = lines;
  }

  /** A new file, on the disk. */
  static async create(parts: RecordLogParts): Promise<RecordLog> {
    const { file, endBytes, notSynced } = await writeNew(parts, []);
    await file.close();
    if (notSynced !== null) throw notSynced;
    return new RecordLog(parts, endBytes, 1);
  }

  /** Reads the file, and cuts off what was being written when a process ended. */
  static async open(
    parts: RecordLogParts,
    each: (record: StoreRecord) => void,
  ): Promise<{ log: RecordLog; found: FoundRecords }> {
    const file = await open(parts.path, parts.readOnly ? constants.O_RDONLY : constants.O_RDWR);
    try {
      const { endBytes, lines, damagedLines } = await readRecords(file, dirname(parts.path), each);
      const tornBytes = (await file.stat()).size - endBytes;
      if (tornBytes > 0 && !parts.readOnly) {
        await file.truncate(endBytes);
        await file.datasync();
      }
      return { log: new RecordLog(parts, endBytes, lines), found: { damagedLines, tornBytes } };
    } finally {
      await file.close();
    }
  }

  /** Resolves when the record is on the disk and `apply` has run; rejects (ENOSPC and others as the system says) with neither. */
  append(record: StoreRecord, apply: () => void, withoutRecord: Job['withoutRecord'] = null): Promise<void> {
    if (this.#isClosed) return Promise.reject(new VreserveError('STORE_CLOSED'));
    return new Promise((resolve, reject) => {
      this.#jobs.push({ line: recordLine(record), apply, withoutRecord, resolve, reject });
      this.#working ??= this.#work();
    });
  }

  /** Writes the file anew where that makes room; true where it did. */
  async makeRoom(): Promise<boolean> {
    if (this.#isClosed || !this.#isWorthIt(SPARE_LINES_WITHOUT_ROOM)) return false;
    return await new Promise((resolve) => {
      this.#needRoom.push(resolve);
      this.#working ??= this.#work();
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#working;
  }

  async #work(): Promise<void> {
    // What else comes in this turn of the event loop belongs to the same group.
    await new Promise(setImmediate);
    while (this.#jobs.length > 0 || this.#needRoom.length > 0) {
      const needRoom = this.#needRoom;
      this.#needRoom = [];
      const isMore = needRoom.length > 0 && (await this.#shrink(SPARE_LINES_WITHOUT_ROOM));
      for (const resolve of needRoom) resolve(isMore);
      const group = this.#takeGroup();
      try {
        if (group.length > 0) await this.#attempt(group);
      } catch (error) {
        await this.#oneByOne(group, error);
      }
      if (this.#lines >= this.#shrinkAtLines) await this.#shrink(SPARE_LINES);
      if (this.#jobs.length === 0) await this.#close();
    }
    this.#working = null;
  }

  async #opened(): Promise<FileHandle> {
    this.#file ??= await open(this.#parts.path, constants.O_RDWR);
    return this.#file;
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = null;
    await file?.close().catch(() => {});
  }

  #takeGroup(): Job[] {
    let bytes = 0;
    let count = 0;
    for (const { line } of this.#jobs) {
      if (count > 0 && bytes + line.length > GROUP_BYTES) break;
      bytes += line.length;
      count += 1;
    }
    return this.#jobs.splice(0, count);
  }

  async #attempt(group: readonly Job[]): Promise<void> {
    if (this.#isSuspect) await this.#writeAnew();
    const bytes = Buffer.concat(group.map(({ line }) => line));
    const file = await this.#opened();
    try {
      await writeAll(file, bytes, this.#endBytes);
    } catch (error) {
      await this.#cut(file);
      throw error;
    }
    try {
      await file.datasync();
    } catch (error) {
      this.#isSuspect = true;
      throw error;
    }
    this.#endBytes += bytes.length;
    this.#lines += group.length;
    for (const job of group) done(job);
  }

  /** Each alone: what frees bytes must not fail with what takes them. */
  async #oneByOne(group: readonly Job[], error: unknown): Promise<void> {
    if (errnoOf(error) !== 'ENOSPC' && errnoOf(error) !== 'EDQUOT') {
      for (const job of group) job.reject(error);
      return;
    }
    await this.#parts.makeRoom().catch(() => false);
    await this.#shrink(SPARE_LINES_WITHOUT_ROOM);
    for (const job of group) {
      try {
        await this.#attempt([job]);
      } catch (again) {
        if (job.withoutRecord === null) job.reject(again);
        else
          await job.withoutRecord().then(
            () => done(job),
            () => job.reject(again),
          );
      }
    }
  }

  /** Takes away what a failed append has left. */
  async #cut(file: FileHandle): Promise<void> {
    try {
      await file.truncate(this.#endBytes);
    } catch {
      this.#isSuspect = true;
    }
  }

  #isWorthIt(spareLines: number): boolean {
    return this.#lines >= 2 * this.#parts.blobs().count + spareLines;
  }

  /** Written anew where most lines count no more; true where it was. Where that is not possible it stays as it is. */
  async #shrink(spareLines: number): Promise<boolean> {
    if (!this.#isWorthIt(spareLines)) return false;
    try {
      await this.#writeAnew();
      this.#shrinkAtLines = 0;
      return true;
    } catch {
      this.#shrinkAtLines = this.#lines + SPARE_LINES;
      return false;
    }
  }

  async #writeAnew(): Promise<void> {
    const { count, each } = this.#parts.blobs();
    const { file, endBytes, notSynced } = await writeNew(this.#parts, each);
    await this.#close();
    this.#file = file;
    this.#endBytes = endBytes;
    this.#lines = count + 1;
    this.#isSuspect = notSynced !== null;
    if (notSynced !== null) throw notSynced;
  }
}

function done(job: Job): void {
  try {
    job.apply();
    job.resolve();
  } catch (error) {
    job.reject(asVreserveError(error));
  }
}

/** The file under its name, and why nobody knows whether the name survives a crash; null: it does. */
interface NewFile {
  file: FileHandle;
  endBytes: number;
  notSynced: unknown;
}

/** The file with nothing but these contents, on the disk. Where it throws, the one before is as it was. */
async function writeNew(parts: RecordLogParts, blobs: Iterable<Blob>): Promise<NewFile> {
  const beside = `${parts.path}.new`;
  const file = await open(beside, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o600);
  try {
    let endBytes = 0;
    let lines = [headerLine()];
    let bytes = 0;
    const write = async () => {
      const piece = Buffer.concat(lines);
      await writeAll(file, piece, endBytes);
      endBytes += piece.length;
      lines = [];
      bytes = 0;
    };
    for (const blob of blobs) {
      const line = recordLine({ put: blob });
      lines.push(line);
      bytes += line.length;
      if (bytes >= GROUP_BYTES) await write();
    }
    await write();
    await file.sync();
    await rename(beside, parts.path);
    const notSynced = await parts.directories.sync(dirname(parts.path)).then(
      () => null,
      (error: unknown) => error,
    );
    return { file, endBytes, notSynced };
  } catch (error) {
    await file.close();
    await unlink(beside).catch(() => {});
    throw error;
  }
}

/** A write may be cut short at the edge of a grant: the next one says why. */
async function writeAll(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, at + written);
    written += bytesWritten;
  }
}
