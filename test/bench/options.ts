// The words of `scripts/bench`.
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { HTTP_PARTS, type HttpPart, ZDB } from './http.js';
import { JOBS } from './jobs.js';
import { ALL_ON, type On } from './place.js';
import { TARGET_NAMES } from './targets.js';

export interface Options {
  rounds: number;
  /** Of each job of fio, and of each append. */
  runtimeMs: number;
  /** Small files. */
  files: number;
  on: readonly On[];
  /** Parent of the directory that is measured on disk. */
  directory: string;
  targets: ReadonlySet<string>;
  /** Empty where only other parts were asked for. */
  jobs: ReadonlySet<string>;
  /** Measure what many lots cost. */
  lots: boolean;
  /** Measure spools. */
  spool: boolean;
  /** What is measured over HTTP. */
  http: readonly HttpPart[];
  quick: boolean;
  append: boolean;
  json: boolean;
  note: string;
}

const LAUNCHED = 'scripts/bench';

/** The parts that are no jobs: mounts with few and with many lots, spools, and HTTP, which has parts of its own. */
const LOTS = 'lots';
const SPOOL = 'spool';
const HTTP = 'http';
const PARTS: readonly string[] = [LOTS, SPOOL, HTTP, ...HTTP_PARTS, ZDB];

export const HELP = `usage: ${LAUNCHED} [options]

Measures this mount beside its backing directory and beside bindfs, mergerfs and fuse-overlayfs, and prints ratios to the
backing directory. Within a round every job runs on every target in turn, so that what else the machine does meets all alike.
On a btrfs it measures a space that the kernel enforces beside a subvolume with that limit, and nothing else.
The part "${LOTS}" compares mounts with 1, 1,000 and 100,000 lots: mounting, reports, writing, and adding lots.
The part "${SPOOL}" compares spools in a native directory and in a mount: entries a second, and the time until who waits is woken.
The part "${HTTP}" asks the services: pairs of reserve and release a second, blobs beside nginx, and file I/O in a mount meanwhile.
The part "${ZDB}" compares key-value namespaces with redis-server, asked by redis-benchmark.

  --rounds N        rounds (default 3, with --quick 1); medians and the spread over them are shown
  --quick           shorter jobs and fewer files: about 14 minutes instead of an hour, and only a hint
  --on WHERE        tmpfs, disk or btrfs (default all of them)
  --directory DIR   where "disk" is, and the file that has the btrfs (default ${tmpdir()})
  --only NAME,...   these jobs and targets only (the backing directory is always measured), or ${PARTS.map((part) => `"${part}"`).join(', ')}
  --append          append rows to test/performance.txt
  --note TEXT       with --append: what changed
  --json            print JSON

jobs:    ${JOBS.map((job) => job.name).join(', ')}
targets: ${TARGET_NAMES.join(', ')}
`;

/** A word that is not understood. */
export class UsageError extends Error {}

function count(name: string, text: string): number {
  if (/^[1-9][0-9]{0,2}$/.test(text)) return Number(text);
  throw new UsageError(`--${name} must be a number from 1 to 999, not '${text}'`);
}

/** null for --help. Throws UsageError. */
export function parseOptions(args: readonly string[]): Options | null {
  let values: ReturnType<typeof parse>['values'];
  try {
    ({ values } = parse(args));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  if (values.help) return null;
  const { on } = values;
  const places = ALL_ON.filter((each) => on === undefined || on === each);
  if (places.length === 0) throw new UsageError(`--on must be ${ALL_ON.join(', ')}, not '${on}'`);
  const only = values.only?.split(',').filter((name) => name !== '') ?? [];
  const names = { jobs: JOBS.map((job) => job.name), targets: TARGET_NAMES };
  const unknown = only.find((name) => !PARTS.includes(name) && !names.jobs.includes(name) && !names.targets.includes(name));
  if (unknown !== undefined) throw new UsageError(`no job or target '${unknown}'; --help lists them`);
  const chosen = (all: readonly string[]): Set<string> => {
    const some = all.filter((name) => only.includes(name));
    return new Set(some.length > 0 ? some : all);
  };
  return {
    rounds: values.rounds === undefined ? (values.quick ? 1 : 3) : count('rounds', values.rounds),
    runtimeMs: values.quick ? 500 : 1500,
    files: values.quick ? 5000 : 20_000,
    on: places,
    directory: values.directory ?? tmpdir(),
    targets: chosen(names.targets).add('native'),
    jobs: only.length > 0 && only.every((name) => PARTS.includes(name)) ? new Set() : chosen(names.jobs),
    lots: only.length === 0 || only.includes(LOTS),
    spool: only.length === 0 || only.includes(SPOOL),
    http: [
      ...HTTP_PARTS.filter((part) => only.length === 0 || only.includes(HTTP) || only.includes(part)),
      ...(only.length === 0 || only.includes(ZDB) ? ([ZDB] as const) : []),
    ],
    quick: values.quick,
    append: values.append,
    json: values.json,
    note: values.note ?? '',
  };
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      on: { type: 'string' },
      directory: { type: 'string' },
      only: { type: 'string' },
      append: { type: 'boolean', default: false },
      note: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
}
