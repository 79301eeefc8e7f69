// A process that writes until its filesystem is gone: appends, truncates, renames, unlinks and creates, at random.
// Usage: writer.js SEED DIRECTORY… ; every error but those of a full lot, a race with others and a lost mount is a failure.
import {
  closeSync,
  constants,
  copyFileSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const [seed = '1', ...directories] = process.argv.slice(2);
const FILES = 60;
const MOST_BYTES = 192 * 1024;
const buffer = Buffer.alloc(64 * 1024, `writer ${seed} `);

/** Refused (EBUSY: a bound path is not renamed), or another writer was faster. */
const EXPECTED = new Set(['ENOSPC', 'ENOENT', 'EEXIST', 'EXDEV', 'EBUSY', 'EBADF']);
/** The daemon or the mount is gone. */
const GONE = new Set(['ENOTCONN', 'ECONNABORTED', 'EIO', 'ENODEV', 'ESHUTDOWN']);

let state = Number(seed) * 2654435761 + 1;
/** A number from 0 to `most` - 1; xorshift, so that a seed says what was asked for. */
function random(most: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % most;
}

const anyDirectory = () => directories[random(directories.length)] ?? '.';
const anyFile = () => join(anyDirectory(), random(2) === 0 ? 'sub' : '.', `f${random(FILES)}`);
const open: number[] = [];

const OPERATIONS: (() => void)[] = [
  () => {
    const fd = openSync(anyFile(), constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600);
    try {
      for (let n = random(4); n >= 0; n--) writeSync(fd, buffer, 0, random(buffer.length) + 1);
    } finally {
      closeSync(fd);
    }
  },
  () => {
    const fd = openSync(anyFile(), constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      writeSync(fd, buffer, 0, random(8192) + 1, random(MOST_BYTES));
      if (random(3) === 0) ftruncateSync(fd, random(MOST_BYTES));
    } finally {
      closeSync(fd);
    }
  },
  () => truncateSync(anyFile(), random(MOST_BYTES)),
  () => closeSync(openSync(anyFile(), 'w')),
  () => renameSync(anyFile(), anyFile()),
  () => renameSync(anyFile(), anyFile()),
  () => unlinkSync(anyFile()),
  () => unlinkSync(anyFile()),
  () => linkSync(anyFile(), anyFile()),
  () => copyFileSync(anyFile(), anyFile()),
  () => {
    // Kept open, and perhaps unlinked or renamed meanwhile.
    open.push(openSync(anyFile(), 'a'));
    if (open.length > 4) closeSync(open.shift() ?? -1);
  },
  () => {
    const fd = open[random(4)];
    if (fd !== undefined) writeSync(fd, buffer, 0, random(4096) + 1);
  },
];

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

function attempt(operation: () => void): boolean {
  try {
    operation();
    return true;
  } catch (error) {
    if (EXPECTED.has(codeOf(error))) return true;
    if (GONE.has(codeOf(error))) return false;
    throw error;
  }
}

for (const directory of directories) attempt(() => mkdirSync(join(directory, 'sub')));
process.stdout.write('started\n');
while (attempt(OPERATIONS[random(OPERATIONS.length)] ?? (() => {})));
