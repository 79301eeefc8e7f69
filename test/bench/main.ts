// Entry of `scripts/bench`: measures on each filesystem, prints the tables and the goals, and keeps the history.
import { release } from 'node:os';
import { readVersion } from '../../src/version.js';
import { inSession, Session } from '../helpers/session.js';
import { judge } from './goals.js';
import { appendHistory, appendHttp, appendLots, appendSpool } from './history.js';
import { type HttpPart, measureHttp } from './http.js';
import { measureLots } from './lots.js';
import { aboutMemory, judgeLots, lotsJson, lotsTable, summarizeLots } from './lots-summary.js';
import { HELP, type Options, parseOptions, UsageError } from './options.js';
import { compileProgram, describe, describeHttp, describeLots, describeSpool, makePlace, type Place } from './place.js';
import { type Measurement, measure, type Say } from './run.js';
import { judgeSpool, measureSpool, spoolJson, spoolPlaces, spoolTable, summarizeSpool } from './spool.js';
import { type Line, summarize } from './summary.js';
import { goalTable, table } from './table.js';

/** Of btrfs only the jobs are measured. */
const NO_PARTS = { lots: false, spool: false, http: [] } as const;

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
    goals: judge(lines, place.on),
  };
}

function show(options: Options, measurement: Measurement, lines: readonly Line[]): void {
  const { place, targets } = measurement;
  print(`${describe(options, place)}\n\n${table(lines, targets, options.rounds)}\n`);
  const goals = judge(lines, place.on);
  if (goals.length > 0) print(`${goalTable(goals)}\n`);
}

/** The part about many lots; what went wrong, or null. */
async function manyLots(
  session: Session,
  place: Place,
  program: string,
  options: Options,
  result: Record<string, unknown>,
  { say, clear }: { say: Say; clear: () => void },
): Promise<string | null> {
  try {
    const measurement = await measureLots(session, place, program, options, say);
    clear();
    const lines = summarizeLots(measurement.values);
    if (options.json) result.lots = lotsJson(lines);
    else print(`${describeLots(options, place)}\n\n${lotsTable(lines)}${aboutMemory(lines)}\n`);
    if (!options.json && place.filesystem === 'tmpfs') print(`${goalTable(judgeLots(lines))}\n`);
    if (options.append) await appendLots(options, measurement, lines);
    return null;
  } catch (error) {
    session.signal.throwIfAborted();
    return `${place.filesystem}, many lots: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** The part about spools; what went wrong, or null. */
async function spools(
  session: Session,
  place: Place,
  options: Options,
  result: Record<string, unknown>,
  { say, clear }: { say: Say; clear: () => void },
): Promise<string | null> {
  try {
    const places = await spoolPlaces(session, place);
    const lines = summarizeSpool(await measureSpool(session, places, options, say), places);
    clear();
    if (options.json) result.spool = spoolJson(lines);
    else print(`${describeSpool(options, place)}\n\n${spoolTable(lines, places)}\n${goalTable(judgeSpool(lines))}\n`);
    if (options.append) await appendSpool(options, place, lines);
    return null;
  } catch (error) {
    session.signal.throwIfAborted();
    return `${place.filesystem}, spools: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** A part about HTTP; what went wrong, or null. */
async function overHttp(
  session: Session,
  place: Place,
  program: string,
  part: HttpPart,
  options: Options,
  result: Record<string, unknown>,
  { say, clear }: { say: Say; clear: () => void },
): Promise<string | null> {
  try {
    const measured = await measureHttp(session, place, program, part, options, say);
    clear();
    const { title, comparison, goals } = measured;
    if (options.json) result[part] = { ...comparison.json(), goals };
    else {
      const way = part === 'http-files' ? 'metrics across' : 'metrics down';
      print(`${describeHttp(title, options, place)}\n${comparison.notes.join('\n')}\n\n${comparison.table(way)}\n`);
      if (goals.length > 0) print(`${goalTable(goals)}\n`);
    }
    if (options.append) await appendHttp(options, place, measured);
    return null;
  } catch (error) {
    session.signal.throwIfAborted();
    return `${place.filesystem}, ${part}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function bench(session: Session, options: Options): Promise<number> {
  const teller_ = teller();
  const results: Record<string, unknown>[] = [];
  const failures: string[] = [];
  if (!options.json) {
    const ratios = options.jobs.size > 0 ? ' Ratios to native: 1 is as fast, 0.5 takes twice as long.' : '';
    print(`vreserve ${readVersion()}, kernel ${release()}.${ratios}\n\n`);
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
    const place = await makePlace(inner, on, options.directory);
    const program = await compileProgram(inner);
    const result: Record<string, unknown> = { filesystem: place.filesystem, rounds: options.rounds };
    if (options.jobs.size > 0) {
      const measurement = await measure(inner, place, program, options, teller_.say);
      teller_.clear();
      const lines = summarize(measurement);
      if (options.json) Object.assign(result, asJson(options, measurement, lines));
      else show(options, measurement, lines);
      if (options.append) await appendHistory(options, measurement, lines);
      failures.push(...measurement.failures);
      if (!options.json && (on !== 'tmpfs' || options.on.length === 1)) {
        print(`${measurement.targets.map(({ title, how }) => `${title}: ${how}`).join('\n')}\n\n`);
      }
    }
    const parts = on === 'btrfs' ? NO_PARTS : options;
    if (parts.lots) {
      const failure = await manyLots(inner, place, program, options, result, teller_);
      if (failure !== null) failures.push(failure);
    }
    if (parts.spool) {
      const failure = await spools(inner, place, options, result, teller_);
      if (failure !== null) failures.push(failure);
    }
    for (const part of parts.http) {
      const failure = await overHttp(inner, place, program, part, options, result, teller_);
      if (failure !== null) failures.push(failure);
    }
    results.push(result);
    failures.push(...(await inner.end()));
    session.signal.removeEventListener('abort', stop);
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
