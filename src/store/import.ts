// Takes over what a data directory of go-storage-server holds. Done again, it takes only what is missing.

import type { ImportProgress, ImportReport } from '../core/blob-import.js';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { dataOf, type OriginalBlob, readOriginal } from './original.js';

/** Where blobs are imported into. */
export interface ImportTarget {
  /** What the name has; null: nothing. */
  read(name: string): Promise<{ sizeBytes: number; bytes: AsyncIterable<Uint8Array>; close(): Promise<void> } | null>;
  /** Throws where the name has something by now, too. */
  put(blob: OriginalBlob, bytes: AsyncIterable<Uint8Array>): Promise<void>;
}

/** Errnos of a store that is closed, and of a mount that has ended: nothing more can be taken. */
const GONE: readonly string[] = ['ESHUTDOWN', 'ENOTCONN', 'ECONNABORTED'];

/** One that cannot be taken is reported and holds up no other; but where there is no room any more, or no store, it ends there. */
export async function importOriginal(
  dir: string,
  target: ImportTarget,
  onProgress: (progress: ImportProgress) => void = () => {},
): Promise<ImportReport> {
  const entries = await readOriginal(dir);
  const report: ImportReport = { imported: 0, importedBytes: 0, unchanged: 0, skipped: [] };
  const progress = { doneBytes: 0, allBytes: 0 };
  for (const entry of entries) if ('blob' in entry) progress.allBytes += entry.blob.sizeBytes;
  for (const entry of entries) {
    const { directory } = entry;
    if ('skipped' in entry) {
      report.skipped.push({ directory, name: null, reason: entry.skipped });
      continue;
    }
    const { blob } = entry;
    const before = progress.doneBytes;
    const counted = counting(dataOf(blob), (bytes) => {
      progress.doneBytes += bytes;
      onProgress(progress);
    });
    const outcome = await importOne(blob, counted, target);
    progress.doneBytes = before + blob.sizeBytes;
    if (outcome === 'imported') {
      report.imported += 1;
      report.importedBytes += blob.sizeBytes;
    } else if (outcome === 'unchanged') report.unchanged += 1;
    else report.skipped.push({ directory, name: blob.name, reason: outcome.reason });
  }
  return report;
}

async function importOne(
  blob: OriginalBlob,
  bytes: AsyncIterable<Uint8Array>,
  target: ImportTarget,
): Promise<'imported' | 'unchanged' | { reason: string }> {
  try {
    const there = await target.read(blob.name);
    if (there === null) {
      await target.put(blob, bytes);
      return 'imported';
    }
    try {
      const isSame = there.sizeBytes === blob.sizeBytes && (await areEqual(bytes, there.bytes));
      return isSame ? 'unchanged' : { reason: 'the store has another blob of that name' };
    } finally {
      await there.close();
    }
  } catch (error) {
    const ours = asVreserveError(error);
    if (ours.errno === 'ENOSPC') throw new VreserveError('STORE_FULL', { name: blob.name }, { cause: error });
    if (GONE.includes(ours.errno)) throw error;
    return { reason: ours.message };
  }
}

async function* counting(bytes: AsyncIterable<Uint8Array>, count: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for await (const piece of bytes) {
    count(piece.length);
    yield piece;
  }
}

/** Of streams of the same length, whatever their pieces are. */
async function areEqual(one: AsyncIterable<Uint8Array>, other: AsyncIterable<Uint8Array>): Promise<boolean> {
  const others = other[Symbol.asyncIterator]();
  let rest = Buffer.alloc(0);
  for await (const piece of one) {
    for (let at = 0; at < piece.length; ) {
      if (rest.length === 0) {
        const next = await others.next();
        if (next.done === true) return false;
        rest = Buffer.from(next.value);
        continue;
      }
      const length = Math.min(rest.length, piece.length - at);
      if (rest.compare(piece, at, at + length, 0, length) !== 0) return false;
      rest = rest.subarray(length);
      at += length;
    }
  }
  return rest.length === 0;
}
