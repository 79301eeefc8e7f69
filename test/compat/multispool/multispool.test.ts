// Multispool's cases in a native directory; a test of the mount hands the same ones a directory of its own.
import t from 'tap';
import { temporaryDirectory } from '../../helpers/mount.js';
import { runCases } from './cases.js';

t.test('multispool', { timeout: 300_000 }, async (t) => {
  await runCases(t, await temporaryDirectory(t));
});
