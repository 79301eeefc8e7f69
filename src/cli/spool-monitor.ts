// `vreserve spool monitor`: what is wrong in a spool, once or as it comes and goes.

import { parseDurationMs, parseTimerMs } from '../core/duration.js';
import { VreserveError } from '../core/errors.js';
import {
  DEFAULT_ALERT_AFTER_CYCLES,
  DEFAULT_CHECK_EVERY_MS,
  DEFAULT_LIMITS,
  Monitor,
  type MonitorEvent,
  type MonitorLimits,
} from '../spool/monitor.js';
import { problemText } from '../spool/problems.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { outliveReader } from './spool-answer.js';
import { openToRead } from './spool-open.js';
import { Stop } from './spool-stop.js';

const QUEUE_AGE = '--max-queue-age';

export const monitor: Command = {
  usage:
    'spool monitor DIR [--once] [--max-checked-out-age D] [--max-tmp-file-age D] [--max-queue-age QUEUE=D]… [--check-every D] [--alert-after-cycles N]',
  description: [
    'Looks for files that are older than they should get, files whose name is not registered, names without an entry, and names',
    'with several. With --once what is found now, with exit code 1 where there is anything: while others work on the spool a file on',
    'its way may be among it. Else a line when a problem has lasted (start) and when it is gone (end), until SIGINT or SIGTERM: exit',
    'code 0. D is a duration: 30s, 10m, 2h.',
  ],
  examples: [
    'vreserve spool monitor /data/mail --once',
    'vreserve spool monitor /data/mail --max-checked-out-age 1h --max-queue-age new=2h --max-queue-age failed=7d --json',
  ],
  options: {
    once: { type: 'boolean', help: 'one look' },
    'max-checked-out-age': { type: 'string', unit: 'D', help: 'an entry is checked out for longer (10m)' },
    'max-tmp-file-age': { type: 'string', unit: 'D', help: 'a file of something unfinished is older (10m)' },
    'max-queue-age': {
      type: 'string',
      unit: 'QUEUE=D',
      help: 'an entry is in that queue for longer (no limit); once for each queue',
    },
    'check-every': { type: 'string', unit: 'D', help: 'from one look to the next (15s)' },
    'alert-after-cycles': { type: 'string', unit: 'N', help: 'it has lasted when it was seen more often than that in a row (2)' },
  },
  words: [1, 1],
  async run({ positionals: [word = ''], flag, text, json }, argv) {
    const duration = (name: string, otherwise: number) => {
      const given = text(name);
      return given === undefined ? otherwise : parseDurationMs(given);
    };
    const ages = queueAges(argv);
    const every = text('check-every');
    const checkEveryMs = every === undefined ? DEFAULT_CHECK_EVERY_MS : parseTimerMs(every);
    const alertAfterCycles = cycles(text('alert-after-cycles'));
    const limits: MonitorLimits = {
      maxCheckedOutAgeMs: duration('max-checked-out-age', DEFAULT_LIMITS.maxCheckedOutAgeMs),
      maxTmpFileAgeMs: duration('max-tmp-file-age', DEFAULT_LIMITS.maxTmpFileAgeMs),
      maxQueueAgesMs: ages,
    };
    // Named queues must be there; all are watched.
    openToRead(word, Object.keys(ages));
    const { dir, kind } = openToRead(word);
    const watched = new Monitor(dir, kind.queues);
    if (flag('once')) {
      const problems = await watched.runOnce(limits);
      if (json) printJson({ problems });
      else for (const line of problems.length === 0 ? ['no problems'] : problems.map(problemText)) print(line);
      return problems.length === 0 ? 0 : 1;
    }
    const stop = new Stop();
    outliveReader(() => stop.ask());
    try {
      await watched.start({ limits, checkEveryMs, alertAfterCycles, signal: stop.signal }, (event) => say(event, json));
      return 0;
    } finally {
      stop.end();
    }
  },
};

function say({ event, problem }: MonitorEvent, json: boolean): void {
  const at = new Date().toISOString();
  if (json) printJson({ at, event, problem });
  else print(`${at.slice(0, 19).replace('T', ' ')}  ${event.padEnd(5)}  ${problemText(problem)}`);
}

/** Of each `--max-queue-age QUEUE=D`: an option that may come several times. Throws USAGE, BAD_DURATION. */
function queueAges(argv: readonly string[]): Record<string, number> {
  const given = argv.flatMap((word, i) =>
    word === QUEUE_AGE ? [argv[i + 1] ?? ''] : word.startsWith(`${QUEUE_AGE}=`) ? [word.slice(QUEUE_AGE.length + 1)] : [],
  );
  const ages = new Map<string, number>();
  for (const pair of given) {
    const at = pair.lastIndexOf('=');
    if (at < 1) throw new VreserveError('USAGE', { reason: `${QUEUE_AGE} is QUEUE=DURATION, such as new=2h, not '${pair}'` });
    ages.set(pair.slice(0, at), parseDurationMs(pair.slice(at + 1)));
  }
  return Object.fromEntries(ages);
}

function cycles(text: string | undefined): number {
  if (text === undefined) return DEFAULT_ALERT_AFTER_CYCLES;
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  throw new VreserveError('USAGE', { reason: `--alert-after-cycles is a number, not '${text.slice(0, 40)}'` });
}
