// What an engine cannot do, as the one table in README.md has it: tests are skipped by that table alone.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './run.js';

const PORTABLE = 'fuse-native';

/** The table below "Engines": by its first column, what happens. */
function readLimits(): ReadonlyMap<string, string> {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const section = text.split(/^## /m).find((part) => part.startsWith('Engines\n')) ?? '';
  const rows = [...section.matchAll(/^\| `([a-z0-9-]+)` \| (.*?) \| (.*?) \|$/gm)];
  return new Map(rows.map(([, key = '', cannot = '', happens = '']) => [key, `it cannot ${cannot}: ${happens}`]));
}

const limits = readLimits();

/** Why something that needs these cannot be tested with the engine; false where it can. Throws for what the table does not have. */
export function whyNotWith(engine: string | undefined, needs: readonly string[] = []): string | false {
  for (const need of needs) {
    const limit = limits.get(need);
    if (limit === undefined) throw new Error(`the table of limits in README.md has no row '${need}'`);
    if (engine === PORTABLE) return `${need}: ${limit}`;
  }
  return false;
}

/** The same with the engine that the whole run is for (VRESERVE_TEST_ENGINE). */
export function whyNotHere(...needs: string[]): string | false {
  return whyNotWith(process.env.VRESERVE_TEST_ENGINE, needs);
}
