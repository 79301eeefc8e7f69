// Entry of `scripts/bench`: measures on each filesystem, prints the tables and the goals, and keeps the history.
import { release } from 'node:os';
import { readVersion } from '../../src/version.js';
import { inSession, Session } from '../helpers/session.js';
import { judge } from './goals.js';
import { appendHistory } from './history.js';
import { HELP, type Options, parseOptions, UsageError } from './options.js';
import { describe } from './place.js';
import { type Measurement, measure } from './run.js';
import { type Line, summarize } from './summary.js';
import { goalTable, table } from './table.js';

const print = (text: string): void => void process.stdout.write(text);

/** On a terminal one line that changes, elsewhere a line for each round. */
function teller(): { say(text: string): void; clear(): void } {
  let last = '';
  return {
    say(text) {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
      else if (text.split(',')[0] !== last) process.stderr.write(`${text.split(',')[0]}\n`);
      last = text.split(',')[0] ?? '';
    },
    clear() {
      if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    },
  };
}

function asJson(options: Options, { place, targets }: Measurement, lines: readonly Line[]): Record<string, unknown> {
  return {
    filesystem: place.filesystem,
    rounds: options.rounds,
    runtimeMs: options.runtimeMs,
    files: options.files,
    targets: targets.map(({ name, how }) => ({ name, how })),
    metrics: lines.map(({ metric, native, ratios, bestPeer, charged }) => ({
      id: metric.id,
      unit: metric.unit,
      native,
      ratios: Object.fromEntries(ratios),
      bestPeer,
      charged,
    })),
    goals: place.filesystem === 'tmpfs' ? judge(lines) : [],
  };
}

function show(options: Options, measurement: Measurement, lines: readonly Line[]): void {
  const { place, targets } = measurement;
  print(`${describe(options, place)}\n\n${table(lines, targets, options.rounds)}\n`);
  if (place.filesystem !== 'tmpfs') return;
  print(`${goalTable(judge(lines))}\n`);
}

async function bench(session: Session, options: Options): Promise<number> {
  const teller_ = teller();
  const results: Record<string, unknown>[] = [];
  const failures: string[] = [];
  if (!options.json) {
    print(`vreserve ${readVersion()}, kernel ${release()}. Ratios to native: 1 is as fast, 0.5 takes twice as long.\n\n`);
  }
  for (const on of options.on) {
    // Its own session, so that one filesystem is gone before the next is measured.
    const inner = new Session();
    const stop = () => inner.interrupt('SIGINT');
    session.signal.addEventListener('abort', stop);
    session.defer(on, async () => {
      const left = await inner.end();
      if (left.length > 0) throw new Error(left.join('; '));
    });
    const measurement = await measure(inner, on, options, teller_.say);
    teller_.clear();
    const lines = summarize(measurement);
    if (options.json) results.push(asJson(options, measurement, lines));
    else show(options, measurement, lines);
    if (options.append) await appendHistory(options, measurement, lines);
    failures.push(...measurement.failures, ...(await inner.end()));
    session.signal.removeEventListener('abort', stop);
    if (!options.json && on === options.on.at(-1)) {
      print(`${measurement.targets.map(({ title, how }) => `${title}: ${how}`).join('\n')}\n`);
    }
  }
  if (options.json) print(`${JSON.stringify({ version: readVersion(), kernel: release(), results, failures }, null, 2)}\n`);
  for (const failure of failures) process.stderr.write(`failed: ${failure}\n`);
  return failures.length > 0 ? 1 : 0;
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options === null) print(HELP);
  else await inSession('bench', (session) => bench(session, options));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 2;
}
