// Multispool's cases as values, which any directory can be handed: a native one, or one in a mount.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { whyNotOther } from '../../spool/crew.js';
import { ERROR_CASES } from './cases-errors.js';
import { FILE_CASES } from './cases-files.js';
import { MONITOR_CASES } from './cases-monitor.js';
import { READER_CASES } from './cases-readers.js';
import { bothSides } from './cases-sides.js';
import type { SpoolCase } from './directory.js';

/** Entries that the two implementations pass to each other. */
const SIDES_ENTRIES = 2000;

/** All cases, in the order in which they run. */
export const CASES: readonly SpoolCase[] = [
  ...FILE_CASES,
  ...MONITOR_CASES,
  ...READER_CASES,
  ...ERROR_CASES,
  { name: 'two implementations at once', whyNot: whyNotOther, run: (t, directory) => bothSides(t, directory, SIDES_ENTRIES) },
];

/** Runs each case in a directory of its own below `top`. */
export async function runCases(t: Test, top: string, cases: readonly SpoolCase[] = CASES): Promise<void> {
  for (const [i, { name, whyNot, run }] of cases.entries()) {
    const skip = (await whyNot?.()) ?? false;
    await t.test(name, { skip, timeout: 120_000 }, async (t) => {
      const directory = join(top, `case${i}`);
      await mkdir(directory);
      await run(t, directory);
    });
  }
}
