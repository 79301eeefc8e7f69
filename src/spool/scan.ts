// What lies in a spool's directories at one time (Multispool 3.6).

import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../core/errors.js';
import { Layout } from './layout.js';
import { CHECKOUT, decodeName } from './names.js';

/** One file, or whatever else has a name there. */
export interface ScannedFile {
  /** The bytes of the name, one a character: to compare with. */
  key: string;
  /** For people: bytes that are not UTF-8 as `%XX`. */
  name: string;
  /** Unix ms, with a fraction. */
  mtimeMs: number;
}

/** A directory of the spool, by its path in it. */
export interface ScannedDirectory {
  dir: string;
  files: ScannedFile[];
}

export interface Scan {
  registry: ScannedDirectory;
  tmp: ScannedDirectory;
  data: ScannedDirectory;
  queues: ScannedDirectory[];
  checkouts: ScannedDirectory[];
}

/** The directories one after the other; what vanishes meanwhile is left out. A directory that is missing is ENOENT. */
export async function scanSpool(dir: string, queues: readonly string[]): Promise<Scan> {
  const registry = await scanDirectory(dir, '.registry');
  const tmp = await scanDirectory(dir, '.tmp');
  const data = await scanDirectory(dir, '.data');
  const scan: Scan = { registry, tmp, data, queues: [], checkouts: [] };
  const layout = new Layout('');
  for (const queue of queues) scan.queues.push(await scanDirectory(dir, layout.queue(queue)));
  for (const queue of queues) scan.checkouts.push(await scanDirectory(dir, layout.checkout(queue)));
  return scan;
}

/** So many at once keep the thread pool busy. */
const AT_ONCE = 32;

async function scanDirectory(top: string, dir: string): Promise<ScannedDirectory> {
  const names = await readdir(join(top, dir), { encoding: 'buffer' });
  const wanted = names.filter((name) => name.toString() !== CHECKOUT).sort(Buffer.compare);
  const files: ScannedFile[] = [];
  for (let i = 0; i < wanted.length; i += AT_ONCE) {
    const some = wanted.slice(i, i + AT_ONCE).map(async (name) => {
      const found = await lstatIfThere(Buffer.concat([Buffer.from(`${join(top, dir)}/`), name]));
      return found === null ? null : { key: name.toString('latin1'), name: display(name), mtimeMs: found.mtimeMs };
    });
    for (const file of await Promise.all(some)) if (file !== null) files.push(file);
  }
  return { dir, files };
}

async function lstatIfThere(path: Buffer): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function display(name: Buffer): string {
  return (
    decodeName(name) ??
    name.toString('latin1').replace(/[^\x20-\x7e]|%/g, (c) => `%${Buffer.from(c, 'latin1').toString('hex').toUpperCase()}`)
  );
}
