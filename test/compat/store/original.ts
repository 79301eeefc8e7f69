// Makes data directories as go-storage-server leaves them (compat/store.md 2.3).
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Codes of the original. */
export const [OK, FAILURE, PENDING] = [0, -1, -2];

export interface OriginalBlobFiles {
  id: number;
  location: string;
  /** null: no data.raw. */
  data: string | Buffer | null;
  /** Slots of the ring, each at a second of its own. */
  log: [code: number, message: string][];
  /** Where it is not the number of slots. */
  index?: number;
  /** In place of the state file. */
  state?: string;
}

export const WHOLE: [number, string][] = [
  [OK, 'Blob Created & Saved!'],
  [PENDING, 'Starting Data WR'],
  [OK, 'Blob Data WR Complete!'],
];

const FIRST_MS = Date.parse('2017-02-20T10:00:00.123Z');

export async function makeOriginal(dir: string, { id, location, data, log, index, state }: OriginalBlobFiles): Promise<void> {
  const directory = join(dir, String(id));
  await mkdir(directory, { recursive: true });
  const slots = log.map(([code, msg], i) => ({
    status: { code, msg },
    timestamp: new Date(FIRST_MS + i * 1000).toISOString().replace('Z', '456789Z'),
  }));
  const status = { log: slots, index: index ?? slots.length % 16 };
  const json = JSON.stringify({ id, location, options: { map: null }, status, UpdateMU: {} }).replaceAll('&', '\\u0026');
  const line = `BLOB_BASE64_dev:${Buffer.from(json).toString('base64')}\n\n2017-02-20T02:00:00-08:00 - OK - Blob Data WR Complete!\n`;
  await writeFile(join(directory, 'blob_state.base64.json'), state ?? line);
  if (data !== null) await writeFile(join(directory, 'data.raw'), data);
}
