// Reads a data directory of go-storage-server (compat/store.md 2.3). Changes nothing in it.

import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import { checkBlobName } from './names.js';
import { KEPT_TRANSITIONS, type State, type Transition } from './status.js';

/** One that is whole there. */
export interface OriginalBlob {
  name: string;
  dataPath: string;
  sizeBytes: number;
  /** Oldest first; empty where it has none. */
  transitions: Transition[];
  /** Of its last transition, or of its data. */
  modifiedAtMs: number;
}

/** What one directory of it holds, or why that is nothing to be taken. */
export type OriginalEntry = { directory: string } & ({ blob: OriginalBlob } | { skipped: string });

const STATE_FILE = 'blob_state.base64.json';
const DATA_FILE = 'data.raw';
const STATE_LINE = /^BLOB_BASE64_[^:\n]*:([A-Za-z0-9+/=]+)\r?$/m;
const STATES: Readonly<Record<number, State>> = { 0: 'OK', [-1]: 'Failure', [-2]: 'Pending' };
const MOST_ID = 65_535;

/** All of the directory, in the order of names. Throws STORE_NOT_ORIGINAL, or the system's error. */
export async function readOriginal(dir: string): Promise<OriginalEntry[]> {
  const found = await namesIn(dir);
  if (found.length > 0 && !found.some(({ isId }) => isId)) {
    throw new VreserveError('STORE_NOT_ORIGINAL', { path: dir, reason: 'no directory in it has the name of a blob, a number' });
  }
  const entries: OriginalEntry[] = [];
  for (const { name: directory, isId } of found) {
    if (isId) entries.push(await readEntry(dir, directory));
    else entries.push({ directory, skipped: 'its name is no number of a blob' });
  }
  return onePerName(entries);
}

export function dataOf(blob: OriginalBlob): AsyncIterable<Uint8Array> {
  return createReadStream(blob.dataPath, { highWaterMark: 256 * 1024 });
}

async function namesIn(dir: string): Promise<{ name: string; isId: boolean }[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    return entries
      .map((entry) => ({
        name: entry.name,
        isId: entry.isDirectory() && /^\d+$/.test(entry.name) && Number(entry.name) <= MOST_ID,
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw error;
    const reason = errno === 'ENOENT' ? 'it does not exist' : 'it is not a directory';
    throw new VreserveError('STORE_NOT_ORIGINAL', { path: dir, reason }, { cause: error });
  }
}

async function readEntry(dir: string, directory: string): Promise<OriginalEntry> {
  try {
    const state = parseState(await readFile(join(dir, directory, STATE_FILE), 'utf8'));
    if (String(state.id) !== directory) return { directory, skipped: `its state is that of blob ${state.id}` };
    const last = state.transitions.at(-1);
    if (last !== undefined && last.state !== 'OK') return { directory, skipped: `it is ${last.state}: ${last.message}` };
    checkBlobName(state.name);
    const dataPath = join(dir, directory, DATA_FILE);
    const { size, mtimeMs } = await stat(dataPath);
    const { name, transitions } = state;
    const modifiedAtMs = last?.atMs ?? Math.floor(mtimeMs);
    return { directory, blob: { name, dataPath, sizeBytes: size, transitions, modifiedAtMs } };
  } catch (error) {
    return { directory, skipped: asVreserveError(error).message };
  }
}

interface ParsedState {
  id: number;
  name: string;
  transitions: Transition[];
}

/** Throws STORE_NOT_ORIGINAL. */
function parseState(text: string): ParsedState {
  const bad = (reason: string) => new VreserveError('STORE_NOT_ORIGINAL', { path: STATE_FILE, reason });
  const base64 = STATE_LINE.exec(text)?.[1];
  if (base64 === undefined) throw bad('it has no line with a state');
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(base64, 'base64').toString('utf8'));
  } catch {
    throw bad('its state is no JSON');
  }
  const { id, location, status } = (json ?? {}) as {
    id?: unknown;
    location?: unknown;
    status?: { log?: unknown; index?: unknown };
  };
  if (typeof id !== 'number' || typeof location !== 'string') throw bad('its state has no id and location');
  return { id, name: location, transitions: transitionsOf(status?.log ?? [], Number(status?.index ?? 0)) };
}

/** The ring from its oldest slot on: `index` is the next one to be written. What is no transition is left out. */
function transitionsOf(log: unknown, index: number): Transition[] {
  const ring: unknown[] = Array.isArray(log) ? log : [];
  const inOrder = ring.length < KEPT_TRANSITIONS ? ring : [...ring.slice(index), ...ring.slice(0, index)];
  return inOrder.flatMap((slot) => {
    const { status, timestamp } = (slot ?? {}) as { status?: { code?: unknown; msg?: unknown }; timestamp?: unknown };
    const state = STATES[Number(status?.code)];
    const atMs = Date.parse(String(timestamp));
    return state === undefined || Number.isNaN(atMs) ? [] : [{ state, message: String(status?.msg ?? ''), atMs }];
  });
}

/** Of several with one name it is the last directory that the original has after its next start. */
function onePerName(entries: readonly OriginalEntry[]): OriginalEntry[] {
  const last = new Map<string, string>();
  for (const entry of entries) if ('blob' in entry) last.set(entry.blob.name, entry.directory);
  return entries.map((entry) => {
    const { directory } = entry;
    const winner = 'blob' in entry ? last.get(entry.blob.name) : directory;
    return winner === undefined || winner === directory ? entry : { directory, skipped: `directory ${winner} has the same name` };
  });
}
