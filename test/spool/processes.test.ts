// Many processes on one spool in a native directory; the same cases run in a mount, handed its directory.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { temporaryDirectory } from '../helpers/mount.js';
import { must, run } from '../helpers/run.js';
import { eachEntryOnce, processCases } from './cases.js';

/** VRESERVE_ENTRIES takes other numbers. */
const ENTRIES = Number(process.env.VRESERVE_ENTRIES ?? 20_000);

t.test('each entry is handled exactly once', { timeout: 600_000 }, async (t) => {
  const top = await temporaryDirectory(t);
  // A tmpfs where that can be: each entry is synced seven times, which a disk takes longer for than all the rest.
  if (process.getuid?.() === 0) await must(run('mount', ['-t', 'tmpfs', '-o', 'size=1g', 'vreserve-test', top]));
  for (const [name, options] of Object.entries(processCases(ENTRIES))) {
    await t.test(name, async (t) => {
      const directory = join(top, name.replaceAll(' ', '-'));
      await mkdir(directory);
      await eachEntryOnce(t, directory, options);
    });
  }
});
