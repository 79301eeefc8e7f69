// The parts of the soak: each says on one line how it went, or throws.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../helpers/run.js';
import type { Session } from '../helpers/session.js';
import { BACKINGS, makeBacking } from './backings.js';
import { hammerPlane } from './plane.js';

export interface StressOptions {
  rounds: number;
  seconds: number;
  seed: number;
}

export interface Step {
  name: string;
  /** What went well; null where there is nothing to run. */
  run(session: Session, options: StressOptions): Promise<string | null>;
}

export interface Part {
  name: string;
  about: string;
  steps: readonly Step[];
}

const SANITIZERS = ['thread', 'address', 'undefined'] as const;
const MODES = ['passthrough', 'cached'] as const;
const PROCESSES = 5;
const CRASH_ROUNDS = 50;
const SPOOL_ENTRIES = 50_000;
const STORE_KILLS = 60;
const TESTS_MS = 3 * 3600_000;

const make = (session: Session, ...words: string[]) =>
  session.command('make', ['--no-print-directory', '-C', join(ROOT, 'native/test'), ...words]);

/** What `scripts/test` says on its last line. Throws with all it said where a test fails. */
async function runTests(session: Session, folder: string, env: NodeJS.ProcessEnv): Promise<string | null> {
  if (![folder, `${folder}.test.js`].some((name) => existsSync(join(ROOT, 'build/test', name)))) return null;
  const options = { env: { TAP_TIMEOUT: '3600', ...env }, timeoutMs: TESTS_MS };
  const said = await session.command(join(ROOT, 'scripts/test'), [folder], options);
  return said.trimEnd().split('\n').at(-1) ?? '';
}

/** In a virtual machine with Debian's kernel, where nothing may be skipped for want of it. */
const inVm = (name: string, ...words: string[]): Step => ({
  name,
  async run(session) {
    const said = await session.command(join(ROOT, 'scripts/vm'), ['--timeout', '7200', ...words], { timeoutMs: TESTS_MS });
    return said.trim().split('\n').at(-1)?.trim() ?? '';
  },
});

/** The seed of a round is printed, and `--seed` takes it. */
async function hammerRounds(session: Session, sanitizer: string, mode: (typeof MODES)[number], options: StressOptions) {
  await make(session, '--silent', 'serve', `SANITIZE=${sanitizer}`);
  const hammer = join(await session.directory(), 'stress-hammer');
  await session.command('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', hammer, join(ROOT, 'scripts/stress-hammer.c')]);
  const done: string[] = [];
  for (let round = 0; round < options.rounds; round++) {
    const seed = options.seed + round;
    try {
      const what = { sanitizer, mode, seed, seconds: options.seconds, processes: PROCESSES };
      done.push(`seed ${seed}: ${await hammerPlane(session, hammer, what)}`);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  return done.join('; ');
}

const unit: Step[] = SANITIZERS.map((sanitizer) => ({
  name: `unit ${sanitizer}`,
  async run(session) {
    const said = await make(session, '--silent', 'run', `SANITIZE=${sanitizer}`);
    return `${said.split('\n').filter((line) => /^ok\b/.test(line)).length} passed`;
  },
}));

const plane: Step[] = SANITIZERS.flatMap((sanitizer) =>
  MODES.map((mode) => ({
    name: `plane ${sanitizer} ${mode}`,
    run: (session: Session, options: StressOptions) => hammerRounds(session, sanitizer, mode, options),
  })),
);

const fs: Step[] = BACKINGS.map((backing) => ({
  name: `fs ${backing}`,
  async run(session) {
    if (!existsSync(join(ROOT, 'build/test/fs'))) return null;
    const directory = await makeBacking(session, backing);
    return runTests(session, 'fs', { TMPDIR: directory, VRESERVE_TEST_BACKINGS: backing });
  },
}));

export const PARTS: readonly Part[] = [
  { name: 'unit', about: 'the native unit tests under each sanitizer', steps: unit },
  { name: 'plane', about: 'the data plane under each sanitizer, hammered, in both I/O modes', steps: plane },
  { name: 'fs', about: `the tests of the mount over ${BACKINGS.join(', ')}`, steps: fs },
  {
    name: 'crash',
    about: `kill -9 under write load, ${CRASH_ROUNDS} rounds`,
    steps: [{ name: 'crash', run: (session) => runTests(session, 'crash', { VRESERVE_ROUNDS: String(CRASH_ROUNDS) }) }],
  },
  {
    name: 'spool',
    about: `many processes on one spool, ${SPOOL_ENTRIES} entries`,
    steps: [{ name: 'spool', run: (session) => runTests(session, 'spool', { VRESERVE_ENTRIES: String(SPOOL_ENTRIES) }) }],
  },
  {
    name: 'store',
    about: `64 clients on the store, and on that of a mount, ${STORE_KILLS} times kill -9 each`,
    steps: [
      { name: 'store', run: (session) => runTests(session, 'store', { VRESERVE_KILLS: String(STORE_KILLS) }) },
      { name: 'store mount', run: (session) => runTests(session, 'crash/store', { VRESERVE_KILLS: String(STORE_KILLS) }) },
    ],
  },
  {
    name: 'vm',
    about: "disks that are pulled out, the tests of pools, and the systemd unit, in a virtual machine with Debian's kernel",
    steps: [inVm('vm disks', 'vm/disks'), inVm('vm pools', 'pools'), inVm('vm systemd', '--systemd', 'vm/systemd')],
  },
  {
    name: 'scale',
    about: 'a million files',
    steps: [{ name: 'scale', run: (session) => runTests(session, 'scale', { VRESERVE_FILES: '1000000' }) }],
  },
];
