// Entry of `scripts/stress`: runs the chosen parts one after the other, a line each, and fails if one of them did.
import { parseArgs } from 'node:util';
import { inSession, Session } from '../helpers/session.js';
import { PARTS, type Step, type StressOptions } from './parts.js';

const HELP = `usage: scripts/stress [options]

The long soak, for before a release: it takes hours with many rounds, some minutes for each part with one.

  --rounds N        rounds of hammering the data plane (default 3), each with a seed of its own
  --seconds N       length of such a round (default 20)
  --seed N          seed of the first round (default: drawn); the seeds are printed
  --only NAME,...   these parts, or steps whose names begin so ('plane thread'), only

${PARTS.map(({ name, about }) => `  ${name.padEnd(8)}${about}`).join('\n')}
`;

const SHOWN_LINES = 80;

interface Words {
  options: StressOptions;
  steps: readonly Step[];
}

function positive(name: string, text: string): number {
  const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
  if (value > 0) return value;
  throw new Error(`--${name} must be a number from 1, not '${text}'`);
}

function parse(): Words | null {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '20' },
      seed: { type: 'string', default: String(1 + Math.floor(Math.random() * 1e6)) },
      only: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return null;
  const only = values.only?.split(',') ?? [''];
  const all = PARTS.flatMap(({ steps }) => steps);
  const unknown = only.find((word) => !all.some(({ name }) => name.startsWith(word)));
  if (unknown !== undefined) throw new Error(`no part '${unknown}'; --help lists them`);
  const { rounds, seconds, seed } = values;
  const options = { rounds: positive('rounds', rounds), seconds: positive('seconds', seconds), seed: positive('seed', seed) };
  return { options, steps: all.filter(({ name }) => only.some((word) => name.startsWith(word))) };
}

/** Reports of sanitizers repeat themselves. */
function head(text: string): string {
  const lines = text.trimEnd().split('\n');
  return lines.length <= SHOWN_LINES
    ? lines.join('\n')
    : [...lines.slice(0, SHOWN_LINES), `... ${lines.length} lines`].join('\n');
}

/** One step in a session of its own, so that nothing of it is left for the next. */
async function runStep(outer: Session, step: Step, options: StressOptions): Promise<boolean> {
  const start = Date.now();
  const say = (how: string, what: string) =>
    process.stdout.write(`${how.padEnd(5)} ${step.name} (${Math.round((Date.now() - start) / 1000)} s): ${what}\n`);
  const session = new Session();
  const stop = () => session.interrupt('SIGINT');
  outer.signal.addEventListener('abort', stop);
  outer.defer(step.name, async () => void (await session.end()));
  let ok = true;
  process.stdout.write(`run   ${step.name}\n`);
  try {
    const what = await step.run(session, options);
    if (what === null) say('skip', 'there are no such tests');
    else say('ok', what);
  } catch (error) {
    outer.signal.throwIfAborted();
    say('FAIL', head(error instanceof Error ? error.message : String(error)));
    ok = false;
  }
  const left = await session.end();
  outer.signal.removeEventListener('abort', stop);
  if (left.length > 0) say('FAIL', `not cleaned up: ${left.join('; ')}`);
  return ok && left.length === 0;
}

try {
  const words = parse();
  if (words === null) process.stdout.write(HELP);
  else {
    await inSession('stress', async (session) => {
      let failed = 0;
      for (const step of words.steps) if (!(await runStep(session, step, words.options))) failed++;
      process.stdout.write(`${words.steps.length - failed} of ${words.steps.length} without failure\n`);
      return failed > 0 ? 1 : 0;
    });
  }
} catch (error) {
  process.stderr.write(`stress: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
