// A process that puts requests into the line, fetches what became of them, or gives back what was granted, until the mount is gone. What
// it will do it prints before, and what came of it after, so that who reads knows what was promised.
// Usage: asker.js ROLE SEED MNT
import { openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bytesData, Spool, textMeta } from '../../src/spool/index.js';
import { printLine } from '../helpers/print-line.js';
import { Random } from '../helpers/random.js';
import { QUEUES } from '../helpers/requests.js';

export type Role = 'file' | 'control' | 'fetch' | 'release';

/** A line of the output. `name`: of a request, which is for `/u/NAME`; `took`: an outcome, before it is removed. */
export interface AskerLine {
  is: 'begun' | 'asks' | 'done' | 'refused' | 'took' | 'gone';
  name: string;
  decision?: string;
  errno?: string;
}

const MB = 1_000_000;
const GONE = new Set(['ENOTCONN', 'ECONNABORTED', 'EIO', 'ENODEV', 'ESHUTDOWN', 'EINTR']);

const print = (line: AskerLine) => printLine(line);

function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

/** Some wait for ever; of the others most will be too late. */
function wish(random: Random, name: string) {
  const wait = random.chance(0.2) ? { wait: random.between(1, 400) } : {};
  return { path: `/u/${name}`, bytes: random.between(1, 8) * MB, ...wait };
}

async function byFile(seed: number, mnt: string, random: Random): Promise<void> {
  const spool = await spoolOf(mnt);
  for (let n = 0; ; n++) {
    const name = `f${seed}-${n}`;
    print({ is: 'asks', name });
    await spool.enqueue('pending', JSON.stringify(wish(random, name)), new Uint8Array(), { reserve: () => name });
    print({ is: 'done', name });
    await sleep(random.below(30));
  }
}

async function byControl(seed: number, mnt: string, random: Random): Promise<void> {
  const fd = openSync(join(mnt, '.vreserve/control'), 'r+');
  const reply = Buffer.alloc(65_536);
  for (let n = 0; ; n++) {
    const name = `c${seed}-${n}`;
    print({ is: 'asks', name });
    try {
      writeSync(fd, `${JSON.stringify({ cmd: 'reserve', wait: null, ...wish(random, name) })}\n`);
      print({ is: 'done', name });
    } catch (error) {
      if (errnoOf(error) !== 'ENOSPC') throw error;
      print({ is: 'refused', name });
    }
    readSync(fd, reply, 0, reply.length, 0);
  }
}

async function fetching(mnt: string): Promise<void> {
  const spool = await spoolOf(mnt);
  const readers = [spool.reader('granted'), spool.reader('refused')];
  for (;;) {
    for (const reader of readers) {
      const entry = await reader.dequeueAvailable();
      if (entry === null) continue;
      const { outcome } = JSON.parse(entry.contents) as { outcome: { decision: string } };
      print({ is: 'took', name: entry.name, decision: outcome.decision });
      await entry.remove();
    }
    await sleep(2);
  }
}

async function releasing(mnt: string, random: Random): Promise<void> {
  const fd = openSync(join(mnt, '.vreserve/control'), 'r+');
  const reply = Buffer.alloc(65_536);
  for (;;) {
    const { lots } = JSON.parse(readFileSync(join(mnt, '.vreserve/report.json'), 'utf8')) as { lots: { path: string | null }[] };
    const paths = lots.flatMap(({ path }) => (path?.startsWith('/u/') === true ? [path] : []));
    for (const path of random.some(paths, 3)) {
      const name = path.slice(3);
      print({ is: 'asks', name });
      writeSync(fd, `release ${path}\n`);
      print({ is: 'done', name });
      readSync(fd, reply, 0, reply.length, 0);
    }
    await sleep(random.below(25));
  }
}

function spoolOf(mnt: string) {
  return Spool.load(join(mnt, '.vreserve/spool/requests'), { queues: QUEUES, meta: textMeta, data: bytesData });
}

const [role, seed = '1', mnt = ''] = process.argv.slice(2);
const random = new Random(Number(seed));
print({ is: 'begun', name: '' });
try {
  if (role === 'file') await byFile(Number(seed), mnt, random);
  else if (role === 'control') await byControl(Number(seed), mnt, random);
  else if (role === 'fetch') await fetching(mnt);
  else await releasing(mnt, random);
} catch (error) {
  const errno = errnoOf(error);
  // Where the mount was detached, nothing is there any more.
  if (!GONE.has(errno) && !errno.startsWith('SPOOL_') && errno !== 'ENOENT') throw error;
  print({ is: 'gone', name: '', errno });
}
