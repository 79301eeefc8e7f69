// Makes the spool `requests` in the backing, before it is served.

import { chmod, lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, VreserveError } from '../core/errors.js';
import { Spool } from '../spool/index.js';
import { CLAIMED, DECIDING, KIND } from './box.js';
import { absent } from './files.js';

const PARTS = ['.registry', '.tmp', '.data', ...KIND.queues, ...KIND.queues.map((queue) => join(queue, '.checkout'))];

/** Nobody else's business. */
const OWN_PARTS = [CLAIMED, DECIDING];

/** `open`: to all users, else to the daemon's alone. Throws where something else is in its place. */
export async function makeBox(dir: string, open: boolean): Promise<void> {
  const all = ['', ...PARTS, ...OWN_PARTS].map((name) => join(dir, name));
  for (const path of all) await checkOwnDirectory(path, true);
  await Spool.create(dir, KIND);
  for (const name of OWN_PARTS) await mkdir(join(dir, name)).catch(alreadyThere);
  for (const path of all) await checkOwnDirectory(path, false);
  for (const name of OWN_PARTS) await chmod(join(dir, name), 0o700);
  // Programs of Multispool look whether they may write in the spool itself, too.
  for (const name of ['', ...PARTS]) await chmod(join(dir, name), open ? 0o1777 : 0o755);
}

/** What others may have put there is not trusted. */
async function checkOwnDirectory(path: string, mayBeAbsent: boolean): Promise<void> {
  const status = await lstat(path).catch(absent);
  if (status === null && mayBeAbsent) return;
  if (status?.isDirectory() === true && status.uid === process.getuid?.()) return;
  throw new VreserveError('SYSTEM', { errno: 'EEXIST', reason: `'${path}' is not a directory of the daemon's` });
}

function alreadyThere(error: unknown): void {
  if (errnoOf(error) !== 'EEXIST') throw error;
}
