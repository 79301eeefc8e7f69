// `vreserve spool watch`: a command for each entry of a queue.
import { VreserveError } from '../core/errors.js';
import type { Command } from './command.js';
import { outliveReader } from './spool-answer.js';
import { openSpool } from './spool-open.js';
import { checkCommand } from './spool-run.js';
import { Stop } from './spool-stop.js';
import { Watcher } from './spool-watcher.js';

export const watch: Command = {
  usage: 'spool watch DIR QUEUE [--on-success QUEUE] [--on-failure QUEUE] [--jobs N] [--once] [--quiet] -- CMD …',
  description: [
    'Takes each entry as it comes and runs the command for it: the metadata is its standard input, and in its environment are',
    '  VRESERVE_DATA   the path of the data, which it may move away',
    '  VRESERVE_NAME, VRESERVE_QUEUE, VRESERVE_SPOOL',
    'Exit code 0: the entry is removed, or saved into the queue of --on-success. All else is a failure: the entry is saved into the',
    'queue of --on-failure, or stays checked out until spool recover, save or remove. A line for each entry that is done.',
    'SIGINT, SIGTERM: no more entries are taken, the commands that run may end, and the exit code is 0. A second signal is passed',
    'on to them (a third kills them), their entries go back into the queue, and the exit code is 130 or 143.',
    'Exit code 1 with --once: a command has failed.',
  ],
  examples: [
    `vreserve spool watch /data/mail new --on-failure failed -- sh -c 'mail -s "$(cat)" alice < "$VRESERVE_DATA"'`,
    `vreserve spool watch /data/mail new --once --jobs 4 --on-success done -- sh -c 'gzip < "$VRESERVE_DATA" > /out/"$VRESERVE_NAME".gz'`,
  ],
  options: {
    'on-success': { type: 'string', unit: 'QUEUE', help: 'where entries go whose command ended with 0' },
    'on-failure': { type: 'string', unit: 'QUEUE', help: 'where the others go' },
    jobs: { type: 'string', unit: 'N', help: 'so many commands at once (1)' },
    once: { type: 'boolean', help: 'only what is there now, each once' },
    quiet: { type: 'boolean', short: 'q', help: 'no line for what was done; failures that stay are still said' },
  },
  words: [2, Number.POSITIVE_INFINITY],
  async run({ positionals: [word = '', queue = '', ...command], flag, text, json }, argv) {
    if (command.length === 0 || !argv.includes('--')) {
      throw new VreserveError('USAGE', { reason: `the command is missing: put it after --, as in vreserve ${watch.usage}` });
    }
    const jobs = jobsOf(text('jobs') ?? '1');
    const once = flag('once');
    const onSuccess = text('on-success');
    const onFailure = text('on-failure');
    if (!once && (onSuccess === queue || onFailure === queue)) {
      throw new VreserveError('USAGE', {
        reason: `entries saved into '${queue}' would be taken again at once, for ever; use --once`,
      });
    }
    const spool = await openSpool(
      word,
      [queue, onSuccess, onFailure].filter((name) => name !== undefined),
    );
    checkCommand(command[0] ?? '');
    const stop = new Stop((signal, count) => watcher.interrupt(count > 2 ? 'SIGKILL' : signal));
    const watcher = new Watcher({ word, spool, queue, onSuccess, onFailure, jobs, command, quiet: flag('quiet'), json }, stop);
    outliveReader(() => stop.ask());
    try {
      const failures = await (once ? watcher.runOnce() : watcher.run());
      if (watcher.isInterrupted) return stop.exitCode;
      return once && failures > 0 ? 1 : 0;
    } finally {
      stop.end();
    }
  },
};

function jobsOf(text: string): number {
  const jobs = /^[0-9]{1,4}$/.test(text) ? Number(text) : 0;
  if (jobs < 1) throw new VreserveError('USAGE', { reason: `--jobs is a number from 1 to 9999, not '${text.slice(0, 40)}'` });
  return jobs;
}
