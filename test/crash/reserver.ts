// A process that reserves, resizes and releases until the mount is gone. Before each command it prints what it will ask, after it
// what was answered, so that who reads knows what was acknowledged. Usage: reserver.js SEED CONTROL PATH…
import { openSync, writeSync } from 'node:fs';
import { printLine } from '../helpers/print-line.js';

/** A line of the output: `asks` before the command, then one of the others. `bytes` 0 is a release. */
export interface ReserverLine {
  is: 'asks' | 'acknowledged' | 'refused' | 'gone';
  path: string;
  bytes: number;
  errno?: string;
}

const [seed = '1', control = '', ...paths] = process.argv.slice(2);
let state = Number(seed) * 40503 + 7;
function random(most: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % most;
}

/** What the control plane may answer here: no room, less than what is held, names in two lots. */
const REFUSALS = new Set(['ENOSPC', 'EXDEV']);
const GONE = new Set(['ENOTCONN', 'ECONNABORTED', 'EIO', 'ENODEV', 'ESHUTDOWN', 'EINTR']);

const print = (line: ReserverLine) => printLine(line);

let fd = -1;
for (;;) {
  const path = paths[random(paths.length)] ?? '/';
  const bytes = random(3) === 0 ? 0 : 1_000_000 + random(9_000_000);
  print({ is: 'asks', path, bytes });
  try {
    if (fd < 0) fd = openSync(control, 'r+');
    writeSync(fd, bytes === 0 ? `release ${path}\n` : `reserve ${path} ${bytes}\n`);
    print({ is: 'acknowledged', path, bytes });
  } catch (error) {
    const errno = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    if (REFUSALS.has(errno)) print({ is: 'refused', path, bytes, errno });
    else if (GONE.has(errno)) {
      print({ is: 'gone', path, bytes, errno });
      break;
    } else throw error;
  }
}
