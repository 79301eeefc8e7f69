// The keys of one namespace and their values: the files of values, the index beside them, and what the index does not have yet.

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Ballast } from './ballast.js';
import { type IndexEntry, isFull, KeyIndex, type SettingValue } from './key-index.js';
import { DELETION, type FileState, type FoundRecord, fileOf, HEADER_BYTES, type Place, recordBytes, VALUE } from './record.js';
import { bulkOf } from './resp.js';
import { ValueLog } from './value-log.js';

export const INDEX_FILE = 'index.db';

/** So many changes, or bytes of values, and the index is told of them: after a crash they are read again. */
const FLUSH_ENTRIES = 65_536;
const FLUSH_BYTES = 512 * 1024 * 1024;

const NOTHING = Buffer.alloc(0);

/** Keys are kept as text of their bytes. */
type KeyText = string;

const ID_BYTES = 8;

export interface KeyTotals {
  entries: number;
  payloadBytes: number;
  keyBytes: number;
}

/** What is undone where a turn cannot be written. */
interface Undo {
  key: KeyText;
  /** In `#recent`; undefined: it was not there. */
  recent: IndexEntry | undefined;
  added: IndexEntry;
  replaced: IndexEntry | null;
}

/** What the index is being told. */
interface Flush {
  entries: ReadonlyMap<KeyText, IndexEntry>;
  upTo: Place;
  nextId: number;
  files: ReadonlyMap<number, FileState>;
}

const NO_ENTRIES: ReadonlyMap<KeyText, IndexEntry> = new Map();

export class Keys {
  readonly #directory: string;
  readonly #index: KeyIndex;
  readonly #log: ValueLog;
  readonly #ballast: Ballast;
  /** Changes since the last flush began. */
  #recent = new Map<KeyText, IndexEntry>();
  /** Under way, or to be tried again: some of its entries the index may have already. */
  #flush: Flush | null = null;
  #undo: Undo[] = [];
  readonly #totals = { entries: 0, payloadBytes: 0, keyBytes: 0 };
  #nextId = 0;
  /** At the last commit. */
  #nextIdBefore = 0;
  #bytesSinceFlush = 0;
  /** Whether ids are given, and keys stored so that they lie in order. */
  isSequential: boolean;

  /** `settings`: of a namespace that is made now. Throws NAMESPACE_DAMAGED and the system's errors. */
  constructor(directory: string, settings: Readonly<Record<string, SettingValue>>) {
    this.#directory = directory;
    this.#index = KeyIndex.open(join(directory, INDEX_FILE), settings);
    this.#ballast = new Ballast(join(directory, 'ballast'));
    this.isSequential = this.settings().mode === 'seq';
    this.#log = new ValueLog(directory);
    this.#load();
  }

  #load(): void {
    const { upTo, nextId, files } = this.#index.loadState();
    this.#nextId = nextId;
    this.#log.open(files, upTo, (record) => {
      const entry = { place: record.kind === VALUE ? record.place : -1, valueBytes: record.valueBytes };
      this.#recent.set(record.key.toString('latin1'), entry);
      this.#bytesSinceFlush += recordBytes(record);
      if (this.isSequential && record.key.length === ID_BYTES) {
        const next = Number(record.key.readBigUInt64LE()) + 1;
        this.#nextId = record.kind === VALUE && record.before !== null ? this.#nextId + 1 : Math.max(this.#nextId, next);
      }
    });
    this.#nextIdBefore = this.#nextId;
    const { liveBytes, ...totals } = this.#index.totals();
    Object.assign(this.#totals, totals);
    for (const [file, bytes] of liveBytes) {
      const state = this.#log.files.get(file);
      if (state !== undefined) state.liveBytes = bytes;
    }
    for (const [text, entry] of this.#recent) {
      const key = bytesOf(text);
      this.#count(key.length, entry, this.#index.find(this.#stored(key)));
    }
  }

  get totals(): Readonly<KeyTotals> {
    return this.#totals;
  }

  /** Bytes of files that the lot is charged for. */
  get fileBytes(): number {
    const sizeOf = (name: string) => statSync(join(this.#directory, name), { throwIfNoEntry: false })?.size ?? 0;
    return this.#log.chargedBytes + this.#ballast.bytes + sizeOf(INDEX_FILE) + sizeOf(`${INDEX_FILE}-wal`);
  }

  get log(): ValueLog {
    return this.#log;
  }

  settings(): Record<string, SettingValue> {
    return this.#index.settings();
  }

  /** On the disk when it returns. Throws where there is no room. */
  saveSettings(settings: Readonly<Record<string, SettingValue>>): void {
    this.#withRoom(() => this.#index.saveSettings(settings));
  }

  /** null: there is no such key. */
  find(key: Buffer): IndexEntry | null {
    const entry = this.#entry(key.toString('latin1'), key);
    return entry === null || entry.place < 0 ? null : entry;
  }

  #entry(text: KeyText, key: Buffer): IndexEntry | null {
    return this.#recent.get(text) ?? this.#flush?.entries.get(text) ?? this.#index.find(this.#stored(key));
  }

  /** As the index has it: ids with their highest byte first, so that those that follow each other lie together. */
  #stored(key: Buffer): Buffer {
    return this.isSequential && key.length === ID_BYTES ? Buffer.from(key).reverse() : key;
  }

  /** The same of its text, and the reverse. */
  #storedText(text: KeyText): KeyText {
    return this.isSequential && text.length === ID_BYTES ? this.#stored(bytesOf(text)).toString('latin1') : text;
  }

  /** The value as an answer; null: there is no such key. */
  bulk(key: Buffer): Buffer | null {
    const entry = this.find(key);
    return entry === null ? null : this.bulkAt(key.length, entry);
  }

  bulkAt(keyBytes: number, { place, valueBytes }: IndexEntry): Buffer {
    const answer = bulkOf(valueBytes);
    this.#log.read(place + HEADER_BYTES + keyBytes, answer, answer.length - valueBytes - 2, valueBytes);
    return answer;
  }

  /** When it was set, Unix seconds. */
  timeOf({ place }: IndexEntry): number {
    return this.#log.header(place)?.timeS ?? 0;
  }

  /** True where what is stored is what was written: of a key that is there. */
  isSound(entry: IndexEntry): boolean {
    return this.#log.recordAt(entry.place) !== null;
  }

  /** True where the value is just this. */
  holds(keyBytes: number, { place, valueBytes }: IndexEntry, value: Buffer): boolean {
    if (valueBytes !== value.length) return false;
    const found = Buffer.allocUnsafe(valueBytes);
    this.#log.read(place + HEADER_BYTES + keyBytes, found, 0, valueBytes);
    return found.equals(value);
  }

  /** A new id, as the key that it is. */
  newKey(): Buffer {
    const key = Buffer.allocUnsafe(ID_BYTES);
    key.writeBigUInt64LE(BigInt(this.#nextId));
    this.#nextId += 1;
    return key;
  }

  /** `old`: what `find` has. Written by `commit`. */
  set(key: Buffer, value: Buffer, timeS: number, old: IndexEntry | null): void {
    const before = old === null ? null : old.place;
    const place = this.#log.add(key, value, { kind: VALUE, timeS, before });
    // As 0-db counts: a new version takes the place of an id.
    if (before !== null) this.#nextId += 1;
    this.#change(key, { place, valueBytes: value.length }, old);
  }

  /** `old`: what `find` has. */
  delete(key: Buffer, timeS: number, old: IndexEntry): void {
    this.#log.add(key, NOTHING, { kind: DELETION, timeS, before: old.place });
    this.#change(key, { place: -1, valueBytes: 0 }, old);
  }

  /** The same value at the end, in place of where it is: so that its file can go. False: it is somewhere else by now. */
  move(record: FoundRecord, value: Buffer): boolean {
    const entry = this.find(record.key);
    if (entry === null || entry.place !== record.place) return false;
    const { kind, timeS, before } = record;
    const place = this.#log.add(record.key, value, { kind, timeS, before });
    this.#change(record.key, { place, valueBytes: value.length }, entry);
    return true;
  }

  #change(key: Buffer, added: IndexEntry, replaced: IndexEntry | null): void {
    const text = key.toString('latin1');
    this.#undo.push({ key: text, recent: this.#recent.get(text), added, replaced });
    this.#recent.set(text, added);
    this.#count(key.length, added, replaced);
  }

  #count(keyBytes: number, added: IndexEntry, replaced: IndexEntry | null): void {
    if (added.place >= 0) this.#countOne(keyBytes, added, 1);
    if (replaced !== null && replaced.place >= 0) this.#countOne(keyBytes, replaced, -1);
  }

  #countOne(keyBytes: number, { place, valueBytes }: IndexEntry, sign: 1 | -1): void {
    this.#totals.entries += sign;
    this.#totals.payloadBytes += sign * valueBytes;
    this.#totals.keyBytes += sign * keyBytes;
    const file = this.#log.files.get(fileOf(place));
    if (file !== undefined) file.liveBytes += sign * (HEADER_BYTES + keyBytes + valueBytes);
  }

  get isDirty(): boolean {
    return this.#undo.length > 0;
  }

  get pendingBytes(): number {
    return this.#log.pendingBytes;
  }

  /** What was set and deleted is with the kernel: it survives the end of the process. Throws the system's error; then nothing was. */
  commit(): void {
    this.#bytesSinceFlush += this.#log.pendingBytes;
    try {
      this.#log.commit();
    } catch (error) {
      this.#undoAll();
      throw error;
    }
    this.#undo = [];
    this.#nextIdBefore = this.#nextId;
  }

  /** Nothing of what was set and deleted since the last commit was. */
  rollback(): void {
    this.#log.rollback();
    this.#undoAll();
  }

  #undoAll(): void {
    for (let each = this.#undo.pop(); each !== undefined; each = this.#undo.pop()) {
      const { key, recent, added, replaced } = each;
      if (recent === undefined) this.#recent.delete(key);
      else this.#recent.set(key, recent);
      if (added.place >= 0) this.#countOne(key.length, added, -1);
      if (replaced !== null && replaced.place >= 0) this.#countOne(key.length, replaced, 1);
    }
    this.#nextId = this.#nextIdBefore;
  }

  /** What was committed is on the disk. */
  sync(): Promise<void> {
    return this.#log.sync();
  }

  /** The version at a place that a client names; null: there is none of this key. */
  versionAt(key: Buffer, place: Place): FoundRecord | null {
    const record = this.#log.recordAt(place);
    return record !== null && record.kind === VALUE && record.key.equals(key) ? record : null;
  }

  /** True for a record that is the value of its key now. */
  isCurrent({ key, place }: FoundRecord): boolean {
    return this.find(key)?.place === place;
  }

  /** Keys that begin so, in bytewise order, at most so many. */
  withPrefix(prefix: Buffer, most: number): Buffer[] {
    const found: Buffer[] = [];
    const begins = (key: Buffer) => key.length >= prefix.length && key.compare(prefix, 0, prefix.length, 0, prefix.length) === 0;
    const changed: KeyText[] = [];
    for (const map of [this.#recent, this.#flush?.entries ?? NO_ENTRIES]) {
      for (const text of map.keys()) if (begins(bytesOf(text))) changed.push(text);
    }
    const isChanged = new Set(changed);
    for (const text of isChanged) {
      const key = bytesOf(text);
      if (this.find(key) !== null) found.push(key);
    }
    let from = prefix;
    for (let isMore = true; isMore && found.length < most + isChanged.size; ) {
      const page = this.#index.keysFrom(from, 1000).map((key) => this.#stored(key));
      for (const key of page) if (begins(key) && !isChanged.has(key.toString('latin1'))) found.push(key);
      const last = page.at(-1);
      isMore = page.length === 1000 && last !== undefined && begins(last);
      if (last !== undefined) from = Buffer.concat([this.#stored(last), Buffer.alloc(1)]);
    }
    return found.sort(Buffer.compare).slice(0, most);
  }

  /** Whether the index should be told. */
  get wantsFlush(): boolean {
    return this.#recent.size >= FLUSH_ENTRIES || this.#bytesSinceFlush >= FLUSH_BYTES;
  }

  /**
   * Tells the index what it lacks, so much at a time as `isTime` allows between two turns of the event loop: `pause` lets them
   * happen. Nothing may be under way in `commit`. One at a time. Throws where there is no room; it may be tried again.
   */
  async flush(isTime: () => boolean, pause: () => Promise<void>): Promise<void> {
    if (this.isDirty) await pause();
    this.#flush ??= this.#beginFlush();
    const flush = this.#flush;
    // The index must not tell of values that a loss of power takes.
    await this.#log.sync();
    // In the order of the index, so that each of its pages is read and written once. Texts of bytes are in the order of the bytes.
    const texts = [...flush.entries.keys()].map((text) => this.#storedText(text)).sort();
    for (let at = 0; at < texts.length && flush === this.#flush; ) {
      const from = at;
      const next = () => {
        const text = at === from || (at & 15) !== 0 || isTime() ? texts[at] : undefined;
        const entry = text === undefined ? undefined : flush.entries.get(this.#storedText(text));
        if (text === undefined || entry === undefined) return null;
        at += 1;
        return { key: bytesOf(text), entry };
      };
      this.#withRoom(() => {
        at = from;
        this.#index.putAll(next);
      });
      if (at < texts.length) await pause();
    }
    if (flush !== this.#flush) return;
    this.#withRoom(() => this.#index.saveState(flush.upTo, flush.nextId, flush.files));
    this.#flush = null;
    this.#ballast.restore();
  }

  #beginFlush(): Flush {
    const files = new Map([...this.#log.files].map(([number, state]) => [number, { ...state }]));
    const flush = { entries: this.#recent, upTo: this.#log.end, nextId: this.#nextId, files };
    this.#recent = new Map();
    this.#bytesSinceFlush = 0;
    return flush;
  }

  /** All keys are gone; a turn is not under way. Throws where there is no room; then nothing is. */
  clear(): void {
    this.#log.roll();
    const upTo = this.#log.end;
    this.#withRoom(() => this.#index.clear(upTo));
    this.#flush = null;
    this.#recent = new Map();
    this.#nextId = 0;
    this.#nextIdBefore = 0;
    this.#bytesSinceFlush = 0;
    Object.assign(this.#totals, { entries: 0, payloadBytes: 0, keyBytes: 0 });
    for (const [number, state] of this.#log.files) {
      state.liveBytes = 0;
      if (number !== this.#log.number) this.#log.remove(number);
    }
  }

  #withRoom(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!isFull(error) || !this.#ballast.giveUp()) throw error;
      work();
    }
  }

  /** False where something is on its way to the disk. */
  closeIfIdle(): boolean {
    if (!this.#log.closeIfIdle()) return false;
    this.#index.close();
    return true;
  }

  /** After the last commit. */
  async close(): Promise<void> {
    await this.#log.close();
    this.#index.close();
  }
}

function bytesOf(text: KeyText): Buffer {
  return Buffer.from(text, 'latin1');
}
