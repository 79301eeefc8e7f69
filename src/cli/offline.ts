// Checks a backing directory that is not mounted: counts it and compares with its ledger, with the lock of a daemon held.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { formatBytes, formatCount } from '../core/bytes.js';
import { errnoOf, VreserveError } from '../core/errors.js';
import { OWN_DIRECTORY } from '../core/paths.js';
import { journalDifferences, reportOf } from '../engine/check.js';
import type { Engine, EngineOptions } from '../engine/engine.js';
import { createEngine } from '../engine/engines.js';
import { Keeper } from '../engine/keeper.js';
import { Pools } from '../engine/pools.js';
import { Rights } from '../engine/rights.js';
import { StoreLots } from '../engine/store-lots.js';
import { LEDGER_FILE, openLedger } from '../ledger/sqlite.js';
import { quietLog } from '../log.js';
import type { CheckReport } from '../views/host.js';
import { Users } from '../views/users.js';
import { diskTypeOf } from './disk-type.js';
import { ProgressLine } from './output.js';

/** `backing` is a real path. Throws BACKING_…, ALREADY_SERVED, LEDGER_…; without `repair` nothing is changed. */
export async function checkAtRest(backing: string, repair: boolean): Promise<CheckReport> {
  const engine = createEngine('auto');
  try {
    const { viewPath, filesystem } = engine.openBacking(optionsOf(backing, !repair));
    const directory = join(viewPath, OWN_DIRECTORY);
    if (!existsSync(join(directory, LEDGER_FILE))) {
      throw new VreserveError('BACKING_FAILED', {
        path: backing,
        reason: 'it has no ledger, so it was never mounted',
        errno: 'ENOENT',
      });
    }
    if (!lock(engine, join(directory, 'lock'))) throw new VreserveError('ALREADY_SERVED', { path: backing });
    return await compare(engine, { backing, viewPath, filesystem }, repair);
  } finally {
    await engine.stop();
  }
}

function optionsOf(backing: string, readOnly: boolean): EngineOptions {
  const kept = {
    allowOther: false,
    othersAsked: false,
    trustAllUsers: false,
    passthrough: false,
    threads: 0,
    suid: false,
    dev: false,
    exec: false,
    charging: true,
  };
  // Nothing is mounted; in place is the arrangement that needs no second directory.
  return { backing, mountpoint: backing, source: backing, readOnly, ...kept };
}

function lock(engine: Engine, path: string): boolean {
  try {
    return engine.lock(path);
  } catch (error) {
    // Where nobody can write, no daemon writes either.
    if (errnoOf(error) === 'EROFS') return true;
    throw error;
  }
}

async function compare(
  engine: Engine,
  { backing, viewPath, filesystem }: { backing: string; viewPath: string; filesystem: string },
  repair: boolean,
): Promise<CheckReport> {
  const clock = Date.now;
  const directory = join(viewPath, OWN_DIRECTORY);
  const uid = process.getuid?.() ?? 0;
  const ledger = openLedger({ directory, readOnly: !repair, owner: String(uid), nowMs: clock() });
  const progress = new ProgressLine();
  try {
    const rights = new Rights('root', uid, new Users(clock));
    const keeper = new Keeper({ engine, ledger, rights, clock, log: quietLog(), readOnly: true });
    engine.setPool(null, null);
    // Nothing is mounted: a pool can lie nowhere that it must not.
    const pools = new Pools({ keeper, view: viewPath, filesystem, backing, mountpoint: backing, diskType: diskTypeOf });
    await pools.open([]);
    await keeper.load();
    new StoreLots(keeper, directory).load();
    const result = await engine.count(repair, ({ files, bytes }) => {
      progress.update(`${formatCount(files)} files, ${formatBytes(bytes)}`, null);
    });
    const report = reportOf(result, keeper.book, repair);
    if (repair && report.differences > 0) {
      const usage = result.lots.map(({ id, bytes, objects }) => ({ id, bytes, objects }));
      await ledger.saveUsage(usage, journalDifferences(result, keeper.book, clock(), true));
    }
    return report;
  } finally {
    progress.clear();
    await ledger.close();
  }
}
