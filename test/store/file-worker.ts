// A process that reads, writes and removes blobs as files: a line of JSON in, a line out. `file-worker.js DIRECTORY`.
import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { contentOf, versionOf } from './contents.js';

export interface FileJob {
  op: 'read' | 'put' | 'remove';
  name: string;
  version: number;
  isNew: boolean;
}

/** `errno` '': it was done. */
export interface FileResult {
  errno: string;
  version: number | null;
  wrong: string;
}

const [, , directory = ''] = process.argv;

function put(path: string, bytes: Buffer, isNew: boolean): void {
  const fd = openSync(path, isNew ? 'wx' : 'w');
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, Math.min(50_000, bytes.length - at));
  } catch (error) {
    // Another error of close would hide this one.
    try {
      closeSync(fd);
    } catch {}
    throw error;
  }
  closeSync(fd);
}

function done({ op, name, version, isNew }: FileJob): number | null {
  const path = `${directory}/${name}`;
  if (op === 'read') return versionOf(name, readFileSync(path));
  if (op === 'put') put(path, contentOf(name, version), isNew);
  else unlinkSync(path);
  return null;
}

for await (const line of createInterface({ input: process.stdin })) {
  const result: FileResult = { errno: '', version: null, wrong: '' };
  try {
    result.version = done(JSON.parse(line) as FileJob);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) result.wrong = message;
    else result.errno = code;
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
