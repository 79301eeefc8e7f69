// A store when it is opened: records and payloads are brought together, and what was pending when a process ended is removed.

import { readdir, stat } from 'node:fs/promises';
import { errnoOf, VreserveError } from '../core/errors.js';
import type { Blob } from './blob.js';
import type { FoundPayloads, Payloads } from './payloads.js';
import { RecordLog, type RecordLogParts } from './record-log.js';
import { PHRASES } from './status.js';
import type { StoreLog } from './store.js';

export interface Recovering {
  /** A content that is there; the last one of a name is the one that counts, and null takes it away. */
  found(name: string, blob: Blob | null): void;
  /** A number that must not be given again. */
  keepId(id: string): void;
  log: StoreLog | null;
}

/** null: there are no records, and none may be made. Throws STORE_FOREIGN, STORE_NEWER, or the system's error. */
export async function recover(dir: string, parts: RecordLogParts, payloads: Payloads, to: Recovering): Promise<RecordLog | null> {
  if (!(await isThere(parts.path))) return parts.readOnly ? null : await begin(dir, parts, payloads);
  // Only where no first record was ever written it can be that they are missing.
  if (!parts.readOnly) await payloads.make();
  const found = await payloads.scan();
  const named = new Map<string, string>();
  const missing = new Map<string, Blob>();
  const { log, found: records } = await RecordLog.open(parts, (record) => {
    if ('remove' in record) {
      named.delete(record.remove);
      missing.delete(record.remove);
      to.found(record.remove, null);
    } else if (found.has(record.put)) {
      named.set(record.put.name, record.put.id);
      missing.delete(record.put.name);
      to.found(record.put.name, record.put);
    } else missing.set(record.put.name, record.put);
  });
  for (const { name, id } of missing.values()) {
    // An older content is there where the newer one failed at its last step.
    if (!named.has(name)) to.log?.warn({ name, id }, 'the data of a blob is gone');
  }
  const { damagedLines, tornBytes } = records;
  if (tornBytes > 0) to.log?.info({ tornBytes }, 'a record that was not finished was cut off');
  if (damagedLines > 0) {
    to.log?.error({ damagedLines }, 'records of the store are damaged: data that no record names is kept');
  }
  if (!parts.readOnly) await removeLeftovers(found, new Set(named.values()), damagedLines > 0, payloads, to);
  return log;
}

/** Before the first payload can be there, so that payloads without records are none of a crash. */
async function begin(dir: string, parts: RecordLogParts, payloads: Payloads): Promise<RecordLog> {
  const names = await readdir(dir);
  const strange = names.filter((name) => name !== 'lost+found');
  if (strange.length > 0) {
    throw new VreserveError('STORE_FOREIGN', { path: dir, reason: `it has no records, and is not empty: '${strange[0]}'` });
  }
  const log = await RecordLog.create(parts);
  await payloads.make();
  return log;
}

async function removeLeftovers(
  found: FoundPayloads,
  named: ReadonlySet<string>,
  areKept: boolean,
  payloads: Payloads,
  to: Recovering,
): Promise<void> {
  for (const path of found.unfinished) await remove(path, PHRASES.foundPending.message);
  for (const [id, path] of found.ids()) {
    if (named.has(id) || areKept) to.keepId(id);
    else await remove(path, 'data of the store that no record names is removed');
  }

  async function remove(path: string, why: string): Promise<void> {
    to.log?.warn({ path }, why);
    await payloads.remove(path).catch((err: unknown) => to.log?.error({ path, err }, 'a file of the store cannot be removed'));
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
